//! Tables change places: some take the place of one that holds the same keys, or more, in the same run.
//!
//! The library can add tables on top and drop those within a range of keys, which would also drop what lies on top of
//! them; it has no call for this (ADR 026). So the manifest is written here, durably, and the library is made to read it:
//! a second tree is opened on the same files, and what it found becomes the version of the first. Readers go on with what
//! they have; the files of what was replaced are removed, so that a read of an old view may find one missing, and is
//! made again on the new one ([`super::trees::Trees::get`]).

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;

use lsm_tree::{AbstractTree, Error, InternalValue, Table};

use super::manifest::{self, Entry};
use super::tree::Tree;

/// By the number of a table, those that take its place.
pub(super) type Exchanges = BTreeMap<u64, Vec<Table>>;

impl Tree {
    /// Makes tables of rows in the order of their keys, for an exchange. After a failure none of them is left.
    pub(super) fn make_for_exchange(
        &self,
        rows: impl Iterator<Item = lsm_tree::Result<InternalValue>>,
    ) -> lsm_tree::Result<Vec<Table>> {
        self.clearing_up(|| {
            let made = self.tree.flush_to_tables(rows)?;
            let tables = made.map(|(tables, _)| tables).unwrap_or_default();
            self.note_whole(&tables);
            Ok(tables)
        })
    }

    /// Puts tables in the places of others. For the thread that merges tables.
    ///
    /// # Errors
    /// With [`Tree::is_in_force`], nothing has changed; otherwise the disk has another version in force than memory.
    pub(super) fn exchange(&self, exchanges: &Exchanges) -> Result<(), Error> {
        // No table is made meanwhile, and none is registered.
        let alone = self.alone_with_files();
        let entry = |table: &Table| Entry::new(table.id(), table.checksum().into_u128());
        let places = |old| exchanges.get(&old).map(|fresh| fresh.iter().map(entry).collect());
        let former = manifest::rewrite(self.path(), places)?;
        // Another table may be damaged so that it cannot be opened: then everything stays as it was.
        let open = || self.config().open();
        let found = catch_unwind(AssertUnwindSafe(open)).unwrap_or(Err(Error::Unrecoverable));
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                former.restore(self.path())?;
                return Err(error);
            }
        };
        let before = self.tree.current_version();
        let version = found.get_version_history_lock().latest_version();
        self.tree.get_version_history_lock().replace_latest_version(version);
        drop(alone);
        self.publish_tables();
        self.close_files(before.iter_tables().map(Table::id), found.id());
        Ok(())
    }

    /// The library keeps files open by the number of the tree that opened them. Those that earlier trees did would keep
    /// the room of what is removed.
    fn close_files(&self, tables: impl Iterator<Item = u64>, newest: u64) {
        let mut openers = self.openers.lock().unwrap_or_else(PoisonError::into_inner);
        for table in tables {
            openers.iter().for_each(|opener| self.shared.files.remove_for_table(&(*opener, table).into()));
        }
        openers.push_back(newest);
        if openers.len() > MOST_OPENERS {
            // The first is the tree itself, which opens what it makes.
            openers.remove(1);
        }
    }
}

/// Trees whose files may still be open: a read that is under way opens some again.
const MOST_OPENERS: usize = 8;
