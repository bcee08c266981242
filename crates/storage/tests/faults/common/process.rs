//! The parent's side of a child: reads what it says, and strikes at a chosen moment.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use starling_sys::fork;

use super::child::{Orders, calls_of};
use super::files;
use super::ledger::Ledger;

/// When to strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// After so many answers.
    Answers(u64),
    /// After so many answers and then a new file: while a write buffer becomes a table, or tables become others.
    NewFile(u64),
    /// While the store opens, after so many reads and writes.
    Opening(u64),
    /// Not at all: the child is to fail by itself.
    Never,
}

/// The commits that survive the strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// Everything that was answered.
    Answered,
    /// Those answered as synced, and all before them.
    Synced,
}

/// How a child's run went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// How often it said that a commit was answered.
    pub answers: u64,
    /// Reads and writes that its open took, if it came to the end of that.
    pub open_calls: Option<u64>,
    /// Why commits, or the open, failed.
    pub complaints: BTreeSet<String>,
}

/// A running child.
pub struct Child {
    process: process::Child,
    lines: Receiver<Line>,
    /// A line that was read, and is still to be looked at.
    ahead: Option<Line>,
    dir: PathBuf,
}

enum Line {
    Opening,
    Open { calls: u64 },
    Answer { writer: u16, n: u64, synced: bool },
    Complaint(String),
}

/// Answers after which no new file is waited for any more.
const ENOUGH: u64 = 4_000;
/// Far longer than anything here takes: a child that hangs must end the test, not stop it.
const PATIENCE: Duration = Duration::from_secs(600);

/// Runs one test of this binary in a process of its own, and fails with what it says if it fails.
pub fn run_alone(test: &str) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--include-ignored", "--nocapture"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = fork::spawn(&mut command).unwrap().wait_with_output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", said(&output.stdout), said(&output.stderr));
}

impl Child {
    /// Starts this test binary again.
    pub fn start(orders: &Orders) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), orders)
    }

    /// Starts this test binary again, by a command that lacks its arguments.
    pub fn start_by(mut command: Command, orders: &Orders) -> Self {
        command.args(["--exact", "child", "--include-ignored", "--nocapture"]);
        command.envs(orders.environment()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = fork::spawn(&mut command).unwrap();
        let output = process.stdout.take().unwrap();
        let (sender, lines) = channel();
        thread::Builder::new().spawn(move || listen(output, &sender)).unwrap();
        Self { process, lines, ahead: None, dir: orders.dir.clone() }
    }

    /// Ends the process as `kill -9` does.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
    }

    /// Lets the child live until `moment`, strikes, and enters its answers in the ledger.
    pub fn live(
        mut self,
        moment: Moment,
        ledger: &mut Ledger,
        survives: Survives,
        strike: impl FnOnce(&mut Self),
    ) -> Life {
        ledger.begin();
        let mut life = Life::default();
        if self.live_until(moment, &mut life, ledger, survives) {
            strike(&mut self);
        }
        while let Some(line) = self.next_line() {
            // The effect of a power cut on a sync that is under way is unknown: it may even be answered.
            let survives = (survives == Survives::Answered).then_some(survives);
            life.note(line, ledger, survives);
        }
        let status = self.process.wait().unwrap();
        let killed = status.code().is_none();
        assert!(status.success() || killed, "the child failed: {status}, {life:?}");
        life
    }

    /// Follows what the child says. Says whether the moment came; all that was said before is noted then.
    fn live_until(
        &mut self,
        moment: Moment,
        life: &mut Life,
        ledger: &mut Ledger,
        survives: Survives,
    ) -> bool {
        let mut due = Due { moment, files: None };
        while let Some(line) = self.next_line() {
            let opening = matches!(line, Line::Opening);
            life.note(line, ledger, Some(survives));
            if moment == Moment::Never {
                continue;
            }
            assert!(life.complaints.is_empty(), "before the strike: {life:?}");
            if (opening && self.watch_open(moment)) || due.is_now(life.answers, &self.dir) {
                let said: Vec<_> = self.ahead.take().into_iter().chain(self.lines.try_iter()).collect();
                said.into_iter().for_each(|line| life.note(line, ledger, Some(survives)));
                return true;
            }
        }
        assert!(moment == Moment::Never, "{moment:?} did not come: {life:?}");
        false
    }

    fn next_line(&mut self) -> Option<Line> {
        if let Some(line) = self.ahead.take() {
            return Some(line);
        }
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the child hangs"),
        }
    }

    /// Watches the open, if that is the moment, until it has made enough calls or is over. Says whether it did.
    fn watch_open(&mut self, moment: Moment) -> bool {
        let Moment::Opening(enough) = moment else {
            return false;
        };
        let pid = self.process.id().to_string();
        let begun = calls_of(&pid);
        // On a system that does not count calls, the strike comes at once.
        while let (Some(begun), Some(now)) = (begun, calls_of(&pid)) {
            self.ahead = match self.lines.try_recv() {
                Err(TryRecvError::Empty) if now - begun < enough => None,
                Err(_) => break,
                Ok(line) => Some(line),
            };
            if self.ahead.is_some() {
                break;
            }
            thread::yield_now();
        }
        true
    }
}

impl Life {
    /// Takes note of a line. An answer only counts if it `survives` the strike.
    fn note(&mut self, line: Line, ledger: &mut Ledger, survives: Option<Survives>) {
        match line {
            Line::Opening => {}
            Line::Open { calls } => self.open_calls = Some(calls),
            Line::Answer { writer, n, synced } => {
                self.answers += 1;
                let kept = survives.is_some_and(|survives| synced || survives == Survives::Answered);
                ledger.acknowledge(writer, n, kept);
            }
            Line::Complaint(text) => drop(self.complaints.insert(text)),
        }
    }
}

impl Drop for Child {
    /// A test that fails leaves no process behind.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether a moment among the answers has come.
struct Due {
    moment: Moment,
    files: Option<BTreeSet<PathBuf>>,
}

impl Due {
    fn is_now(&mut self, answers: u64, dir: &std::path::Path) -> bool {
        match self.moment {
            Moment::Answers(enough) => answers >= enough,
            Moment::NewFile(enough) if answers >= enough => {
                let files = files::names(dir);
                let before = self.files.get_or_insert_with(|| files.clone());
                !files.is_subset(before) || answers >= enough + ENOUGH
            }
            _ => false,
        }
    }
}

/// Passes on what the child says, whole lines only, until it ends.
fn listen(output: impl Read, lines: &Sender<Line>) {
    let mut output = BufReader::new(output);
    let mut text = String::new();
    while output.read_line(&mut text).is_ok_and(|bytes| bytes > 0) && text.ends_with('\n') {
        if let Some(line) = Line::parse(text.trim_end()) {
            // The test may have failed meanwhile.
            let _ = lines.send(line);
        }
        text.clear();
    }
}

impl Line {
    fn parse(text: &str) -> Option<Self> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        match word {
            "opening" => Some(Self::Opening),
            "open" => Some(Self::Open { calls: rest.parse().ok()? }),
            "refused" | "failed" => Some(Self::Complaint(text.into())),
            "ack" => {
                let words: Vec<_> = rest.split(' ').collect();
                let (writer, n) = (words[0].parse().ok()?, words[1].parse().ok()?);
                Some(Self::Answer { writer, n, synced: words[2] == "synced" })
            }
            _ => None,
        }
    }
}
