//! One node of the cluster, and its process.

use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use starling_cluster::{NodeProcess, Place, Ready};
use tokio::process::Command;

use crate::args::DevArgs;
use crate::connect;
use crate::exit::{Exit, Failed};

/// A node must be gone this long after its standard input ended.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running node.
pub struct Child {
    /// Its directory and addresses.
    pub place: Place,
    /// Its process.
    pub process: NodeProcess,
}

impl Child {
    /// Starts a node.
    pub fn spawn(place: &Place, all: &[Place]) -> Result<Self, Failed> {
        let failed = |e: std::io::Error| {
            Failed::new(Exit::Failed, format!("{} could not be started: {e}", place.name))
        };
        let starling = Command::new(std::env::current_exe().map_err(failed)?);
        let mut command = place.command(starling, &seeds(all));
        let process = NodeProcess::start(&mut command, &place.log).map_err(failed)?;
        Ok(Self { place: place.clone(), process })
    }

    /// Waits for its ready line.
    pub async fn ready(&mut self, limit: Duration) -> Result<Ready, Failed> {
        // Why there is none, the log says best.
        let ready = self.process.ready(limit).await;
        ready.map_err(|_| {
            let (name, why) = (&self.place.name, self.last_words());
            // The node speaks of its own settings, which are not to be had here.
            let hint = if why.contains("cannot listen") { "; with `starling dev`: --port-base" } else { "" };
            Failed::new(Exit::Failed, format!("{name} did not start: {why}{hint}"))
        })
    }

    fn last_words(&self) -> String {
        let log = self.process.log().unwrap_or_default();
        let last = log.lines().rev().find(|line| !line.trim().is_empty());
        last.map_or_else(|| format!("see {}", self.place.log.display()), str::to_owned)
    }
}

/// The command that starts this node alone.
pub fn command_line(place: &Place, all: &[Place]) -> String {
    let words = place.arguments(&seeds(all));
    let words: Vec<_> = words.iter().map(|word| quoted(&word.to_string_lossy())).collect();
    format!("{} {}", myself(), words.join(" "))
}

/// A command to this cluster that works as it is printed: wherever the program lies and the data are.
pub fn told(args: &DevArgs, first: &Place, words: &str) -> String {
    let mut command = format!("{} {words} --at {}", myself(), first.quic);
    let tls = args.data.join("tls");
    // A variable of the shell goes before what is found.
    if std::env::var_os("STARLING_TLS").is_some() || !connect::is_found(&tls) {
        command += &format!(" --tls {}", quoted(&tls.to_string_lossy()));
    }
    command
}

/// This program as one types it: by its name where the shell finds it so, and otherwise by its path.
fn myself() -> String {
    let Ok(program) = std::env::current_exe() else { return "starling".into() };
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).map(|dir| dir.join("starling")).find(|file| file.is_file());
    let is_this = found.and_then(|found| found.canonicalize().ok()).is_some_and(|found| found == program);
    if is_this {
        return "starling".into();
    }
    let here = std::env::current_dir().unwrap_or_default();
    match program.strip_prefix(&here) {
        Ok(below) => quoted(&format!("./{}", below.display())),
        Err(_) => quoted(&program.to_string_lossy()),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:,=+@%[]".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn seeds(all: &[Place]) -> Vec<SocketAddr> {
    all.iter().map(|place| place.quic).collect()
}

/// Waits until one of the nodes ends by itself: which, and how.
pub async fn next_end(children: &mut [Child]) -> (usize, String) {
    let mut ends: Vec<_> = children.iter_mut().map(|child| Box::pin(child.process.ended())).collect();
    let first = std::future::poll_fn(|context| {
        let ended = ends.iter_mut().enumerate().find_map(|(index, end)| match end.as_mut().poll(context) {
            Poll::Ready(how) => Some((index, how)),
            Poll::Pending => None,
        });
        ended.map_or(Poll::Pending, Poll::Ready)
    });
    let (index, how) = first.await;
    (index, how.map_or_else(|e| e.to_string(), |status| status.to_string()))
}

/// Lets all nodes finish what is under way; one that does not is killed.
pub async fn stop_all(mut children: Vec<Child>) {
    children.iter_mut().for_each(|child| child.process.release());
    for child in &mut children {
        if child.process.ended_within(STOP_TIMEOUT).await.is_err() {
            let _ = child.process.kill().await;
        }
    }
}
