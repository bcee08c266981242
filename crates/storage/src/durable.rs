//! The store on disk: a commit log of our own over trees of tables (ADR 010).
//!
//! A commit goes to the log, is made durable there, then becomes visible in a write buffer, then is answered. Write
//! buffers become tables in the background, and the log in front of them is given back.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::Page;
use crate::Space;
use crate::batch::Batch;
use crate::directory::{DataDirectory, DirectoryLock};
use crate::engine::{Done, Durability, Engine, ScanLimit, Sizes, Snapshot};
use crate::error::StorageError;
use crate::files::OsFiles;
use crate::log::{self, Log, LogError, Sequence, Watermark};
use crate::marks::Marks;
use starling_types::row::RowRange;

mod backpressure;
mod ballast;
mod buffer;
mod casualties;
mod chores;
mod damage;
mod excavation;
mod exchange;
mod failure;
mod found;
mod garbage;
mod headroom;
mod health;
mod inspect;
mod leaving_out;
mod making;
mod manifest;
mod mending;
mod numbers;
mod opening;
mod options;
mod pace;
mod pipeline;
mod poison;
mod progress;
mod published;
mod queue;
mod reclaim;
mod report;
mod salvage;
mod scrub;
mod shared;
mod shortage;
mod snapshot;
mod snapshots;
mod stall;
mod store;
mod strangers;
mod surroundings;
mod sweeper;
mod tombstones;
mod tree;
mod trees;
mod unread;
mod upkeep;
mod writeback;
mod yielder;

pub use excavation::{Excavation, excavate};
pub use inspect::inspect_log;
pub use options::{Options, SyncMode};
pub use report::OpenReport;
pub use salvage::Salvage;
pub use shortage::Supply;
pub use surroundings::{OpenFiles, Surroundings};

use backpressure::MAX_RUNS;
use ballast::Ballast;
use headroom::Volume;
use numbers::view_after;
use opening::{is_unread, open_trees};
use pipeline::Pipeline;
use queue::Submission;
use shared::Shared;
use snapshot::OpenSnapshot;
use store::Store;
use tree::Tree;
use trees::Trees;
use upkeep::Upkeep;

/// A store in a data directory.
pub struct DurableEngine {
    /// None once closed.
    running: RwLock<Option<Running>>,
    report: OpenReport,
}

/// An open store with its threads. The lock goes last.
struct Running {
    store: Arc<Store>,
    pipeline: Pipeline,
    upkeep: Upkeep,
    _lock: DirectoryLock,
}

impl DurableEngine {
    /// Opens the store in `dir`, made if it is not there. A store that has lost something is opened with what is left of
    /// it: see [`DurableEngine::report`].
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process has it open; [`StorageError::OtherFormat`] and
    /// [`StorageError::Foreign`], with nothing changed, if it is not for this version to open;
    /// [`StorageError::ReadFailed`], with nothing changed, if the disk does not give what is needed to know what is
    /// there; [`StorageError::Io`] and [`StorageError::NoSpace`] if the system refuses.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StorageError> {
        Self::open_in(dir, options, Surroundings::default())
    }

    /// [`DurableEngine::open`], with an observer, or other files under its log.
    ///
    /// # Errors
    /// As there.
    pub fn open_in(dir: &Path, options: Options, surroundings: Surroundings) -> Result<Self, StorageError> {
        let directory = DataDirectory::new(dir);
        // Before anything is touched, so that a store not meant for this version stays as it is.
        let store = || surroundings.patience.try_while(is_unread, || directory.store());
        if let Some(number) = store()? {
            let log = Log::check_format(&OsFiles::at(&directory.log()), number);
            log.map_err(|error| StorageError::from(error).in_directory(dir, "log"))?;
        }
        directory.create()?;
        let options = options.on_volume_of(Volume::of(dir).map_or(u64::MAX, |volume| volume.total));
        Ballast::new(dir, &options).make_way();
        let lock = directory.lock()?;
        let number = match store()? {
            Some(number) => number,
            None => create(&directory, options)?,
        };
        let (store, report) = recover(&directory, number, options, &surroundings)?;
        let store = Arc::new(store.observed_by(surroundings.observer));
        store.count_ruins();
        store.examine_marked()?;
        store.give_back_at_open();
        let thread_failed = StorageError::during("starting the threads of the store");
        let pipeline = Pipeline::start(&store).map_err(&thread_failed)?;
        let upkeep = Upkeep::start(&store).map_err(&thread_failed)?;
        Ok(Self { running: RwLock::new(Some(Running { store, pipeline, upkeep, _lock: lock })), report })
    }

    /// The findings of the open.
    pub const fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Why the store refuses all work, if it does: also work in the background may have failed.
    pub fn failure(&self) -> Option<StorageError> {
        self.with_store(|_| Ok(())).err().filter(|error| *error != StorageError::Closed)
    }

    /// The losses that the report tells of have been noted durably where they are made good: the next open does not tell
    /// of them again.
    ///
    /// # Errors
    /// If that cannot be written; the next open will tell of them again.
    pub fn acknowledge_losses(&self) -> Result<(), StorageError> {
        self.with_store(|store| {
            store.marks().set_found().map_err(StorageError::during("noting that losses are known"))
        })
    }

    /// Has the tables of a namespace, in which something cannot be read, made anew when the store is next opened; where there
    /// is no room for that, they are mended one by one while it is open.
    ///
    /// # Errors
    /// If that cannot be noted durably.
    pub fn rebuild_at_next_open(&self, namespace: Space) -> Result<(), StorageError> {
        self.with_store(|store| {
            store
                .marks()
                .set_damaged(namespace)
                .map_err(StorageError::during("noting that tables are damaged"))
        })
    }

    /// Ranges of data rows in damaged tables that cannot be read, found since the last call: there may be rows in them, or
    /// none. The tables are mended after [`DurableEngine::damage_noted`].
    pub fn take_damage(&self) -> Vec<RowRange> {
        self.with_store(|store| Ok(store.casualties.tell())).unwrap_or_default()
    }

    /// The ranges given out by [`DurableEngine::take_damage`] so far are durably noted as lost: from now on the rows in
    /// them may be absent, and what can be read of their tables takes the tables' places.
    pub fn damage_noted(&self) {
        let noted = self.with_store(|store| {
            store.casualties.noted();
            Ok(store.chores.want_compaction())
        });
        // A store that is closed or has failed mends nothing.
        drop(noted);
    }

    /// How much room there is: where it gets short, space is given back that would have waited for more writes. To be told
    /// now and then.
    pub fn note_supply(&self, supply: Supply) {
        // A store that is closed or has failed gives nothing back.
        let _ = self.with_store(|store| {
            store.note_supply(supply);
            Ok(())
        });
    }

    /// For how long the oldest group of commits has waited for the disk by now, by the observer's clock; none if none
    /// waits.
    pub fn stalled_for(&self) -> Option<std::time::Duration> {
        self.with_store(|store| Ok(store.stall.age(store.observer.clock()))).ok().flatten()
    }

    /// Waits until everything in write buffers is in tables, and the log is as short as can be.
    ///
    /// # Errors
    /// If the store is closed or poisoned, or tables cannot be written.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.store()?.flush_all()
    }

    /// Waits until compaction has nothing more to do.
    ///
    /// # Errors
    /// If the store is closed or poisoned, or tables cannot be written.
    pub fn compact(&self) -> Result<(), StorageError> {
        self.store()?.compact_all()
    }

    /// The store, for a call that may wait long: a close does not wait for it.
    fn store(&self) -> Result<Arc<Store>, StorageError> {
        self.with_store(|store| Ok(store.clone()))
    }

    /// Runs `work` on the store, unless it is closed or poisoned.
    fn with_store<T>(
        &self,
        work: impl FnOnce(&Arc<Store>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        // A panic under the lock leaves what is running as it was: it is only taken out in `close`.
        let running = self.running.read().unwrap_or_else(PoisonError::into_inner);
        let store = &running.as_ref().ok_or(StorageError::Closed)?.store;
        store.poison.check()?;
        work(store)
    }
}

impl Engine for DurableEngine {
    fn submit(&self, batches: Vec<Batch>, durability: Durability, done: Done) {
        let mut submission = Some(Submission::new(batches, durability, done));
        let handed = self.with_store(|store| {
            submission.take().into_iter().for_each(|submission| store.submit(submission));
            Ok(())
        });
        if let (Some(submission), Err(error)) = (submission, handed) {
            submission.answer.give(Err(error));
        }
    }

    fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.with_store(|store| {
            let read = store.unread.note(store.trees.get(namespace, key));
            if let Err(StorageError::Corrupt { .. }) = read {
                store.suspect(namespace, key);
            }
            read
        })
    }

    fn peek(&self, namespace: Space, key: &[u8]) -> Option<Result<Option<Bytes>, StorageError>> {
        self.with_store(|store| Ok(store.trees.peek(namespace, key))).unwrap_or_else(|error| Some(Err(error)))
    }

    fn scan(&self, namespace: Space, range: &RowRange, limit: ScanLimit) -> Result<Page, StorageError> {
        self.with_store(|store| {
            let page = store.unread.note_page(store.trees.scan(namespace, range, limit))?;
            page.damaged.iter().for_each(|range| store.suspect(namespace, range.start()));
            Ok(page)
        })
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.with_store(|store| Ok(Box::new(OpenSnapshot::open(store.clone())) as Box<dyn Snapshot>))
    }

    fn sequence(&self) -> u64 {
        self.with_store(|store| Ok(store.last_applied().0)).unwrap_or_default()
    }

    fn sizes(&self) -> Sizes {
        self.with_store(|store| Ok(store.sizes())).unwrap_or_default()
    }

    fn close(&self) -> Result<(), StorageError> {
        let running = self.running.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { store, pipeline, upkeep, _lock }) = running else { return Ok(()) };
        pipeline.finish();
        upkeep.finish();
        store.snapshots.close();
        let synced = store.sync_log();
        // The lock goes last, when tables that were replaced are removed.
        drop(store);
        drop(_lock);
        synced
    }
}

impl Drop for DurableEngine {
    /// Ends the threads; what was only submitted is finished, as after a close, but how the last fsync went is not told.
    fn drop(&mut self) {
        drop(self.close());
    }
}

/// Makes an empty store.
fn create(directory: &DataDirectory, options: Options) -> Result<u64, StorageError> {
    let site = directory.construction_site()?;
    let shared = Shared::new(options);
    for namespace in Space::ALL {
        let tree = Tree::open(&site.join(namespace.name()), namespace, &shared);
        tree.map_err(|error| failure::of_write(&error))?;
    }
    // It is no secret: it tells files of one store from those of another.
    let number = RandomState::new().hash_one(directory.path());
    directory.install(&site, number)?;
    Ok(number)
}

/// Brings a store to the state of its last commit, as far as it can be known.
fn recover(
    directory: &DataDirectory,
    number: u64,
    options: Options,
    surroundings: &Surroundings,
) -> Result<(Store, OpenReport), StorageError> {
    let failed = StorageError::during("opening the store");
    let in_meta = |error: LogError| StorageError::from(error).in_directory(directory.path(), "meta");
    let reading = surroundings.reading(&directory.meta());
    let mut marks = Marks::open(&directory.meta(), &reading).map_err(in_meta)?;
    let mut report = OpenReport {
        lost_before: marks.facts().lost,
        lost_ranges: marks.facts().lost_ranges.clone(),
        ..OpenReport::default()
    };
    let trees = open_trees(directory, options, surroundings, &mut marks, &mut report)?;
    let log_files = (surroundings.log_files)(&directory.log()).map_err(&failed)?;
    let meta_files = Arc::new(OsFiles::open(&directory.meta()).map_err(&failed)?);
    let (mut watermark, acknowledged) = Watermark::open(meta_files, number, &reading).map_err(in_meta)?;
    let persisted = trees.iter().map(Tree::persisted).max().unwrap_or_default();
    let known = log::Known { flushed: marks.flushed(), persisted, acknowledged };
    // Rows that a rebuild could not read may still be in the log, below those that it could.
    let rebuilt =
        report.salvaged.iter().map(|(namespace, _)| *namespace).chain(report.left_out.iter().copied());
    let rebuilt: BTreeSet<Space> = rebuilt.collect();
    let held = Space::ALL.map(|namespace| match rebuilt.contains(&namespace) {
        true => Sequence::default(),
        false => trees.of(namespace).persisted(),
    });
    let mut replay = |sequence, payload| replay(&trees, &held, sequence, payload);
    let settings = log::Settings { segment_bytes: options.log_segment_bytes };
    let reading = surroundings.reading(&directory.log());
    let (mut log, findings) = Log::open(log_files, number, settings, known, &reading, &mut replay)
        .map_err(|error: StorageError| error.in_directory(directory.path(), "log"))?;
    if findings.last < persisted {
        report.log_behind = Some((findings.last, persisted));
    }
    report.log = findings;
    if report.has_losses() {
        tracing::error!(%report, "the store has lost something");
    }
    if report.may_have_lost_anything() {
        marks.set_lost(true).map_err(&failed)?;
    }
    finish_rebuilds(&rebuilt, &trees, log.last(), &mut marks)?;
    log.acknowledge_findings()?;
    // All that was replayed is durable by now, and about to be read, whether it was acknowledged before or not.
    watermark.record(log.last())?;
    Ok((Store::new(directory.path(), options, trees, log, (watermark, marks)), report))
}

/// Makes tables of the rows that the log gave back to rebuilt trees. They lie below what the tables hold: no later open
/// would take them from the log.
fn finish_rebuilds(
    rebuilt: &BTreeSet<Space>,
    trees: &Trees,
    last: Sequence,
    marks: &mut Marks,
) -> Result<(), StorageError> {
    for namespace in rebuilt {
        let tree = trees.of(*namespace);
        tree.seal()?;
        match tree.flush(view_after(last)).map_err(|error| failure::of_write(&error)) {
            // It waits in memory. Should this process end before, they are lost, as the report says.
            Ok(()) | Err(StorageError::NoSpace { .. }) => {}
            Err(error) => return Err(error),
        }
        marks.set_rebuilt(*namespace).map_err(StorageError::during("noting the rebuild of tables"))?;
    }
    Ok(())
}

/// Applies a logged batch where tables do not hold it already: they held those up to `held`, by [`Space::code`].
fn replay(
    trees: &Trees,
    held: &[Sequence; Space::ALL.len()],
    sequence: Sequence,
    payload: Bytes,
) -> Result<(), StorageError> {
    trees.buffers().apply(sequence, payload, |namespace| held[usize::from(namespace.code())] < sequence);
    for tree in trees.iter().filter(|tree| tree.is_to_be_sealed(false)) {
        tree.seal()?;
        match tree.flush(view_after(sequence)).map_err(|error| failure::of_write(&error)) {
            // It waits in memory, of which it takes no more than the log has.
            Ok(()) | Err(StorageError::NoSpace { .. }) => {}
            Err(error) => return Err(error),
        }
        if tree.published().l0_runs() >= MAX_RUNS {
            // A failure is met again in the background, where it is reported.
            let _ = tree.compact(view_after(sequence));
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
