//! Want of room on the volume, as the owner of the store sees it: then space is given back that would have waited.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::garbage::{self, Seen};
use super::store::Store;
use crate::Space;
use crate::error::StorageError;

/// Space is looked for again after this long, if so much was written since that something may have been replaced,
const AGAIN: Duration = Duration::from_secs(10);
const WORTHWHILE: u64 = 32 << 10;
/// or after this long, if anything was.
const AT_LEAST: Duration = Duration::from_secs(30);

/// How much room there is on the volume, as the owner of a store sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Supply {
    /// Enough.
    Ample,
    /// It will be short soon: rows that newer ones replace are dropped without waiting for compaction.
    Low,
    /// Too little: nothing is merged either that would need room for a while.
    Short,
}

/// The room there is, and what was done about it.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    /// A [`Supply`], from 1 on; 0 before the owner has said anything.
    supply: AtomicU8,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When space was last looked for.
    last: Option<Duration>,
    data: Seen,
    hints: Seen,
}

impl Shortage {
    /// Whether the owner has said that there is enough room.
    pub(super) fn has_room(&self) -> bool {
        self.supply() == Some(Supply::Ample)
    }

    fn supply(&self) -> Option<Supply> {
        [Supply::Ample, Supply::Low, Supply::Short]
            .into_iter()
            .find(|s| *s as u8 + 1 == self.supply.load(Ordering::Relaxed))
    }
}

impl Store {
    /// The owner says how much room there is.
    pub(super) fn note_supply(&self, supply: Supply) {
        let before = self.shortage.supply.swap(supply as u8 + 1, Ordering::Relaxed);
        match supply {
            Supply::Low | Supply::Short if self.is_due() => drop(self.chores.want_compaction()),
            Supply::Ample if before != supply as u8 + 1 => {
                self.chores.want_spare();
                // It may have waited.
                let _ = self.chores.want_compaction();
            }
            _ => {}
        }
    }

    /// A commit soon needs a segment that finds no room: what can be given back at once is.
    pub(super) fn give_back_at_open(&self) {
        if self.log().is_nearly_full() && self.free_bytes() < self.options.log_segment_bytes {
            self.note_supply(Supply::Short);
            if let Err(error) = self.give_back() {
                tracing::warn!(%error, "the volume is full, and not everything that was replaced could be dropped");
            }
        }
    }

    fn is_due(&self) -> bool {
        let Ok(state) = self.shortage.state.try_lock() else { return false };
        let Some(last) = state.last else { return true };
        let now = self.observer.clock();
        // Without a clock nothing is put off.
        let rested = if now.is_zero() { AT_LEAST } else { now.saturating_sub(last) };
        let written = |space| self.trees.of(space).published().buffered_bytes();
        let written = written(Space::Data) + written(Space::Hints);
        written >= WORTHWHILE && rested >= AGAIN || written > 0 && rested >= AT_LEAST
    }

    /// If room is short: drops rows that newer ones replace, and moves those in memory to tables, so that the log can be
    /// given back. For the thread that merges tables.
    pub(super) fn give_back(&self) -> Result<(), StorageError> {
        if self.shortage.supply() < Some(Supply::Low) || !self.is_due() {
            return Ok(());
        }
        let mut state = self.shortage.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last = Some(self.observer.clock());
        let data = garbage::collect(self, self.trees.of(Space::Data), &mut state.data);
        let hints = garbage::collect(self, self.trees.of(Space::Hints), &mut state.hints);
        let freed = data.as_ref().map_or(0, |bytes| *bytes) + hints.as_ref().map_or(0, |bytes| *bytes);
        if freed > 0 {
            tracing::info!(
                bytes = freed,
                "the volume is short of room: rows that newer ones replace were dropped"
            );
        }
        // The rows in memory find room now, and the log that has them can be given back.
        let _ = self.chores.want_flush(true);
        data.and(hints).map(drop)
    }

    /// Merging takes room before it gives any back: where that is short it waits until many runs do.
    pub(super) fn may_merge(&self) -> bool {
        let runs = || self.trees.iter().map(|tree| tree.published().l0_runs()).max().unwrap_or_default();
        self.shortage.supply() != Some(Supply::Short) || runs() >= MANY_RUNS
    }
}

/// L0 runs that are merged though room is short.
const MANY_RUNS: usize = 16;
