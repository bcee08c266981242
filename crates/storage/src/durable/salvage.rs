//! Tables that cannot be opened, or not compacted, are made anew from what can be read of them.
//!
//! The readable rows of every table file go into a new tree, the newest version of each; the old tree is set aside as
//! `NAMESPACE.damaged`. A row whose newest version was in the unreadable part comes back in an older version, or a
//! deleted one comes back: the caller must know that this replica has lost something ([`super::OpenReport`]), and merge
//! the rows with those of other replicas.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use lsm_tree::{AbstractTree, Cache, Checksum, InternalValue, Slice, Table};

use super::tree::Tree;
use super::trees::Shared;
use super::{damage, failure};
use crate::batch::Namespace;
use crate::directory::{remove_tree, sync_directory};
use crate::error::StorageError;
use crate::graves::Graves;
use crate::range::successor;
use crate::row;

/// What a rebuild found. Whether there were other files nobody can tell: a rebuild always counts as a loss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Table files read from end to end.
    pub whole_tables: usize,
    /// Table files with a part that cannot be read, or all of it.
    pub damaged_tables: usize,
    /// Rows kept.
    pub rows: u64,
}

/// Rebuilds the tree in `dir`, and returns it opened.
pub(super) fn rebuild(
    dir: &Path,
    namespace: Namespace,
    shared: &Shared,
    graves: Arc<RwLock<Graves>>,
) -> Result<(Tree, Salvage), StorageError> {
    let failed = StorageError::during("rebuilding damaged tables");
    let (site, aside) = (dir.with_extension("rebuilt"), dir.with_extension("damaged"));
    remove_tree(&site).map_err(&failed)?;
    if dir.exists() {
        remove_tree(&aside).map_err(&failed)?;
        fs::rename(dir, &aside).map_err(&failed)?;
    }
    let mut salvage = Salvage::default();
    let sources = open_tables(&aside.join("tables"), &mut salvage).map_err(&failed)?;
    let fresh = Tree::open(&site, namespace, shared, graves.clone());
    let fresh = fresh.map_err(|error| failure::of_write(&error))?;
    copy(sources, &fresh, &mut salvage).map_err(|error| failure::of_write(&error))?;
    drop(fresh);
    fs::rename(&site, dir).map_err(&failed)?;
    sync_directory(dir.parent().unwrap_or(dir)).map_err(&failed)?;
    let tree = Tree::open(dir, namespace, shared, graves).map_err(|error| failure::of_write(&error))?;
    Ok((tree, salvage))
}

/// Whether a rebuild of the tree in `dir` was begun and not finished.
pub(super) fn is_interrupted(dir: &Path) -> bool {
    !dir.exists() && dir.with_extension("damaged").exists()
}

fn open_tables(dir: &Path, salvage: &mut Salvage) -> std::io::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let cache = Arc::new(Cache::with_capacity_bytes(1 << 20));
    let files = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(sources),
        files => files?,
    };
    for (number, entry) in files.enumerate() {
        let (path, cache) = (entry?.path(), cache.clone());
        // The library asserts some properties of its files; a damaged one must not look like a bug of ours.
        match catch_unwind(AssertUnwindSafe(|| open_table(path, number as u64, cache))) {
            Ok(Ok(table)) => sources.push(Source::new(table)),
            _ => salvage.damaged_tables += 1,
        }
    }
    Ok(sources)
}

/// A table by itself. Its checksum of the whole is not needed: every block has one.
fn open_table(path: PathBuf, number: u64, cache: Arc<Cache>) -> lsm_tree::Result<Table> {
    Table::recover(path, Checksum::from_raw(0), 0, number, cache, None, false, false)
}

/// Merges what the sources have, the newest version of each row, into the tables of a new tree.
fn copy(sources: Vec<Source>, fresh: &Tree, salvage: &mut Salvage) -> lsm_tree::Result<()> {
    let mut merge = Merge::new(sources, fresh.namespace);
    let newest = std::iter::from_fn(|| merge.next_newest());
    let rows = newest.filter(|entry| !entry.is_tombstone()).inspect(|_| salvage.rows += 1).map(Ok);
    if let Some((tables, blobs)) = fresh.tree.flush_to_tables(rows)? {
        fresh.tree.register_tables(&tables, blobs.as_deref(), None, &[], 0)?;
    }
    let damaged = merge.sources.iter().filter(|source| source.is_damaged).count();
    salvage.damaged_tables += damaged;
    salvage.whole_tables += merge.sources.len() - damaged;
    Ok(())
}

/// A table whose readable entries are taken one after another.
struct Source {
    table: Table,
    entries: Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>>>,
    reached: Bytes,
    is_damaged: bool,
}

impl Source {
    fn new(table: Table) -> Self {
        let entries = Box::new(table.iter());
        Self { table, entries, reached: Bytes::new(), is_damaged: false }
    }

    fn next(&mut self) -> Option<InternalValue> {
        loop {
            match self.entries.next()? {
                Ok(entry) => {
                    self.reached = successor(&entry.key.user_key);
                    return Some(entry);
                }
                Err(_) => self.step_over(),
            }
        }
    }

    fn step_over(&mut self) {
        self.is_damaged = true;
        let readable = |key: &Bytes| !matches!(self.from(key).next(), Some(Err(_)));
        self.entries = match damage::next_readable(&self.reached, |_| true, readable) {
            Some(next) => self.from(&next),
            None => Box::new(std::iter::empty()),
        };
    }

    fn from(&self, key: &Bytes) -> Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>>> {
        Box::new(self.table.range(Slice::from(key.clone())..))
    }
}

/// Entries of several tables in the order of their keys, newest first.
struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
    last: Option<Slice>,
    namespace: Namespace,
}

/// The next entry of a source; the greatest head comes first.
struct Head {
    entry: InternalValue,
    source: usize,
}

impl Merge {
    fn new(mut sources: Vec<Source>, namespace: Namespace) -> Self {
        let heads = sources.iter_mut().enumerate();
        let heads = heads.filter_map(|(source, s)| Some(Head { entry: s.next()?, source })).collect();
        Self { sources, heads, last: None, namespace }
    }

    fn next_newest(&mut self) -> Option<InternalValue> {
        loop {
            let Head { entry, source } = self.heads.pop()?;
            self.heads.extend(self.sources[source].next().map(|entry| Head { entry, source }));
            if !self.is_sound(&entry) {
                self.sources[source].is_damaged = true;
                continue;
            }
            if self.last.as_ref() != Some(&entry.key.user_key) {
                self.last = Some(entry.key.user_key.clone());
                return Some(entry);
            }
        }
    }
}

impl Merge {
    /// A row that rotted where the library could not see it gives way to an older version.
    fn is_sound(&self, entry: &InternalValue) -> bool {
        let stored = || Bytes::from(entry.value.clone());
        entry.is_tombstone() || row::decode(self.namespace, &entry.key.user_key, stored()).is_ok()
    }
}

impl Head {
    fn rank(&self) -> (Reverse<&[u8]>, u64) {
        (Reverse(&self.entry.key.user_key), self.entry.key.seqno)
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Head {}
