//! Commands that run to their end.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::process::starling;

/// What a command left behind.
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

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `starling` with these words.
pub fn run(words: &[&str]) -> Done {
    starling().args(words).output().unwrap().into()
}

/// Runs `starling` against a node.
pub fn run_at(quic: SocketAddr, tls: &Path, words: &[&str]) -> Done {
    let mut command = starling();
    command.env("STARLING_AT", quic.to_string()).env("STARLING_TLS", tls);
    command.args(words).output().unwrap().into()
}

/// `cluster init` of the nodes at these addresses.
pub fn init(nodes: &[SocketAddr], tls: &Path) -> Done {
    let nodes = nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let words = ["cluster", "init", "--partitions", "64", "--nodes", &nodes];
    starling().env("STARLING_TLS", tls).args(words).output().unwrap().into()
}
