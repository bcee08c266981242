//! The contract of a store.

use bytes::Bytes;

use crate::batch::{Batch, Namespace};
use crate::error::StorageError;
use crate::range::{KeyRange, successor};

/// Durable ordered bytes. Calls may come from several threads; commits take turns.
///
/// A read that begins after a commit has returned sees all of it. A read that overlaps a commit may see any
/// part of it.
pub trait Engine: Send + Sync {
    /// Group commit: all batches, in order, are durable as asked, with one fsync, and visible to every later
    /// read when this returns. Each survives a crash whole or not at all. A [`Durability::Synced`] commit also
    /// makes every earlier buffered one durable; without batches it does only that.
    ///
    /// # Errors
    /// [`StorageError::KeyLength`] and [`StorageError::ValueLength`] refuse the group before anything is
    /// written. Any other error poisons the engine: whether the batches survive is unknown until it is opened
    /// again, and every later call answers [`StorageError::Poisoned`].
    fn commit(&self, batches: &[Batch], durability: Durability) -> Result<(), StorageError>;

    /// The value of one row, if the row exists.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the row's bytes are not those that were written; other rows still answer.
    fn get(&self, namespace: Namespace, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Rows of `range` in key order, as many as `limit` allows.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if there is damage before the page is full: a page never ends early without
    /// saying so. The error names the key from which on nothing could be read.
    fn scan(&self, namespace: Namespace, range: &KeyRange, limit: ScanLimit) -> Result<Page, StorageError>;

    /// How much the engine holds at the moment. Answers zeros when poisoned or closed.
    fn sizes(&self) -> Sizes;

    /// Makes everything durable and lets go of the data directory. Every later call answers
    /// [`StorageError::Closed`]. Closing twice is fine.
    ///
    /// # Errors
    /// If the last fsync fails, or the engine was poisoned before.
    fn close(&self) -> Result<(), StorageError>;
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: survives a power cut.
    #[default]
    Synced,
    /// With the operating system: survives the end of this process, but not a power cut until a later synced
    /// commit.
    Buffered,
}

/// Where a page ends. A page has at least one row if its range has any, however large that row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimit {
    /// Most rows.
    pub rows: usize,
    /// Most bytes of keys and values.
    pub bytes: usize,
}

/// One step of a scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values in key order.
    pub rows: Vec<(Bytes, Bytes)>,
    /// Where to go on ([`KeyRange::resume`]) when a limit ended the page; none at the end of the range. The
    /// page after a full one may turn out empty.
    pub next: Option<Bytes>,
}

/// What an engine holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes on disk: tables and log, with what compaction has yet to drop.
    pub disk_bytes: u64,
    /// Of these, bytes of the log, as allocated: what the next open must read.
    pub log_bytes: u64,
    /// Bytes of rows in memory that no table holds yet.
    pub unflushed_bytes: u64,
    /// Write buffers that wait to become tables; commits wait when they pile up.
    pub flush_backlog: usize,
}

impl Page {
    /// One page of `rows`, which come in key order.
    pub(crate) fn fill(
        limit: ScanLimit,
        rows: impl Iterator<Item = Result<(Bytes, Bytes), StorageError>>,
    ) -> Result<Self, StorageError> {
        let mut page = Self::default();
        let mut bytes = 0;
        for row in rows {
            let (key, value) = row?;
            bytes += key.len() + value.len();
            if bytes > limit.bytes && !page.rows.is_empty() {
                page.next = Some(key);
                break;
            }
            // The row after the last one is not looked at: its damage is the next page's error.
            let last = page.rows.len() + 1 >= limit.rows;
            page.next = last.then(|| successor(&key));
            page.rows.push((key, value));
            if last {
                break;
            }
        }
        Ok(page)
    }
}
