//! The store on disk: the `fjall` library, with what it leaves to its user.
//!
//! What is done here and why:
//! - Only `OwnedWriteBatch` writes, because it syncs the log before rows become visible.
//! - A group is one such batch: one fsync, and all of it or nothing survives.
//! - The library makes a commit wait for its background threads without asking whether they still live. So a
//!   commit waits here first, while the backlog is still below the library's own thresholds, and stops waiting
//!   when those threads have failed (`wait_for_room`).
//! - Keys and small values are copied on their way in and out, so that neither a write buffer keeps a caller's
//!   network frame alive nor a cached record a whole block.
//! - A keyspace keeps the settings it was created with; those in `keyspace_settings` are part of the format.
//!
//! What the library cannot do, and this engine therefore does not promise (storage, section 3): tell a log that
//! is damaged in the middle from one that ends there (it cuts it, and acknowledged commits after the damage are
//! gone without an error), and open a log whose last, unacknowledged batch a power cut left torn in certain ways
//! (it refuses). Both need a damaged or half-written log; a killed process causes neither.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Slice,
};

use crate::batch::{Batch, Namespace, Op};
use crate::directory::{DataDirectory, DirectoryLock};
use crate::engine::{Done, Durability, Engine, Found, Page, ScanLimit, Sizes, Snapshot};
use crate::error::StorageError;
use crate::range::{KeyRange, successor};
use crate::row;

mod failure;

/// How an engine runs. May differ from open to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of table blocks kept in memory. Filled by reads; a larger one saves disk reads of rows that the
    /// record cache above does not hold.
    pub cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 32 << 20 }
    }
}

/// A store in a data directory.
pub struct DurableEngine {
    /// None once closed.
    tables: RwLock<Option<Tables>>,
    /// The first failure of a commit.
    poison: OnceLock<String>,
}

impl DurableEngine {
    /// Opens the store in `dir`, made if it is not there.
    ///
    /// # Errors
    /// [`StorageError::Locked`] if another process has it open; [`StorageError::FormatTooNew`] and
    /// [`StorageError::Foreign`], with nothing changed, if it is not for this version to open;
    /// [`StorageError::Unreadable`] if it is damaged.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StorageError> {
        let tables = Tables::open(&DataDirectory::new(dir), options)?;
        Ok(Self { tables: RwLock::new(Some(tables)), poison: OnceLock::new() })
    }

    /// Runs `work` on the tables, unless the engine is closed or poisoned.
    fn with_tables<T>(
        &self,
        work: impl FnOnce(&Tables) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.check_poison()?;
        // A panic under the lock leaves the tables as they were: they are only replaced in `close`.
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        work(tables.as_ref().ok_or(StorageError::Closed)?)
    }

    fn check_poison(&self) -> Result<(), StorageError> {
        match self.poison.get() {
            Some(cause) => Err(StorageError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Refuses all work from now on. The caller of the first failure hears of it, a later one of the poison.
    fn poison(&self, error: StorageError) -> StorageError {
        let first = self.poison.get_or_init(|| {
            tracing::error!(%error, "the store failed and refuses all further work");
            error.to_string()
        });
        match error.to_string() == *first {
            true => error,
            false => StorageError::Poisoned { cause: first.clone() },
        }
    }
}

impl Engine for DurableEngine {
    fn submit(&self, batches: Vec<Batch>, durability: Durability, done: Done) {
        let committed = row::check(&batches).and_then(|()| {
            self.with_tables(|tables| {
                let committed = tables.commit(&batches, durability);
                committed.map_err(|error| self.poison(error))
            })
        });
        done(committed);
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        Err(StorageError::Closed)
    }

    fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.with_tables(|tables| tables.get(namespace, key))
    }

    fn scan(&self, namespace: Namespace, range: &KeyRange, limit: ScanLimit) -> Result<Page, StorageError> {
        self.with_tables(|tables| tables.scan(namespace, range, limit))
    }

    fn sizes(&self) -> Sizes {
        self.with_tables(Tables::sizes).unwrap_or_default()
    }

    fn close(&self) -> Result<(), StorageError> {
        let tables = self.tables.write().unwrap_or_else(PoisonError::into_inner).take();
        self.check_poison()?;
        let synced = tables.map_or(Ok(()), |tables| tables.sync());
        synced.map_err(|error| self.poison(error))
    }
}

/// An open database. Fields drop in order: the lock goes last.
struct Tables {
    keyspaces: [Keyspace; Namespace::ALL.len()],
    database: Database,
    _lock: DirectoryLock,
}

impl Tables {
    fn open(directory: &DataDirectory, options: Options) -> Result<Self, StorageError> {
        // Before anything is touched, so that a store not meant for this version stays as it is.
        directory.has_store()?;
        directory.create()?;
        let lock = directory.lock()?;
        if !directory.has_store()? {
            let site = directory.construction_site()?;
            drop(open_database(directory, &site, options)?);
            directory.install(&site)?;
        }
        check_whole(directory)?;
        let (database, keyspaces) = open_database(directory, &directory.tables(), options)?;
        Ok(Self { keyspaces, database, _lock: lock })
    }

    fn commit(&self, batches: &[Batch], durability: Durability) -> Result<(), StorageError> {
        let count = batches.iter().map(Batch::len).sum();
        if count == 0 {
            return match durability {
                Durability::Synced => self.sync(),
                Durability::Buffered => Ok(()),
            };
        }
        self.wait_for_room()?;
        let group = OwnedWriteBatch::with_capacity(self.database.clone(), count);
        let mut group = group.durability(Some(persist_mode(durability)));
        for op in batches.iter().flat_map(Batch::ops) {
            self.stage(&mut group, op);
        }
        group.commit().map_err(failure::of_commit)
    }

    fn stage(&self, group: &mut OwnedWriteBatch, op: &Op) {
        let keyspace = self.keyspace(op.namespace());
        let key: &[u8] = op.key();
        match op.value() {
            Some(value) => group.insert(keyspace, key, row::encode(op.namespace(), key, value)),
            None => group.remove(keyspace, key),
        }
    }

    /// Waits until a commit cannot run into the library's own stalls (four sealed write buffers, 30 runs in
    /// level 0), which would never end if a background thread failed meanwhile. One commit seals at most one
    /// write buffer, besides the one whose sealing its predecessor may have asked for.
    fn wait_for_room(&self) -> Result<(), StorageError> {
        self.seal_oversized()?;
        let crowded = |keyspace: &Keyspace| {
            keyspace.tree.sealed_memtable_count() >= MAX_SEALED || keyspace.tree.l0_run_count() >= MAX_RUNS
        };
        while self.keyspaces.iter().any(crowded) {
            self.check_background()?;
            #[expect(clippy::disallowed_methods, reason = "the library offers no condition to wait for")]
            std::thread::sleep(CROWDED_PAUSE);
        }
        Ok(())
    }

    /// A full write buffer is sealed by a background thread, and grows for as long as those are busy with
    /// other things. Twice its size is enough.
    fn seal_oversized(&self) -> Result<(), StorageError> {
        for namespace in Namespace::ALL {
            let keyspace = self.keyspace(namespace);
            if keyspace.tree.active_memtable().size() > 2 * write_buffer_bytes(namespace) {
                keyspace.rotate_memtable().map_err(failure::of_commit)?;
            }
        }
        Ok(())
    }

    /// Fails if a background thread did. A buffered persist of an empty buffer does nothing but look.
    fn check_background(&self) -> Result<(), StorageError> {
        self.database.persist(PersistMode::Buffer).map_err(failure::of_commit)
    }

    fn sync(&self) -> Result<(), StorageError> {
        self.database.persist(PersistMode::SyncData).map_err(failure::of_commit)
    }

    fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        if !row::is_key(key) {
            return Ok(None);
        }
        let stored = self.keyspace(namespace).get(key);
        let stored = stored.map_err(|error| failure::of_read(namespace, key, &error))?;
        stored.map(|stored| read_row(namespace, key, stored)).transpose()
    }

    fn scan(&self, namespace: Namespace, range: &KeyRange, limit: ScanLimit) -> Result<Page, StorageError> {
        if range.is_empty() {
            return Ok(Page::default());
        }
        let keyspace = self.keyspace(namespace);
        // One snapshot for the page, given up with it: a long-lived one would keep old versions on disk.
        let snapshot = self.database.snapshot();
        let rows = match range.end() {
            Some(end) => snapshot.range(keyspace, &range.start()[..]..&end[..]),
            None => snapshot.range(keyspace, &range.start()[..]..),
        };
        let mut reached = range.start().clone();
        let rows = rows.map(|row| {
            let (key, stored) =
                row.into_inner().map_err(|error| failure::of_read(namespace, &reached, &error))?;
            reached = successor(&key);
            Ok(match read_row(namespace, &key, stored) {
                Ok(value) => Found::Row(detach(key.into()), value),
                Err(_) => Found::Damage(KeyRange::new(Bytes::copy_from_slice(&key), Some(reached.clone()))),
            })
        });
        Page::fill(limit, rows)
    }

    fn sizes(&self) -> Result<Sizes, StorageError> {
        let tables: u64 = self.keyspaces.iter().map(Keyspace::disk_space).sum();
        let log_bytes = self.database.journal_disk_space().map_err(failure::of_commit)?;
        Ok(Sizes {
            disk_bytes: tables + log_bytes,
            log_bytes,
            unflushed_bytes: self.database.write_buffer_size(),
            flush_backlog: self.database.outstanding_flushes(),
            ..Sizes::default()
        })
    }

    fn keyspace(&self, namespace: Namespace) -> &Keyspace {
        &self.keyspaces[usize::from(namespace.code())]
    }
}

type Opened = (Database, [Keyspace; Namespace::ALL.len()]);

fn open_database(directory: &DataDirectory, tables: &Path, options: Options) -> Result<Opened, StorageError> {
    let open = || {
        let database = Database::builder(tables)
            .cache_size(options.cache_bytes)
            .worker_threads(WORKERS)
            .max_journaling_size(MAX_LOG_BYTES)
            .open()?;
        let [data, hints, meta] = Namespace::ALL
            .map(|namespace| database.keyspace(namespace.name(), || keyspace_settings(namespace)));
        let keyspaces = [data?, hints?, meta?];
        Ok((database, keyspaces))
    };
    // The library asserts some properties of its files; a damaged file must not look like a bug of ours.
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(opened) => opened.map_err(|error| failure::of_open(directory.path(), &error)),
        Err(_) => Err(failure::unreadable(directory.path(), "the files contradict each other")),
    }
}

/// Refuses a store that lost a file without which the library would take part of it for new, and empty it.
fn check_whole(directory: &DataDirectory) -> Result<(), StorageError> {
    let tables = directory.tables();
    // Keyspace 0 is the library's own, the rest are numbered in the order they were created.
    let markers = (0..=Namespace::ALL.len()).map(|id| format!("keyspaces/{id}/current"));
    for marker in markers.chain(["version".into()]) {
        if !tables.join(&marker).is_file() {
            return Err(failure::unreadable(directory.path(), &format!("{marker} is missing")));
        }
    }
    Ok(())
}

/// Stored with a keyspace when it is created; a later change has no effect on it.
fn keyspace_settings(namespace: Namespace) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(write_buffer_bytes(namespace))
}

const fn write_buffer_bytes(namespace: Namespace) -> u64 {
    match namespace {
        Namespace::Data | Namespace::Hints => 16 << 20,
        Namespace::Meta => 4 << 20,
    }
}

const fn persist_mode(durability: Durability) -> PersistMode {
    match durability {
        Durability::Synced => PersistMode::SyncData,
        Durability::Buffered => PersistMode::Buffer,
    }
}

fn read_row(namespace: Namespace, key: &[u8], stored: Slice) -> Result<Bytes, StorageError> {
    row::decode(namespace, key, stored.into()).map(detach)
}

/// Frees small bytes from the block they came in; large ones have their block to themselves.
fn detach(bytes: Bytes) -> Bytes {
    if bytes.len() < BLOCK_BYTES { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// One thread for write buffers and one to compact: with a single one, a long compaction would let write
/// buffers grow. A third saved about a quarter of the CPU time of a bulk load (the first spins while the others
/// compact), and cost 20 MiB and longer waits of the slowest commits.
const WORKERS: usize = 2;
/// Log size from which on idle namespaces are flushed too, so that old segments can go.
const MAX_LOG_BYTES: u64 = 128 << 20;
const MAX_SEALED: usize = 2;
const MAX_RUNS: usize = 20;
const CROWDED_PAUSE: Duration = Duration::from_millis(1);
/// Block size of the tables.
const BLOCK_BYTES: usize = 4 << 10;

#[cfg(test)]
pub(crate) mod tests;
