//! What readers of a tree look at. The library keeps the same behind a lock of its own and holds that while it syncs a
//! manifest, a few fsyncs long: neither reads of what is there now nor commits may wait for that.

use std::ops::Bound;
use std::sync::Arc;

use lsm_tree::table::filter::standard_bloom;
use lsm_tree::{AbstractTree, AnyTree, Memtable, Slice, ValueType};

use super::trees::NOW;
use crate::range::KeyRange;

/// Rows in key order, as they are stored.
pub(super) type StoredRows = Box<dyn Iterator<Item = Result<(Slice, Slice), lsm_tree::Error>>>;
/// The newest entry of a key in tables: a row, or that it was deleted.
type FindInTables = dyn Fn(&[u8]) -> Result<Option<Entry>, lsm_tree::Error> + Send + Sync;
type Scan = dyn Fn(&KeyRange) -> StoredRows + Send + Sync;

/// Write buffers and tables of a tree at some moment. What is written to the active buffer later shows; what is made of
/// buffers and tables later holds the same rows. (The library gives out what is behind `find` and `scan`, but not the
/// names of its types.)
pub(super) struct Published {
    /// The active one first.
    buffers: Vec<Arc<Memtable>>,
    find: Box<FindInTables>,
    scan: Box<Scan>,
    /// Runs of tables that no compaction has merged yet.
    pub(super) young_runs: usize,
    /// Bytes of its tables.
    pub(super) table_bytes: u64,
}

/// What is known of a key: its row, or none if it was deleted.
type Entry = Option<Slice>;

impl Published {
    /// What can be read of `tree` now. `sealed` are its sealed buffers, the newest first: they may be more than those that
    /// it still has, not less.
    pub(super) fn of(tree: &AnyTree, sealed: &[Arc<Memtable>]) -> Self {
        let whole = tree.get_version_history_lock().latest_version();
        let active = whole.active_memtable.clone();
        // After the buffers: what is no longer in one of them is in these tables.
        let version = tree.current_version();
        let young_runs = version.level(0).map_or(0, |level| level.run_count());
        let table_bytes = version.iter_levels().map(|level| level.size()).sum();
        let find = move |key: &[u8]| {
            let hash = standard_bloom::Builder::get_hash(key);
            let runs = version.iter_levels().flat_map(|level| level.iter());
            for table in runs.filter_map(|run| run.get_for_key(key)) {
                if let Some(entry) = table.get(key, NOW, hash)? {
                    return Ok(Some(entry_of(entry.key.value_type, entry.value)));
                }
            }
            Ok(None)
        };
        let scan = move |range: &KeyRange| {
            let bounds: (Bound<&[u8]>, _) = bounds(range);
            let rows = lsm_tree::Tree::create_internal_range::<&[u8], _>(whole.clone(), &bounds, NOW, None);
            Box::new(rows.map(|row| row.map(|row| (row.key.user_key, row.value)))) as StoredRows
        };
        let buffers = std::iter::once(active).chain(sealed.iter().cloned()).collect();
        Self { buffers, find: Box::new(find), scan: Box::new(scan), young_runs, table_bytes }
    }

    /// A stored row.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>, lsm_tree::Error> {
        let buffered = self.buffers.iter().find_map(|buffer| buffer.get(key, NOW));
        match buffered {
            Some(entry) => Ok(entry_of(entry.key.value_type, entry.value)),
            None => Ok((self.find)(key)?.flatten()),
        }
    }

    /// The rows of a range, until the first that cannot be read.
    pub(super) fn stored(&self, range: &KeyRange) -> StoredRows {
        (self.scan)(range)
    }

    /// The buffer that is written.
    pub(super) fn active(&self) -> &Memtable {
        &self.buffers[0]
    }

    /// Bytes of rows in buffers.
    pub(super) fn buffered_bytes(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.size()).sum()
    }

    /// Buffers that wait to become tables.
    pub(super) fn sealed(&self) -> usize {
        self.buffers.len() - 1
    }
}

fn entry_of(kind: ValueType, row: Slice) -> Entry {
    (kind == ValueType::Value).then_some(row)
}

fn bounds(range: &KeyRange) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = range.end().map_or(Bound::Unbounded, |end| Bound::Excluded(&end[..]));
    (Bound::Included(&range.start()[..]), end)
}
