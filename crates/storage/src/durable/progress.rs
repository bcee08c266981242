//! How far scrubbing has come, and what it found.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use starling_types::row::RowRange;

/// Ranges that wait to be fetched; there is no need to know more of a store so damaged.
const MOST_RANGES: usize = 1_024;

/// How far scrubbing has come since the open.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) bytes: AtomicU64,
    pub(super) passes: AtomicU64,
    /// Ranges of data rows that cannot be read, that were not fetched yet.
    found: Mutex<Vec<RowRange>>,
}

impl Progress {
    /// The ranges found since the last call.
    pub(super) fn take_found(&self) -> Vec<RowRange> {
        std::mem::take(&mut *self.lock())
    }

    /// Takes note of ranges that cannot be read, up to [`MOST_RANGES`].
    pub(super) fn note(&self, ranges: Vec<RowRange>) {
        let mut found = self.lock();
        let room = MOST_RANGES.saturating_sub(found.len());
        found.extend(ranges.into_iter().take(room));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RowRange>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
