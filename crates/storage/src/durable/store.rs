//! The state that the threads of an open store share.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backpressure::{Backpressure, Crowd};
use super::ballast::Ballast;
use super::casualties::Casualties;
use super::chores::{Chores, Work};
use super::headroom::Volume;
use super::numbers::view_after;
use super::options::Options;
use super::poison::Poison;
use super::progress::Progress;
use super::queue::{Queue, Submission};
use super::shortage::Shortage;
use super::snapshots::Snapshots;
use super::stall::Stall;
use super::tree::Tree;
use super::trees::Trees;
use super::unread::Unread;
use crate::Space;
use crate::engine::{Durability, Sizes};
use crate::error::StorageError;
use crate::log::{Log, LogError, Sequence, Watermark};
use crate::marks::Marks;
use crate::observer::{Observer, Stopwatch};
use crate::{row, ruins};

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
    /// Bytes of the log, known without waiting for the thread that writes it.
    log_bytes: AtomicU64,
    pub(super) poison: Poison,
    pub(super) snapshots: Snapshots,
    pub(super) chores: Chores,
    crowd: Crowd,
    pub(super) queue: Queue,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) scrubbed: Progress,
    /// Failed reads.
    pub(super) unread: Unread,
    /// Damage that is not mended.
    pub(super) casualties: Casualties,
    pub(super) ballast: Ballast,
    pub(super) shortage: Shortage,
    pub(super) stall: Stall,
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
            crowd: Crowd::default(),
            queue: Queue::default(),
            observer: Arc::new(()),
            scrubbed: Progress::default(),
            unread: Unread::default(),
            casualties: Casualties::default(),
            ballast: Ballast::new(dir, &options),
            shortage: Shortage::default(),
            stall: Stall::default(),
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
        let refused = match self.backpressure().check_room().and_then(|()| row::check(&submission.batches)) {
            Ok(()) => self.queue.push(submission).map_err(|refused| (refused, StorageError::Closed)),
            Err(error) => Err((submission, error)),
        };
        if let Err((submission, error)) = refused {
            submission.answer.give(Err(error));
        }
    }

    /// Compaction met what it cannot read: these tables stay as they are until that is found and mended.
    pub(super) fn cannot_merge(&self, namespace: Space, detail: &str) {
        tracing::error!(%namespace, detail, "compaction met damage: all tables are looked through for it");
        self.trees.of(namespace).health.note_unmergeable();
        self.casualties.suspect_tree(namespace);
    }

    /// Trees that an earlier run marked as damaged are looked through.
    pub(super) fn examine_marked(&self) -> Result<(), StorageError> {
        let marked: Vec<Space> = self.marks().facts().damaged.iter().copied().collect();
        for namespace in marked {
            self.casualties.suspect_tree(namespace);
            let unmarked = self.marks().set_rebuilt(namespace);
            unmarked.map_err(StorageError::during("noting that tables are looked through"))?;
        }
        Ok(())
    }

    /// Takes note of rows that could not be read because their bytes are wrong: the thread that merges tables looks which
    /// table it is.
    pub(super) fn suspect(&self, namespace: Space, key: &[u8]) {
        if self.casualties.suspect_row(namespace, key) {
            let _ = self.chores.want_compaction();
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

    /// Prepares what the log will need next.
    pub(super) fn prepare_log(&self) -> Result<(), StorageError> {
        let spare = self.log().spare_maker();
        spare.prepare().map_err(StorageError::from)
    }

    /// A panic under this lock leaves a log that refuses everything, or one as it was.
    pub(super) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable marks of this store.
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

    /// Batches up to `last` are about to be acknowledged.
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
    pub(super) fn sync_applied(&self) -> Result<(), StorageError> {
        if self.synced.load(Ordering::Acquire) < self.last_applied().0 { self.sync_log() } else { Ok(()) }
    }

    /// How far commits are to be held back.
    pub(super) fn backpressure(&self) -> Backpressure<'_> {
        let Self { dir, options, trees, chores, poison, crowd, .. } = self;
        Backpressure { dir, options, trees, chores, poison, crowd }
    }

    /// Bytes that are free on the volume.
    pub(super) fn free_bytes(&self) -> u64 {
        Volume::free_in(&self.dir)
    }

    /// Lets compaction throw away the rows of dropped ranges, when no power cut can take the drop back.
    pub(super) fn apply_tombstones(&self) -> Result<(), StorageError> {
        self.trees.apply_tombstones(|| self.sync_applied())
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
        // All that was submitted until now is applied when this is answered.
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
        // A failure of before is forgotten, and the work tried again now.
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
            l0_runs: self.trees.iter().map(|tree| tree.published().l0_runs()).max().unwrap_or_default(),
            is_short_of_space: self.chores.lack().is_some_and(|lack| lack.is_of_space()),
            cache_bytes: self.trees.shared.cache_bytes(),
            scrubbed_bytes: self.scrubbed.bytes.load(Ordering::Relaxed),
            scrub_passes: self.scrubbed.passes.load(Ordering::Relaxed),
            damaged_tables: self.casualties.count(),
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
