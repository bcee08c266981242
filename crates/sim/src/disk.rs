//! A node's disk: batches wait while one fsync is under way, then go together in the next.

use std::collections::VecDeque;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use starling_causality::Record;
use starling_node::CommitId;
use starling_storage::{Batch, CrashMode, Durability, Engine, MemoryEngine, Op};
use starling_types::row::{CommitFailure, RowWrite, Space};

use crate::sabotage::Sabotage;

/// A batch on its way.
#[derive(Debug)]
struct Job {
    order: Order,
    batch: Batch,
}

/// A commit as it was ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    pub(crate) id: CommitId,
    /// Whether it must be fsynced before it is answered.
    pub(crate) durable: bool,
    /// The node was told already (sabotage).
    pub(crate) answered: bool,
}

/// A commit, and what its node is told.
pub(crate) type Told = (CommitId, Result<(), CommitFailure>);

#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) engine: MemoryEngine,
    waiting: VecDeque<Job>,
    flying: Vec<Job>,
    /// The result of writing the flying group.
    result: Result<(), CommitFailure>,
    rng: ChaCha8Rng,
    /// Least and most time of one fsync.
    pub(crate) fsync: (Duration, Duration),
    records: u64,
}

/// How long it takes to write a group in which no commit asks for an fsync.
const WRITTEN: Duration = Duration::from_micros(100);

impl Disk {
    pub(crate) fn new(rng: ChaCha8Rng, fsync: (Duration, Duration)) -> Self {
        Self {
            engine: MemoryEngine::new(),
            waiting: VecDeque::new(),
            flying: Vec::new(),
            result: Ok(()),
            rng,
            fsync,
            records: 0,
        }
    }

    /// A full disk refuses some batches on sight, others when it comes to write them.
    pub(crate) fn refuses(&mut self) -> Option<CommitFailure> {
        let is_refused = self.engine.is_full() && self.rng.random_bool(0.5);
        is_refused.then(|| CommitFailure::NoSpace("the simulated disk has no room".into()))
    }

    /// Takes a batch in. Returns when its group is done, if it starts one.
    pub(crate) fn commit(&mut self, order: Order, rows: Vec<RowWrite>, lie: Sabotage) -> Option<Duration> {
        let rows = rows.into_iter().filter(|row| !self.is_dropped(row, lie));
        let batch = rows.collect();
        self.waiting.push_back(Job { order, batch });
        if self.flying.is_empty() { self.start() } else { None }
    }

    /// The flying group is on disk, or is not. Returns the answers to its commits, and when the next group is done.
    pub(crate) fn synced(&mut self) -> (Vec<Told>, Option<Duration>) {
        let must_sync = self.must_sync();
        let result = std::mem::replace(&mut self.result, Ok(())).and_then(|()| {
            let synced = if must_sync { self.engine.commit(&[], Durability::Synced) } else { Ok(()) };
            synced.map_err(|e| CommitFailure::from(&e))
        });
        let flown = std::mem::take(&mut self.flying);
        let told = flown.into_iter().filter(|job| !job.order.answered);
        let told = told.map(|job| (job.order.id, result.clone())).collect();
        (told, self.start())
    }

    fn must_sync(&self) -> bool {
        self.flying.iter().any(|job| job.order.durable)
    }

    /// The mode of a crash, by chance: after a loss of power, or only of the process.
    pub(crate) fn crash_mode(&mut self) -> CrashMode {
        let unsynced = self.engine.unsynced();
        match self.rng.random_range(0..4) {
            0 => CrashMode::KeepAll,
            1 => CrashMode::KeepPrefix(self.rng.random_range(0..=unsynced)),
            2 => CrashMode::TornLast,
            _ => CrashMode::KeepSynced,
        }
    }

    /// Crashes. Returns how many batches of data rows are lost that were on their way.
    pub(crate) fn crash_as(&mut self, mode: CrashMode) -> usize {
        // The unsynced batches are the flying ones, in order, behind those for which no fsync was asked.
        let older = self.engine.unsynced().saturating_sub(self.flying.len());
        let kept = match mode {
            CrashMode::KeepAll => self.engine.unsynced(),
            CrashMode::KeepPrefix(kept) => kept,
            CrashMode::TornLast => self.engine.unsynced().saturating_sub(1),
            CrashMode::KeepSynced | CrashMode::LoseSynced(_) => 0,
        };
        let lost = self.flying.iter().skip(kept.saturating_sub(older)).chain(&self.waiting);
        let lost = lost.filter(|job| job.batch.ops().any(is_data)).count() + older.saturating_sub(kept);
        self.engine = self.engine.crash(mode);
        self.waiting.clear();
        self.flying.clear();
        self.result = Ok(());
        lost
    }

    fn start(&mut self) -> Option<Duration> {
        if self.waiting.is_empty() {
            return None;
        }
        self.flying = self.waiting.drain(..).collect();
        let batches: Vec<Batch> = self.flying.iter().map(|job| job.batch.clone()).collect();
        let written = self.engine.commit(&batches, Durability::Buffered);
        self.result = written.map_err(|e| CommitFailure::from(&e));
        if !self.must_sync() {
            return Some(WRITTEN);
        }
        let (least, most) = self.fsync;
        Some(least + (most - least).mul_f64(self.rng.random::<f64>()))
    }

    fn is_dropped(&mut self, row: &RowWrite, lie: Sabotage) -> bool {
        let record = || row.value.as_ref().and_then(|v| Record::decode(v).ok());
        match (lie, row.space) {
            (Sabotage::DropHints, Space::Hints) => row.value.is_some(),
            (Sabotage::DropTombstones, Space::Data) => {
                record().is_some_and(|r| r.siblings().iter().all(|s| s.is_tombstone()))
            }
            (Sabotage::DropRecords, Space::Data) => {
                self.records += 1;
                self.records.is_multiple_of(4)
            }
            _ => false,
        }
    }
}

const fn is_data(op: &Op) -> bool {
    matches!(op, Op::Put { namespace: Space::Data, .. } | Op::Delete { namespace: Space::Data, .. })
}
