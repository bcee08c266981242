//! One process, from its start to its end.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::ready::Ready;

#[cfg(test)]
mod tests;

/// A running process: a node, or something else that says by a ready line that it serves, or that comes to an end by
/// itself. Dropped, it is killed.
#[derive(Debug)]
pub struct NodeProcess {
    child: Child,
    pid: Pid,
    /// Held open: its end tells a node to stop.
    lifeline: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    log: PathBuf,
}

/// Why there is no ready line.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The process is gone.
    #[error("it ended instead, {0}")]
    Ended(ExitStatus),
    /// It has said something else.
    #[error("it said something else instead: {0:?}")]
    Said(String),
    /// It runs, and has said nothing.
    #[error("it has not said so within {0:?}")]
    Late(Duration),
    /// Its output cannot be read.
    #[error("what it says cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl NodeProcess {
    /// Starts `command`. Its standard error goes to `log`, behind what earlier processes wrote there; its standard
    /// input, if that is a pipe, stays open until [`release`](Self::release).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let stderr = File::options().create(true).append(true).open(log)?;
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (Some(output), Some(pid)) = (child.stdout.take(), pid) else {
            return Err(io::Error::other("a process that has just been started has no number or no output"));
        };
        let (lifeline, output) = (child.stdin.take(), BufReader::new(output));
        Ok(Self { child, pid, lifeline, output, log: log.into() })
    }

    /// The number of the process, also when it has ended.
    pub const fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Waits for its ready line, which must be the first. To be called once.
    pub async fn ready(&mut self, limit: Duration) -> Result<Ready, NotReady> {
        timeout(limit, self.first_line()).await.unwrap_or(Err(NotReady::Late(limit)))
    }

    async fn first_line(&mut self) -> Result<Ready, NotReady> {
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        if line.is_empty() {
            return Err(NotReady::Ended(self.child.wait().await?));
        }
        serde_json::from_str(&line).map_err(|_| NotReady::Said(line))
    }

    /// All that it prints from here on, until its end.
    pub async fn output(&mut self, limit: Duration) -> io::Result<String> {
        let mut text = String::new();
        timeout(limit, self.output.read_to_string(&mut text)).await??;
        Ok(text)
    }

    /// Its log so far, and that of earlier owners of the same file.
    pub fn log(&self) -> io::Result<String> {
        std::fs::read_to_string(&self.log)
    }

    /// Sends a signal. One that has been waited for gets none: its number may be another process's by now.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match self.child.id() {
            Some(_) => Ok(kill_process(self.pid, signal)?),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "the process has ended")),
        }
    }

    /// Closes its standard input, whereupon a node started by [`Place::command`](crate::Place::command) finishes
    /// what is under way and ends.
    pub fn release(&mut self) {
        self.lifeline = None;
    }

    /// Waits for its end, however long it serves.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Waits for its end, which must come soon.
    pub async fn ended_within(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        timeout(limit, self.ended()).await?
    }

    /// SIGKILL, and waits until it is gone.
    pub async fn kill(&mut self) -> io::Result<ExitStatus> {
        // One that has ended meanwhile is no failure: how, the wait says.
        let _ = self.child.start_kill();
        self.ended_within(KILLED).await
    }
}

impl Drop for NodeProcess {
    /// Returns when the process is gone, its ports and locks with it: its successor finds them free.
    fn drop(&mut self) {
        if self.child.start_kill().is_err() {
            return;
        }
        // The runtime, if there is still one, may be the caller's own thread: this wait cannot be left to it. The
        // number is not given up here, so that it cannot come to mean another process before the end is noted below.
        let (pid, options) = (self.pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let (gone, is_gone) = channel();
        let wait = move || {
            let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), options));
            let _ = gone.send(());
        };
        if thread::Builder::new().name("killed".into()).spawn(wait).is_ok() {
            let _ = is_gone.recv_timeout(KILLED);
        }
        let _ = self.child.try_wait();
    }
}

/// A process that was killed is gone by then, unless the system itself hangs.
const KILLED: Duration = Duration::from_secs(10);
