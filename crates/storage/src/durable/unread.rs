//! Failed reads: counted, and what they asked for left as it is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Page;
use crate::Space;
use crate::error::StorageError;

/// Failed reads of an open store.
#[derive(Debug, Default)]
pub(super) struct Unread {
    failures: AtomicU64,
    /// Tables that could not be read from end to end when that was last tried.
    tables: Mutex<BTreeSet<(Space, u64)>>,
}

impl Unread {
    /// Counts a row that was not given.
    pub(super) fn note<T>(&self, read: Result<T, StorageError>) -> Result<T, StorageError> {
        if let Err(StorageError::Unread { .. }) = read {
            self.failures.fetch_add(1, Ordering::Relaxed);
        }
        read
    }

    /// Counts the ranges of a page that were not given.
    pub(super) fn note_page(&self, page: Result<Page, StorageError>) -> Result<Page, StorageError> {
        let ranges = page.as_ref().map_or(0, |page| page.unread.len());
        self.failures.fetch_add(ranges as u64, Ordering::Relaxed);
        page
    }

    /// Whether a table could be read from end to end.
    pub(super) fn note_table(&self, namespace: Space, table: u64, is_unread: bool) {
        let mut tables = self.lock();
        match is_unread {
            true => tables.insert((namespace, table)),
            false => tables.remove(&(namespace, table)),
        };
    }

    /// Forgets the tables of a namespace but these.
    pub(super) fn retain(&self, namespace: Space, is_there: impl Fn(u64) -> bool) {
        self.lock().retain(|(of, table)| *of != namespace || is_there(*table));
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(super) fn tables(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Space, u64)>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
