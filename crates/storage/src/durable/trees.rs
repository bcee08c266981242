//! The tables: one log-structured merge tree per namespace (O'Neil et al., "The Log-Structured Merge-Tree", 1996), each
//! with its write buffers, over one block cache.
//!
//! A row written by batch n has the number n·256 in them. (The numbers between were once the library's.) A snapshot after
//! batch n keeps the buffers and tables that there were, and reads below (n+1)·256.

use std::sync::{Arc, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use lsm_tree::{Cache, DescriptorTable, Slice};

use super::buffer::Buffer;
use super::published::Published;
use super::tree::Tree;
use super::writeback::Making;
use super::{Options, damage, failure};
use crate::batch::Namespace;
use crate::engine::{Found, Page, ScanLimit};
use crate::error::StorageError;
use crate::graves::{Grave, Graves};
use crate::log::Sequence;
use crate::payload;
use crate::range::{KeyRange, successor};
use crate::row;

/// Numbers per batch.
pub(super) const STEP: u64 = 256;
/// The view of who reads what is there.
pub(super) const NOW: u64 = u64::MAX;
/// Open table files.
const OPEN_FILES: usize = 256;
/// Rows this small are copied out of the block they lie in, so that they do not keep it in memory.
const SMALL: usize = 4 << 10;

/// What a snapshot after `sequence` sees: everything below.
pub(super) const fn view_after(sequence: Sequence) -> u64 {
    (sequence.0 + 1) * STEP
}

/// What the trees share.
pub(super) struct Shared {
    pub(super) cache: Arc<Cache>,
    pub(super) files: Arc<DescriptorTable>,
    pub(super) options: Options,
    pub(super) making: Arc<Making>,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        Self {
            cache: Arc::new(Cache::with_capacity_bytes(options.cache_bytes)),
            files: Arc::new(DescriptorTable::new(OPEN_FILES)),
            options,
            making: Arc::default(),
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
    graves: RwLock<Graves>,
    /// Those that are durable: what compaction may act upon.
    durable_graves: Arc<RwLock<Graves>>,
}

impl Trees {
    /// Takes opened trees together, in the order of [`Namespace::ALL`].
    pub(super) fn new(
        trees: [Tree; Namespace::ALL.len()],
        shared: Shared,
        durable_graves: Arc<RwLock<Graves>>,
        known: Graves,
    ) -> Self {
        Self { trees, shared, graves: RwLock::new(known), durable_graves }
    }

    pub(super) const fn of(&self, namespace: Namespace) -> &Tree {
        &self.trees[namespace.code() as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Tree> {
        self.trees.iter()
    }

    /// What can be read now.
    pub(super) fn now(&self) -> View {
        let below = NOW;
        View { below, published: self.trees.each_ref().map(Tree::published), graves: self.graves().clone() }
    }

    /// What can be read after the last batch that is applied, whatever is applied later; and which batch that is, as `last`
    /// says between two groups.
    pub(super) fn frozen(&self, last: impl FnOnce() -> Sequence) -> (Sequence, View) {
        let buffers = self.buffers();
        let last = last();
        let view = View { below: view_after(last), ..self.now() };
        drop(buffers);
        (last, view)
    }

    /// The drops that trees know of.
    pub(super) fn recorded_graves(trees: &[Tree; Namespace::ALL.len()]) -> Result<Graves, StorageError> {
        let mut graves = Graves::default();
        let meta = trees[usize::from(Namespace::Meta.code())].published();
        for found in damage::Walk::new(meta, Namespace::Meta, Graves::rows(), NOW) {
            match found? {
                Found::Row(key, _) => Grave::of_row(&key).iter().for_each(|grave| graves.dig(grave)),
                Found::Damage(_) => {}
                // Not to know of a drop would bring back what was dropped.
                Found::Unread(range) => {
                    let (namespace, key) = (Namespace::Meta, range.start().clone());
                    return Err(StorageError::Unread { namespace, key, cause: "recorded drops".into() });
                }
            }
        }
        Ok(graves)
    }

    pub(super) fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if !row::is_key(key) || self.graves().is_dead(namespace, key) {
            return Ok(None);
        }
        get(&self.of(namespace).published(), namespace, key, NOW)
    }

    /// The write buffers. None is sealed while they are held: a batch lies in one buffer of a tree, whole.
    pub(super) fn buffers(&self) -> Buffers<'_> {
        Buffers { active: self.trees.each_ref().map(Tree::writing), trees: self }
    }

    /// Lets compaction throw away the rows of every drop so far, if what was applied so far can be made `durable`.
    pub(super) fn bury(
        &self,
        durable: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        // Between two groups, so that what was applied so far has all of them.
        let buffers = self.buffers();
        let graves = self.graves().clone();
        drop(buffers);
        if *self.durable_graves.read().unwrap_or_else(PoisonError::into_inner) == graves {
            return Ok(());
        }
        durable()?;
        *self.durable_graves.write().unwrap_or_else(PoisonError::into_inner) = graves;
        Ok(())
    }

    /// The drops whose rows have a value for which `wanted` holds. What cannot be read is left out.
    pub(super) fn graves_where(&self, wanted: impl Fn(&[u8]) -> bool) -> Vec<Grave> {
        let recorded = Graves::rows();
        let now = self.now();
        let rows = now.walk(Namespace::Meta, &recorded);
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
        for row in self.of(Namespace::Data).published().stored(range, NOW).take(count) {
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
        let Some(grave) = Grave::of_row(key) else { return false };
        let mut graves = self.graves.write().unwrap_or_else(PoisonError::into_inner);
        graves.dig(&grave);
        true
    }

    fn graves(&self) -> std::sync::RwLockReadGuard<'_, Graves> {
        // A grave is dug by one assignment after another, none of which panics.
        self.graves.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_dead(graves: &Graves, namespace: Namespace, found: &Result<Found, StorageError>) -> bool {
    matches!(found, Ok(Found::Row(key, _)) if graves.is_dead(namespace, key))
}

/// Which rows a read sees: those of some buffers and tables, below a number, unless they are dead.
pub(super) struct View {
    below: u64,
    /// By [`Namespace::code`].
    published: [Arc<Published>; Namespace::ALL.len()],
    graves: Graves,
}

impl View {
    pub(super) fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if !row::is_key(key) || self.graves.is_dead(namespace, key) {
            return Ok(None);
        }
        get(self.of(namespace), namespace, key, self.below)
    }

    pub(super) fn scan(
        &self,
        namespace: Namespace,
        range: &KeyRange,
        limit: ScanLimit,
    ) -> Result<Page, StorageError> {
        if range.is_empty() {
            return Ok(Page::default());
        }
        let walk = self.walk(namespace, range);
        Page::fill(limit, walk.filter(|found| !is_dead(&self.graves, namespace, found)))
    }

    /// What is found in a range, in key order, damage and dead rows included.
    fn walk(
        &self,
        namespace: Namespace,
        range: &KeyRange,
    ) -> impl Iterator<Item = Result<Found, StorageError>> {
        damage::Walk::new(self.of(namespace).clone(), namespace, range.clone(), self.below)
    }

    const fn of(&self, namespace: Namespace) -> &Arc<Published> {
        &self.published[namespace.code() as usize]
    }
}

fn get(
    published: &Published,
    namespace: Namespace,
    key: &[u8],
    below: u64,
) -> Result<Option<Bytes>, StorageError> {
    let stored = published.get(key, below).map_err(|error| failure::of_read(namespace, key, &error))?;
    stored.map(|stored| read_row(namespace, key, stored)).transpose()
}

/// The active write buffer of each tree.
pub(super) struct Buffers<'a> {
    active: [MutexGuard<'a, Arc<Buffer>>; Namespace::ALL.len()],
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
            let (key, row) = (keep(op.namespace, op.key), op.row.map(|row| keep(op.namespace, row)));
            self.active[usize::from(op.namespace.code())].insert(key, sequence.0 * STEP, row);
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

fn read_row(namespace: Namespace, key: &[u8], stored: Slice) -> Result<Bytes, StorageError> {
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
