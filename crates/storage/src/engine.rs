//! The contract of a store.

use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;

use crate::batch::Batch;
use crate::error::StorageError;
use starling_types::row::{Page, RowRange, Space, successor};

/// Called once, with what became of a submission.
pub type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// Durable ordered bytes. Calls may come from several threads.
///
/// A read that begins after a commit was answered sees all of it. A read that overlaps a commit may see any part of
/// it; a [`Snapshot`] sees each batch whole or not at all.
pub trait Engine: Send + Sync {
    /// Hands batches over for commit, in order, and returns at once (it waits only while more is queued than the
    /// engine bounds). `done` is called from a thread of the engine when all of them are durable as asked and visible
    /// to every later read; submissions are answered in the order in which they were made, but that one which cannot be
    /// taken is refused at once. Each batch survives a crash
    /// whole or not at all. A [`Durability::Synced`] submission also makes every earlier buffered one durable; without
    /// batches it does only that.
    ///
    /// # Errors
    /// [`StorageError::KeyLength`], [`StorageError::ValueLength`], [`StorageError::NoSpace`] and
    /// [`StorageError::Scarce`] refuse the submission whole, before anything is written; the engine goes on. Any other
    /// error poisons the engine: whether the batches
    /// survive is unknown until it is opened again, and every later call answers [`StorageError::Poisoned`].
    fn submit(&self, batches: Vec<Batch>, durability: Durability, done: Done);

    /// [`Engine::submit`], with a ticket to wait for.
    fn stage(&self, batches: Vec<Batch>, durability: Durability) -> Ticket {
        let (answer, answered) = sync_channel(1);
        // A caller that no longer waits does not want to know.
        self.submit(batches, durability, Box::new(move |result| drop(answer.send(result))));
        Ticket(answered)
    }

    /// [`Engine::submit`], waiting for the answer.
    ///
    /// # Errors
    /// As there.
    fn commit(&self, batches: &[Batch], durability: Durability) -> Result<(), StorageError> {
        self.stage(batches.to_vec(), durability).wait()
    }

    /// The value of one row, if the row exists.
    ///
    /// # Errors
    /// [`StorageError::Corrupt`] if the row's bytes are not those that were written, [`StorageError::Unread`] if the
    /// disk did not give them; other rows still answer.
    fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// As [`Engine::get`], if memory alone can tell. It never waits for the disk.
    fn peek(&self, _namespace: Space, _key: &[u8]) -> Option<Result<Option<Bytes>, StorageError>> {
        None
    }

    /// [`Engine::get`] for several rows; the answers in the order of the keys.
    fn multi_get(&self, namespace: Space, keys: &[Bytes]) -> Vec<Result<Option<Bytes>, StorageError>> {
        keys.iter().map(|key| self.get(namespace, key)).collect()
    }

    /// Rows of `range` in key order, as many as `limit` allows. Damage does not end a page: what could not be read is
    /// named in it, and the rows beyond follow.
    ///
    /// # Errors
    /// If the engine is closed or poisoned, or the system is short of something.
    fn scan(&self, namespace: Space, range: &RowRange, limit: ScanLimit) -> Result<Page, StorageError>;

    /// The state as of now, for reads that must agree with each other. As long as it is held it keeps old versions on
    /// disk: give it up within seconds.
    ///
    /// # Errors
    /// If the engine is closed or poisoned.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StorageError>;

    /// The number of the last batch that reads see, counted as [`Snapshot::sequence`] does; 0 when poisoned or closed.
    fn sequence(&self) -> u64 {
        self.snapshot().map_or(0, |snapshot| snapshot.sequence())
    }

    /// How much the engine holds at the moment. Answers zeros when poisoned or closed.
    fn sizes(&self) -> Sizes;

    /// Finishes what was submitted, makes everything durable and lets go of the data directory. Every later call
    /// answers [`StorageError::Closed`]. Closing twice is fine.
    ///
    /// # Errors
    /// If the last fsync fails, or the engine was poisoned before.
    fn close(&self) -> Result<(), StorageError>;
}

/// All rows as they were at one moment, between two batches. It must not be used when its engine is closed: it may answer
/// [`StorageError::Closed`] then.
pub trait Snapshot: Send {
    /// Commits before this moment are in it: the number of the last batch, counted from 1 since the store was made.
    fn sequence(&self) -> u64;

    /// As [`Engine::get`].
    ///
    /// # Errors
    /// As there.
    fn get(&self, namespace: Space, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// As [`Engine::scan`].
    ///
    /// # Errors
    /// As there.
    fn scan(&self, namespace: Space, range: &RowRange, limit: ScanLimit) -> Result<Page, StorageError>;
}

/// The promise of an answer to a submission.
#[derive(Debug)]
#[must_use = "a submission may fail"]
pub struct Ticket(Receiver<Result<(), StorageError>>);

impl Ticket {
    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Engine::submit`] says.
    pub fn wait(self) -> Result<(), StorageError> {
        self.0.recv().unwrap_or(Err(StorageError::Closed))
    }
}

/// How durable a batch is when its commit is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// On the disk: survives a power cut.
    #[default]
    Synced,
    /// With the operating system: survives the end of this process, but not a power cut until a later synced
    /// commit.
    Buffered,
}

/// Where a page ends. A page has at least one row if its range has any that can be read, however large that row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimit {
    /// Most rows.
    pub rows: usize,
    /// Most bytes of keys and values.
    pub bytes: usize,
}

/// How much an engine holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes on disk: tables and log, with what compaction has yet to drop.
    pub disk_bytes: u64,
    /// Of these, bytes of the log, as allocated: what the next open must read.
    pub log_bytes: u64,
    /// Bytes of rows in memory that no table holds yet.
    pub unflushed_bytes: u64,
    /// How many write buffers the rows would fill that no table holds yet: commits are slowed down when they pile up.
    pub flush_backlog: usize,
    /// L0 runs, runs of tables that compaction has not merged yet, of the tree that has most: commits are slowed down
    /// when they pile up, and refused when they cannot be merged.
    pub l0_runs: usize,
    /// Whether tables cannot be made or merged for want of space, when last tried.
    pub is_short_of_space: bool,
    /// Bytes of table blocks in memory.
    pub cache_bytes: u64,
    /// Bytes of tables that were read and verified in the background since the open.
    pub scrubbed_bytes: u64,
    /// How often that was done with all tables.
    pub scrub_passes: u64,
    /// Namespaces in whose tables damage was found since the open: the next open rebuilds them.
    pub damaged_tables: usize,
    /// Tables that the disk did not give when they were last asked for: they are left as they are, and asked for again.
    pub unread_tables: usize,
    /// Reads of rows and ranges since the open that the disk did not give.
    pub read_failures: u64,
    /// Files and directories of which something was lost, set aside in the data directory.
    pub ruins: usize,
}

/// One finding of a scan.
pub(crate) enum Found {
    /// A row.
    Row(Bytes, Bytes),
    /// Damage.
    Damage(RowRange),
    /// A range that the disk did not give.
    Unread(RowRange),
}

impl ScanLimit {
    /// One page of what a walk finds, in key order.
    pub(crate) fn page(
        self,
        walk: impl Iterator<Item = Result<Found, StorageError>>,
    ) -> Result<Page, StorageError> {
        let mut page = Page::default();
        let mut bytes = 0;
        for found in walk {
            let (key, value) = match found? {
                Found::Row(key, value) => (key, value),
                Found::Damage(range) => {
                    page.damaged.push(range);
                    continue;
                }
                Found::Unread(range) => {
                    page.unread.push(range);
                    continue;
                }
            };
            bytes += key.len() + value.len();
            if bytes > self.bytes && !page.rows.is_empty() {
                page.next = Some(key);
                break;
            }
            // The walk does not look beyond the last row: damage there is the next page's.
            let last = page.rows.len() + 1 >= self.rows;
            page.next = last.then(|| successor(&key));
            page.rows.push((key, value));
            if last {
                break;
            }
        }
        Ok(page)
    }
}
