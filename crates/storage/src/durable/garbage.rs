//! Rows that newer ones have replaced, found and dropped where they lie: on a full volume what was deleted must give its
//! space back at once, and not when so much more is written that compaction comes by.
//!
//! Ordinary compaction merges whole tables downwards, and needs as much room as it reads before it gives any back. Here
//! a table is made again without its dead rows, in the same place; if none of its rows is alive it simply goes.
//!
//! Rows in write buffers replace older ones too, as far as they are durable in the log: so that space comes back where
//! not even the deletes find room to become a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lsm_tree::table::filter::standard_bloom;
use lsm_tree::{AbstractTree, Table};

use super::exchange::Exchanges;
use super::failure::{self, Reason};
use super::headroom::Volume;
use super::mending;
use super::numbers::{NOW, view_after};
use super::published::Published;
use super::store::Store;
use super::tree::Tree;
use super::yielder::Yielder;
use crate::error::StorageError;
use starling_types::row::RowRange;

/// Tables whose rows were held against older ones since the open.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeSet<u64>);

/// The rows of a tree: those in buffers below a number are durable in the log, and newer than all in tables.
struct Rows {
    buffered: Arc<Published>,
    below: u64,
    /// The version of a key in a run is newer than those in later ones.
    runs: Vec<Vec<Table>>,
}

/// Gives back what newer rows have replaced in the tables of a tree. Says how many bytes of rows.
///
/// # Errors
/// For want of room, with what could be done without it done; as for making tables otherwise.
pub(super) fn collect(store: &Store, tree: &Tree, seen: &mut Seen) -> Result<u64, StorageError> {
    let mut rows = Rows::of(tree, view_after(store.last_applied()));
    store.sync_applied()?;
    let mut dead = BTreeMap::<u64, u64>::new();
    note_damage(store, tree, rows.count_replaced_by_buffers(&mut dead));
    for (age, table) in rows.newest_first() {
        if store.chores.is_stopped() {
            return Ok(0);
        }
        if seen.0.contains(&table.id()) || store.casualties.knows(tree.namespace, table.id()) {
            continue;
        }
        if note_damage(store, tree, rows.count_replaced(age, table, &mut dead)) {
            seen.0.insert(table.id());
        }
    }
    let freed = rows.rewrite(store, tree, &dead);
    seen.0.retain(|number| rows.holds(*number));
    freed
}

/// Damage is met, and told, by those who mend it. Says whether there was none.
fn note_damage(store: &Store, tree: &Tree, counted: Result<(), lsm_tree::Error>) -> bool {
    if let Err(error) = &counted
        && let Reason::Damage(_) = Reason::of(error)
    {
        store.casualties.suspect_tree(tree.namespace);
    }
    counted.is_ok()
}

impl Rows {
    fn of(tree: &Tree, below: u64) -> Self {
        // The buffers first: one that becomes a table in between is in both.
        let buffered = tree.published();
        Self { buffered, below, runs: runs(tree) }
    }

    fn newest_first(&self) -> impl Iterator<Item = (usize, &Table)> {
        self.runs.iter().enumerate().flat_map(|(age, run)| run.iter().map(move |table| (age, table)))
    }

    fn holds(&self, number: u64) -> bool {
        self.newest_first().any(|(_, table)| table.id() == number)
    }

    /// Adds up the bytes in tables that rows in buffers replace.
    fn count_replaced_by_buffers(&self, dead: &mut BTreeMap<u64, u64>) -> Result<(), lsm_tree::Error> {
        for buffer in self.buffered.buffers() {
            for row in buffer.rows(&RowRange::all(), self.below) {
                add_replaced(&self.runs, &row.key, dead)?;
            }
        }
        Ok(())
    }

    /// Adds up the bytes in older tables that the rows of this one replace.
    fn count_replaced(
        &self,
        age: usize,
        table: &Table,
        dead: &mut BTreeMap<u64, u64>,
    ) -> Result<(), lsm_tree::Error> {
        let older = &self.runs[age + 1..];
        if older.is_empty() {
            return Ok(());
        }
        let mut yielder = Yielder::default();
        for entry in table.iter() {
            add_replaced(older, &entry?.key.user_key, dead)?;
            yielder.row_done();
        }
        Ok(())
    }

    /// Makes the tables anew in which enough is dead, those first that take least room.
    fn rewrite(
        &mut self,
        store: &Store,
        tree: &Tree,
        dead: &BTreeMap<u64, u64>,
    ) -> Result<u64, StorageError> {
        let (mut freed, mut batch) = (0, Batch::default());
        for (alive, dead, number) in self.worthwhile(dead) {
            if store.chores.is_stopped() {
                break;
            }
            if batch.is_full(alive) {
                freed += std::mem::take(&mut batch).carry_out(store, tree)?;
                // The files of those that were exchanged are gone.
                self.runs = runs(tree);
            }
            match check_room(tree, alive).and_then(|()| self.alive_of(store, tree, number)) {
                Ok(fresh) => batch.add(number, fresh, alive, dead),
                // The tables made so far are worth to be kept.
                Err(error) => return batch.carry_out(store, tree).and(Err(error)),
            }
        }
        Ok(freed + batch.carry_out(store, tree)?)
    }

    /// Tables worth to be made anew: about how many bytes of each are alive, and how many dead.
    fn worthwhile(&self, dead: &BTreeMap<u64, u64>) -> Vec<(u64, u64, u64)> {
        let mut worth = Vec::new();
        for (_, table) in self.newest_first() {
            let (size, dead) = (table.metadata.file_size, dead.get(&table.id()).copied().unwrap_or_default());
            if dead >= (size / WORTH).min(LEAST) && dead > 0 {
                // Rows are compressed in the file: with luck it is less.
                worth.push((size.saturating_sub(dead), dead, table.id()));
            }
        }
        worth.sort_unstable();
        worth
    }

    /// Whether a buffer has a version of the row that is durable.
    fn is_buffered(&self, key: &[u8]) -> bool {
        self.buffered.buffers().iter().any(|buffer| buffer.get(key, self.below).is_some())
    }

    /// Tables of the rows of a table that nothing newer replaces.
    fn alive_of(&self, store: &Store, tree: &Tree, number: u64) -> Result<Vec<Table>, StorageError> {
        let Some((age, table)) = self.newest_first().find(|(_, table)| table.id() == number) else {
            return Ok(Vec::new());
        };
        let mut yielder = Yielder::default();
        let alive = table.iter().filter_map(|entry| {
            yielder.row_done();
            match entry.and_then(|entry| Ok((self.is_replaced(age, &entry.key.user_key)?, entry))) {
                Ok((true, _)) => None,
                Ok((false, entry)) => Some(Ok(entry)),
                Err(error) => Some(Err(error)),
            }
        });
        tree.make_for_exchange(alive).map_err(|error| {
            let read_failed = |cause| StorageError::ReadFailed { path: tree.path().into(), cause };
            match Reason::of(&error) {
                Reason::Damage(detail) => {
                    store.casualties.suspect_tree(tree.namespace);
                    read_failed(detail)
                }
                Reason::Unread(cause) => read_failed(cause),
                Reason::Later(error) => error,
            }
        })
    }

    /// Whether there is a newer version of a row than that of a run.
    fn is_replaced(&self, age: usize, key: &[u8]) -> Result<bool, lsm_tree::Error> {
        if self.is_buffered(key) {
            return Ok(true);
        }
        for holder in self.runs[..age].iter().filter_map(|run| holder(run, key)) {
            if look_up(holder, key)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn runs(tree: &Tree) -> Vec<Vec<Table>> {
    let version = tree.tree.current_version();
    let runs = version.iter_levels().flat_map(|level| level.iter());
    runs.map(|run| run.iter().cloned().collect()).collect()
}

/// Tables that are exchanged together: every exchange opens all tables of the tree once more.
#[derive(Default)]
struct Batch {
    exchanges: Exchanges,
    /// Bytes of what was made, about, and of rows that go.
    alive: u64,
    dead: u64,
}

impl Batch {
    fn is_full(&self, more: u64) -> bool {
        self.alive > 0 && self.alive + more > MOST_ALIVE || self.exchanges.len() >= MOST_TABLES
    }

    fn add(&mut self, table: u64, fresh: Vec<Table>, alive: u64, dead: u64) {
        self.exchanges.insert(table, fresh);
        self.alive += alive;
        self.dead += dead;
    }

    /// Says how many bytes of rows went.
    fn carry_out(self, store: &Store, tree: &Tree) -> Result<u64, StorageError> {
        if self.exchanges.is_empty() {
            return Ok(0);
        }
        tree.exchange(&self.exchanges).map_err(|error| {
            let fresh: Vec<Table> = self.exchanges.values().flatten().cloned().collect();
            mending::after_failure(store, tree, &fresh, failure::of_write(&error))
        })?;
        Ok(self.dead)
    }
}

/// Adds up the bytes that runs have of a key.
fn add_replaced(
    runs: &[Vec<Table>],
    key: &[u8],
    dead: &mut BTreeMap<u64, u64>,
) -> Result<(), lsm_tree::Error> {
    for holder in runs.iter().filter_map(|run| holder(run, key)) {
        if let Some(replaced) = look_up(holder, key)? {
            *dead.entry(holder.id()).or_default() += (key.len() + replaced) as u64;
        }
    }
    Ok(())
}

/// The table of a run that may hold a key.
fn holder<'a>(run: &'a [Table], key: &[u8]) -> Option<&'a Table> {
    let at = run.partition_point(|table| table.metadata.key_range.max()[..] < *key);
    run.get(at).filter(|table| table.metadata.key_range.contains_key(key))
}

/// How long the value is that a table has of a key, if it has one.
fn look_up(table: &Table, key: &[u8]) -> Result<Option<usize>, lsm_tree::Error> {
    let found = table.get(key, NOW, standard_bloom::Builder::get_hash(key))?;
    Ok(found.map(|entry| entry.value.len()))
}

fn check_room(tree: &Tree, wanted: u64) -> Result<(), StorageError> {
    let free = Volume::free_in(tree.path());
    if free >= wanted + MARGIN || wanted == 0 {
        return Ok(());
    }
    let cause =
        format!("{wanted} bytes are needed for a while to drop what was replaced, and {free} are free");
    Err(StorageError::NoSpace { cause })
}

/// A table is made anew if this part of it is dead,
const WORTH: u64 = 8;
/// or so many bytes.
const LEAST: u64 = 256 << 10;
/// Room for the manifest.
const MARGIN: u64 = 256 << 10;
/// Bytes that a batch may take before it gives any back,
const MOST_ALIVE: u64 = 32 << 20;
/// and tables in it.
const MOST_TABLES: usize = 64;
