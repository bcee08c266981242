//! One namespace's tree: its write buffer, its sealed buffers, its tables.
//!
//! Two threads change it, and neither makes those wait who read or commit: *flush* seals buffers and makes tables of them,
//! *compact* merges tables. A buffer is sealed in three steps: the library gets a new active one; readers are shown both;
//! the thread that applies is handed the new one between two groups. Until then it writes to the one that is sealed, which
//! nobody makes tables of before the third step.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::{fs, io};

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{CompressionPolicy, PartitioningPolicy};
use lsm_tree::{
    AbstractTree, AnyTree, CompressionType, Config, Guard, InternalValue, Memtable, SequenceNumberCounter,
    Slice, Table,
};

use super::breather::Breather;
use super::headroom::Headroom;
use super::published::{Published, StoredRows};
use super::reclaim;
use super::trees::{NOW, STEP, Shared, read_row};
use super::writeback::Making;
use super::{damage, failure, manifest};
use crate::batch::Namespace;
use crate::engine::Found;
use crate::error::StorageError;
use crate::graves::Graves;
use crate::log::Sequence;
use crate::range::KeyRange;

/// Bytes of a table. The first level with sorted tables holds four of them, each level below ten times as much: what is
/// not yet merged with older versions of its rows is a small part of the whole.
const TABLE_BYTES: u64 = 32 << 20;

/// One namespace's tree.
pub(super) struct Tree {
    pub(super) namespace: Namespace,
    pub(super) tree: AnyTree,
    /// The numbers of its versions.
    versions: SequenceNumberCounter,
    /// Bytes at which its write buffer is full.
    pub(super) buffer_bytes: u64,
    /// Where rows go. Held while a group is applied.
    active: Mutex<Arc<Memtable>>,
    /// Sealed buffers, the newest first. Held by who publishes.
    sealed: Mutex<Vec<Arc<Memtable>>>,
    /// What readers look at. Held for an instant.
    published: RwLock<Arc<Published>>,
    /// Held for reading by who makes tables.
    alone: RwLock<()>,
    litter: Mutex<Litter>,
    /// Who is told that they are being made.
    making: Arc<Making>,
}

impl Tree {
    /// Opens the tree in `dir`, made if it is not there.
    pub(super) fn open(
        dir: &Path,
        namespace: Namespace,
        shared: &Shared,
        graves: Arc<RwLock<Graves>>,
    ) -> Result<Self, lsm_tree::Error> {
        let versions = SequenceNumberCounter::default();
        let headroom = Headroom::new(dir, &shared.options);
        let buried = reclaim::Factory::new(namespace, graves, versions.clone(), headroom);
        let config = Config::new(dir, versions.clone(), SequenceNumberCounter::default())
            .use_cache(shared.cache.clone())
            .use_descriptor_table(Some(shared.files.clone()))
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
            // Large indexes and filters are read block by block, through the bounded cache.
            .index_block_partitioning_policy(PartitioningPolicy::all(true))
            .filter_block_partitioning_policy(PartitioningPolicy::all(true))
            .with_compaction_filter_factory(Some(Arc::new(buried)));
        let tree = config.open()?;
        versions.fetch_max(tree.get_highest_persisted_seqno().unwrap_or(0) + 1);
        let buffer_bytes = match namespace {
            Namespace::Data | Namespace::Hints => shared.options.write_buffer_bytes,
            Namespace::Meta => shared.options.write_buffer_bytes.min(4 << 20),
        };
        Ok(Self {
            namespace,
            versions,
            buffer_bytes,
            active: Mutex::new(tree.active_memtable()),
            sealed: Mutex::default(),
            published: RwLock::new(Arc::new(Published::of(&tree, &[]))),
            alone: RwLock::default(),
            litter: Mutex::default(),
            making: shared.making.clone(),
            tree,
        })
    }

    /// The last batch whose rows its tables are known to hold, and with it all before.
    pub(super) fn persisted(&self) -> Sequence {
        Sequence(self.tree.get_highest_persisted_seqno().unwrap_or(0) / STEP)
    }

    /// What can be read now.
    pub(super) fn published(&self) -> Arc<Published> {
        // Nobody panics while it is replaced.
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The write buffer, for as long as a group of batches is applied to it.
    pub(super) fn writing(&self) -> MutexGuard<'_, Arc<Memtable>> {
        // After a panic between two rows it is not sealed any more.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its write buffer is full, or holds anything and `all` is asked for.
    pub(super) fn is_to_be_sealed(&self, all: bool) -> bool {
        let published = self.published();
        let buffer = published.active();
        !buffer.is_empty() && (all || buffer.size() >= self.buffer_bytes)
    }

    /// Seals the write buffer, if it holds anything. Afterwards nobody writes to it.
    ///
    /// # Errors
    /// If a batch was applied to it by half. That must not be found in a table: [`Tree::flush`] must not follow.
    pub(super) fn seal(&self) -> Result<(), StorageError> {
        let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buffer) = self.tree.rotate_memtable() {
            sealed.insert(0, buffer);
            self.publish(&sealed);
            *self.active.lock().map_err(|_| half_applied())? = self.tree.active_memtable();
        }
        Ok(())
    }

    /// Turns sealed write buffers into tables. `applied` is the last batch in them, or a later one: what is made of them gets
    /// a version above. Nobody reads below `oldest_view`.
    pub(super) fn flush(&self, applied: Sequence, oldest_view: u64) -> Result<(), lsm_tree::Error> {
        // The oldest first: newer rows must not be in tables of which readers think less.
        while let Some(buffer) = self.oldest_sealed() {
            self.versions.fetch_max(applied.0 * STEP + 1);
            self.clearing_up(|| self.make_tables(&buffer, oldest_view))?;
            let mut sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
            sealed.pop();
            self.publish(&sealed);
        }
        Ok(())
    }

    fn oldest_sealed(&self) -> Option<Arc<Memtable>> {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    fn make_tables(&self, buffer: &Memtable, oldest_view: u64) -> Result<(), lsm_tree::Error> {
        let mut breather = Breather::default();
        let rows = visible_rows(buffer, oldest_view).inspect(|_| breather.breathe());
        let Some((tables, _)) = self.tree.flush_to_tables(rows.map(Ok))? else { return Ok(()) };
        self.tree.register_tables(&tables, None, None, &[buffer.id], oldest_view)?;
        // At once: compaction may replace them before anybody looks again.
        self.litter().note_whole(tables.iter().map(Table::id));
        Ok(())
    }

    /// Shows readers what is there now.
    fn publish(&self, sealed: &[Arc<Memtable>]) {
        let fresh = Arc::new(Published::of(&self.tree, sealed));
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        let former = std::mem::replace(&mut *published, fresh);
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
        let maker = self.making.begin();
        let done = work();
        drop(maker);
        drop(alone);
        match &done {
            Ok(_) => self.litter().note_whole(self.tree.current_version().iter_tables().map(Table::id)),
            Err(error) if failure::is_no_space(error) => self.clear_up(first),
            Err(_) => {}
        }
        done
    }

    /// Removes what makers have left from table `first` on, and what could not be removed before.
    fn clear_up(&self, first: u64) {
        // Nobody makes a table meanwhile.
        let _alone = self.alone.write().unwrap_or_else(PoisonError::into_inner);
        let mut litter = self.litter();
        let from = litter.from.map_or(first, |from| from.min(first));
        let removed = self.remove_unfinished(from, &litter);
        litter.from = if matches!(removed, Ok(Some(_))) { None } else { Some(from) };
        tracing::debug!(?removed, namespace = %self.namespace, "cleared up after unfinished tables");
    }

    /// Removes table files numbered from `first` on that do not belong to the tree, and did not: a table that was replaced
    /// may still be read. Says how many.
    fn remove_unfinished(&self, first: u64, litter: &Litter) -> io::Result<Option<usize>> {
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
            let is_litter = |number| number >= first && !is_ours(number) && !litter.whole.contains(&number);
            if number.is_some_and(is_litter) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(Some(removed))
    }

    fn litter(&self) -> MutexGuard<'_, Litter> {
        self.litter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next table that will be made.
    pub(super) fn next_table(&self) -> u64 {
        self.tree.next_table_id()
    }

    /// The file of a table.
    pub(super) fn table_path(&self, number: u64) -> PathBuf {
        self.tree.tree_config().path.join(TABLES).join(number.to_string())
    }

    /// One step of compaction. Says whether there was anything to do.
    pub(super) fn compact(&self, applied: Sequence, oldest_view: u64) -> Result<bool, lsm_tree::Error> {
        let before = self.tree.current_version().id();
        // Above every view so far.
        self.versions.fetch_max(applied.0 * STEP + 1);
        let strategy = Leveled::default().with_table_target_size(TABLE_BYTES);
        self.clearing_up(|| self.tree.compact(Arc::new(strategy), oldest_view))?;
        let has_changed = self.tree.current_version().id() != before;
        if has_changed {
            self.publish(&self.sealed.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(has_changed)
    }

    /// Lets go of tables that only views below `oldest_view` needed. (Each step of compaction does, but for what was open
    /// when it began.)
    pub(super) fn forget_old_versions(&self, oldest_view: u64) -> Result<(), lsm_tree::Error> {
        let directory = &self.tree.tree_config().path;
        self.tree.get_version_history_lock().maintenance(directory, oldest_view)
    }

    /// How many full write buffers its rows would make that no table holds.
    pub(super) fn full_buffers(&self) -> usize {
        (self.published().buffered_bytes() / self.buffer_bytes) as usize
    }

    /// Whether tables hold all its rows. For the thread that seals and flushes.
    pub(super) fn is_flushed(&self) -> bool {
        let published = self.published();
        published.active().is_empty() && published.sealed() == 0
    }

    pub(super) fn get(&self, key: &[u8], view: u64) -> Result<Option<Bytes>, StorageError> {
        let stored = match view {
            NOW => self.published().get(key),
            // Of an older view the library knows which tables it had.
            _ => self.tree.get(key, view),
        };
        let stored = stored.map_err(|error| failure::of_read(self.namespace, key, &error))?;
        stored.map(|stored| read_row(self.namespace, key, stored)).transpose()
    }

    /// What is found in a range, in key order, damage included.
    pub(super) fn walk(
        &self,
        range: &KeyRange,
        view: u64,
    ) -> impl Iterator<Item = Result<Found, StorageError>> {
        damage::Walk::new(self, range.clone(), view)
    }

    /// The rows of a range as they are stored, until the first that cannot be read.
    pub(super) fn stored(&self, range: &KeyRange, view: u64) -> StoredRows {
        if view == NOW {
            return self.published().stored(range);
        }
        let rows = match range.end() {
            Some(end) => self.tree.range(&range.start()[..]..&end[..], view, None),
            None => self.tree.range(&range.start()[..].., view, None),
        };
        Box::new(rows.map(Guard::into_inner))
    }
}

/// What is known of the files of tables that were not finished.
#[derive(Default)]
struct Litter {
    /// Tables that belong to the tree, or did since the open.
    whole: BTreeSet<u64>,
    /// From this number on there may be some that could not be removed when they were found.
    from: Option<u64>,
}

impl Litter {
    fn note_whole(&mut self, tables: impl Iterator<Item = u64>) {
        self.whole.extend(tables);
        // Those of long ago are not asked for.
        while self.whole.len() > MOST_WHOLE {
            self.whole.pop_first();
        }
    }
}

/// The rows of a buffer without versions that nobody sees any more: older ones of a row of which everybody sees a newer.
fn visible_rows(buffer: &Memtable, oldest_view: u64) -> impl Iterator<Item = InternalValue> {
    let mut settled: Option<Slice> = None;
    buffer.iter().filter(move |row| {
        let is_visible = settled.as_ref() != Some(&row.key.user_key);
        if is_visible && row.key.seqno < oldest_view {
            settled = Some(row.key.user_key.clone());
        }
        is_visible
    })
}

fn half_applied() -> StorageError {
    StorageError::Io { action: "committing", cause: "the thread that applies batches has panicked".into() }
}

/// Numbers of tables remembered: many more than are made in the time of one step of compaction.
const MOST_WHOLE: usize = 1 << 16;
const TABLES: &str = "tables";
