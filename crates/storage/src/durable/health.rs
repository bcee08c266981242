//! Whether the tables of a namespace can be merged.

use std::sync::atomic::{AtomicBool, Ordering};

/// Sound as long as compaction met nothing that it cannot read, or that was mended since.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicBool);

impl Health {
    /// Compaction met what it cannot read: it leaves the tables as they are.
    pub(super) fn note_unmergeable(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// All that was found damaged is mended.
    pub(super) fn note_mended(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    /// Whether compaction leaves the tables alone.
    pub(super) fn is_unmergeable(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
