//! How sound the tables of a namespace are known to be.

use std::sync::atomic::{AtomicU8, Ordering};

/// Zero as long as all tables are what was written, as far as is known. It only gets worse while a store is open: the
/// next open makes damaged tables anew.
#[derive(Debug, Default)]
pub(super) struct Health(AtomicU8);

/// A table is not what was written. Compaction goes on: it may be that all rows can be read.
const DAMAGED: u8 = 1;
/// Compaction met what it cannot read: the tables stay as they are.
const UNMERGEABLE: u8 = 2;

impl Health {
    pub(super) fn note_damaged(&self) {
        self.0.fetch_max(DAMAGED, Ordering::Relaxed);
    }

    pub(super) fn note_unmergeable(&self) {
        self.0.fetch_max(UNMERGEABLE, Ordering::Relaxed);
    }

    /// Whether the next open makes the tables anew.
    pub(super) fn is_damaged(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= DAMAGED
    }

    /// Whether compaction leaves the tables alone.
    pub(super) fn is_unmergeable(&self) -> bool {
        self.0.load(Ordering::Relaxed) == UNMERGEABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_never_gets_better() {
        let health = Health::default();
        assert!(!health.is_damaged() && !health.is_unmergeable());
        health.note_damaged();
        assert!(health.is_damaged() && !health.is_unmergeable());
        health.note_unmergeable();
        health.note_damaged();
        assert!(health.is_damaged() && health.is_unmergeable());
    }
}
