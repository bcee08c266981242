//! One node as a child process. It ends when its standard input does, so none outlives this process, however
//! that ends.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::exit::{Exit, Failed};

/// A node must be gone this long after its standard input ended.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a node lives.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub data: PathBuf,
    /// Its log file.
    pub log: PathBuf,
    /// The cluster's authority.
    pub tls: PathBuf,
    /// RESP.
    pub resp: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// QUIC.
    pub quic: SocketAddr,
}

/// A running node.
pub struct Child {
    /// Where it lives.
    pub place: Place,
    /// Its cluster, if it had one when it was ready.
    pub cluster: Option<String>,
    process: tokio::process::Child,
    pid: u32,
    node: serde_json::Value,
    /// Held open: its end tells the node to stop.
    lifeline: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

/// How a node ended.
pub struct Ended {
    /// Which.
    pub index: usize,
    /// Its process.
    pub pid: u32,
    /// In words.
    pub how: String,
}

impl Place {
    fn arguments(&self, all: &[Self]) -> Vec<String> {
        let seeds: Vec<String> = all.iter().map(|p| p.quic.to_string()).collect();
        [
            ("--name", self.name.clone()),
            ("--data", self.data.display().to_string()),
            ("--resp", self.resp.to_string()),
            ("--http", self.http.to_string()),
            ("--quic", self.quic.to_string()),
            ("--tls-dir", self.tls.display().to_string()),
            ("--seeds", seeds.join(",")),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }

    /// What a person types to start this node alone.
    pub fn command_line(&self, all: &[Self]) -> String {
        format!("starling node {}", self.arguments(all).join(" "))
    }
}

impl Child {
    /// Starts a node.
    pub fn spawn(place: &Place, all: &[Place]) -> Result<Self, Failed> {
        let failed = |e: std::io::Error| {
            Failed::new(Exit::Failed, format!("{} could not be started: {e}", place.name))
        };
        let log = File::options().create(true).append(true).open(&place.log).map_err(failed)?;
        let mut process = Command::new(std::env::current_exe().map_err(failed)?)
            .arg("node")
            .args(place.arguments(all))
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            place: place.clone(),
            cluster: None,
            pid: process.id().unwrap_or_default(),
            node: serde_json::Value::Null,
            lifeline: process.stdin.take(),
            output: process.stdout.take().map(BufReader::new),
            process,
        })
    }

    /// Its process.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for its ready line.
    pub async fn wait_until_ready(&mut self) -> Result<(), Failed> {
        let mut line = String::new();
        if let Some(output) = &mut self.output {
            // An error reads as an empty line: the log has the reason either way.
            let _ = output.read_line(&mut line).await;
        }
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        if ready["event"] != "ready" {
            return Err(Failed::new(
                Exit::Failed,
                format!("{} did not start: {}", self.place.name, self.last_words()),
            ));
        }
        self.cluster = ready["cluster_id"].as_str().map(str::to_owned);
        self.node = ready["nodes"][0].clone();
        Ok(())
    }

    /// Its identity, once it is ready.
    pub fn node_id(&self) -> &str {
        self.node["node_id"].as_str().unwrap_or_default()
    }

    /// Its part of the cluster's ready line.
    pub fn ready_entry(&self) -> serde_json::Value {
        self.node.clone()
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.place.log).unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        last.map_or_else(|| format!("see {}", self.place.log.display()), str::to_owned)
    }
}

/// Waits until one of the nodes ends by itself.
pub async fn next_end(children: &mut [Child]) -> Ended {
    let ends = children.iter_mut().enumerate().map(|(index, child)| {
        let pid = child.pid;
        Box::pin(async move {
            let how = child.process.wait().await.map_or_else(|e| e.to_string(), |status| status.to_string());
            Ended { index, pid, how }
        })
    });
    first_of(ends.collect()).await
}

async fn first_of<F: Future + Unpin>(mut futures: Vec<F>) -> F::Output {
    std::future::poll_fn(|context| {
        for future in &mut futures {
            if let std::task::Poll::Ready(output) = std::pin::Pin::new(future).poll(context) {
                return std::task::Poll::Ready(output);
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Lets all nodes finish what is under way; one that does not is killed.
pub async fn stop_all(mut children: Vec<Child>) {
    for child in &mut children {
        child.lifeline = None;
    }
    for child in &mut children {
        if tokio::time::timeout(STOP_TIMEOUT, child.process.wait()).await.is_err() {
            let _ = child.process.kill().await;
        }
    }
}
