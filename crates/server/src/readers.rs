//! Reads of the disk beside the node's thread: one that takes long holds up only the requests that need it.
//!
//! Waiting reads stand in a queue of the node's thread, which hands over no more than keeps the threads busy. So the
//! machine can still be asked, just before a row is read, whether anything needs it: the loads of a request end with
//! it.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use bytes::Bytes;
use starling_node::ScanId;
use starling_storage::{Engine, ScanLimit};
use starling_types::row::{LoadFailure, Page, RowRange, Space};
use starling_types::{Instant, limits};
use starling_vnode::CellKey;
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Clock;
use crate::metrics::ReadMetrics;
use crate::storage_executor::Answer;

/// Threads: a disk answers several reads in the time of one.
pub const READERS: usize = 8;
/// Loads handed over at a time: enough that no thread waits for the node's between two of them.
const LOADS_AT_ONCE: usize = 4 * READERS;
/// Scans handed over at a time: half of the threads are left to loads.
const SCANS_AT_ONCE: usize = READERS / 2;

/// A page to be read.
#[derive(Debug)]
pub struct Scan {
    /// The number of the scan.
    pub id: ScanId,
    /// The keyspace.
    pub space: Space,
    /// The prefix of the keys.
    pub prefix: Bytes,
    /// The first key; none for the first with the prefix.
    pub from: Option<Bytes>,
}

/// How much is read, and was not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Loads that wait for a thread.
    pub loads_waiting: usize,
    /// Scans that wait for a thread.
    pub scans_waiting: usize,
    /// Loads and scans that threads have.
    pub under_way: usize,
    /// Loads and scans refused since the start because too many waited.
    pub refused: u64,
    /// Loads left out since the start because nothing needed them any more.
    pub left_out: u64,
}

/// The threads, and what waits for them.
pub struct Readers {
    jobs: Option<Sender<(Job, Instant)>>,
    clock: Clock,
    loads: Line<CellKey>,
    scans: Line<Scan>,
    refused: u64,
    left_out: u64,
    stopping: Arc<AtomicBool>,
    /// Disconnected when the last thread has ended.
    running: Receiver<()>,
}

struct Line<T> {
    waiting: VecDeque<(T, Instant)>,
    most_waiting: usize,
    under_way: usize,
    most_under_way: usize,
}

enum Job {
    Load(CellKey),
    Scan(Scan),
}

impl Readers {
    /// Starts the threads. They answer to `answers`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(
        clock: Clock,
        engine: &Arc<dyn Engine>,
        answers: &UnboundedSender<Answer>,
    ) -> io::Result<Self> {
        let (jobs, taken) = channel();
        let taken = Arc::new(Mutex::new(taken));
        let stopping = Arc::<AtomicBool>::default();
        let (alive, running) = channel();
        for _ in 0..READERS {
            let reader = Reader {
                jobs: taken.clone(),
                engine: engine.clone(),
                answers: answers.clone(),
                stopping: stopping.clone(),
                clock,
                metrics: ReadMetrics::take(),
                _alive: alive.clone(),
            };
            Builder::new().name("read".into()).spawn(move || reader.run())?;
        }
        Ok(Self {
            jobs: Some(jobs),
            clock,
            loads: Line::new(limits::LOAD_QUEUE, LOADS_AT_ONCE),
            scans: Line::new(limits::SCAN_QUEUE, SCANS_AT_ONCE),
            refused: 0,
            left_out: 0,
            stopping,
            running,
        })
    }

    /// Queues a load; given back if too much waits.
    pub fn load(&mut self, cell: CellKey) -> Result<(), CellKey> {
        let queued = self.loads.push(cell, self.clock);
        self.refused += u64::from(queued.is_err());
        queued
    }

    /// Queues a scan; given back if too much waits.
    pub fn scan(&mut self, scan: Scan) -> Result<(), Scan> {
        let queued = self.scans.push(scan, self.clock);
        self.refused += u64::from(queued.is_err());
        queued
    }

    /// Hands over what threads can take. `needs` is asked of each load, with the time that it has waited; those that are
    /// not needed are returned.
    pub fn hand_over(&mut self, needs: impl Fn(&CellKey, Duration) -> bool) -> Vec<CellKey> {
        let mut unwanted = Vec::new();
        while let Some((cell, since)) = self.loads.waiting.pop_front() {
            if !needs(&cell, self.clock.instant().since(since)) {
                unwanted.push(cell);
            } else if self.loads.has_room() {
                self.loads.under_way += 1;
                self.send(Job::Load(cell), since);
            } else {
                self.loads.waiting.push_front((cell, since));
                break;
            }
        }
        while self.scans.has_room()
            && let Some((scan, since)) = self.scans.waiting.pop_front()
        {
            self.scans.under_way += 1;
            self.send(Job::Scan(scan), since);
        }
        self.left_out += unwanted.len() as u64;
        unwanted
    }

    /// A load was answered.
    pub const fn loaded(&mut self) {
        self.loads.under_way -= 1;
    }

    /// A scan was answered.
    pub const fn scanned(&mut self) {
        self.scans.under_way -= 1;
    }

    /// How much there is to do.
    pub fn counts(&self) -> Counts {
        Counts {
            loads_waiting: self.loads.waiting.len(),
            scans_waiting: self.scans.waiting.len(),
            under_way: self.loads.under_way + self.scans.under_way,
            refused: self.refused,
            left_out: self.left_out,
        }
    }

    /// Begins no read any more, and waits for those under way, but not longer than `patience`. Whether all have ended.
    pub fn finish(&mut self, patience: Duration) -> bool {
        self.stopping.store(true, Ordering::Relaxed);
        self.jobs = None;
        self.running.recv_timeout(patience) == Err(RecvTimeoutError::Disconnected)
    }

    fn send(&self, job: Job, since: Instant) {
        if let Some(jobs) = &self.jobs {
            // The threads end after this sender.
            let _ = jobs.send((job, since));
        }
    }
}

impl<T> Line<T> {
    const fn new(most_waiting: usize, most_under_way: usize) -> Self {
        Self { waiting: VecDeque::new(), most_waiting, under_way: 0, most_under_way }
    }

    fn push(&mut self, job: T, clock: Clock) -> Result<(), T> {
        if self.waiting.len() >= self.most_waiting {
            return Err(job);
        }
        self.waiting.push_back((job, clock.instant()));
        Ok(())
    }

    const fn has_room(&self) -> bool {
        self.under_way < self.most_under_way
    }
}

/// One thread.
struct Reader {
    jobs: Arc<Mutex<Receiver<(Job, Instant)>>>,
    engine: Arc<dyn Engine>,
    answers: UnboundedSender<Answer>,
    stopping: Arc<AtomicBool>,
    clock: Clock,
    metrics: ReadMetrics,
    _alive: Sender<()>,
}

impl Reader {
    fn run(self) {
        while let Some((job, since)) = self.next() {
            let begun = self.clock.instant();
            let kind = usize::from(matches!(job, Job::Scan(_)));
            let answer = self.read(job);
            self.metrics.read(kind, begun.since(since), self.clock.instant().since(begun));
            // A node that has ended does not want to know.
            let _ = self.answers.send(answer);
        }
    }

    fn next(&self) -> Option<(Job, Instant)> {
        // Nothing panics under the lock.
        let job = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).recv().ok();
        job.filter(|_| !self.stopping.load(Ordering::Relaxed))
    }

    /// A panic, by a mistake of ours or of a library, is an answer too: what waits for it must not wait for ever.
    fn read(&self, job: Job) -> Answer {
        match job {
            Job::Load(cell) => {
                let (space, key) = cell.row();
                let read = || self.engine.get(space, &key).map_err(|e| LoadFailure::from(&e));
                let row = catch_unwind(AssertUnwindSafe(read));
                Answer::Loaded(cell, row.unwrap_or_else(|_| Err(LoadFailure::Failed(PANICKED.into()))))
            }
            Job::Scan(scan) => {
                let page = catch_unwind(AssertUnwindSafe(|| read_page(&*self.engine, &scan)));
                Answer::Scanned(scan.id, page.unwrap_or_else(|_| Err(PANICKED.into())))
            }
        }
    }
}

/// A page of a scan.
///
/// # Errors
/// In words, if the engine gives none, or if it is one that cannot be done without what it lacks.
pub fn read_page(engine: &dyn Engine, scan: &Scan) -> Result<Page, String> {
    let range = RowRange::prefix(scan.prefix.clone());
    let range = scan.from.clone().map_or_else(|| range.clone(), |from| range.resume(from));
    let limit = ScanLimit { rows: limits::SCAN_PAGE_ROWS, bytes: limits::SCAN_PAGE_BYTES };
    // Read first: the page holds all commits up to this one.
    let sequence = if let ScanId::Export(_) = scan.id { engine.sequence() } else { 0 };
    let page = engine.scan(scan.space, &range, limit).map_err(|e| e.to_string())?;
    all_but_data_whole(scan.space, &page)?;
    Ok(Page { sequence, ..page })
}

/// Hints and the node's own state must be read whole: rows of them that the disk did not give are an error.
fn all_but_data_whole(space: Space, page: &Page) -> Result<(), String> {
    match space != Space::Data && !page.unread.is_empty() {
        true => Err("some rows cannot be read at present; look at the disk".into()),
        false => Ok(()),
    }
}

const PANICKED: &str = "reading it panicked; the log of this node has more";

#[cfg(test)]
mod tests;
