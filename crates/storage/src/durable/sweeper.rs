//! Rows of dropped ranges are deleted a few at a time, so that their space comes back even where nothing is written and
//! compaction has no reason to pass.
//!
//! Nothing in production drops a range yet: the transfer of partitions, after a change of the layout, will.

use std::time::Duration;

use bytes::Bytes;

use super::numbers::NOW;
use super::queue::Submission;
use super::store::Store;
use super::trees::Trees;
use super::{damage, failure};
use crate::Space;
use crate::batch::{Batch, Op};
use crate::engine::{Durability, Found};
use crate::error::StorageError;
use crate::range_tombstones::{RangeTombstone, RangeTombstones};
use starling_types::row::{RowRange, successor};

/// Rows looked at in one step.
const STEP_ROWS: usize = 512;
/// The rest after a step.
const REST: Duration = Duration::from_millis(10);
/// The value of the row of a range tombstone whose range is swept.
const SWEPT: &[u8] = b"swept";

/// Sweeps every dropped range that is not swept yet. After a failure the next open tries again.
pub(super) fn sweep(store: &Store) {
    for tombstone in unswept(&store.trees) {
        if let Err(error) = sweep_range(store, &tombstone) {
            tracing::warn!(%error, "a dropped range could not be swept out");
            return;
        }
    }
}

/// The range tombstones whose ranges are not swept. One whose row cannot be read is left out.
fn unswept(trees: &Trees) -> Vec<RangeTombstone> {
    let meta = trees.of(Space::Meta).published();
    let recorded = damage::Walk::new(meta, Space::Meta, RangeTombstones::rows(), NOW);
    let unswept = recorded.filter_map(|found| match found {
        Ok(Found::Row(key, value)) if value != SWEPT => RangeTombstone::of_row(&key),
        _ => None,
    });
    unswept.collect()
}

fn sweep_range(store: &Store, tombstone: &RangeTombstone) -> Result<(), StorageError> {
    let mut rest = tombstone.keys();
    while !store.chores.is_stopped() {
        let (dead, next) = dead_rows(&store.trees, &rest)?;
        if !dead.is_empty() {
            commit(store, dead.into_iter().map(|key| Op::Delete { namespace: Space::Data, key }).collect())?;
        }
        let Some(next) = next else {
            let Op::Put { namespace, key, .. } = tombstone.row() else { return Ok(()) };
            return commit(
                store,
                [Op::Put { namespace, key, value: Bytes::from_static(SWEPT) }].into_iter().collect(),
            );
        };
        rest = RowRange::new(successor(&next), rest.end().cloned());
        store.chores.pause(REST);
    }
    Ok(())
}

/// The dead ones of the next [`STEP_ROWS`] data rows in a range, and the last row looked at if there may be more.
fn dead_rows(trees: &Trees, range: &RowRange) -> Result<(Vec<Bytes>, Option<Bytes>), StorageError> {
    let mut dead = Vec::new();
    let mut last = None;
    for row in trees.of(Space::Data).published().stored(range, NOW).take(STEP_ROWS) {
        let (key, _) = row.map_err(|error| failure::of_read(Space::Data, range.start(), &error))?;
        let key = Bytes::copy_from_slice(&key);
        if trees.tombstones.cover(Space::Data, &key) {
            dead.push(key.clone());
        }
        last = Some(key);
    }
    Ok((dead, last))
}

fn commit(store: &Store, batch: Batch) -> Result<(), StorageError> {
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    let done = Box::new(move |result| drop(answer.send(result)));
    store.submit(Submission::new(vec![batch], Durability::Buffered, done));
    answered.recv().unwrap_or(Err(StorageError::Closed))
}
