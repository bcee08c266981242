//! Signals that would end a node by default and have no reason to: a terminal that is closed, a tool that rotates logs, a
//! key pressed by mistake.

use starling_server::log;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failed};

/// Signals that are ignored, with their names.
fn ignored() -> [(&'static str, SignalKind); 5] {
    [
        ("SIGQUIT", SignalKind::quit()),
        ("SIGUSR1", SignalKind::user_defined1()),
        ("SIGUSR2", SignalKind::user_defined2()),
        ("SIGALRM", SignalKind::alarm()),
        // A file that may not grow further (ulimit -f): the write fails, and is dealt with where it was made.
        ("SIGXFSZ", SignalKind::from_raw(25)),
    ]
}

/// From now on, for as long as the process runs: SIGHUP puts the log directives in force that `directives` finds, all
/// others change nothing. Each leaves a line.
///
/// # Errors
/// If the system does not let signals be caught.
pub fn heed(directives: impl Fn() -> Result<String, String> + 'static) -> Result<(), Failed> {
    let mut hangup = caught(SignalKind::hangup())?;
    tokio::task::spawn_local(async move {
        while hangup.recv().await.is_some() {
            match directives().and_then(|found| log::reload(&found).map(|()| found)) {
                Ok(found) => tracing::info!(
                    "SIGHUP: telemetry.log is {found:?} now; all other settings are read at the next start"
                ),
                Err(why) => tracing::warn!("SIGHUP: nothing is changed: {why}"),
            }
        }
    });
    for (name, kind) in ignored() {
        let mut caught = caught(kind)?;
        tokio::task::spawn_local(async move {
            while caught.recv().await.is_some() {
                tracing::info!("{name} is ignored; SIGTERM stops the node");
            }
        });
    }
    Ok(())
}

/// A stream of one signal.
pub fn caught(kind: SignalKind) -> Result<Signal, Failed> {
    signal(kind).map_err(|e| Failed::new(Exit::Failed, format!("signals cannot be caught: {e}")))
}
