//! A node's directories and addresses, and the command that runs it there.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// Where a node listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// RESP.
    pub resp: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// QUIC.
    pub quic: SocketAddr,
}

/// A node's directories and addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub data: PathBuf,
    /// Its log file.
    pub log: PathBuf,
    /// The directory of the cluster's authority.
    pub tls: PathBuf,
    /// RESP.
    pub resp: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// QUIC.
    pub quic: SocketAddr,
}

impl Place {
    /// A place with its data and its log below `dir`, both called by the node's name.
    pub fn new(dir: &Path, name: &str, tls: &Path, doors: Doors) -> Self {
        let Doors { resp, http, quic } = doors;
        let (data, log) = (dir.join(name), dir.join(format!("{name}.log")));
        Self { name: name.into(), data, log, tls: tls.into(), resp, http, quic }
    }

    /// The arguments of `starling` for the node of this place.
    pub fn arguments(&self, seeds: &[SocketAddr]) -> Vec<OsString> {
        let mut words = vec!["node".into()];
        let mut flag = |name: &str, value: OsString| words.extend([name.into(), value]);
        flag("--name", self.name.clone().into());
        flag("--data", self.data.clone().into());
        flag("--resp", self.resp.to_string().into());
        flag("--http", self.http.to_string().into());
        flag("--quic", self.quic.to_string().into());
        flag("--tls-dir", self.tls.clone().into());
        if !seeds.is_empty() {
            let seeds: Vec<_> = seeds.iter().map(ToString::to_string).collect();
            flag("--seeds", seeds.join(",").into());
        }
        words
    }

    /// `starling` completed: it runs this node for as long as this process runs.
    pub fn command(&self, mut starling: Command, seeds: &[SocketAddr]) -> Command {
        starling.args(self.arguments(seeds)).arg("--exit-with-parent").stdin(Stdio::piped());
        starling
    }
}
