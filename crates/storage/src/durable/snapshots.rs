//! Snapshots: which views are open, so that nothing they see is thrown away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::store::Store;
use super::trees::{View, view_after};
use crate::batch::Namespace;
use crate::engine::{Page, ScanLimit, Snapshot};
use crate::error::StorageError;
use crate::log::Sequence;
use crate::range::KeyRange;

/// How many snapshots are open at each view.
#[derive(Default)]
pub(super) struct Snapshots(Mutex<BTreeMap<u64, usize>>);

impl Snapshots {
    /// The lowest open view.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.lock().keys().next().copied()
    }

    fn close(&self, sequence: Sequence) {
        let mut open = self.lock();
        if let Some(count) = open.get_mut(&view_after(sequence)) {
            *count -= 1;
            if *count == 0 {
                open.remove(&view_after(sequence));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A view of all trees.
pub(super) struct OpenSnapshot {
    store: Arc<Store>,
    sequence: Sequence,
    view: View,
}

impl OpenSnapshot {
    pub(super) fn open(store: Arc<Store>) -> Result<Self, StorageError> {
        let mut open = store.snapshots.lock();
        // Under the lock: who asks for the oldest view afterwards gets one that is not above this one.
        let sequence = store.last_applied();
        *open.entry(view_after(sequence)).or_default() += 1;
        drop(open);
        let view = store.trees.after(sequence).inspect_err(|_| store.snapshots.close(sequence))?;
        Ok(Self { store, sequence, view })
    }
}

impl OpenSnapshot {
    /// Another may have the directory open by now.
    fn check(&self) -> Result<(), StorageError> {
        self.store.poison.check()?;
        if self.store.chores.is_stopped() { Err(StorageError::Closed) } else { Ok(()) }
    }
}

impl Drop for OpenSnapshot {
    fn drop(&mut self) {
        self.store.snapshots.close(self.sequence);
        // What only it could see can go.
        let _ = self.store.chores.want_compaction();
    }
}

impl Snapshot for OpenSnapshot {
    fn sequence(&self) -> u64 {
        self.sequence.0
    }

    fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.check()?;
        self.store.trees.get_in(&self.view, namespace, key)
    }

    fn scan(&self, namespace: Namespace, range: &KeyRange, limit: ScanLimit) -> Result<Page, StorageError> {
        self.check()?;
        self.store.trees.scan_in(&self.view, namespace, range, limit)
    }
}
