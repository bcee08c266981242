//! Tables that are damaged, so that they cannot be opened or not compacted, are made anew from what can be read of them.
//!
//! The readable rows of every table file go into a new tree, the newest version of each; the old tree is set aside as
//! `NAMESPACE.ruin-1`, or the next such name. A row whose newest version was in the damaged part comes back in an older
//! version, or a deleted one comes back: the caller must know that this replica has lost something
//! ([`super::OpenReport`]), and merge the rows with those of other replicas. A failed read is no damage:
//! a rebuild that meets it ends without having changed anything.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeSet, BinaryHeap};
use std::fs;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use lsm_tree::{AbstractTree, Cache, Checksum, InternalValue, Slice, Table, ValueType};

use super::failure::Reason;
use super::shared::Shared;
use super::tree::Tree;
use super::{damage, failure, mending};
use crate::Space;
use crate::directory::{remove_tree, sync_directory};
use crate::error::StorageError;
use crate::files::Patience;
use crate::{row, ruins};
use starling_types::row::{RowRange, successor};

/// The findings of a rebuild. Whether there were other files cannot be told: a rebuild always counts as a loss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Salvage {
    /// Table files read from end to end.
    pub whole_tables: usize,
    /// Table files with a part that cannot be read, or all of it.
    pub damaged_tables: usize,
    /// Rows kept.
    pub rows: u64,
}

/// How the tables of a rebuild are read.
#[derive(Clone)]
pub(super) struct Reading {
    /// How often what cannot be read is tried again.
    pub(super) patience: Patience,
    /// Files of which a person has given up what cannot be read.
    pub(super) given_up: BTreeSet<PathBuf>,
}

/// A tree that was made anew, to take the place of the one in `dir`.
pub(super) struct Rebuilt {
    dir: PathBuf,
    finished: PathBuf,
    pub(super) salvage: Salvage,
}

impl Rebuilt {
    /// Makes it, from what can be read of the tree in `dir`, which is not touched.
    ///
    /// # Errors
    /// [`StorageError::ReadFailed`] if the disk does not give some of that; if the new tables cannot be written.
    pub(super) fn make(
        dir: &Path,
        namespace: Space,
        shared: &Shared,
        reading: &Reading,
    ) -> Result<Self, StorageError> {
        let failed = StorageError::during("rebuilding damaged tables");
        let (site, finished) = (dir.with_extension("rebuilding"), dir.with_extension("rebuilt"));
        remove_tree(&site).map_err(&failed)?;
        if is_interrupted(dir) {
            let salvage = Salvage::default();
            return Ok(Self { dir: dir.into(), finished, salvage });
        }
        remove_tree(&finished).map_err(&failed)?;
        let mut salvage = Salvage::default();
        let made = make_in(&site, dir, namespace, shared, reading, &mut salvage);
        if let Err(error) = made {
            // It would only take room.
            let _ = remove_tree(&site);
            return Err(error);
        }
        fs::rename(&site, &finished).map_err(&failed)?;
        sync_directory(dir.parent().unwrap_or(dir)).map_err(&failed)?;
        Ok(Self { dir: dir.into(), finished, salvage })
    }

    /// Sets the old tree aside, and puts the new one in its place.
    pub(super) fn install(self) -> Result<(), StorageError> {
        let install = || {
            if self.dir.exists() {
                ruins::set_aside(&self.dir)?;
            }
            fs::rename(&self.finished, &self.dir)?;
            sync_directory(self.dir.parent().unwrap_or(&self.dir))
        };
        install().map_err(StorageError::during("putting rebuilt tables in their place"))
    }
}

/// Shows the newest whole version of every row in the tables of the tree in `dir`. Changes nothing.
pub(super) fn read<E: From<StorageError>>(
    dir: &Path,
    namespace: Space,
    show: &mut dyn FnMut(Bytes, Bytes) -> Result<(), E>,
) -> Result<Salvage, E> {
    let mut salvage = Salvage::default();
    let reading = Reading { patience: Patience::default(), given_up: BTreeSet::new() };
    let mut merge = Merge::new(open_tables(&dir.join("tables"), &reading, &mut salvage)?, namespace);
    while let Some(entry) = merge.next_newest() {
        let key = Bytes::from(entry.key.user_key);
        if entry.key.value_type == ValueType::Value {
            let value = row::decode(namespace, &key, entry.value.into())?;
            salvage.rows += 1;
            show(key, value)?;
        }
    }
    merge.finish(&mut salvage)?;
    Ok(salvage)
}

/// Whether a rebuild of the tree in `dir` was finished, and not put in its place.
pub(super) fn is_interrupted(dir: &Path) -> bool {
    !dir.exists() && dir.with_extension("rebuilt").exists()
}

fn make_in(
    site: &Path,
    dir: &Path,
    namespace: Space,
    shared: &Shared,
    reading: &Reading,
    salvage: &mut Salvage,
) -> Result<(), StorageError> {
    let sources = open_tables(&dir.join("tables"), reading, salvage)?;
    let fresh = Tree::open(site, namespace, shared).map_err(|error| failure::of_write(&error))?;
    copy(sources, &fresh, salvage)
}

fn open_tables(dir: &Path, reading: &Reading, salvage: &mut Salvage) -> Result<Vec<Source>, StorageError> {
    let unread = |error: std::io::Error| read_failed(dir, &error.to_string());
    let mut sources = Vec::new();
    let cache = Arc::new(Cache::with_capacity_bytes(1 << 20));
    let files = match reading.patience.try_read(|| fs::read_dir(dir)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(sources),
        files => files.map_err(unread)?,
    };
    for (number, entry) in files.enumerate() {
        let path = entry.map_err(unread)?.path();
        match try_open(&path, number as u64, &cache, reading) {
            Ok(table) => sources.push(Source::new(table, path, reading.clone())),
            Err(error) => match Reason::of(&error) {
                Reason::Unread(cause) if !reading.given_up.contains(&path) => {
                    return Err(read_failed(&path, &cause));
                }
                Reason::Later(error) => return Err(error),
                Reason::Damage(_) | Reason::Unread(_) => salvage.damaged_tables += 1,
            },
        }
    }
    Ok(sources)
}

fn read_failed(path: &Path, cause: &str) -> StorageError {
    StorageError::ReadFailed { path: path.into(), cause: cause.into() }
}

/// A table by itself, tried again as long as the disk does not give it.
pub(super) fn try_open(
    path: &Path,
    number: u64,
    cache: &Arc<Cache>,
    reading: &Reading,
) -> lsm_tree::Result<Table> {
    // The library asserts some properties of its files; a damaged one must not look like a bug of ours.
    let open = || {
        let open = || open_table(path.into(), number, cache.clone());
        catch_unwind(AssertUnwindSafe(open)).unwrap_or(Err(lsm_tree::Error::Unrecoverable))
    };
    reading.patience.try_while(|error| !matches!(Reason::of(error), Reason::Damage(_)), open)
}

/// A table by itself. Its checksum of the whole is not needed: every block has one.
fn open_table(path: PathBuf, number: u64, cache: Arc<Cache>) -> lsm_tree::Result<Table> {
    Table::recover(path, Checksum::from_raw(0), 0, number, cache, None, false, false)
}

/// Merges what the sources have, the newest version of each row, into the tables of a new tree.
fn copy(sources: Vec<Source>, fresh: &Tree, salvage: &mut Salvage) -> Result<(), StorageError> {
    let mut merge = Merge::new(sources, fresh.namespace);
    let newest = std::iter::from_fn(|| merge.next_newest());
    let rows = newest.filter(|entry| !entry.is_tombstone()).inspect(|_| salvage.rows += 1).map(Ok);
    let made = fresh.tree.flush_to_tables(rows);
    // First: what came before it is only a part.
    merge.finish(salvage)?;
    let failed = |error: lsm_tree::Error| failure::of_write(&error);
    if let Some((tables, blobs)) = made.map_err(failed)? {
        fresh.tree.register_tables(&tables, blobs.as_deref(), None, &[], 0).map_err(failed)?;
    }
    Ok(())
}

type Entries = Box<dyn Iterator<Item = lsm_tree::Result<InternalValue>>>;

/// A table whose readable entries are taken one after another.
pub(super) struct Source {
    table: Table,
    path: PathBuf,
    reading: Reading,
    entries: Entries,
    reached: Bytes,
    is_damaged: bool,
    /// Ranges of keys that were stepped over.
    gaps: Vec<RowRange>,
    /// The disk did not give something: there are no more entries, and what was taken is of no use.
    failure: Option<StorageError>,
}

impl Source {
    fn new(table: Table, path: PathBuf, reading: Reading) -> Self {
        let entries = Box::new(table.iter());
        let (reached, gaps) = (Bytes::new(), Vec::new());
        Self { table, path, reading, entries, reached, is_damaged: false, gaps, failure: None }
    }

    /// The table in one file.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if nothing of it can be read.
    pub(super) fn open(path: &Path, reading: Reading) -> Result<Self, StorageError> {
        let opened = try_open(path, 0, &Arc::new(Cache::with_capacity_bytes(1 << 20)), &reading);
        opened
            .map(|table| Self::new(table, path.into(), reading))
            .map_err(|error| mending::of_open(path, &error))
    }

    /// The ranges of keys that were stepped over.
    ///
    /// # Errors
    /// If the disk did not give something: there may be more.
    pub(super) fn into_gaps(self) -> Result<Vec<RowRange>, StorageError> {
        self.failure.map_or(Ok(self.gaps), Err)
    }

    pub(super) fn next(&mut self) -> Option<InternalValue> {
        while self.failure.is_none() {
            match self.entries.next()? {
                Ok(entry) => {
                    self.reached = successor(&entry.key.user_key);
                    return Some(entry);
                }
                Err(error) => self.get_past(&error),
            }
        }
        None
    }

    /// Steps over damage, and over what was given up; tries again what the disk did not give.
    fn get_past(&mut self, error: &lsm_tree::Error) {
        match Reason::of(error) {
            Reason::Damage(_) => self.step_over(),
            Reason::Unread(_) if self.reading.given_up.contains(&self.path) => self.step_over(),
            Reason::Unread(_) | Reason::Later(_) => {
                let retried = self.try_again();
                self.entries = match retried {
                    Ok(entries) => entries,
                    Err(error) => {
                        self.failure = Some(match Reason::of(&error) {
                            Reason::Later(error) => error,
                            Reason::Damage(cause) | Reason::Unread(cause) => read_failed(&self.path, &cause),
                        });
                        Box::new(std::iter::empty())
                    }
                };
            }
        }
    }

    /// The entries from where they ended, as soon as the first of them can be read, or is damaged.
    fn try_again(&self) -> lsm_tree::Result<Entries> {
        let may_pass = |error: &lsm_tree::Error| !matches!(Reason::of(error), Reason::Damage(_));
        let tried = self.reading.patience.try_while(may_pass, || match self.from(&self.reached).next() {
            Some(Err(error)) => Err(error),
            _ => Ok(()),
        });
        match tried {
            Err(error) if may_pass(&error) => Err(error),
            _ => Ok(self.from(&self.reached)),
        }
    }

    fn step_over(&mut self) {
        self.is_damaged = true;
        let readable = |key: &Bytes| match self.from(key).next() {
            None | Some(Ok(_)) => true,
            // That it is not given now is met when the entries come to it.
            Some(Err(error)) => match Reason::of(&error) {
                Reason::Damage(_) => false,
                _ => !self.reading.given_up.contains(&self.path),
            },
        };
        let next = damage::next_readable(&self.reached, |_| true, readable);
        self.gaps.push(RowRange::new(self.reached.clone(), next.clone()));
        self.entries = match next {
            Some(next) => {
                let entries = self.from(&next);
                self.reached = next;
                entries
            }
            None => Box::new(std::iter::empty()),
        };
    }

    fn from(&self, key: &Bytes) -> Entries {
        Box::new(self.table.range(Slice::from(key.clone())..))
    }
}

/// Entries of several tables in the order of their keys, newest first.
struct Merge {
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
    last: Option<Slice>,
    namespace: Space,
}

/// The next entry of a source; the greatest head comes first.
struct Head {
    entry: InternalValue,
    source: usize,
}

impl Merge {
    fn new(mut sources: Vec<Source>, namespace: Space) -> Self {
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
    /// Counts the tables that were read to their end, whole or damaged.
    ///
    /// # Errors
    /// If the disk did not give something: then that was not the end.
    fn finish(&mut self, salvage: &mut Salvage) -> Result<(), StorageError> {
        if let Some(failure) = self.sources.iter_mut().find_map(|source| source.failure.take()) {
            return Err(failure);
        }
        let damaged = self.sources.iter().filter(|source| source.is_damaged).count();
        salvage.damaged_tables += damaged;
        salvage.whole_tables += self.sources.len() - damaged;
        Ok(())
    }

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
