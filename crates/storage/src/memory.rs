//! The store of the simulator: rows in ordered maps, with the crashes and faults of a disk at its user's call.
//!
//! Rows hold the newest state; beside them stands, for every batch since the last fsync, what it replaced. A
//! crash takes back the newest batches by it, so that a run of synced commits costs no memory beyond its rows.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::Page;
use crate::Space;
use crate::batch::{Batch, Op};
use crate::engine::{Done, Durability, Engine, Found, ScanLimit, Sizes, Snapshot};
use crate::error::StorageError;
use crate::range_tombstones::{RangeTombstone, RangeTombstones};
use crate::row;
use starling_types::row::{RowRange, successor};

/// A deterministic store in memory.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    disk: Mutex<Disk>,
}

/// The part that a crash leaves of the batches committed since the last fsync. All but one keep what was synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashMode {
    /// Power loss at its worst: none.
    KeepSynced,
    /// The process was killed, the machine runs on: all.
    KeepAll,
    /// Power loss: this many of the oldest.
    KeepPrefix(usize),
    /// Power loss within the last append: all but the newest, whose torn remains were cut at recovery.
    TornLast,
    /// A disk that lied about its fsyncs: none, and so many of the newest that were synced are gone as well, up to
    /// [`MemoryEngine::REMEMBERED`]. The next open notices ([`MemoryEngine::lost`]).
    LoseSynced(usize),
}

impl MemoryEngine {
    /// Synced batches that a crash may still take back.
    pub const REMEMBERED: usize = 64;

    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Batches committed since the last fsync: what [`CrashMode::KeepPrefix`] counts.
    pub fn unsynced(&self) -> usize {
        self.disk().unsynced.len()
    }

    /// Synced batches that the last crash took back, data rows among them or not.
    pub fn lost(&self) -> usize {
        self.disk().lost
    }

    /// Rows of the namespace that [`MemoryEngine::corrupt`] has damaged and no batch has written since.
    pub fn damaged(&self, namespace: Space) -> usize {
        self.disk().rows.space(namespace).values().filter(|row| row.damaged).count()
    }

    /// Another disk with what a crash would leave on this one.
    pub fn copy(&self) -> Self {
        let disk = self.disk();
        let mut copy = Disk {
            rows: disk.rows.clone(),
            row_bytes: disk.row_bytes,
            sequence: disk.sequence,
            unsynced: disk.unsynced.clone(),
            ..Disk::default()
        };
        copy.take_back_to(0);
        Self { disk: Mutex::new(copy) }
    }

    /// The store as a restart finds it: opened, its poison and a failure still to come gone, the disk's condition
    /// (damaged rows, no space) the same. This engine answers [`StorageError::Closed`] from now on.
    pub fn crash(&self, mode: CrashMode) -> Self {
        let mut disk = mem::take(&mut *self.disk());
        self.disk().state = State::Closed;
        let kept = match mode {
            CrashMode::KeepSynced | CrashMode::LoseSynced(_) => 0,
            CrashMode::KeepAll => disk.unsynced.len(),
            CrashMode::KeepPrefix(kept) => kept,
            CrashMode::TornLast => disk.unsynced.len().saturating_sub(1),
        };
        disk.take_back_to(kept);
        disk.unsynced.clear();
        disk.lost = 0;
        if let CrashMode::LoseSynced(newest) = mode {
            disk.unsynced = mem::take(&mut disk.synced).into();
            disk.lost = newest.min(disk.unsynced.len());
            disk.take_back_to(disk.unsynced.len() - disk.lost);
            disk.unsynced.clear();
        }
        disk.synced.clear();
        disk.fsync_fails = false;
        disk.state = State::Open;
        Self { disk: Mutex::new(disk) }
    }

    /// Makes the next commit write its batches and then fail in fsync: it poisons the engine, and only a crash
    /// shows how much of it was kept.
    pub fn fail_next_commit(&self) {
        self.disk().fsync_fails = true;
    }

    /// Takes [`Self::fail_next_commit`] back, if no commit has come since.
    pub fn spare_next_commit(&self) {
        self.disk().fsync_fails = false;
    }

    /// Fills the disk, or makes room again. On a full disk a commit is refused and writes nothing.
    pub fn set_no_space(&self, full: bool) {
        self.disk().full = full;
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        self.disk().full
    }

    /// Damages a row's stored bytes: it answers [`StorageError::Corrupt`] until it is written again. Says
    /// whether the row exists.
    pub fn corrupt(&self, namespace: Space, key: &[u8]) -> bool {
        let mut disk = self.disk();
        let row = disk.rows.space_mut(namespace).get_mut(key);
        row.map(|row| row.damaged = true).is_some()
    }

    /// Has the disk not give a row until [`MemoryEngine::heal`], or until it is written again: it answers
    /// [`StorageError::Unread`], and is whole. Says whether the row exists.
    pub fn hide(&self, namespace: Space, key: &[u8]) -> bool {
        let mut disk = self.disk();
        let row = disk.rows.space_mut(namespace).get_mut(key);
        row.map(|row| row.unread = true).is_some()
    }

    /// The disk gives again what it has.
    pub fn heal(&self) {
        let mut disk = self.disk();
        let rows = disk.rows.spaces.iter_mut().flat_map(BTreeMap::values_mut);
        rows.for_each(|row| row.unread = false);
    }

    fn commit_now(&self, batches: &[Batch], durability: Durability) -> Result<(), StorageError> {
        let mut disk = self.disk();
        disk.check_open()?;
        row::check(batches)?;
        disk.commit(batches, durability).inspect_err(|error| disk.fail(error))
    }

    /// No code panics while it holds the lock, and if it did the state would still be one a crash could leave.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemoryEngine {
    /// Answers before it returns.
    fn submit(&self, batches: Vec<Batch>, durability: Durability, done: Done) {
        let committed = self.commit_now(&batches, durability);
        done(committed);
    }

    fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let disk = self.disk();
        disk.check_open()?;
        disk.rows.get(namespace, key)
    }

    fn peek(&self, namespace: Space, key: &[u8]) -> Option<Result<Option<Bytes>, StorageError>> {
        Some(self.get(namespace, key))
    }

    fn scan(&self, namespace: Space, range: &RowRange, limit: ScanLimit) -> Result<Page, StorageError> {
        let disk = self.disk();
        disk.check_open()?;
        disk.rows.scan(namespace, range, limit)
    }

    /// A copy of all rows.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError> {
        let disk = self.disk();
        disk.check_open()?;
        Ok(Box::new(MemorySnapshot { rows: disk.rows.clone(), sequence: disk.sequence }))
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

struct MemorySnapshot {
    rows: Rows,
    sequence: u64,
}

impl Snapshot for MemorySnapshot {
    fn sequence(&self) -> u64 {
        self.sequence
    }

    fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        self.rows.get(namespace, key)
    }

    fn scan(&self, namespace: Space, range: &RowRange, limit: ScanLimit) -> Result<Page, StorageError> {
        self.rows.scan(namespace, range, limit)
    }
}

#[derive(Debug, Default)]
struct Disk {
    rows: Rows,
    row_bytes: u64,
    /// Batches committed since the store was made.
    sequence: u64,
    /// One per batch since the last fsync, oldest first.
    unsynced: Vec<Replaced>,
    /// The same for the newest that were synced.
    synced: VecDeque<Replaced>,
    /// Batches of those that the last crash took back.
    lost: usize,
    fsync_fails: bool,
    full: bool,
    state: State,
}

#[derive(Debug, Default, Clone)]
struct Rows {
    spaces: [BTreeMap<Bytes, Row>; Space::ALL.len()],
    tombstones: RangeTombstones,
}

/// The rows that a batch replaced, in the order of its operations.
type Replaced = Vec<(Space, Bytes, Option<Row>)>;

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
    /// The disk does not give it at present.
    unread: bool,
}

impl Disk {
    fn check_open(&self) -> Result<(), StorageError> {
        match &self.state {
            State::Open => Ok(()),
            State::Poisoned(cause) => Err(StorageError::Poisoned { cause: cause.clone() }),
            State::Closed => Err(StorageError::Closed),
        }
    }

    /// A commit that wrote nothing harms nothing.
    fn fail(&mut self, error: &StorageError) {
        if !matches!(error, StorageError::NoSpace { .. }) {
            self.state = State::Poisoned(error.to_string());
        }
    }

    fn commit(&mut self, batches: &[Batch], durability: Durability) -> Result<(), StorageError> {
        if self.full && !batches.is_empty() {
            let cause = "simulated full disk".into();
            return Err(StorageError::NoSpace { cause });
        }
        for batch in batches {
            let replaced = batch.ops().map(|op| self.apply(op)).collect();
            self.unsynced.push(replaced);
            self.sequence += 1;
        }
        if mem::take(&mut self.fsync_fails) {
            let (action, cause) = ("fsync of the log", "simulated fault".into());
            return Err(StorageError::Io { action, cause });
        }
        if durability == Durability::Synced {
            self.synced.extend(self.unsynced.drain(..));
            let old = self.synced.len().saturating_sub(MemoryEngine::REMEMBERED);
            self.synced.drain(..old);
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> (Space, Bytes, Option<Row>) {
        self.rows.tombstones.note(op);
        let (namespace, key) = (op.namespace(), op.key().clone());
        let row = op.value().map(|value| Row { value: value.clone(), damaged: false, unread: false });
        let replaced = self.set(namespace, key.clone(), row);
        (namespace, key, replaced)
    }

    fn take_back_to(&mut self, kept: usize) {
        while self.unsynced.len() > kept {
            let replaced = self.unsynced.pop().unwrap_or_default();
            self.sequence -= 1;
            for (namespace, key, row) in replaced.into_iter().rev() {
                self.set(namespace, key, row);
            }
        }
        self.rows.find_tombstones();
    }

    fn set(&mut self, namespace: Space, key: Bytes, row: Option<Row>) -> Option<Row> {
        let key_bytes = key.len();
        let size = |row: &Row| (key_bytes + row.value.len()) as u64;
        let added = row.as_ref().map_or(0, size);
        let replaced = match row {
            Some(row) => self.rows.space_mut(namespace).insert(key, row),
            None => self.rows.space_mut(namespace).remove(&key),
        };
        let removed = replaced.as_ref().map_or(0, size);
        self.row_bytes = self.row_bytes + added - removed;
        replaced
    }
}

impl Rows {
    fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let row = self.space(namespace).get(key).filter(|_| !self.tombstones.cover(namespace, key));
        row.map(|row| row.read(namespace, key)).transpose()
    }

    fn scan(&self, namespace: Space, range: &RowRange, limit: ScanLimit) -> Result<Page, StorageError> {
        if range.is_empty() {
            return Ok(Page::default());
        }
        let end = range.end().map_or(Bound::Unbounded, |end| Bound::Excluded(&**end));
        let rows = self.space(namespace).range::<[u8], _>((Bound::Included(&**range.start()), end));
        let alive = rows.filter(|(key, _)| !self.tombstones.cover(namespace, key));
        limit.page(alive.map(|(key, row)| Ok(row.find(key))))
    }

    /// After rows were taken back.
    fn find_tombstones(&mut self) {
        self.tombstones = RangeTombstones::default();
        for key in self.spaces[usize::from(Space::Meta.code())].keys() {
            if let Some(tombstone) = RangeTombstone::of_row(key) {
                self.tombstones.record(&tombstone);
            }
        }
    }

    fn space(&self, namespace: Space) -> &BTreeMap<Bytes, Row> {
        &self.spaces[usize::from(namespace.code())]
    }

    fn space_mut(&mut self, namespace: Space) -> &mut BTreeMap<Bytes, Row> {
        &mut self.spaces[usize::from(namespace.code())]
    }
}

impl Row {
    fn find(&self, key: &Bytes) -> Found {
        let range = || RowRange::new(key.clone(), Some(successor(key)));
        match (self.unread, self.damaged) {
            (true, _) => Found::Unread(range()),
            (false, true) => Found::Damage(range()),
            (false, false) => Found::Row(key.clone(), self.value.clone()),
        }
    }

    fn read(&self, namespace: Space, key: &[u8]) -> Result<Bytes, StorageError> {
        if self.unread {
            let (key, cause) = (Bytes::copy_from_slice(key), "simulated fault".into());
            return Err(StorageError::Unread { namespace, key, cause });
        }
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
