//! What the threads of an open store share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::Options;
use super::headroom::Space;
use super::queue::{Queue, Submission};
use super::ruins;
use super::scrub::Progress;
use super::snapshots::Snapshots;
use super::tree::{TOO_MANY_RUNS, Tree};
use super::trees::{Trees, view_after};
use super::unread::Unread;
use super::upkeep::{Chores, Work};
use crate::batch::Namespace;
use crate::engine::{Durability, Sizes};
use crate::error::StorageError;
use crate::log::{Log, LogError, Sequence, Watermark};
use crate::marks::Marks;
use crate::observer::{Observer, Stopwatch};
use crate::row;

/// Write buffers of one tree, by their bytes, from which on commits are slowed down: many short waits rather than a long
/// one.
const SLOW_BUFFERS: f64 = 2.5;
/// Buffers from which on commits wait for them to become tables.
const MAX_BUFFERS: u64 = 7;
/// Runs of young tables from which on commits are slowed down: every run is another place to look for a row, and
/// compaction must come after.
const SLOW_RUNS: usize = 20;
/// Runs from which on commits wait.
pub(super) const MAX_RUNS: usize = 64;
/// Runs from which on commits are refused: nothing merges them. What was taken in before fills less than as many again.
const MOST_RUNS: usize = 112;
/// By how much a group is slowed down for each buffer and run too many,
const PAUSE: Duration = Duration::from_millis(1);
/// but not by more than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Store {
    dir: PathBuf,
    pub(super) options: Options,
    pub(super) trees: Trees,
    log: Mutex<Log>,
    watermark: Mutex<Watermark>,
    marks: Mutex<Marks>,
    /// The last batch that reads see, and with it all before.
    applied: AtomicU64,
    /// The last batch that is known to be durable.
    synced: AtomicU64,
    /// Bytes of the log, for who must not wait for the thread that writes it.
    log_bytes: AtomicU64,
    pub(super) poison: Poison,
    pub(super) snapshots: Snapshots,
    pub(super) chores: Chores,
    /// A tree has [`MOST_RUNS`], when last looked.
    is_crowded: AtomicBool,
    pub(super) queue: Queue,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) scrubbed: Progress,
    /// By [`Namespace::code`]: whose tables the next open makes anew.
    rotten: [AtomicBool; Namespace::ALL.len()],
    /// By [`Namespace::code`]: in whose tables damage was found.
    damaged: [AtomicBool; Namespace::ALL.len()],
    /// What the disk did not give.
    pub(super) unread: Unread,
    /// Ruins in the data directory, when last counted.
    ruins: AtomicUsize,
}

impl Store {
    /// A store in `dir`, recovered.
    pub(super) fn new(
        dir: &Path,
        options: Options,
        trees: Trees,
        log: Log,
        recovered: (Watermark, Marks),
    ) -> Self {
        let (watermark, marks) = recovered;
        let (applied, log_bytes) = (log.last(), log.bytes());
        Self {
            dir: dir.into(),
            options,
            trees,
            log: Mutex::new(log),
            watermark: Mutex::new(watermark),
            marks: Mutex::new(marks),
            applied: AtomicU64::new(applied.0),
            synced: AtomicU64::new(0),
            log_bytes: AtomicU64::new(log_bytes),
            poison: Poison::default(),
            snapshots: Snapshots::default(),
            chores: Chores::default(),
            is_crowded: AtomicBool::default(),
            queue: Queue::default(),
            observer: Arc::new(()),
            scrubbed: Progress::default(),
            rotten: Default::default(),
            damaged: Default::default(),
            unread: Unread::default(),
            ruins: AtomicUsize::default(),
        }
    }

    /// Counts what was set aside.
    pub(super) fn count_ruins(&self) {
        let parts = ["tables", "log", "meta"].map(|part| self.dir.join(part));
        self.ruins.store(ruins::count(&parts), Ordering::Relaxed);
    }

    pub(super) fn observed_by(self, observer: Arc<dyn Observer>) -> Self {
        Self { observer, ..self }
    }

    /// Queues a submission, or answers it at once if it cannot be taken.
    pub(super) fn submit(&self, submission: Submission) {
        let refused = match self.check_room().and_then(|()| row::check(&submission.batches)) {
            Ok(()) => self.queue.push(submission).map_err(|refused| (refused, StorageError::Closed)),
            Err(error) => Err((submission, error)),
        };
        if let Err((submission, error)) = refused {
            submission.answer.give(Err(error));
        }
    }

    /// Compaction met what it cannot read: these tables stay as they are until they are made anew at the next open.
    pub(super) fn found_damage(&self, namespace: Namespace, detail: &str) {
        self.damaged[usize::from(namespace.code())].store(true, Ordering::Relaxed);
        self.found_rot(namespace, detail);
    }

    /// A table is not what was written. The others can still be compacted, and this one too if all its rows can be read.
    pub(super) fn found_rot(&self, namespace: Namespace, detail: &str) {
        tracing::error!(%namespace, detail, "tables are damaged: they are rebuilt when the node is started again");
        self.rotten[usize::from(namespace.code())].store(true, Ordering::Relaxed);
        if let Err(error) = self.marks().set_damaged(namespace) {
            tracing::error!(%error, "the damage could not be noted");
        }
    }

    /// A thread has panicked, by a mistake of ours or of a library: nothing that waits for it must wait for ever.
    pub(super) fn give_up(&self, thread: &'static str) {
        let cause = "it panicked; the log of this node has more".into();
        let action = match thread {
            "log" | "apply" => "committing",
            _ => "work on tables in the background",
        };
        let error = self.poison.put(StorageError::Io { action, cause });
        self.queue.abandon().into_iter().for_each(|submission| submission.answer.give(Err(error.clone())));
        self.chores.wake();
    }

    pub(super) fn is_damaged(&self, namespace: Namespace) -> bool {
        self.damaged[usize::from(namespace.code())].load(Ordering::Relaxed)
    }

    /// Prepares what the log will need next.
    pub(super) fn prepare_log(&self) -> Result<(), StorageError> {
        let spare = self.log().spare_maker();
        spare.prepare().map_err(StorageError::from)
    }

    /// What panics under this lock leaves a log that refuses everything, or one as it was.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What durable marks say of this store.
    pub(super) fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write or fsync of the log failed.
    pub(super) fn log_failed(&self, error: LogError) -> StorageError {
        match StorageError::from(error) {
            refused @ StorageError::ValueLength { .. } => refused,
            refused if refused.is_for_later() => refused,
            error => self.poison.put(error),
        }
    }

    /// The log has grown, or has been cut.
    pub(super) fn log_is(&self, bytes: u64) {
        if bytes > self.log_bytes.swap(bytes, Ordering::Relaxed) {
            self.chores.want_spare();
        }
    }

    pub(super) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn last_applied(&self) -> Sequence {
        Sequence(self.applied.load(Ordering::Acquire))
    }

    /// Batches up to `last` are in the write buffers.
    pub(super) fn applied(&self, last: Sequence) {
        self.trees.iter().for_each(|tree| tree.pace.note_commit());
        self.applied.store(last.0, Ordering::Release);
    }

    /// Whoever waits for batches up to `last` is about to know of them.
    pub(super) fn acknowledged(&self, last: Sequence) {
        let mut watermark = self.watermark.lock().unwrap_or_else(PoisonError::into_inner);
        // It may lag, and is only a witness: what it says counts at the next open, where its absence is reported.
        let _ = watermark.record(last);
    }

    /// Batches up to `last` are durable.
    pub(super) fn synced(&self, last: Sequence) {
        self.synced.fetch_max(last.0, Ordering::AcqRel);
    }

    /// Has full write buffers become tables; all of them if the log has grown too long.
    pub(super) fn ask_for_tables(&self) {
        let too_long = self.log_bytes() > self.options.log_bytes.max(2 * self.options.log_segment_bytes);
        if too_long || self.has_full_buffer() {
            self.chores.want_flush_unless_asked(too_long);
        }
    }

    /// Whether a write buffer is to be sealed.
    pub(super) fn has_full_buffer(&self) -> bool {
        self.trees.iter().any(|tree| tree.is_to_be_sealed(false))
    }

    /// Seals full write buffers, or all.
    fn seal(&self, all: bool) -> Result<(), StorageError> {
        let mut to_be_sealed = self.trees.iter().filter(|tree| tree.is_to_be_sealed(all));
        to_be_sealed.try_for_each(Tree::seal)?;
        // No table may hold what the log has not: half of a batch would outlive a power cut, or the log would seem to have
        // lost its end. A failure poisons, and nothing is flushed any more.
        if self.trees.iter().any(|tree| tree.published().oldest_sealed().is_some()) {
            self.sync_applied()?;
        }
        Ok(())
    }

    /// Sees to it that what was applied so far is durable.
    fn sync_applied(&self) -> Result<(), StorageError> {
        if self.synced.load(Ordering::Acquire) < self.last_applied().0 { self.sync_log() } else { Ok(()) }
    }

    /// Lets compaction throw away the rows of dropped ranges, when no power cut can take the drop back.
    pub(super) fn bury(&self) -> Result<(), StorageError> {
        self.trees.bury(|| self.sync_applied())
    }

    /// Slows commits down while tables fall behind, and stops them when they are far behind: what comes in faster than it
    /// can be put in order must wait somewhere. On a full disk nothing is waited for: no more is taken in
    /// ([`Store::check_room`]).
    pub(super) fn wait_for_room(&self) {
        self.look_for_crowds();
        let pause = self.trees.iter().map(|tree| self.pause_for(tree)).max().unwrap_or_default();
        if !pause.is_zero() {
            self.chores.pause(pause);
        }
        let waits_for = |work, is_behind: bool| is_behind && self.chores.lack_for(work).is_none();
        self.chores.wait_until(|| {
            let is_waiting = waits_for(Work::Flush, self.has_too_many_buffers())
                || waits_for(Work::Compaction, self.has_too_many_runs());
            !is_waiting || self.poison.is_set()
        });
    }

    /// How long a group should wait because of one tree: [`PAUSE`] for each run and for each buffer too many.
    fn pause_for(&self, tree: &Tree) -> Duration {
        let is_compacting = self.chores.lack_for(Work::Compaction).is_none();
        let runs = if is_compacting { self.runs_behind(tree).saturating_sub(SLOW_RUNS) as f64 } else { 0.0 };
        let buffers = tree.published().buffered_bytes() as f64 / tree.buffer_bytes as f64;
        PAUSE.mul_f64(runs.max(buffers - SLOW_BUFFERS).max(0.0)).min(LONGEST_PAUSE)
    }

    /// Runs that compaction has not come to. Damaged tables are not compacted, and wait for nothing.
    fn runs_behind(&self, tree: &Tree) -> usize {
        if self.is_damaged(tree.namespace) { 0 } else { tree.published().young_runs() }
    }

    fn has_too_many_buffers(&self) -> bool {
        self.trees.iter().any(|tree| tree.published().buffered_bytes() >= MAX_BUFFERS * tree.buffer_bytes)
    }

    fn has_too_many_runs(&self) -> bool {
        self.trees.iter().any(|tree| self.runs_behind(tree) >= MAX_RUNS)
    }

    /// Whether a tree has too many runs. Not asked for every commit.
    fn look_for_crowds(&self) -> bool {
        let is_crowded = self.trees.iter().any(|tree| tree.published().young_runs() >= MOST_RUNS);
        self.is_crowded.store(is_crowded, Ordering::Relaxed);
        is_crowded
    }

    /// Why no commit can be taken at present, if so. After a full disk the volume is asked, not the clock: who comes when
    /// there is room again is taken in, and tables are tried at once if there is enough of it for what is in memory.
    fn check_room(&self) -> Result<(), StorageError> {
        if self.is_crowded.load(Ordering::Relaxed) && self.look_for_crowds() {
            return Err(StorageError::NoSpace { cause: TOO_MANY_RUNS.into() });
        }
        let Some(lack) = self.chores.lack() else { return Ok(()) };
        if !lack.is_of_space() {
            let is_behind = self.has_too_many_buffers() && self.chores.lack_for(Work::Flush).is_some();
            return if is_behind { Err(lack.error) } else { Ok(()) };
        }
        let (one, free) = (self.options.write_buffer_bytes, self.free_bytes());
        let largest = self.trees.iter().map(|tree| tree.published().buffered_bytes()).max();
        self.chores.note_room(free, one + largest.unwrap_or_default(), one);
        let is_behind = self.has_too_many_buffers() || self.has_too_many_runs();
        if free <= 2 * one && is_behind { Err(lack.error) } else { Ok(()) }
    }

    /// Bytes that are free on the volume. What does not say how full it is counts as full.
    pub(super) fn free_bytes(&self) -> u64 {
        Space::of(&self.dir).map_or(0, |space| space.free)
    }

    /// Turns full write buffers into tables, or all of them, and gives back the log that they were in.
    pub(super) fn flush(&self, all: bool) -> Result<(), StorageError> {
        self.poison.check()?;
        self.seal(all)?;
        for tree in self.trees.iter().filter(|tree| tree.published().oldest_sealed().is_some()) {
            let watch = Stopwatch::start(&*self.observer);
            let flushed = tree.flush(view_after(self.last_applied()));
            flushed.map_err(|error| super::failure::of_write(&error))?;
            self.observer.flushed(watch.read());
        }
        self.release_log()
    }

    pub(super) fn sync_log(&self) -> Result<(), StorageError> {
        self.poison.check()?;
        let mut log = self.log();
        log.sync().map_err(|error| self.log_failed(error))?;
        self.synced(log.last());
        Ok(())
    }

    /// Turns all rows in write buffers into tables.
    pub(super) fn flush_all(&self) -> Result<(), StorageError> {
        // What was submitted until now is applied when this is answered.
        let (answer, answered) = sync_channel(1);
        let done = Box::new(move |result| drop(answer.send(result)));
        self.submit(Submission::new(Vec::new(), Durability::Synced, done));
        answered.recv().unwrap_or(Err(StorageError::Closed))?;
        let asked = self.chores.want_flush(true);
        self.wait_for(Work::Flush, || self.chores.flushed(asked))
    }

    /// Waits until compaction has nothing more to do.
    pub(super) fn compact_all(&self) -> Result<(), StorageError> {
        let asked = self.chores.want_compaction();
        self.wait_for(Work::Compaction, || self.chores.compacted(asked))
    }

    /// Waits for work in the background, unless it comes to nothing.
    fn wait_for(&self, work: Work, is_done: impl Fn() -> bool) -> Result<(), StorageError> {
        // What was said before is tried again now.
        self.chores.set_lack(work, None);
        self.chores.try_again(work);
        let failed = || self.chores.lack_for(work);
        self.chores.wait_until(|| self.poison.is_set() || is_done() || failed().is_some());
        self.poison.check()?;
        match (is_done(), failed()) {
            (true, _) => Ok(()),
            (false, Some(lack)) => Err(lack),
            (false, None) => Err(StorageError::Closed),
        }
    }

    pub(super) fn sizes(&self) -> Sizes {
        let of_trees = |size: fn(&Tree) -> u64| self.trees.iter().map(size).sum::<u64>();
        let log_bytes = self.log_bytes();
        Sizes {
            disk_bytes: log_bytes + of_trees(|tree| tree.published().table_bytes()),
            log_bytes,
            unflushed_bytes: of_trees(|tree| tree.published().buffered_bytes()),
            flush_backlog: self.trees.iter().map(Tree::full_buffers).sum(),
            young_runs: self.trees.iter().map(|tree| tree.published().young_runs()).max().unwrap_or_default(),
            is_short_of_space: self.chores.lack().is_some_and(|lack| lack.is_of_space()),
            cache_bytes: self.trees.shared.cache_bytes(),
            scrubbed_bytes: self.scrubbed.bytes.load(Ordering::Relaxed),
            scrub_passes: self.scrubbed.passes.load(Ordering::Relaxed),
            damaged_tables: self.rotten.iter().filter(|rotten| rotten.load(Ordering::Relaxed)).count(),
            unread_tables: self.unread.tables(),
            read_failures: self.unread.failures(),
            ruins: self.ruins.load(Ordering::Relaxed),
        }
    }

    fn release_log(&self) -> Result<(), StorageError> {
        let flushed = self.flushed();
        if flushed <= self.marks().flushed() || !self.log().can_release(flushed) {
            return Ok(());
        }
        // Before segments go: what is missing in front of the log must be known to be in tables.
        self.marks().set_flushed(flushed).map_err(StorageError::during("noting what tables hold"))?;
        let mut log = self.log();
        let released = log.release(flushed);
        self.log_is(log.bytes());
        self.count_ruins();
        released.map_err(|error| self.log_failed(error))
    }

    /// The last batch that tables hold, and with it all before.
    fn flushed(&self) -> Sequence {
        // Read first: what comes after it may be in a buffer that is looked at too early.
        let applied = self.last_applied();
        let of_tree = |tree: &Tree| match tree.is_flushed() {
            true => applied,
            false => tree.persisted(),
        };
        self.trees.iter().map(of_tree).min().unwrap_or(applied)
    }
}

/// The first failure after which nobody knows what the disk holds.
#[derive(Default)]
pub(super) struct Poison(OnceLock<String>);

impl Poison {
    pub(super) fn check(&self) -> Result<(), StorageError> {
        match self.0.get() {
            Some(cause) => Err(StorageError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// Refuses all work from now on. Who meets the first failure hears of it, later ones of the poison.
    pub(super) fn put(&self, error: StorageError) -> StorageError {
        let first = self.0.get_or_init(|| {
            tracing::error!(%error, "the store failed and refuses all further work");
            error.to_string()
        });
        match error.to_string() == *first {
            true => error,
            false => StorageError::Poisoned { cause: first.clone() },
        }
    }
}
