//! Scrubbing: all tables are read, slowly, and held against their checksums, asked for or not: a bit that rots in one
//! should be found while other nodes still have the row.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::sync::atomic::Ordering;
use std::time::Duration;

use lsm_tree::{AbstractTree, Table};
use xxhash_rust::xxh3::Xxh3;

use super::failure::Reason;
use super::mending;
use super::store::Store;
use super::tree::Tree;
use crate::Space;

/// Bytes that are read at once.
const PIECE: usize = 256 << 10;
/// The rest between two passes.
const REST: Duration = Duration::from_secs(600);

/// Reads all tables again and again, `rate` bytes a second.
pub(super) fn scrub(store: &Store, rate: u64) {
    let mut scrubber = Scrubber { store, rate, known: BTreeSet::new() };
    while !store.chores.is_stopped() {
        store.trees.iter().for_each(|tree| scrubber.pass(tree));
        store.scrubbed.passes.fetch_add(1, Ordering::Relaxed);
        store.chores.pause(REST);
    }
}

pub(super) struct Scrubber<'a> {
    store: &'a Store,
    rate: u64,
    /// Tables that are known to be damaged.
    known: BTreeSet<(Space, u64)>,
}

impl Scrubber<'_> {
    /// Reads every table of a tree once, in the order of their numbers, those included that are made meanwhile.
    fn pass(&mut self, tree: &Tree) {
        let mut next = 0;
        while let Some(table) = table_from(tree, next) {
            next = table.id() + 1;
            if !self.known.contains(&(tree.namespace, table.id())) {
                self.verify(tree, &table);
            }
            if self.store.chores.is_stopped() {
                return;
            }
        }
        let version = tree.tree.current_version();
        let is_there = |number| version.iter_tables().any(|table| table.id() == number);
        self.store.unread.retain(tree.namespace, is_there);
    }

    fn verify(&mut self, tree: &Tree, table: &Table) {
        let read = self.checksum(table).map_err(|error| Reason::of(&lsm_tree::Error::Io(error)));
        let is_unread = matches!(read, Err(Reason::Unread(_)));
        self.store.unread.note_table(tree.namespace, table.id(), is_unread);
        let found = match read {
            Ok(Some(sum)) if sum != table.checksum().into_u128() => {
                "the file is not what was written".to_owned()
            }
            Ok(_) => return,
            Err(Reason::Damage(damage)) => damage,
            // The next pass tries again.
            Err(reason) => {
                return tracing::warn!(?reason, table = table.id(), "a table could not be read");
            }
        };
        self.known.insert((tree.namespace, table.id()));
        mending::found(self.store, tree, table, &found);
    }

    /// None: the store is closed.
    fn checksum(&self, table: &Table) -> io::Result<Option<u128>> {
        let mut file = File::open(&*table.path)?;
        let (mut sum, mut piece) = (Xxh3::new(), vec![0; PIECE]);
        loop {
            let read = file.read(&mut piece)?;
            if read == 0 {
                return Ok(Some(sum.digest128()));
            }
            sum.update(&piece[..read]);
            self.store.scrubbed.bytes.fetch_add(read as u64, Ordering::Relaxed);
            self.store.chores.pause(Duration::from_secs_f64(read as f64 / self.rate as f64));
            if self.store.chores.is_stopped() {
                return Ok(None);
            }
        }
    }
}

/// The table with the lowest number from `first` on.
fn table_from(tree: &Tree, first: u64) -> Option<Table> {
    let version = tree.tree.current_version();
    version.iter_tables().filter(|table| table.id() >= first).min_by_key(|table| table.id()).cloned()
}

#[cfg(test)]
pub(super) fn once(store: &Store) {
    let mut scrubber = Scrubber { store, rate: u64::MAX, known: BTreeSet::new() };
    store.trees.iter().for_each(|tree| scrubber.pass(tree));
}
