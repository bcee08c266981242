//! Damaged tables are mended while the store is open: what can be read of one takes its place, and the file is kept as a
//! ruin. The unit of damage is a table, or the blocks of it that cannot be read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use bytes::Bytes;
use lsm_tree::{AbstractTree, InternalValue, Table};
use starling_types::row::{RowRange, successor};
use xxhash_rust::xxh3::Xxh3;

use super::exchange::Exchanges;
use super::failure::{self, Reason};
use super::headroom::Volume;
use super::salvage::{Reading, Source};
use super::store::Store;
use super::tree::Tree;
use crate::Space;
use crate::directory::sync_directory;
use crate::error::StorageError;
use crate::files::Patience;
use crate::{row, ruins};

/// Works off what is suspected and what may be mended. The first failure is told, and met again when this is next done.
pub(super) fn work_off(store: &Store) -> Result<(), StorageError> {
    examine_suspects(store);
    let mut failed = Ok(());
    for (space, number, noted) in store.casualties.to_mend() {
        let tree = store.trees.of(space);
        let done = match table(tree, number) {
            Some(table) => mend(store, tree, &table, &noted),
            None => {
                store.casualties.forget(space, number);
                Ok(())
            }
        };
        if !store.casualties.is_in(space) {
            tree.health.note_mended();
        }
        failed = failed.and(done);
    }
    failed
}

fn examine_suspects(store: &Store) {
    let suspects = store.casualties.take_suspects();
    for (space, key) in &suspects.rows {
        let tree = store.trees.of(*space);
        let holders: Vec<Table> =
            tables(tree).filter(|table| table.metadata.key_range.contains_key(key)).collect();
        holders.iter().for_each(|table| examine(store, tree, table));
    }
    for space in suspects.trees {
        let tree = store.trees.of(space);
        tables(tree).for_each(|table| examine(store, tree, &table));
        if !store.casualties.is_in(space) {
            tree.health.note_mended();
        }
    }
}

fn tables(tree: &Tree) -> impl Iterator<Item = Table> + use<> {
    tree.tree.current_version().iter_tables().cloned().collect::<Vec<_>>().into_iter()
}

fn table(tree: &Tree, number: u64) -> Option<Table> {
    tables(tree).find(|table| table.id() == number)
}

/// Holds a table against its checksum.
fn examine(store: &Store, tree: &Tree, table: &Table) {
    if store.chores.is_stopped() || store.casualties.knows(tree.namespace, table.id()) {
        return;
    }
    if checksum(&table.path).is_ok_and(|sum| sum != table.checksum().into_u128()) {
        found(store, tree, table, "the file is not what was written");
    }
}

fn checksum(path: &Path) -> io::Result<u128> {
    let (mut file, mut sum, mut piece) = (File::open(path)?, Xxh3::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sum.digest128()),
            read => sum.update(&piece[..read]),
        }
    }
}

/// A table is damaged: looks for what cannot be read of it. What a node must know of itself is made anew at the next open.
pub(super) fn found(store: &Store, tree: &Tree, table: &Table, detail: &str) {
    let (namespace, number) = (tree.namespace, table.id());
    if store.casualties.knows(namespace, number) {
        return;
    }
    let mut reader = Reader::of(table, namespace);
    reader.by_ref().for_each(drop);
    let lost = match reader.finish() {
        Ok(lost) => lost,
        // The disk does not give it now: it is met again.
        Err(error) => return tracing::warn!(%error, table = number, "a damaged table could not be read"),
    };
    tracing::error!(
        %namespace, table = number, detail, unreadable_ranges = lost.len(),
        "a table is damaged: what can be read of it is kept, the rest is pulled from other owners"
    );
    if namespace == Space::Meta
        && let Err(error) = store.marks().set_damaged(namespace)
    {
        tracing::error!(%error, "the damage could not be noted");
    }
    store.casualties.found(namespace, number, lost);
    let _ = store.chores.want_compaction();
}

/// Puts what can be read of a table in its place. `noted`: the rows that are noted as lost.
fn mend(store: &Store, tree: &Tree, table: &Table, noted: &[RowRange]) -> Result<(), StorageError> {
    if tree.namespace == Space::Meta {
        return Ok(());
    }
    check_room(tree, table)?;
    let (fresh, lost) = write_anew(tree, table)?;
    if !lost.iter().all(|range| noted.iter().any(|known| known.covers(range))) {
        // More than was known: it is told first.
        remove(tree, &fresh);
        store.casualties.found(tree.namespace, table.id(), lost);
        return Ok(());
    }
    if let Err(error) = put_in_its_place(tree, table, &fresh) {
        return Err(after_failure(store, tree, &fresh, error));
    }
    store.casualties.forget(tree.namespace, table.id());
    store.count_ruins();
    tracing::warn!(
        namespace = %tree.namespace, table = table.id(), unreadable_ranges = lost.len(),
        "a damaged table is mended: its file is set aside"
    );
    Ok(())
}

/// Makes tables of what can be read of one. Says also which ranges cannot be read.
fn write_anew(tree: &Tree, table: &Table) -> Result<(Vec<Table>, Vec<RowRange>), StorageError> {
    let mut reader = Reader::of(table, tree.namespace);
    let made = tree.make_for_exchange(reader.by_ref().map(Ok));
    let fresh = made.map_err(|error| for_later(tree, failure::of_write(&error)))?;
    match reader.finish() {
        Ok(lost) => Ok((fresh, lost)),
        Err(error) => {
            remove(tree, &fresh);
            Err(error)
        }
    }
}

fn put_in_its_place(tree: &Tree, table: &Table, fresh: &[Table]) -> Result<(), StorageError> {
    let ruin = keep(tree, table).map_err(StorageError::during("keeping a damaged table"))?;
    let exchanged = tree.exchange(&Exchanges::from([(table.id(), fresh.to_vec())]));
    if exchanged.is_err() && tree.is_in_force() {
        // The table is still where it was.
        let _ = fs::remove_dir_all(&ruin);
    }
    exchanged.map_err(|error| failure::of_write(&error))
}

/// A failure before the manifest was changed leaves everything as it was; one after that, nobody knows what.
pub(super) fn after_failure(
    store: &Store,
    tree: &Tree,
    fresh: &[Table],
    error: StorageError,
) -> StorageError {
    if !tree.is_in_force() {
        return store.poison.put(error);
    }
    remove(tree, fresh);
    if !error.is_for_later() {
        // It may be another table that stands in the way.
        store.casualties.suspect_tree(tree.namespace);
    }
    for_later(tree, error)
}

/// No table in force was touched: another try may do.
fn for_later(tree: &Tree, error: StorageError) -> StorageError {
    match error {
        error if error.is_for_later() => error,
        error => StorageError::ReadFailed { path: tree.path().into(), cause: error.to_string() },
    }
}

/// Removes tables that were made in vain.
pub(super) fn remove(tree: &Tree, fresh: &[Table]) {
    for table in fresh {
        let _ = fs::remove_file(tree.table_path(table.id()));
    }
}

/// The new tables take as much as the old one at most, and that stays as a ruin.
fn check_room(tree: &Tree, table: &Table) -> Result<(), StorageError> {
    let (free, needed) = (Volume::free_in(tree.path()), table.metadata.file_size + MARGIN);
    if free >= needed {
        return Ok(());
    }
    let cause = format!(
        "a damaged table is not mended yet: that takes {needed} bytes, and {free} are free; what can be read of it is served"
    );
    Err(StorageError::NoSpace { cause })
}

/// A second name for the file, in a ruin of the tree: it stays when the tree lets go of it.
fn keep(tree: &Tree, table: &Table) -> io::Result<std::path::PathBuf> {
    let ruin = ruins::free_name(tree.path(), ruins::MARK)?;
    let place = ruin.join("tables");
    fs::create_dir_all(&place)?;
    let kept = fs::hard_link(&*table.path, place.join(table.id().to_string())).and_then(|()| {
        sync_directory(&place)?;
        sync_directory(&ruin)?;
        sync_directory(ruin.parent().unwrap_or(&ruin))
    });
    match kept {
        Ok(()) => Ok(ruin),
        Err(error) => {
            let _ = fs::remove_dir_all(&ruin);
            Err(error)
        }
    }
}

/// The readable rows of one table, in all their versions, and the ranges between them that cannot be read.
pub(super) struct Reader {
    source: Result<Source, StorageError>,
    namespace: Space,
    keys: RowRange,
    items: u64,
    read: u64,
    rotten: Vec<RowRange>,
}

impl Reader {
    pub(super) fn of(table: &Table, namespace: Space) -> Self {
        let keys = &table.metadata.key_range;
        let end = successor(&Bytes::copy_from_slice(keys.max()));
        let reading = Reading { patience: Patience::default(), given_up: BTreeSet::new() };
        Self {
            source: Source::open(&table.path, reading),
            namespace,
            keys: RowRange::new(Bytes::copy_from_slice(keys.min()), Some(end)),
            items: table.metadata.item_count,
            read: 0,
            rotten: Vec::new(),
        }
    }

    /// The ranges that could not be read.
    ///
    /// # Errors
    /// If the disk did not give something: nothing is known then.
    pub(super) fn finish(self) -> Result<Vec<RowRange>, StorageError> {
        let source = match self.source {
            Ok(source) => source,
            Err(StorageError::Corrupt { .. }) => return Ok(vec![self.keys]),
            Err(error) => return Err(error),
        };
        let mut lost = source.into_gaps()?;
        if lost.is_empty() && self.read < self.items {
            lost.push(self.keys.clone());
        }
        if self.read >= self.items {
            lost.clear();
        }
        let end = self.keys.end().cloned();
        let within = lost.into_iter().map(|gap| match gap.end() {
            Some(_) => gap,
            None => RowRange::new(gap.start().clone(), end.clone()),
        });
        Ok(within.chain(self.rotten).collect())
    }
}

impl Iterator for Reader {
    type Item = InternalValue;

    fn next(&mut self) -> Option<InternalValue> {
        loop {
            let entry = self.source.as_mut().ok()?.next()?;
            self.read += 1;
            let key = Bytes::copy_from_slice(&entry.key.user_key);
            if entry.is_tombstone() || row::decode(self.namespace, &key, entry.value.clone().into()).is_ok() {
                return Some(entry);
            }
            self.rotten.push(RowRange::row(&key));
        }
    }
}

/// Why a table cannot be opened by itself.
pub(super) fn of_open(path: &Path, error: &lsm_tree::Error) -> StorageError {
    match Reason::of(error) {
        Reason::Damage(detail) => StorageError::Corrupt { namespace: Space::Data, key: Bytes::new(), detail },
        Reason::Unread(cause) => StorageError::ReadFailed { path: path.into(), cause },
        Reason::Later(error) => error,
    }
}

/// Room for the manifest and the like.
const MARGIN: u64 = 1 << 20;
