//! Snapshots: what there was, kept as it was.

use std::sync::Arc;

use bytes::Bytes;

use super::store::Store;
use super::trees::View;
use crate::batch::Namespace;
use crate::engine::{Page, ScanLimit, Snapshot};
use crate::error::StorageError;
use crate::log::Sequence;
use crate::range::KeyRange;

/// A view of all trees. Tables that were replaced stay on disk for as long as it is open.
pub(super) struct OpenSnapshot {
    store: Arc<Store>,
    sequence: Sequence,
    view: View,
}

impl OpenSnapshot {
    pub(super) fn open(store: Arc<Store>) -> Self {
        let (sequence, view) = store.trees.frozen(|| store.last_applied());
        Self { store, sequence, view }
    }

    /// Another may have the directory open by now.
    fn check(&self) -> Result<(), StorageError> {
        self.store.poison.check()?;
        if self.store.chores.is_stopped() { Err(StorageError::Closed) } else { Ok(()) }
    }
}

impl Snapshot for OpenSnapshot {
    fn sequence(&self) -> u64 {
        self.sequence.0
    }

    fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.check()?;
        self.view.get(namespace, key)
    }

    fn scan(&self, namespace: Namespace, range: &KeyRange, limit: ScanLimit) -> Result<Page, StorageError> {
        self.check()?;
        self.view.scan(namespace, range, limit)
    }
}
