//! Damage, from where it is found to where it is mended.
//!
//! ```text
//! suspected (a row, a tree) -> a table is found damaged -> told to the node -> noted by it, durably -> mended
//! ```
//!
//! A table is mended when it is noted that its unreadable rows are lost, and not before: from then on they are absent
//! here, and that must not count for anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use starling_types::row::RowRange;

use crate::Space;

/// Rows remembered one by one: their tables are looked through once for all of them.
const MOST_ROWS: usize = 256;

/// The damage of one store.
#[derive(Debug, Default)]
pub(super) struct Casualties(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    suspects: Suspects,
    damaged: BTreeMap<(Space, u64), Stage>,
}

/// Where something could not be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Suspects {
    /// Rows whose bytes were wrong.
    pub(super) rows: BTreeSet<(Space, Bytes)>,
    /// Trees of which it is not known where the damage is.
    pub(super) trees: BTreeSet<Space>,
}

/// How far a damaged table is.
#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// These ranges of rows cannot be read.
    Found(Vec<RowRange>),
    /// They were told.
    Told(Vec<RowRange>),
    /// They are noted as lost.
    Noted(Vec<RowRange>),
}

impl Casualties {
    /// A row could not be read. Says whether that is new.
    pub(super) fn suspect_row(&self, space: Space, key: &[u8]) -> bool {
        let rows = &mut self.lock().suspects.rows;
        rows.len() < MOST_ROWS && rows.insert((space, Bytes::copy_from_slice(key)))
    }

    /// Something in a tree could not be read.
    pub(super) fn suspect_tree(&self, space: Space) {
        self.lock().suspects.trees.insert(space);
    }

    /// The suspects since the last call.
    pub(super) fn take_suspects(&self) -> Suspects {
        std::mem::take(&mut self.lock().suspects)
    }

    /// A table is not what was written, and in these ranges its rows cannot be read. Rows of data are told to the node
    /// first; nobody misses others.
    pub(super) fn found(&self, space: Space, table: u64, lost: Vec<RowRange>) {
        let is_missed = space == Space::Data && !lost.is_empty();
        let stage = if is_missed { Stage::Found(lost) } else { Stage::Noted(lost) };
        self.lock().damaged.insert((space, table), stage);
    }

    /// Whether a table is known to be damaged.
    pub(super) fn knows(&self, space: Space, table: u64) -> bool {
        self.lock().damaged.contains_key(&(space, table))
    }

    /// The ranges that were not told yet.
    pub(super) fn tell(&self) -> Vec<RowRange> {
        let mut told = Vec::new();
        for stage in self.lock().damaged.values_mut() {
            if let Stage::Found(lost) = stage {
                told.extend(lost.iter().cloned());
                *stage = Stage::Told(std::mem::take(lost));
            }
        }
        told
    }

    /// The ranges told so far are noted durably.
    pub(super) fn noted(&self) {
        for stage in self.lock().damaged.values_mut() {
            if let Stage::Told(lost) = stage {
                *stage = Stage::Noted(std::mem::take(lost));
            }
        }
    }

    /// The tables to be mended, and which of their rows may be lost.
    pub(super) fn to_mend(&self) -> Vec<(Space, u64, Vec<RowRange>)> {
        let state = self.lock();
        let noted = state.damaged.iter().filter_map(|((space, table), stage)| match stage {
            Stage::Noted(lost) => Some((*space, *table, lost.clone())),
            _ => None,
        });
        noted.collect()
    }

    /// A table is mended, or is not there any more.
    pub(super) fn forget(&self, space: Space, table: u64) {
        self.lock().damaged.remove(&(space, table));
    }

    /// Tables that are damaged and not mended.
    pub(super) fn count(&self) -> usize {
        self.lock().damaged.len()
    }

    /// Whether one of them is in a tree.
    pub(super) fn is_in(&self, space: Space) -> bool {
        self.lock().damaged.keys().any(|(of, _)| *of == space)
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_mended_before_it_is_noted_as_lost() {
        let casualties = Casualties::default();
        let lost = vec![RowRange::new("b", Some("c".into()))];
        casualties.found(Space::Data, 7, lost.clone());
        casualties.found(Space::Hints, 8, lost.clone());
        casualties.found(Space::Data, 9, Vec::new());
        let numbers = || casualties.to_mend().into_iter().map(|(_, table, _)| table).collect::<Vec<_>>();
        assert_eq!(numbers(), [9, 8], "no row of data is missing in these");
        casualties.noted();
        assert_eq!(numbers(), [9, 8], "nobody was told");
        assert_eq!((casualties.tell(), casualties.tell()), (lost.clone(), Vec::new()));
        assert_eq!(numbers(), [9, 8]);
        casualties.noted();
        assert_eq!(casualties.to_mend()[0], (Space::Data, 7, lost));
        casualties.forget(Space::Data, 7);
        assert!(
            casualties.count() == 2 && casualties.is_in(Space::Data) && !casualties.knows(Space::Data, 7)
        );
    }

    #[test]
    fn a_row_is_suspected_once_and_so_many_at_most() {
        let casualties = Casualties::default();
        let rows = || {
            (0..=MOST_ROWS as u64).filter(|n| casualties.suspect_row(Space::Data, &n.to_be_bytes())).count()
        };
        assert_eq!((rows(), rows()), (MOST_ROWS, 0));
        casualties.suspect_tree(Space::Hints);
        let suspects = casualties.take_suspects();
        assert_eq!((suspects.rows.len(), suspects.trees.len()), (MOST_ROWS, 1));
        assert_eq!(casualties.take_suspects(), Suspects::default());
    }
}
