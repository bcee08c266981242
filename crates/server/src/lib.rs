//! The daemon: config, boot, reactor, storage executor, telemetry, shutdown
