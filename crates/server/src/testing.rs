//! A store whose reads wait at a gate, as those of a disk that does not answer.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::Bytes;
use starling_storage::{
    Batch, Done, Durability, Engine, MemoryEngine, ScanLimit, Sizes, Snapshot, StorageError,
};
use starling_types::row::{Page, RowRange, Space};
use tokio::sync::watch;

/// Memory knows nothing here, and reads are let through as the test says.
pub(crate) struct Gate {
    store: Arc<dyn Engine>,
    is_shut: Mutex<bool>,
    opened: Condvar,
    /// A read does not wait longer at the gate.
    patience: Duration,
    came: watch::Sender<usize>,
}

impl Gate {
    /// An open gate before `store`. When it is shut, a read waits there, but not longer than `patience`.
    pub(crate) fn before(store: Arc<dyn Engine>, patience: Duration) -> Arc<Self> {
        let (is_shut, opened) = (Mutex::default(), Condvar::new());
        Arc::new(Self { store, is_shut, opened, patience, came: watch::Sender::new(0) })
    }

    /// A shut gate before an empty store.
    pub(crate) fn shut_before_nothing() -> Arc<Self> {
        let gate = Self::before(Arc::new(MemoryEngine::new()), Duration::MAX);
        gate.shut();
        gate
    }

    pub(crate) fn shut(&self) {
        *self.is_shut.lock().unwrap() = true;
    }

    pub(crate) fn open(&self) {
        *self.is_shut.lock().unwrap() = false;
        self.opened.notify_all();
    }

    /// Reads that have come to the gate so far.
    pub(crate) fn came(&self) -> usize {
        *self.came.borrow()
    }

    /// Waits until so many have come.
    pub(crate) async fn has_come(&self, reads: usize) {
        self.came.subscribe().wait_for(|came| *came >= reads).await.unwrap();
    }

    fn pass(&self) {
        self.came.send_modify(|came| *came += 1);
        let is_shut = self.is_shut.lock().unwrap();
        drop(self.opened.wait_timeout_while(is_shut, self.patience, |is_shut| *is_shut).unwrap());
    }
}

/// A key of which a read panics.
pub(crate) const FATAL: &[u8] = b"fatal";

impl Engine for Gate {
    fn submit(&self, batches: Vec<Batch>, durability: Durability, done: Done) {
        self.store.submit(batches, durability, done);
    }

    fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.pass();
        assert!(!key.ends_with(FATAL), "as the test wants it");
        self.store.get(namespace, key)
    }

    fn scan(&self, namespace: Space, range: &RowRange, limit: ScanLimit) -> Result<Page, StorageError> {
        self.pass();
        self.store.scan(namespace, range, limit)
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        self.store.snapshot()
    }

    fn sizes(&self) -> Sizes {
        self.store.sizes()
    }

    fn close(&self) -> Result<(), StorageError> {
        self.store.close()
    }
}
