//! A `starling` process that cannot outlive its test.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use starling_cluster::{NodeProcess, Ready, Signal};
use tokio::process::Command;
use tokio::runtime::{Builder, Runtime};

use super::SOON;

/// For all processes of all tests: whichever test waits for one drives it.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());

/// A running process. Dropped, it is killed; if the test is failing, the end of its log is shown.
pub struct Process(NodeProcess);

/// The binary under test, without any of this process' settings for nodes.
pub fn starling() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STARLING_"));
    ours.for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.stdin(Stdio::null());
    command
}

impl Process {
    /// Starts `command`; what it logs goes to `log`, where that of earlier runs is kept.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let _context = RUNTIME.enter();
        Self(NodeProcess::start(command, log).unwrap())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Waits for the one line on standard output that says that it serves.
    pub fn ready(&mut self) -> Ready {
        let ready = RUNTIME.block_on(self.0.ready(SOON));
        ready.unwrap_or_else(|why| panic!("no ready line, {why}: {}", self.stderr()))
    }

    /// All that it prints from here on, until its end, which must come soon.
    pub fn stdout(&mut self) -> String {
        let printed = RUNTIME.block_on(self.0.output(SOON));
        printed.unwrap_or_else(|why| panic!("what it prints comes to no end, {why}: {}", self.stderr()))
    }

    /// The log of it and its earlier runs so far.
    pub fn stderr(&self) -> String {
        self.0.log().unwrap()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.0.signal(signal).unwrap();
    }

    /// Waits for it to end by itself.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        let ended = RUNTIME.block_on(self.0.ended_within(limit));
        ended.unwrap_or_else(|why| panic!("the process does not end, {why}: {}", self.stderr()))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        RUNTIME.block_on(self.0.kill()).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Killed first, so that its last words are among them.
            let _ = RUNTIME.block_on(self.0.kill());
            let log = self.0.log().unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("--- the end of the log of process {}", self.pid());
            lines[lines.len().saturating_sub(25)..].iter().for_each(|l| eprintln!("{l}"));
        }
    }
}

/// Whether a process of ours with this id still runs: a dead one that was not yet waited for does not.
pub fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.starts_with("Name:\tstarling\n") && !status.contains("State:\tZ")
}

/// Kills a process of ours that is not our child.
pub fn kill_other(pid: u32) {
    if runs(pid) {
        let _ = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
}
