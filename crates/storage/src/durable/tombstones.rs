//! The range tombstones of an open store: those that reads respect, and those that compaction may act upon.
//!
//! Nothing in production drops a range yet: the transfer of partitions, after a change of the layout, will. As long as
//! there is no range tombstone, a read asks a flag and takes no lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::damage;
use super::numbers::NOW;
use super::published::Published;
use crate::Space;
use crate::engine::Found;
use crate::error::StorageError;
use crate::range_tombstones::{RangeTombstone, RangeTombstones};

pub(super) struct Tombstones {
    /// Whether any is recorded. Never false again: range tombstones stay.
    has_any: AtomicBool,
    recorded: RwLock<Arc<RangeTombstones>>,
    /// Those that are durable: what compaction may act upon.
    durable: Arc<RwLock<RangeTombstones>>,
}

impl Tombstones {
    /// Those that are recorded in the tables of [`Space::Meta`]. None of them is in `durable` yet.
    ///
    /// # Errors
    /// If the disk does not give some of them: not to know of a drop would bring back the dropped rows.
    pub(super) fn open(
        meta: Arc<Published>,
        durable: Arc<RwLock<RangeTombstones>>,
    ) -> Result<Self, StorageError> {
        let tombstones = Self { has_any: AtomicBool::new(false), recorded: RwLock::default(), durable };
        for found in damage::Walk::new(meta, Space::Meta, RangeTombstones::rows(), NOW) {
            match found? {
                Found::Row(key, _) => drop(tombstones.record(&key)),
                Found::Damage(_) => {}
                Found::Unread(range) => {
                    let (namespace, key) = (Space::Meta, range.start().clone());
                    return Err(StorageError::Unread { namespace, key, cause: "recorded drops".into() });
                }
            }
        }
        Ok(tombstones)
    }

    /// Records the range tombstone that a meta row of this key is, from now on for every read. Says whether it is one.
    pub(super) fn record(&self, key: &[u8]) -> bool {
        let Some(tombstone) = RangeTombstone::of_row(key) else { return false };
        let mut recorded = self.recorded.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut recorded).record(&tombstone);
        self.has_any.store(true, Ordering::Release);
        true
    }

    /// All that are recorded now; none where there are none.
    pub(super) fn recorded(&self) -> Option<Arc<RangeTombstones>> {
        // The lock outlives a panic: one assignment after another is made under it, and none panics.
        let recorded = || self.recorded.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.has_any.load(Ordering::Acquire).then(recorded)
    }

    /// Whether a row is dropped.
    pub(super) fn cover(&self, namespace: Space, key: &[u8]) -> bool {
        self.recorded().is_some_and(|recorded| recorded.cover(namespace, key))
    }

    /// Lets compaction act upon `recorded`, if the batches that dropped these ranges can be made `durable`: compaction
    /// throws rows away for good, and a power cut must not take the drop back afterwards.
    pub(super) fn apply(
        &self,
        recorded: &RangeTombstones,
        durable: impl FnOnce() -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        if *self.durable.read().unwrap_or_else(PoisonError::into_inner) == *recorded {
            return Ok(());
        }
        durable()?;
        *self.durable.write().unwrap_or_else(PoisonError::into_inner) = recorded.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_take_no_lock_before_the_first_drop_and_see_it_from_then_on() {
        let (has_any, durable) = (AtomicBool::new(false), Arc::<RwLock<RangeTombstones>>::default());
        let tombstones = Tombstones { has_any, recorded: RwLock::default(), durable: durable.clone() };
        let key = [&7u64.to_be_bytes()[..], &1u32.to_be_bytes()].concat();
        let held = tombstones.recorded.write().unwrap();
        assert!(!tombstones.cover(Space::Data, &key) && tombstones.recorded().is_none());
        drop(held);
        assert!(!tombstones.record(b"a row like any other"));
        assert!(tombstones.recorded().is_none());
        assert!(tombstones.record(RangeTombstone { tokens: 7..=7, below: 2 }.row().key()));
        assert!(tombstones.cover(Space::Data, &key));
        let before = tombstones.recorded().unwrap();
        assert!(tombstones.record(RangeTombstone { tokens: 8..=8, below: 2 }.row().key()));
        assert_ne!(tombstones.recorded(), Some(before.clone()), "a view keeps those of its moment");
        tombstones.apply(&before, || Err(StorageError::Closed)).unwrap_err();
        assert_eq!(*durable.read().unwrap(), RangeTombstones::default());
        tombstones.apply(&before, || Ok(())).unwrap();
        assert_eq!(*durable.read().unwrap(), *before);
    }
}
