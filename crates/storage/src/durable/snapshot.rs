//! A snapshot: what there was, kept as it was, until the store is closed.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::snapshots::Held;
use super::store::Store;
use super::trees::View;
use crate::Page;
use crate::Space;
use crate::engine::{ScanLimit, Snapshot};
use crate::error::StorageError;
use crate::log::Sequence;
use starling_types::row::RowRange;

/// A view of all trees. Tables that were replaced stay on disk for as long as it is open.
pub(super) struct OpenSnapshot {
    store: Arc<Store>,
    sequence: Sequence,
    held: Arc<Held>,
}

impl OpenSnapshot {
    pub(super) fn open(store: Arc<Store>) -> Self {
        let (sequence, view) = store.trees.frozen(|| store.last_applied());
        let held = store.snapshots.hold(view);
        Self { store, sequence, held }
    }

    fn read<T>(&self, read: impl FnOnce(&View) -> Result<T, StorageError>) -> Result<T, StorageError> {
        self.store.poison.check()?;
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().ok_or(StorageError::Closed).and_then(read)
    }
}

impl Drop for OpenSnapshot {
    fn drop(&mut self) {
        // Here, not with the last reference: a close on the way waits for it.
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Snapshot for OpenSnapshot {
    fn sequence(&self) -> u64 {
        self.sequence.0
    }

    fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.read(|view| view.get(namespace, key))
    }

    fn scan(&self, namespace: Space, range: &RowRange, limit: ScanLimit) -> Result<Page, StorageError> {
        self.read(|view| view.scan(namespace, range, limit))
    }
}
