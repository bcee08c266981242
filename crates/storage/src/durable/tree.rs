//! One namespace's tree: its write buffer, its sealed buffers, its tables.
//!
//! Two threads change it, and neither makes reads or commits wait: *flush* seals buffers and makes tables of them,
//! *compact* merges tables. A buffer is sealed between two groups: the thread that applies is handed a new one when readers
//! look at both.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};
use std::{fs, io};

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{CompressionPolicy, PartitioningPolicy};
use lsm_tree::{
    AbstractTree, AnyTree, CompressionType, Config, InternalValue, SequenceNumberCounter, Slice, Table,
    ValueType,
};

use super::buffer::{Buffer, Row};
use super::headroom::Headroom;
use super::health::Health;
use super::numbers::{NOW, STEP};
use super::pace::Pace;
use super::published::Published;
use super::reclaim;
use super::shared::Shared;
use super::yielder::Yielder;
use super::{failure, manifest};
use crate::Space;
use crate::error::StorageError;
use crate::log::Sequence;
use starling_types::row::RowRange;

/// Bytes of a table. The first level with sorted tables holds four of them, each level below ten times as much: what is
/// not yet merged with older versions of its rows is a small part of the whole.
const TABLE_BYTES: u64 = 32 << 20;

/// L0 runs that a tree may have: its manifest counts them in one byte, and one of 256 could not be opened again.
const LAST_RUN: usize = 240;
/// Why no more can be taken in.
pub(super) const TOO_MANY_RUNS: &str = "too many tables wait to be merged, for want of space or because some are damaged: make room, \
     or restart the node, which makes damaged tables anew";

/// One namespace's tree.
pub(super) struct Tree {
    pub(super) namespace: Space,
    pub(super) tree: AnyTree,
    /// Bytes at which its write buffer is full.
    pub(super) buffer_bytes: u64,
    /// Where rows go. Held while a group is applied.
    active: Mutex<Arc<Buffer>>,
    /// The view of readers. Held for an instant.
    published: RwLock<Arc<Published>>,
    /// Held while the next view of readers is made from the last one.
    publishing: Mutex<()>,
    /// Held for reading while tables are made.
    alone: RwLock<()>,
    orphans: Mutex<Orphans>,
    pub(super) pace: Arc<Pace>,
    pub(super) health: Health,
    pub(super) shared: Shared,
    /// Numbers of the library's trees that opened files of this one: its own, and those of exchanges.
    pub(super) openers: Mutex<VecDeque<u64>>,
}

impl Tree {
    /// Opens the tree in `dir`, made if it is not there.
    pub(super) fn open(dir: &Path, namespace: Space, shared: &Shared) -> Result<Self, lsm_tree::Error> {
        let pace = Arc::<Pace>::default();
        let tree = config(dir, namespace, shared, &pace).open()?;
        let buffer_bytes = match namespace {
            Space::Data | Space::Hints => shared.options.write_buffer_bytes,
            Space::Meta => shared.options.write_buffer_bytes.min(4 << 20),
        };
        let first = Published::first(&tree);
        pace.runs_are(first.l0_runs());
        Ok(Self {
            namespace,
            buffer_bytes,
            active: Mutex::new(first.active().clone()),
            published: RwLock::new(Arc::new(first)),
            publishing: Mutex::default(),
            alone: RwLock::default(),
            orphans: Mutex::default(),
            pace,
            health: Health::default(),
            shared: shared.clone(),
            openers: Mutex::new(VecDeque::from([tree.id()])),
            tree,
        })
    }

    /// The settings of the library's tree.
    pub(super) fn config(&self) -> Config {
        config(self.path(), self.namespace, &self.shared, &self.pace)
    }

    /// As long as the answer is held, no table is made or added.
    pub(super) fn alone_with_files(&self) -> RwLockWriteGuard<'_, ()> {
        self.alone.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows readers the tables there are now.
    pub(super) fn publish_tables(&self) {
        let _alone = self.publishing();
        self.publish(self.published().over_tables_of(&self.tree));
    }

    /// These tables are whole, though no version may name them yet.
    pub(super) fn note_whole(&self, tables: &[Table]) {
        self.orphans().note_whole(tables.iter().map(Table::id));
    }

    /// The last batch whose rows its tables are known to hold, and with it all before.
    pub(super) fn persisted(&self) -> Sequence {
        Sequence(self.tree.get_highest_persisted_seqno().unwrap_or(0) / STEP)
    }

    /// The view of readers now.
    pub(super) fn published(&self) -> Arc<Published> {
        // Its replacement does not panic.
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The write buffer, for as long as a group of batches is applied to it.
    pub(super) fn writing(&self) -> MutexGuard<'_, Arc<Buffer>> {
        // After a panic between two rows it is not sealed any more.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its write buffer is full, or holds anything and `all` is asked for.
    pub(super) fn is_to_be_sealed(&self, all: bool) -> bool {
        let published = self.published();
        let buffer = published.active();
        !buffer.is_empty() && (all || buffer.bytes() >= self.buffer_bytes)
    }

    /// Seals the write buffer, if it holds anything. Afterwards it does not change.
    ///
    /// # Errors
    /// If a batch was applied to it by half. That must not be found in a table: [`Tree::flush`] must not follow.
    pub(super) fn seal(&self) -> Result<(), StorageError> {
        let _alone = self.publishing();
        let mut active = self.active.lock().map_err(|_| half_applied())?;
        if !active.is_empty() {
            let fresh = Arc::<Buffer>::default();
            self.publish(self.published().with_buffer(fresh.clone()));
            *active = fresh;
        }
        Ok(())
    }

    /// Turns sealed write buffers into tables. Batches from number `below` on are not applied yet.
    ///
    /// # Errors
    /// As for a full disk, if no more runs can be told apart.
    pub(super) fn flush(&self, below: u64) -> Result<(), lsm_tree::Error> {
        // The oldest first: newer rows must not be in tables of which readers think less.
        while let Some(buffer) = self.published().oldest_sealed() {
            self.clearing_up(|| self.make_tables(buffer, below))?;
            let _alone = self.publishing();
            self.publish(self.published().without_oldest(&self.tree));
        }
        Ok(())
    }

    fn make_tables(&self, buffer: &Arc<Buffer>, below: u64) -> Result<(), lsm_tree::Error> {
        if self.published().l0_runs() >= LAST_RUN {
            return Err(lsm_tree::Error::Io(io::Error::new(io::ErrorKind::StorageFull, TOO_MANY_RUNS)));
        }
        let mut yielder = Yielder::default();
        let rows = buffer.rows(&RowRange::all(), NOW).inspect(|_| yielder.row_done());
        let Some((tables, _)) = self.tree.flush_to_tables(rows.map(|row| Ok(of_table(row))))? else {
            return Ok(());
        };
        self.tree.register_tables(&tables, None, None, &[], below)?;
        // At once: compaction may replace them before they are next looked at.
        self.note_whole(&tables);
        Ok(())
    }

    fn publishing(&self) -> MutexGuard<'_, ()> {
        self.publishing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows readers what is there now.
    fn publish(&self, fresh: Published) {
        self.pace.runs_are(fresh.l0_runs());
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *published, Arc::new(fresh));
        drop(published);
        drop(former);
    }

    /// Does `work`, which makes tables. On a disk that is full already what is left of those it did not finish would take
    /// what room comes: it is removed.
    pub(super) fn clearing_up<T>(
        &self,
        work: impl FnOnce() -> Result<T, lsm_tree::Error>,
    ) -> Result<T, lsm_tree::Error> {
        let alone = self.alone.read().unwrap_or_else(PoisonError::into_inner);
        let first = self.next_table();
        let maker = self.shared.making.begin();
        let done = work();
        drop(maker);
        drop(alone);
        match &done {
            Ok(_) => self.orphans().note_whole(self.tree.current_version().iter_tables().map(Table::id)),
            Err(error) if failure::leaves_orphans(error) => self.clear_up(first),
            Err(_) => {}
        }
        done
    }

    /// Removes what makers have left from table `first` on, and what could not be removed before.
    fn clear_up(&self, first: u64) {
        // No table is made meanwhile.
        let _alone = self.alone.write().unwrap_or_else(PoisonError::into_inner);
        let mut orphans = self.orphans();
        let from = orphans.from.map_or(first, |from| from.min(first));
        let removed = self.remove_unfinished(from, &orphans);
        orphans.from = if matches!(removed, Ok(Some(_))) { None } else { Some(from) };
        tracing::debug!(?removed, namespace = %self.namespace, "cleared up after unfinished tables");
    }

    /// Removes table files numbered from `first` on that do not belong to the tree, and did not: a table that was replaced
    /// may still be read. Says how many.
    fn remove_unfinished(&self, first: u64, orphans: &Orphans) -> io::Result<Option<usize>> {
        let version = self.tree.current_version();
        if manifest::in_force(&self.tree.tree_config().path)? != version.id() {
            // The disk has a later one than memory: the last step failed when it was all but done.
            return Ok(None);
        }
        let is_ours = |number| version.iter_tables().any(|table| table.id() == number);
        let mut removed = 0;
        for entry in fs::read_dir(self.tree.tree_config().path.join(TABLES))? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
            let is_orphan = |number| number >= first && !is_ours(number) && !orphans.whole.contains(&number);
            if number.is_some_and(is_orphan) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(Some(removed))
    }

    fn orphans(&self) -> MutexGuard<'_, Orphans> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its files are.
    pub(super) fn path(&self) -> &Path {
        &self.tree.tree_config().path
    }

    /// Whether the manifest on the disk is known to be the one in memory.
    pub(super) fn is_in_force(&self) -> bool {
        manifest::in_force(self.path()).is_ok_and(|number| number == self.tree.current_version().id())
    }

    /// The number of the next table that will be made.
    pub(super) fn next_table(&self) -> u64 {
        self.tree.next_table_id()
    }

    /// The file of a table.
    pub(super) fn table_path(&self, number: u64) -> PathBuf {
        self.tree.tree_config().path.join(TABLES).join(number.to_string())
    }

    /// One step of compaction. Batches from number `below` on are not applied yet. Says whether there was anything to do.
    pub(super) fn compact(&self, below: u64) -> Result<bool, lsm_tree::Error> {
        let before = self.tree.current_version().id();
        let strategy = Leveled::default().with_table_target_size(TABLE_BYTES);
        self.clearing_up(|| self.tree.compact(Arc::new(strategy), below))?;
        let has_changed = self.tree.current_version().id() != before;
        if has_changed {
            self.publish_tables();
        }
        Ok(has_changed)
    }

    /// How many full write buffers its rows would make that no table holds.
    pub(super) fn full_buffers(&self) -> usize {
        (self.published().buffered_bytes() / self.buffer_bytes) as usize
    }

    /// Whether tables hold all its rows. For the thread that seals and flushes.
    pub(super) fn is_flushed(&self) -> bool {
        let published = self.published();
        published.active().is_empty() && published.oldest_sealed().is_none()
    }
}

fn config(dir: &Path, namespace: Space, shared: &Shared, pace: &Arc<Pace>) -> Config {
    let headroom = Headroom::new(dir, &shared.options);
    let filter = reclaim::Factory::new(namespace, shared.durable_tombstones.clone(), headroom, pace.clone());
    Config::new(dir, SequenceNumberCounter::default(), SequenceNumberCounter::default())
        .use_cache(shared.cache.clone())
        .use_descriptor_table(Some(shared.files.clone()))
        .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
        // Large indexes and filters are read block by block, through the bounded cache.
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .with_compaction_filter_factory(Some(Arc::new(filter)))
}

/// Orphan tables: files of tables that were begun, and that no version of the tree names.
#[derive(Default)]
struct Orphans {
    /// Tables that belong to the tree, or did since the open.
    whole: BTreeSet<u64>,
    /// From this number on there may be some that could not be removed when they were found.
    from: Option<u64>,
}

impl Orphans {
    fn note_whole(&mut self, tables: impl Iterator<Item = u64>) {
        self.whole.extend(tables);
        // Those of long ago are not asked for.
        while self.whole.len() > MOST_WHOLE {
            self.whole.pop_first();
        }
    }
}

/// A row as tables have it.
fn of_table(row: Row) -> InternalValue {
    let kind = if row.entry.is_some() { ValueType::Value } else { ValueType::Tombstone };
    let value = row.entry.unwrap_or_else(|| Slice::from(Bytes::new()));
    InternalValue::from_components(row.key, value, row.number, kind)
}

fn half_applied() -> StorageError {
    StorageError::Io { action: "committing", cause: "the thread that applies batches has panicked".into() }
}

/// Numbers of tables remembered: many more than are made in the time of one step of compaction.
const MOST_WHOLE: usize = 1 << 16;
const TABLES: &str = "tables";
