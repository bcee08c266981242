//! A `starling` process that cannot outlive its test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{SOON, within};

/// A running process. Dropped, it is killed; if the test is failing, the end of its log is shown.
pub struct Process {
    child: Child,
    out: PathBuf,
    log: PathBuf,
}

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
    /// Starts `command`; its output goes to `STEM.out` and `STEM.log`, where that of earlier runs is kept.
    pub fn start(command: &mut Command, stem: &Path) -> Self {
        let (out, log) = (stem.with_extension("out"), stem.with_extension("log"));
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(File::create(&out).unwrap()).stderr(stderr).spawn().unwrap();
        Self { child, out, log }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the one line on standard output that says that it serves.
    pub fn ready(&mut self) -> Value {
        within(SOON, "a ready line", || {
            let out = self.stdout();
            if let Some(line) = out.lines().next().filter(|_| out.ends_with('\n')) {
                return Ok(serde_json::from_str(line).unwrap());
            }
            match self.child.try_wait().unwrap() {
                Some(status) => panic!("ended instead, {status}: {}", self.stderr()),
                None => Err(self.stderr()),
            }
        })
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap()
    }

    /// What it and its earlier runs have logged so far.
    pub fn stderr(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends a signal by its name, `TERM` for instance.
    pub fn signal(&self, name: &str) {
        let (signal, pid) = (format!("-{name}"), self.pid().to_string());
        assert!(Command::new("kill").args([signal, pid]).status().unwrap().success());
    }

    /// Waits for it to end by itself.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        within(limit, "the process ends", || {
            let status = self.child.try_wait().unwrap();
            status.ok_or_else(|| self.stderr())
        })
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, which is no failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the end of {}", self.log.display());
            let log = self.stderr();
            let lines: Vec<_> = log.lines().collect();
            lines[lines.len().saturating_sub(25)..].iter().for_each(|l| eprintln!("{l}"));
        }
    }
}

/// Whether a process of ours with this id still runs: a dead one that nobody has waited for does not.
pub fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.starts_with("Name:\tstarling\n") && !status.contains("State:\tZ")
}

/// Kills a process of ours that is not our child.
pub fn kill_other(pid: u32) {
    if runs(pid) {
        let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
    }
}
