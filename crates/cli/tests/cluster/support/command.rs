//! Commands that run to their end.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::SOON;
use super::process::{Process, starling};

/// The result of a command.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Its last line of output as JSON.
    pub fn json(&self) -> Value {
        let line = self.out.lines().last().unwrap_or_default();
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Fails the test unless the command succeeded.
    pub fn well(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// Runs a command to its end, which must come soon: one that should be refused and is not would serve for ever.
pub fn finish(command: &mut Command) -> Done {
    let dir = TempDir::new().unwrap();
    let mut process = Process::start(command, &dir.path().join("log"));
    let (out, status) = (process.stdout(), process.ended(SOON));
    Done { code: status.code().unwrap_or(-1), out, err: process.stderr() }
}

/// Runs `starling` with these words.
pub fn run(words: &[&str]) -> Done {
    finish(starling().args(words))
}

/// Runs `starling` against a node.
pub fn run_at(quic: SocketAddr, tls: &Path, words: &[&str]) -> Done {
    let mut command = starling();
    command.env("STARLING_AT", quic.to_string()).env("STARLING_TLS", tls);
    finish(command.args(words))
}

/// `cluster init` of the nodes at these addresses.
pub fn init(nodes: &[SocketAddr], tls: &Path) -> Done {
    let nodes = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let words = ["cluster", "init", "--partitions", "64", "--nodes", &nodes];
    finish(starling().env("STARLING_TLS", tls).args(words))
}
