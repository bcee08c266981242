//! Nodes with addresses of their own that they keep over restarts.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;
use starling_cluster::{Doors, Place, Ready, Signal};
use tempfile::TempDir;
use tokio::process::Command;

use super::process::{Process, starling};
use super::resp::Resp;
use super::{SOON, command, eventually, http, within};

/// A stop has come to its end by then, on a busy machine too. (The node itself gives up what does not finish within the
/// time that `docs` promise to the author of a service file, and its status tells.)
pub const STOP: Duration = SOON;

/// A node, running or not.
pub struct Node {
    place: Place,
    process: Option<Process>,
}

/// A node has the name, the addresses and the files of its place.
impl Deref for Node {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut Place {
        &mut self.place
    }
}

impl Node {
    /// A node that is not started, with everything of it below `dir`.
    pub fn new(dir: &Path, name: &str, tls: &Path) -> Self {
        Self { place: Place::new(dir, name, tls, Doors::free().unwrap()), process: None }
    }

    /// The command that runs it, as long as this process does: not even a test that is killed leaves it behind.
    pub fn command(&self) -> Command {
        self.place.command(starling(), &[])
    }

    /// Starts it and waits for its ready line.
    pub fn start(&mut self) -> Ready {
        self.start_as(&mut self.command())
    }

    /// Starts it by another command.
    pub fn start_as(&mut self, command: &mut Command) -> Ready {
        self.launch_as(command);
        self.process().ready()
    }

    /// Starts it without waiting.
    pub fn launch(&mut self) {
        self.launch_as(&mut self.command());
    }

    fn launch_as(&mut self, command: &mut Command) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        self.process = Some(Process::start(command, &self.log));
    }

    /// The running process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the node runs")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process().signal(Signal::TERM);
        let status = self.process().ended(STOP);
        self.process = None;
        status
    }

    /// A connection for Redis commands.
    pub fn resp(&self) -> Resp {
        Resp::connect(self.resp).unwrap()
    }

    /// `GET /v1/status`, if it answers.
    pub fn try_status(&self) -> Result<Value, String> {
        let answer = http::get(self.http, "/v1/status").map_err(|e| e.to_string())?;
        serde_json::from_str(&answer.body).map_err(|e| e.to_string())
    }

    /// `GET /v1/status`.
    pub fn status(&self) -> Value {
        self.try_status().unwrap()
    }

    /// A number among its metrics: the sum over all labels.
    pub fn metric(&self, name: &str) -> f64 {
        let text = http::get(self.http, "/metrics").unwrap().body;
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Waits until it serves and is connected with `others` alive members besides itself.
    pub fn serves_with(&self, others: usize) {
        within(SOON, &format!("{} serves with {others} others", self.name), || {
            let status = self.try_status()?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let well = |m: &&Value| m["connected"] == true && m["state"] == "alive";
            match status["state"] == "serving" && members.iter().filter(well).count() == others + 1 {
                true => Ok(()),
                false => Err(status.to_string()),
            }
        });
    }

    /// Waits until it has nothing to hand over to others.
    pub fn has_no_hints(&self) {
        // Not `repair.quiescent`: that also waits for the next comparison with the other owners, up to a minute later.
        let quiet = |status: &Value| status["hints"]["count"] == 0;
        within(SOON, &format!("{} has handed over its hints", self.name), || {
            let status = self.try_status()?;
            if quiet(&status) { Ok(()) } else { Err(status.to_string()) }
        });
    }
}

/// Nodes that are one cluster.
pub struct Cluster {
    pub nodes: Vec<Node>,
    pub tls: PathBuf,
    /// Dropped last: the nodes' directories.
    _dir: TempDir,
}

impl Cluster {
    /// Starts and founds one of three.
    pub fn of_three() -> Self {
        Self::of(3)
    }

    /// Starts and founds one of so many, which keeps three copies.
    pub fn of(count: usize) -> Self {
        let dir = TempDir::new().unwrap();
        let tls = dir.path().join("tls");
        let mut nodes: Vec<Node> =
            (1..=count).map(|k| Node::new(dir.path(), &format!("n{k}"), &tls)).collect();
        nodes.iter_mut().for_each(Node::launch);
        nodes.iter_mut().for_each(|n| _ = n.process().ready());
        let cluster = Self { nodes, tls, _dir: dir };
        command::init(&cluster.quic(), &cluster.tls).well();
        cluster.serves();
        cluster
    }

    /// The QUIC addresses of all nodes.
    pub fn quic(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|n| n.quic).collect()
    }

    /// Waits until all nodes serve and are connected with each other.
    pub fn serves(&self) {
        let others = self.nodes.len() - 1;
        self.nodes.iter().for_each(|n| n.serves_with(others));
    }

    /// SIGKILL for all, none waiting for another's end.
    pub fn kill_all(&mut self) {
        self.nodes.iter_mut().for_each(|n| n.process().signal(Signal::KILL));
        self.nodes.iter_mut().for_each(Node::kill);
    }

    /// Starts all at once, and waits until they serve.
    pub fn start_all(&mut self) {
        self.nodes.iter_mut().for_each(Node::launch);
        self.nodes.iter_mut().for_each(|n| _ = n.process().ready());
        self.serves();
    }

    /// Waits until no node has many hints: under load some copy is always on its way.
    pub fn is_settled_under_load(&self) {
        for node in &self.nodes {
            within(SOON, &format!("{} has handed over its hints", node.name), || {
                let count = node.try_status()?["hints"]["count"].as_u64();
                if count == Some(0) { Ok(()) } else { Err(format!("{count:?} hints")) }
            });
        }
    }

    /// Waits until no node has anything to hand over.
    pub fn is_settled(&self) {
        self.nodes.iter().for_each(Node::has_no_hints);
    }
}

/// Waits until the node's door is shut.
pub fn is_shut(addr: SocketAddr) {
    eventually("nobody listens", || std::net::TcpStream::connect(addr).is_err());
}
