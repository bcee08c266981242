//! The tables: one log-structured merge tree per namespace (O'Neil et al., "The Log-Structured Merge-Tree", 1996), each
//! with its write buffers, over one block cache.
//!
//! A snapshot keeps the buffers and tables that there were, and reads below the number of the batch that comes next
//! ([`super::numbers`]).

use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use lsm_tree::Slice;

use super::buffer::Buffer;
use super::found::{detach, read_row};
use super::numbers::{NOW, STEP, view_after};
use super::published::Published;
use super::shared::Shared;
use super::tombstones::Tombstones;
use super::tree::Tree;
use super::{damage, failure};
use crate::Page;
use crate::Space;
use crate::engine::{Found, ScanLimit};
use crate::error::StorageError;
use crate::log::Sequence;
use crate::payload;
use crate::range_tombstones::RangeTombstones;
use crate::row;
use starling_types::row::RowRange;

/// All trees of a store.
pub(super) struct Trees {
    trees: [Tree; Space::ALL.len()],
    pub(super) shared: Shared,
    pub(super) tombstones: Tombstones,
}

impl Trees {
    /// Takes opened trees together, in the order of [`Space::ALL`].
    pub(super) fn new(trees: [Tree; Space::ALL.len()], shared: Shared, tombstones: Tombstones) -> Self {
        Self { trees, shared, tombstones }
    }

    pub(super) const fn of(&self, namespace: Space) -> &Tree {
        &self.trees[namespace.code() as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Tree> {
        self.trees.iter()
    }

    /// The view of a read that begins now.
    pub(super) fn now(&self) -> View {
        let published = self.trees.each_ref().map(Tree::published);
        View { below: NOW, published, tombstones: self.tombstones.recorded() }
    }

    /// The view after the last batch that is applied, without any applied later; and which batch that is, as `last`
    /// says between two groups.
    pub(super) fn frozen(&self, last: impl FnOnce() -> Sequence) -> (Sequence, View) {
        let buffers = self.buffers();
        let last = last();
        let view = View { below: view_after(last), ..self.now() };
        drop(buffers);
        (last, view)
    }

    pub(super) fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if !row::is_key(key) || self.tombstones.cover(namespace, key) {
            return Ok(None);
        }
        loop {
            let published = self.of(namespace).published();
            let read = get(&published, namespace, key, NOW);
            // A file that was replaced meanwhile is no damage: what took its place is asked.
            if read.is_ok() || Arc::ptr_eq(&published, &self.of(namespace).published()) {
                return read;
            }
        }
    }

    /// A page of what there is now.
    pub(super) fn scan(
        &self,
        namespace: Space,
        range: &RowRange,
        limit: ScanLimit,
    ) -> Result<Page, StorageError> {
        loop {
            let now = self.now();
            let page = now.scan(namespace, range, limit);
            let is_whole = page.as_ref().is_ok_and(|page| page.damaged.is_empty() && page.unread.is_empty());
            if is_whole || Arc::ptr_eq(now.of(namespace), &self.of(namespace).published()) {
                return page;
            }
        }
    }

    /// As [`Trees::get`], if no table has to be asked.
    pub(super) fn peek(&self, namespace: Space, key: &[u8]) -> Option<Result<Option<Bytes>, StorageError>> {
        if !row::is_key(key) || self.tombstones.cover(namespace, key) {
            return Some(Ok(None));
        }
        let stored = self.of(namespace).published().peek(key, NOW)?;
        Some(stored.map(|stored| read_row(namespace, key, stored)).transpose())
    }

    /// The write buffers. None is sealed while they are held: a batch lies in one buffer of a tree, whole.
    pub(super) fn buffers(&self) -> Buffers<'_> {
        Buffers { active: self.trees.each_ref().map(Tree::writing), trees: self }
    }

    /// Lets compaction act upon the range tombstones of every batch that is applied, if these batches can be made
    /// `durable`.
    pub(super) fn apply_tombstones(
        &self,
        durable: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        // Between two groups: a group is applied with all its range tombstones, or not yet.
        let buffers = self.buffers();
        let recorded = self.tombstones.recorded();
        drop(buffers);
        recorded.map_or(Ok(()), |recorded| self.tombstones.apply(&recorded, durable))
    }
}

/// Which rows a read sees: those of some buffers and tables, below a number, unless a range tombstone covers them.
pub(super) struct View {
    below: u64,
    /// By [`Space::code`].
    published: [Arc<Published>; Space::ALL.len()],
    tombstones: Option<Arc<RangeTombstones>>,
}

impl View {
    pub(super) fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if !row::is_key(key) || self.is_covered(namespace, key) {
            return Ok(None);
        }
        get(self.of(namespace), namespace, key, self.below)
    }

    pub(super) fn scan(
        &self,
        namespace: Space,
        range: &RowRange,
        limit: ScanLimit,
    ) -> Result<Page, StorageError> {
        if range.is_empty() {
            return Ok(Page::default());
        }
        let walk = damage::Walk::new(self.of(namespace).clone(), namespace, range.clone(), self.below);
        limit.page(walk.filter(|found| !self.hides(namespace, found)))
    }

    fn hides(&self, namespace: Space, found: &Result<Found, StorageError>) -> bool {
        matches!(found, Ok(Found::Row(key, _)) if self.is_covered(namespace, key))
    }

    fn is_covered(&self, namespace: Space, key: &[u8]) -> bool {
        self.tombstones.as_ref().is_some_and(|tombstones| tombstones.cover(namespace, key))
    }

    const fn of(&self, namespace: Space) -> &Arc<Published> {
        &self.published[namespace.code() as usize]
    }
}

fn get(
    published: &Published,
    namespace: Space,
    key: &[u8],
    below: u64,
) -> Result<Option<Bytes>, StorageError> {
    let stored = published.get(key, below).map_err(|error| failure::of_read(namespace, key, &error))?;
    stored.map(|stored| read_row(namespace, key, stored)).transpose()
}

/// The active write buffer of each tree.
pub(super) struct Buffers<'a> {
    active: [MutexGuard<'a, Arc<Buffer>>; Space::ALL.len()],
    trees: &'a Trees,
}

impl Buffers<'_> {
    /// Makes the operations of a logged batch visible, in namespaces for which `wanted` holds. Says whether it dropped
    /// a range.
    pub(super) fn apply(&self, sequence: Sequence, payload: Bytes, wanted: impl Fn(Space) -> bool) -> bool {
        let mut dropped = false;
        for op in payload::ops(payload) {
            if !wanted(op.namespace) {
                continue;
            }
            if op.namespace == Space::Meta && op.row.is_some() {
                dropped |= self.trees.tombstones.record(&op.key);
            }
            let (key, row) = (keep(op.namespace, op.key), op.row.map(|row| keep(op.namespace, row)));
            self.active[usize::from(op.namespace.code())].insert(key, sequence.0 * STEP, row);
        }
        dropped
    }
}

/// Bytes for a write buffer. Rows of data are slices of what was logged; they fill the buffer and go with it. The few
/// others would each keep a whole group in memory for as long.
fn keep(namespace: Space, bytes: Bytes) -> Slice {
    match namespace {
        Space::Data => Slice::from(bytes),
        Space::Hints | Space::Meta => Slice::from(detach(bytes)),
    }
}
