//! The process that commits, told what to do by the environment, and says on its standard output what it was
//! answered, a line each. It ends when a commit is refused.

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use starling_storage::{Durability, DurableEngine, Engine, StorageError};
use starling_types::row::Space;

use super::ledger::SUBMISSION;
use super::open;
use super::workload::{MARK, Sizes, Workload, key};

/// How a child commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Every submission synced.
    Synced,
    /// About half of them buffered, some of those followed by a sync.
    Mixed,
    /// Every submission buffered, and said to be synced: the judge must find out.
    Lying,
}

/// The orders of a child.
#[derive(Debug, Clone)]
pub struct Orders {
    pub dir: PathBuf,
    pub workload: Workload,
    pub manner: Manner,
}

const DIRECTORY: &str = "STARLING_STORAGE_TEST_DIRECTORY";
const ORDERS: &str = "STARLING_STORAGE_TEST_ORDERS";

impl Orders {
    /// As variables of the environment.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        let Workload { seed, writers, sizes } = self.workload;
        let orders = format!("{seed} {writers} {} {}", sizes == Sizes::Mixed, self.manner as u8);
        [(DIRECTORY, self.dir.clone()), (ORDERS, orders.into())]
    }

    fn read() -> Self {
        let dir = std::env::var_os(DIRECTORY).expect("set by the parent").into();
        let orders = std::env::var(ORDERS).expect("set by the parent");
        let words: Vec<&str> = orders.split(' ').collect();
        let manners = [Manner::Synced, Manner::Mixed, Manner::Lying];
        let sizes = if words[2] == "true" { Sizes::Mixed } else { Sizes::LargeMeta };
        let workload =
            Workload { seed: words[0].parse().unwrap(), writers: words[1].parse().unwrap(), sizes };
        Self { dir, workload, manner: manners[words[3].parse::<usize>().unwrap()] }
    }
}

/// A child from start to end.
pub fn run() {
    let orders = Orders::read();
    // The harness has begun a line.
    say("");
    let begun = calls_of("self");
    say("opening");
    let engine = match open(&orders.dir) {
        Ok(engine) => engine,
        Err(error) => return say(format!("refused {error}")),
    };
    let calls = calls_of("self").zip(begun).map_or(0, |(now, begun)| now - begun);
    say(format!("open {calls}"));
    let poisoned = &AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..orders.workload.writers {
            let (orders, engine) = (&orders, &engine);
            scope.spawn(move || match work(orders, engine, writer) {
                Failed::Reading(error) => say(format!("failed {error}")),
                Failed::Committing(error) => {
                    check_poison(engine, &error);
                    poisoned.store(true, Ordering::Relaxed);
                }
            });
        }
    });
    let is_closed = engine.close().is_ok();
    assert!(!is_closed || !poisoned.load(Ordering::Relaxed), "what a close syncs is unknown by now");
}

/// How a writer ended.
enum Failed {
    /// Before it wrote anything: a disk that gives nothing says nothing of what it was given.
    Reading(StorageError),
    Committing(StorageError),
}

/// Commits until it fails.
fn work(orders: &Orders, engine: &DurableEngine, writer: u16) -> Failed {
    let mut next = 1 + match engine.get(MARK.namespace, &key(writer, MARK)) {
        Ok(None) => 0,
        Ok(Some(mark)) => orders.workload.origin(MARK, &mark).expect("the judge has seen it").1,
        Err(error) => return Failed::Reading(error),
    };
    loop {
        match submit(orders, engine, writer, next) {
            Ok(last) => next = last + 1,
            Err(error) => return Failed::Committing(error),
        }
    }
}

/// One submission of one or two batches, and what was answered. The last batch in it.
fn submit(orders: &Orders, engine: &DurableEngine, writer: u16, first: u64) -> Result<u64, StorageError> {
    let workload = &orders.workload;
    let dice = workload.dice(writer, first) >> 32;
    let last = first + dice % SUBMISSION;
    let batches: Vec<_> = (first..=last).map(|n| workload.batch(writer, n)).collect();
    let way = match orders.manner {
        Manner::Synced => Way::Synced,
        Manner::Lying => Way::Lying,
        Manner::Mixed => {
            [Way::Synced, Way::Synced, Way::Buffered, Way::SyncedLater][(dice >> 8) as usize % 4]
        }
    };
    let durability = if way == Way::Synced { Durability::Synced } else { Durability::Buffered };
    engine.commit(&batches, durability)?;
    let synced = matches!(way, Way::Synced | Way::Lying);
    say(format!("ack {writer} {last} {}", if synced { "synced" } else { "buffered" }));
    if way == Way::SyncedLater {
        engine.commit(&[], Durability::Synced)?;
        say(format!("ack {writer} {last} synced"));
    }
    Ok(last)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Synced,
    Buffered,
    SyncedLater,
    Lying,
}

/// After a failed commit nothing is answered any more, by whichever thread it is asked.
fn check_poison(engine: &DurableEngine, failure: &StorageError) {
    say(format!("failed {failure}"));
    let again = engine.commit(&[], Durability::Synced);
    assert!(matches!(again, Err(StorageError::Poisoned { .. })), "{again:?} after {failure}");
    let read = engine.get(Space::Data, b"k");
    assert!(matches!(read, Err(StorageError::Poisoned { .. })), "{read:?} after {failure}");
}

/// One line, in one system call: a reader gets all of it, or nothing.
fn say(line: impl Display) {
    let line = format!("{}\n", line.to_string().replace('\n', " "));
    // A parent that no longer listens needs no answer.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

/// How many reads and writes a process has asked of the system, where the system counts them.
pub fn calls_of(process: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    let counter = |name| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(counter("syscr:")? + counter("syscw:")?)
}
