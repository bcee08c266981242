//! The store of the simulator: rows in ordered maps, with the crashes and faults of a disk at its user's call.
//!
//! Rows hold the newest state; beside them stands, for every batch since the last fsync, what it replaced. A
//! crash takes back the newest batches by it, so that a run of synced commits costs no memory beyond its rows.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::batch::{Batch, Namespace, Op};
use crate::engine::{Durability, Engine, Page, ScanLimit, Sizes};
use crate::error::StorageError;
use crate::range::KeyRange;
use crate::row;

/// A deterministic store in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    disk: Mutex<Disk>,
}

/// What a crash leaves of the batches committed since the last fsync. What was synced is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashMode {
    /// Power loss at its worst: none.
    KeepSynced,
    /// The process was killed, the machine lives: all.
    KeepAll,
    /// Power loss: this many of the oldest.
    KeepPrefix(usize),
    /// Power loss within the last append: all but the newest, whose torn remains were cut at recovery.
    TornLast,
}

impl MemoryEngine {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Batches committed since the last fsync: what [`CrashMode::KeepPrefix`] counts.
    pub fn unsynced(&self) -> usize {
        self.disk().unsynced.len()
    }

    /// The store as a restart finds it: opened, its poison and a failure still to come gone, the disk's condition
    /// (damaged rows, no space) the same. This engine answers [`StorageError::Closed`] from now on.
    pub fn crash(&self, mode: CrashMode) -> Self {
        let mut disk = mem::take(&mut *self.disk());
        self.disk().state = State::Closed;
        let kept = match mode {
            CrashMode::KeepSynced => 0,
            CrashMode::KeepAll => disk.unsynced.len(),
            CrashMode::KeepPrefix(kept) => kept,
            CrashMode::TornLast => disk.unsynced.len().saturating_sub(1),
        };
        disk.take_back_to(kept);
        disk.unsynced.clear();
        disk.fsync_fails = false;
        disk.state = State::Open;
        Self { disk: Mutex::new(disk) }
    }

    /// Makes the next commit write its batches and then fail in fsync: it poisons the engine, and only a crash
    /// shows how much of it was kept.
    pub fn fail_next_commit(&self) {
        self.disk().fsync_fails = true;
    }

    /// Fills the disk, or makes room again. On a full disk a commit fails, writes nothing and poisons the
    /// engine.
    pub fn set_no_space(&self, full: bool) {
        self.disk().full = full;
    }

    /// Damages a row's stored bytes: it answers [`StorageError::Corrupt`] until it is written again. Says
    /// whether the row exists.
    pub fn corrupt(&self, namespace: Namespace, key: &[u8]) -> bool {
        let mut disk = self.disk();
        let row = disk.rows_mut(namespace).get_mut(key);
        row.map(|row| row.damaged = true).is_some()
    }

    /// No code panics while it holds the lock, and if it did the state would still be one a crash could leave.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    fn commit(&self, batches: &[Batch], durability: Durability) -> Result<(), StorageError> {
        let mut disk = self.disk();
        disk.check_open()?;
        row::check(batches)?;
        disk.commit(batches, durability).inspect_err(|error| disk.poison(error))
    }

    fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let disk = self.disk();
        disk.check_open()?;
        let row = disk.rows(namespace).get(key);
        row.map(|row| row.read(namespace, key)).transpose()
    }

    fn scan(&self, namespace: Namespace, range: &KeyRange, limit: ScanLimit) -> Result<Page, StorageError> {
        let disk = self.disk();
        disk.check_open()?;
        if range.is_empty() {
            return Ok(Page::default());
        }
        let end = range.end().map_or(Bound::Unbounded, |end| Bound::Excluded(&**end));
        let rows = disk.rows(namespace).range::<[u8], _>((Bound::Included(&**range.start()), end));
        Page::fill(limit, rows.map(|(key, row)| Ok((key.clone(), row.read(namespace, key)?))))
    }

    fn sizes(&self) -> Sizes {
        let disk = self.disk();
        match disk.check_open() {
            Ok(()) => Sizes { disk_bytes: disk.row_bytes, ..Sizes::default() },
            Err(_) => Sizes::default(),
        }
    }

    fn close(&self) -> Result<(), StorageError> {
        let mut disk = self.disk();
        match disk.check_open() {
            Err(StorageError::Closed) => return Ok(()),
            open => open?,
        }
        let synced = disk.commit(&[], Durability::Synced);
        disk.state = State::Closed;
        synced
    }
}

#[derive(Debug, Default)]
struct Disk {
    rows: [BTreeMap<Bytes, Row>; Namespace::ALL.len()],
    row_bytes: u64,
    /// One per batch since the last fsync, oldest first.
    unsynced: Vec<Replaced>,
    fsync_fails: bool,
    full: bool,
    state: State,
}

/// What a batch replaced, in the order of its operations.
type Replaced = Vec<(Namespace, Bytes, Option<Row>)>;

#[derive(Debug, Default)]
enum State {
    #[default]
    Open,
    Poisoned(String),
    Closed,
}

#[derive(Debug, Clone)]
struct Row {
    value: Bytes,
    damaged: bool,
}

impl Disk {
    fn check_open(&self) -> Result<(), StorageError> {
        match &self.state {
            State::Open => Ok(()),
            State::Poisoned(cause) => Err(StorageError::Poisoned { cause: cause.clone() }),
            State::Closed => Err(StorageError::Closed),
        }
    }

    fn poison(&mut self, error: &StorageError) {
        self.state = State::Poisoned(error.to_string());
    }

    fn commit(&mut self, batches: &[Batch], durability: Durability) -> Result<(), StorageError> {
        if self.full && !batches.is_empty() {
            let cause = "simulated full disk".into();
            return Err(StorageError::NoSpace { cause });
        }
        for batch in batches {
            let replaced = batch.ops().map(|op| self.apply(op)).collect();
            self.unsynced.push(replaced);
        }
        if mem::take(&mut self.fsync_fails) {
            let (action, cause) = ("fsync of the log", "simulated fault".into());
            return Err(StorageError::Io { action, cause });
        }
        if durability == Durability::Synced {
            self.unsynced.clear();
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> (Namespace, Bytes, Option<Row>) {
        let (namespace, key) = (op.namespace(), op.key().clone());
        let row = op.value().map(|value| Row { value: value.clone(), damaged: false });
        let replaced = self.set(namespace, key.clone(), row);
        (namespace, key, replaced)
    }

    fn take_back_to(&mut self, kept: usize) {
        while self.unsynced.len() > kept {
            let replaced = self.unsynced.pop().unwrap_or_default();
            for (namespace, key, row) in replaced.into_iter().rev() {
                self.set(namespace, key, row);
            }
        }
    }

    fn set(&mut self, namespace: Namespace, key: Bytes, row: Option<Row>) -> Option<Row> {
        let key_bytes = key.len();
        let size = |row: &Row| (key_bytes + row.value.len()) as u64;
        let added = row.as_ref().map_or(0, size);
        let replaced = match row {
            Some(row) => self.rows_mut(namespace).insert(key, row),
            None => self.rows_mut(namespace).remove(&key),
        };
        let removed = replaced.as_ref().map_or(0, size);
        self.row_bytes = self.row_bytes + added - removed;
        replaced
    }

    fn rows(&self, namespace: Namespace) -> &BTreeMap<Bytes, Row> {
        &self.rows[usize::from(namespace.code())]
    }

    fn rows_mut(&mut self, namespace: Namespace) -> &mut BTreeMap<Bytes, Row> {
        &mut self.rows[usize::from(namespace.code())]
    }
}

impl Row {
    fn read(&self, namespace: Namespace, key: &[u8]) -> Result<Bytes, StorageError> {
        if self.damaged {
            return Err(StorageError::Corrupt {
                namespace,
                key: Bytes::copy_from_slice(key),
                detail: "simulated damage".into(),
            });
        }
        Ok(self.value.clone())
    }
}

#[cfg(test)]
mod tests;
