//! The view of a tree's readers: write buffers over tables. The library keeps which tables there are behind a lock of
//! its own and holds that while it syncs a manifest, a few fsyncs long: neither reads nor commits may wait for that.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use lsm_tree::table::filter::standard_bloom;
use lsm_tree::{AbstractTree, AnyTree, Slice, ValueType};

use super::buffer::{self, Buffer, Entry};
use starling_types::row::RowRange;

/// Rows in key order, as they are stored.
pub(super) type StoredRows = Box<dyn Iterator<Item = Result<(Slice, Slice), lsm_tree::Error>>>;
/// The newest entry of a key below a number.
type Find = dyn Fn(&[u8], u64) -> Result<Option<Entry>, lsm_tree::Error> + Send + Sync;
type Scan = dyn Fn(&RowRange, u64) -> StoredRows + Send + Sync;

/// Write buffers and tables of a tree at some moment. Later writes to the active buffer show, under higher
/// numbers; later tables hold the same rows. To keep it is to keep its buffers and tables.
pub(super) struct Published {
    /// The active one first.
    buffers: Vec<Arc<Buffer>>,
    tables: Arc<Tables>,
}

/// Tables of a tree. (The library gives out what is behind `find` and `scan`, but not the names of its types.)
struct Tables {
    find: Box<Find>,
    scan: Box<Scan>,
    l0_runs: usize,
    bytes: u64,
}

impl Published {
    /// The tables of `tree`, and an empty buffer.
    pub(super) fn first(tree: &AnyTree) -> Self {
        Self { buffers: vec![Arc::default()], tables: Arc::new(Tables::of(tree)) }
    }

    /// The same with another buffer, which is the active one now.
    pub(super) fn with_buffer(&self, active: Arc<Buffer>) -> Self {
        let buffers = std::iter::once(active).chain(self.buffers.iter().cloned()).collect();
        Self { buffers, tables: self.tables.clone() }
    }

    /// The same buffers over the tables that `tree` has now.
    pub(super) fn over_tables_of(&self, tree: &AnyTree) -> Self {
        Self { buffers: self.buffers.clone(), tables: Arc::new(Tables::of(tree)) }
    }

    /// The same over the tables that `tree` has now, which hold the oldest buffer.
    pub(super) fn without_oldest(&self, tree: &AnyTree) -> Self {
        let mut fewer = self.over_tables_of(tree);
        fewer.buffers.pop();
        fewer
    }

    /// A stored row: its newest version below a number.
    pub(super) fn get(&self, key: &[u8], below: u64) -> Result<Option<Slice>, lsm_tree::Error> {
        match self.peek(key, below) {
            Some(entry) => Ok(entry),
            None => Ok((self.tables.find)(key, below)?.flatten()),
        }
    }

    /// As [`Published::get`], unless tables have to be asked.
    pub(super) fn peek(&self, key: &[u8], below: u64) -> Option<Entry> {
        let buffered = self.buffers.iter().find_map(|buffer| buffer.get(key, below));
        buffered.or_else(|| (self.tables.bytes == 0).then_some(None))
    }

    /// The rows of a range, each in its newest version below a number, until the first that cannot be read.
    pub(super) fn stored(&self, range: &RowRange, below: u64) -> StoredRows {
        let buffers = self.buffers.iter().map(|buffer| buffer.rows(range, below).peekable()).collect();
        Box::new(Merge { buffers, tables: (self.tables.scan)(range, below).peekable() })
    }

    /// The buffer that is written.
    pub(super) fn active(&self) -> &Arc<Buffer> {
        &self.buffers[0]
    }

    /// All buffers.
    pub(super) fn buffers(&self) -> &[Arc<Buffer>] {
        &self.buffers
    }

    /// The first of the buffers that wait to become tables.
    pub(super) fn oldest_sealed(&self) -> Option<&Arc<Buffer>> {
        self.buffers[1..].last()
    }

    /// Bytes of rows in buffers.
    pub(super) fn buffered_bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.bytes()).sum()
    }

    /// L0 runs: runs of tables that no compaction has merged yet.
    pub(super) fn l0_runs(&self) -> usize {
        self.tables.l0_runs
    }

    /// Bytes of its tables.
    pub(super) fn table_bytes(&self) -> u64 {
        self.tables.bytes
    }
}

impl Tables {
    fn of(tree: &AnyTree) -> Self {
        let whole = tree.get_version_history_lock().latest_version();
        let version = tree.current_version();
        let l0_runs = version.level(0).map_or(0, |level| level.run_count());
        let bytes = version.iter_levels().map(|level| level.size()).sum();
        let find = move |key: &[u8], below| {
            #[cfg(test)]
            faults::check(key)?;
            let hash = standard_bloom::Builder::get_hash(key);
            let runs = version.iter_levels().flat_map(|level| level.iter());
            for table in runs.filter_map(|run| run.get_for_key(key)) {
                if let Some(entry) = table.get(key, below, hash)? {
                    return Ok(Some((entry.key.value_type == ValueType::Value).then_some(entry.value)));
                }
            }
            Ok(None)
        };
        // The library's own buffers are always empty.
        let scan = move |range: &RowRange, below| {
            #[cfg(test)]
            let before = faults::first_unread(range.start());
            let bounds: (Bound<&[u8]>, _) = bounds(range);
            let rows = lsm_tree::Tree::create_internal_range::<&[u8], _>(whole.clone(), &bounds, below, None);
            let rows = rows.map(|row| row.map(|row| (row.key.user_key, row.value)));
            #[cfg(test)]
            let rows = faults::until(before, rows);
            Box::new(rows) as StoredRows
        };
        Self { find: Box::new(find), scan: Box::new(scan), l0_runs, bytes }
    }
}

fn bounds(range: &RowRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = range.end().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
    (Bound::Included(&range.start()[..]), end)
}

/// Rows of buffers and tables in key order. Of a key the newer buffer's version counts.
struct Merge {
    /// The newest first.
    buffers: Vec<Peekable<buffer::Rows>>,
    tables: Peekable<StoredRows>,
}

impl Merge {
    /// The first key in buffers.
    fn first_buffered(&mut self) -> Option<Slice> {
        let heads = self.buffers.iter_mut().filter_map(|rows| rows.peek());
        heads.map(|row| &row.key).min().cloned()
    }

    /// The newest entry of buffers for `key`, the first that they have.
    fn take(&mut self, key: &Slice) -> Entry {
        let mut newest = None;
        for rows in &mut self.buffers {
            let row = rows.next_if(|row| row.key == *key);
            newest = newest.or(row);
        }
        newest.and_then(|row| row.entry)
    }
}

impl Iterator for Merge {
    type Item = Result<(Slice, Slice), lsm_tree::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(first) = self.first_buffered() {
            match self.tables.peek() {
                Some(Err(_)) => return self.tables.next(),
                Some(Ok((key, _))) if *key < first => return self.tables.next(),
                Some(Ok((key, _))) if *key == first => drop(self.tables.next()),
                _ => {}
            }
            if let Some(row) = self.take(&first) {
                return Some(Ok((first, row)));
            }
        }
        self.tables.next()
    }
}

/// Reads of tables that fail on this thread as if the disk did not give a range of keys.
#[cfg(test)]
pub(super) mod faults {
    use std::cell::RefCell;
    use std::io;

    use bytes::Bytes;
    use lsm_tree::{Error, Slice};

    use starling_types::row::RowRange;

    thread_local! {
        static UNREAD: RefCell<Option<(RowRange, i32)>> = const { RefCell::new(None) };
    }

    /// From now on the tables' rows in a range fail with an error of the system's.
    pub(in super::super) fn fail(range: RowRange, code: i32) {
        UNREAD.set(Some((range, code)));
    }

    pub(in super::super) fn heal() {
        UNREAD.set(None);
    }

    pub(super) fn check(key: &[u8]) -> Result<(), Error> {
        UNREAD.with_borrow(|unread| match unread {
            Some((range, code)) if range.contains(key) => Err(Error::Io(io::Error::from_raw_os_error(*code))),
            _ => Ok(()),
        })
    }

    /// From where on a scan from `start` on fails, if it does.
    pub(super) fn first_unread(start: &Bytes) -> Option<Bytes> {
        UNREAD.with_borrow(|unread| {
            let (range, _) = unread.as_ref()?;
            let ends_before = range.end().is_some_and(|end| start >= end);
            (!ends_before).then(|| range.start().max(start).clone())
        })
    }

    pub(super) fn until(
        first: Option<Bytes>,
        rows: impl Iterator<Item = Result<(Slice, Slice), Error>>,
    ) -> impl Iterator<Item = Result<(Slice, Slice), Error>> {
        rows.map(move |row| match (&first, &row) {
            (Some(first), Ok((key, _))) if **key >= **first => {
                Err(check(first).err().unwrap_or(Error::Unrecoverable))
            }
            _ => row,
        })
    }
}
