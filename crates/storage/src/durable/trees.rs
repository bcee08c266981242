//! The tables: one log-structured merge tree per namespace (O'Neil et al., "The Log-Structured Merge-Tree", 1996), each
//! with its write buffers, over one block cache.
//!
//! A row written by batch n has the tree sequence number n·256. The numbers between belong to the versions of a tree
//! (sets of tables), so that a snapshot after batch n reads below (n+1)·256: rows up to n, in a version that has not yet
//! thrown away what n+1 replaced.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::{fs, io};

use bytes::Bytes;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{CompressionPolicy, PartitioningPolicy};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, CompressionType, Config, DescriptorTable, Guard, InternalValue, Memtable,
    SequenceNumberCounter, Slice, ValueType,
};

use super::{damage, failure};
use crate::batch::Namespace;
use crate::engine::{Found, Page, ScanLimit};
use crate::error::StorageError;
use crate::graves::{Grave, Graves};
use crate::log::Sequence;
use crate::payload;
use crate::range::{KeyRange, successor};
use crate::row;

/// Tree sequence numbers per batch.
const STEP: u64 = 256;
/// The view of who reads what is there.
const NOW: u64 = u64::MAX;
/// Open table files.
const OPEN_FILES: usize = 256;
/// Bytes of a table. The first level with sorted tables holds four of them, each level below ten times as much: what is
/// not yet merged with older versions of its rows is a small part of the whole.
const TABLE_BYTES: u64 = 32 << 20;
/// Rows this small are copied out of the block they lie in, so that they do not keep it in memory.
const SMALL: usize = 4 << 10;

/// What a snapshot after `sequence` sees: everything below.
pub(super) const fn view_after(sequence: Sequence) -> u64 {
    (sequence.0 + 1) * STEP
}

/// One namespace's tree.
pub(super) struct Tree {
    pub(super) namespace: Namespace,
    pub(super) tree: AnyTree,
    /// The numbers of its versions.
    versions: SequenceNumberCounter,
    /// Bytes at which its write buffer is full.
    buffer_bytes: u64,
    /// Held for reading by who makes tables.
    making: RwLock<()>,
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
        let buried = reclaim::Factory::new(namespace, graves);
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
            Namespace::Data | Namespace::Hints => shared.buffer_bytes,
            Namespace::Meta => shared.buffer_bytes.min(4 << 20),
        };
        Ok(Self { namespace, tree, versions, buffer_bytes, making: RwLock::default() })
    }

    /// The last batch whose rows its tables are known to hold, and with it all before.
    pub(super) fn persisted(&self) -> Sequence {
        Sequence(self.tree.get_highest_persisted_seqno().unwrap_or(0) / STEP)
    }

    /// Seals the write buffer if it is full, or if it holds anything and `all` is asked for. `applied` is the last batch
    /// in it: whatever is made of it gets a version above.
    pub(super) fn seal(&self, applied: Sequence, all: bool) -> bool {
        if !self.is_to_be_sealed(all) {
            return false;
        }
        self.versions.fetch_max(applied.0 * STEP + 1);
        self.tree.rotate_memtable().is_some()
    }

    /// Whether [`Tree::seal`] would find something.
    pub(super) fn is_to_be_sealed(&self, all: bool) -> bool {
        let buffer = self.tree.active_memtable();
        !buffer.is_empty() && (all || buffer.size() >= self.buffer_bytes)
    }

    /// Turns sealed write buffers into tables. Nobody reads below `oldest_view`.
    pub(super) fn flush(&self, oldest_view: u64) -> Result<(), lsm_tree::Error> {
        self.clearing_up(|| {
            let lock = self.tree.get_flush_lock();
            self.tree.flush(&lock, oldest_view).map(drop)
        })
    }

    /// Does `work`, which makes tables. What is left of those it did not finish is removed: on a disk that is full already
    /// they would take what room comes.
    fn clearing_up<T>(
        &self,
        work: impl FnOnce() -> Result<T, lsm_tree::Error>,
    ) -> Result<T, lsm_tree::Error> {
        let making = self.making.read().unwrap_or_else(PoisonError::into_inner);
        let first = self.tree.next_table_id();
        let done = work();
        drop(making);
        if done.is_err() {
            // Nobody makes a table meanwhile.
            let _alone = self.making.write().unwrap_or_else(PoisonError::into_inner);
            let unfinished = self.remove_unfinished(first);
            tracing::debug!(?unfinished, namespace = %self.namespace, "cleared up after tables that were not finished");
        }
        done
    }

    /// Removes table files numbered from `first` on that do not belong to the tree. Says how many.
    fn remove_unfinished(&self, first: u64) -> io::Result<usize> {
        let version = self.tree.current_version();
        let mut removed = 0;
        for entry in fs::read_dir(self.tree.tree_config().path.join("tables"))? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<u64>().ok());
            let is_ours = |number| version.iter_tables().any(|table| table.id() == number);
            if number.is_some_and(|number| number >= first && !is_ours(number)) {
                fs::remove_file(entry.path())?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// One step of compaction. Says whether there was anything to do.
    pub(super) fn compact(&self, applied: Sequence, oldest_view: u64) -> Result<bool, lsm_tree::Error> {
        let before = self.tree.current_version().id();
        // Above every view so far: what the filter drops must not be missing in one of them.
        self.versions.fetch_max(applied.0 * STEP + 1);
        let strategy = Leveled::default().with_table_target_size(TABLE_BYTES);
        self.clearing_up(|| self.tree.compact(Arc::new(strategy), oldest_view))?;
        Ok(self.tree.current_version().id() != before)
    }

    /// Lets go of tables that only views below `oldest_view` needed. (Each step of compaction does, but for what was open
    /// when it began.)
    pub(super) fn forget_old_versions(&self, oldest_view: u64) -> Result<(), lsm_tree::Error> {
        let directory = &self.tree.tree_config().path;
        self.tree.get_version_history_lock().maintenance(directory, oldest_view)
    }

    /// Whether tables hold all its rows.
    pub(super) fn is_flushed(&self) -> bool {
        self.tree.active_memtable().is_empty() && self.sealed() == 0
    }

    /// Write buffers that wait to become tables.
    pub(super) fn sealed(&self) -> usize {
        self.tree.sealed_memtable_count()
    }

    /// Runs of tables that no compaction has merged yet.
    pub(super) fn young_runs(&self) -> usize {
        self.tree.l0_run_count()
    }

    pub(super) fn disk_bytes(&self) -> u64 {
        self.tree.disk_space()
    }

    /// Bytes of rows that no table holds.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        self.tree.get_version_history_lock().memtable_size_sum()
    }

    fn get(&self, key: &[u8], view: u64) -> Result<Option<Bytes>, StorageError> {
        let stored = self.tree.get(key, view);
        let stored = stored.map_err(|error| failure::of_read(self.namespace, key, &error))?;
        stored.map(|stored| read_row(self.namespace, key, stored)).transpose()
    }

    /// What is found in a range, in key order, damage included.
    fn walk(&self, range: &KeyRange, view: u64) -> impl Iterator<Item = Result<Found, StorageError>> {
        damage::Walk::new(self, range.clone(), view)
    }

    /// The rows of a range as they are stored, until the first that cannot be read.
    pub(super) fn stored(
        &self,
        range: &KeyRange,
        view: u64,
    ) -> impl Iterator<Item = Result<(Slice, Slice), lsm_tree::Error>> + use<> {
        let rows = match range.end() {
            Some(end) => self.tree.range(&range.start()[..]..&end[..], view, None),
            None => self.tree.range(&range.start()[..].., view, None),
        };
        rows.map(Guard::into_inner)
    }
}

/// What the trees share.
pub(super) struct Shared {
    cache: Arc<Cache>,
    files: Arc<DescriptorTable>,
    buffer_bytes: u64,
}

impl Shared {
    pub(super) fn new(cache_bytes: u64, buffer_bytes: u64) -> Self {
        Self {
            cache: Arc::new(Cache::with_capacity_bytes(cache_bytes)),
            files: Arc::new(DescriptorTable::new(OPEN_FILES)),
            buffer_bytes,
        }
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache.size()
    }
}

/// All trees of a store.
pub(super) struct Trees {
    trees: [Tree; Namespace::ALL.len()],
    pub(super) shared: Shared,
    graves: Arc<RwLock<Graves>>,
}

impl Trees {
    /// Takes opened trees together, in the order of [`Namespace::ALL`].
    pub(super) fn new(
        trees: [Tree; Namespace::ALL.len()],
        shared: Shared,
        graves: Arc<RwLock<Graves>>,
    ) -> Result<Self, StorageError> {
        let trees = Self { trees, shared, graves };
        let known = trees.after(Sequence(u64::MAX / STEP - 1))?.graves;
        *trees.graves.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(trees)
    }

    pub(super) const fn of(&self, namespace: Namespace) -> &Tree {
        &self.trees[namespace.code() as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Tree> {
        self.trees.iter()
    }

    /// What can be read now.
    pub(super) fn now(&self) -> View {
        View { below: NOW, graves: self.graves().clone() }
    }

    /// What could be read after `sequence`.
    pub(super) fn after(&self, sequence: Sequence) -> Result<View, StorageError> {
        let below = view_after(sequence);
        let mut graves = Graves::default();
        for found in self.of(Namespace::Meta).walk(&Graves::rows(), below) {
            if let Found::Row(key, _) = found? {
                Grave::of_row(&key).iter().for_each(|grave| graves.dig(grave));
            }
        }
        Ok(View { below, graves })
    }

    pub(super) fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if !row::is_key(key) || self.graves().is_dead(namespace, key) {
            return Ok(None);
        }
        self.of(namespace).get(key, NOW)
    }

    pub(super) fn get_in(
        &self,
        view: &View,
        namespace: Namespace,
        key: &[u8],
    ) -> Result<Option<Bytes>, StorageError> {
        if !row::is_key(key) || view.graves.is_dead(namespace, key) {
            return Ok(None);
        }
        self.of(namespace).get(key, view.below)
    }

    pub(super) fn scan_in(
        &self,
        view: &View,
        namespace: Namespace,
        range: &KeyRange,
        limit: ScanLimit,
    ) -> Result<Page, StorageError> {
        if range.is_empty() {
            return Ok(Page::default());
        }
        let walk = self.of(namespace).walk(range, view.below);
        Page::fill(limit, walk.filter(|found| !is_dead(&view.graves, namespace, found)))
    }

    /// Writers to the write buffers as they are now. Only one thread applies or seals.
    pub(super) fn buffers(&self) -> Buffers<'_> {
        Buffers { active: self.trees.each_ref().map(|tree| tree.tree.active_memtable()), trees: self }
    }

    /// The drops whose rows have a value for which `wanted` holds. What cannot be read is left out.
    pub(super) fn graves_where(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<Grave> {
        let recorded = Graves::rows();
        let rows = self.of(Namespace::Meta).walk(&recorded, NOW);
        let wanted = rows.filter_map(|found| match found {
            Ok(Found::Row(key, value)) if wanted(&value) => Grave::of_row(&key),
            _ => None,
        });
        wanted.collect()
    }

    /// The dead ones of the next `count` data rows in a range, and the last row looked at if there may be more.
    pub(super) fn dead_rows(
        &self,
        range: &KeyRange,
        count: usize,
    ) -> Result<(Vec<Bytes>, Option<Bytes>), StorageError> {
        let graves = self.graves().clone();
        let mut dead = Vec::new();
        let mut last = None;
        for row in self.of(Namespace::Data).stored(range, NOW).take(count) {
            let (key, _) = row.map_err(|error| failure::of_read(Namespace::Data, range.start(), &error))?;
            let key = detach(key.into());
            if graves.is_dead(Namespace::Data, &key) {
                dead.push(key.clone());
            }
            last = Some(key);
        }
        Ok((dead, last))
    }

    /// Takes note of a drop. Says whether it was one.
    fn note_grave(&self, key: &[u8]) -> bool {
        let grave = Grave::of_row(key);
        grave.is_some_and(|grave| {
            self.graves.write().unwrap_or_else(PoisonError::into_inner).dig(&grave);
            true
        })
    }

    fn graves(&self) -> std::sync::RwLockReadGuard<'_, Graves> {
        // A grave is dug by one assignment after another, none of which panics.
        self.graves.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_dead(graves: &Graves, namespace: Namespace, found: &Result<Found, StorageError>) -> bool {
    matches!(found, Ok(Found::Row(key, _)) if graves.is_dead(namespace, key))
}

/// Which rows a read sees: those below a tree sequence number, unless they are dead.
pub(super) struct View {
    below: u64,
    graves: Graves,
}

/// The active write buffer of each tree.
pub(super) struct Buffers<'a> {
    active: [Arc<Memtable>; Namespace::ALL.len()],
    trees: &'a Trees,
}

impl Buffers<'_> {
    /// Makes the operations of a logged batch visible, in namespaces for which `wanted` holds. Says whether it dropped
    /// a range.
    pub(super) fn apply(
        &self,
        sequence: Sequence,
        payload: Bytes,
        wanted: impl Fn(Namespace) -> bool,
    ) -> bool {
        let mut dropped = false;
        for op in payload::ops(payload) {
            if !wanted(op.namespace) {
                continue;
            }
            if op.namespace == Namespace::Meta && op.row.is_some() {
                dropped |= self.trees.note_grave(&op.key);
            }
            let (row, kind) = match op.row {
                Some(row) => (keep(op.namespace, row), ValueType::Value),
                None => (Slice::from(Bytes::new()), ValueType::Tombstone),
            };
            let entry =
                InternalValue::from_components(keep(op.namespace, op.key), row, sequence.0 * STEP, kind);
            self.active[usize::from(op.namespace.code())].insert(entry);
        }
        dropped
    }
}

/// What goes into a write buffer. Rows of data are slices of what was logged; they fill the buffer and go with it. The few
/// others would each keep a whole group in memory for as long.
fn keep(namespace: Namespace, bytes: Bytes) -> Slice {
    match namespace {
        Namespace::Data => Slice::from(bytes),
        Namespace::Hints | Namespace::Meta => Slice::from(detach(bytes)),
    }
}

pub(super) fn read_row(namespace: Namespace, key: &[u8], stored: Slice) -> Result<Bytes, StorageError> {
    row::decode(namespace, key, stored.into()).map(detach)
}

/// A row that was read, or the damage found in its place.
pub(super) fn found(namespace: Namespace, key: Slice, stored: Slice) -> Found {
    match read_row(namespace, &key, stored) {
        Ok(value) => Found::Row(detach(key.into()), value),
        Err(_) => Found::Damage(KeyRange::new(Bytes::copy_from_slice(&key), Some(successor(&key)))),
    }
}

/// Frees small bytes from the block they came in; large ones have their block to themselves.
fn detach(bytes: Bytes) -> Bytes {
    if bytes.len() < SMALL { Bytes::copy_from_slice(&bytes) } else { bytes }
}

mod reclaim {
    //! Compaction leaves dead rows behind.

    use std::panic::RefUnwindSafe;
    use std::sync::{Arc, PoisonError, RwLock};

    use lsm_tree::compaction::filter::{self, CompactionFilter, Context, ItemAccessor, Verdict};

    use crate::batch::Namespace;
    use crate::graves::Graves;

    pub(super) struct Factory {
        namespace: Namespace,
        graves: Arc<RwLock<Graves>>,
    }

    impl Factory {
        pub(super) const fn new(namespace: Namespace, graves: Arc<RwLock<Graves>>) -> Self {
            Self { namespace, graves }
        }
    }

    impl RefUnwindSafe for Factory {}

    impl filter::Factory for Factory {
        fn name(&self) -> &str {
            "dead generations"
        }

        fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
            let graves = self.graves.read().unwrap_or_else(PoisonError::into_inner).clone();
            Box::new(Reclaim { namespace: self.namespace, graves })
        }
    }

    struct Reclaim {
        namespace: Namespace,
        graves: Graves,
    }

    impl CompactionFilter for Reclaim {
        /// A dead row is never written again: its generation never comes back.
        fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
            let dead = self.graves.is_dead(self.namespace, item.key());
            Ok(if dead { Verdict::Destroy } else { Verdict::Keep })
        }
    }
}
