//! What an operator decides for one node: flags before environment before file before default.
//!
//! Cluster-wide values (copies, buckets, layouts) are gossiped and never stand in a file. [`keys`] is the one table
//! that file, environment, flags, the annotated `config/starling.toml` and the user guide all come from.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use starling_frontend::FrontLimits;
use starling_gossip::Preset;
use starling_storage::SyncMode;
use starling_types::{ClusterId, limits};

mod annotated;
mod error;
mod file;
mod keys;
mod rule;
#[cfg(test)]
mod tests;
mod value;

pub use error::{ConfigError, Origin};
pub use keys::{CLI_VARIABLES, Description, Key, Overrides};

use keys::KEYS;

/// Everything that can be set. A value that came from [`Settings::load`] obeys every rule of the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Who this node is.
    pub node: NodeSettings,
    /// Where it listens.
    pub listen: ListenSettings,
    /// Which cluster it may serve.
    pub cluster: ClusterSettings,
    /// Memory of the store.
    pub storage: StorageSettings,
    /// What it takes on before it refuses.
    pub limits: LimitSettings,
    /// How it judges others.
    pub gossip: GossipSettings,
    /// How it proves who it is.
    pub tls: TlsSettings,
    /// What it tells people.
    pub telemetry: TelemetrySettings,
}

/// Section `[node]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// Name for people; identity is the node id in the data directory.
    pub name: String,
    /// Data directory; relative paths start at the working directory.
    pub data: PathBuf,
    /// Failure domain.
    pub zone: String,
    /// Share of the data relative to other nodes.
    pub weight: u32,
}

/// Section `[listen]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenSettings {
    /// Redis protocol, TCP.
    pub resp: SocketAddr,
    /// HTTP, TCP.
    pub http: SocketAddr,
    /// Peers and native clients, UDP.
    pub quic: SocketAddr,
    /// Where others reach `quic`, if that is not where it listens.
    pub advertise: Option<SocketAddr>,
}

/// Section `[cluster]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterSettings {
    /// The only cluster this node may serve; any if `None`.
    pub cluster_id: Option<ClusterId>,
}

/// Section `[storage]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StorageSettings {
    /// Bytes of memory that the node is to get by with.
    pub memory_limit: u64,
    /// Bytes of table blocks in memory; a share of the limit if unset.
    pub engine_cache_bytes: Option<u64>,
    /// Bytes of decoded records in memory; a share of the limit if unset.
    pub record_cache_bytes: Option<u64>,
    /// When an acknowledged write is on the disk.
    pub sync: SyncMode,
    /// Bytes of the volume that user writes leave free; a share of the volume if unset.
    pub disk_reserve: Option<u64>,
    /// Bytes of tables that are read and verified in a second; 0: none.
    pub scrub_rate: u64,
}

impl StorageSettings {
    /// How the engine is to run.
    pub fn engine(&self) -> starling_storage::Options {
        starling_storage::Options {
            cache_bytes: self.engine_cache_bytes.unwrap_or(self.memory_limit / 6),
            // Up to seven are in memory for data, and seldom any for hints.
            write_buffer_bytes: (self.memory_limit / 32).clamp(1 << 20, 32 << 20),
            sync: self.sync,
            scrub_rate: self.scrub_rate,
            ..starling_storage::Options::default()
        }
    }

    /// Bytes of decoded records.
    pub fn record_cache(&self) -> usize {
        let bytes = self.record_cache_bytes.unwrap_or(self.memory_limit / 4);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

/// Section `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitSettings {
    /// Largest value, in bytes.
    pub max_value: usize,
    /// Connections of clients at a time, at each of RESP, HTTP and QUIC.
    pub max_connections: usize,
    /// Unanswered requests of one RESP connection.
    pub max_pipeline: usize,
    /// Requests in flight in the whole node.
    pub max_in_flight: usize,
    /// Bytes of requests in flight in the whole node.
    pub max_in_flight_bytes: usize,
}

/// Section `[gossip]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GossipSettings {
    /// How eager the failure detector is.
    pub preset: Preset,
}

/// Section `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// Directory with the cluster's certificate authority; made at the first start if it is not there.
    pub dir: PathBuf,
}

/// Section `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// Which log lines are written: a level, or `target=level` directives, separated by commas.
    pub log: String,
}

impl Default for NodeSettings {
    fn default() -> Self {
        Self { name: "node".into(), data: "./starling-data/node".into(), zone: "default".into(), weight: 1 }
    }
}

impl Default for ListenSettings {
    fn default() -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self { resp: local(7001), http: local(7101), quic: local(7201), advertise: None }
    }
}

impl Default for StorageSettings {
    fn default() -> Self {
        Self {
            memory_limit: 512 << 20,
            engine_cache_bytes: None,
            record_cache_bytes: None,
            sync: SyncMode::Always,
            disk_reserve: None,
            scrub_rate: 4 << 20,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        let doors = FrontLimits::default();
        Self {
            max_value: doors.max_value,
            max_connections: doors.max_connections,
            max_pipeline: doors.max_pipeline,
            max_in_flight: limits::DEFAULT_MAX_IN_FLIGHT,
            max_in_flight_bytes: limits::DEFAULT_MAX_IN_FLIGHT_BYTES,
        }
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { dir: "./starling-tls".into() }
    }
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self { log: "info".into() }
    }
}

impl Settings {
    /// Settings from `file` (none: no file), `env` (variables that do not start with `STARLING_` are passed over)
    /// and `flags`, checked.
    ///
    /// # Errors
    /// The first value, key or variable that is not allowed: where it stands, what it is, what is allowed.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        flags: Overrides,
    ) -> Result<Self, ConfigError> {
        let mut loading = Loading::default();
        if let Some(path) = file {
            file::read(path)?.into_iter().try_for_each(|a| loading.assign(a))?;
        }
        keys::from_env(env)?.into_iter().try_for_each(|a| loading.assign(a))?;
        keys::from_flags(&flags).try_for_each(|a| loading.assign(a))?;
        loading.finish()
    }

    /// Every key with its value here and its default, in the order of the file.
    pub fn describe(&self) -> Vec<Description> {
        let defaults = Self::default();
        let describe =
            |key: &'static Key| Description { key, value: key.show(self), default: key.show(&defaults) };
        KEYS.iter().map(describe).collect()
    }

    /// A configuration file with these values and, as comments, what each key means, its default, how to choose
    /// it and what is allowed. `config/starling.toml` is this for the defaults.
    pub fn annotated(&self) -> String {
        annotated::render(self)
    }
}

/// One key, set in one place.
struct Assignment {
    key: &'static Key,
    value: value::Given,
    origin: Origin,
}

/// Settings in the making, and where each value that is no default came from.
#[derive(Default)]
struct Loading {
    settings: Settings,
    origins: BTreeMap<String, Origin>,
}

impl Loading {
    fn assign(&mut self, Assignment { key, value, origin }: Assignment) -> Result<(), ConfigError> {
        if key.write(&mut self.settings, &value).is_none() {
            return Err(ConfigError::value(origin, key, value.to_string()));
        }
        self.origins.insert(key.path(), origin);
        Ok(())
    }

    fn finish(self) -> Result<Settings, ConfigError> {
        self.check_addresses()?;
        self.check_room_for_a_value()?;
        Ok(self.settings)
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        let listen = &self.settings.listen;
        if listen.quic.ip().is_unspecified() && listen.advertise.is_none() {
            return Err(self.conflict(
                "listen.quic",
                listen.quic,
                "it names no address that others can reach: set listen.advertise (STARLING_LISTEN_ADVERTISE, \
                 --advertise) to one"
                    .into(),
            ));
        }
        if overlap(listen.resp, listen.http) {
            let why = format!("listen.resp = {} is there already: choose another port", listen.resp);
            return Err(self.conflict("listen.http", listen.http, why));
        }
        Ok(())
    }

    fn check_room_for_a_value(&self) -> Result<(), ConfigError> {
        let limits = &self.settings.limits;
        if limits.max_in_flight_bytes >= limits.max_value {
            return Ok(());
        }
        let value = value::size(limits.max_in_flight_bytes as u64);
        let why = format!(
            "it must be at least limits.max_value = {} ({})",
            value::size(limits.max_value as u64),
            self.origin("limits.max_value")
        );
        Err(self.conflict("limits.max_in_flight_bytes", value, why))
    }

    fn conflict(&self, key: &'static str, value: impl ToString, why: String) -> ConfigError {
        ConfigError::Conflict { origin: self.origin(key), key, value: value.to_string(), why }
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }
}

/// Whether two TCP listeners would want the same port. Port 0 takes a free one.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let shared = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && shared
}
