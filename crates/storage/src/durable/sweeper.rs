//! Rows of dropped ranges are deleted a few at a time, so that their space comes back even where nothing is written and
//! compaction has no reason to pass.

use std::time::Duration;

use bytes::Bytes;

use super::queue::Submission;
use super::store::Store;
use crate::batch::{Batch, Namespace, Op};
use crate::engine::Durability;
use crate::error::StorageError;
use crate::graves::Grave;
use crate::range::{KeyRange, successor};

/// Rows looked at in one step.
const STEP_ROWS: usize = 512;
/// The rest after a step.
const REST: Duration = Duration::from_millis(10);
/// The value of the row of a drop that is swept.
const SWEPT: &[u8] = b"swept";

/// Sweeps every drop that is not swept yet. What fails is tried again after the next open.
pub(super) fn sweep(store: &Store) {
    let unswept = store.trees.graves_where(|value| value != SWEPT);
    for grave in unswept {
        if let Err(error) = sweep_grave(store, &grave) {
            tracing::warn!(%error, "a dropped range could not be swept out");
            return;
        }
    }
}

fn sweep_grave(store: &Store, grave: &Grave) -> Result<(), StorageError> {
    let mut rest = grave.keys();
    while !store.chores.is_stopped() {
        let (dead, next) = store.trees.dead_rows(&rest, STEP_ROWS)?;
        if !dead.is_empty() {
            commit(
                store,
                dead.into_iter().map(|key| Op::Delete { namespace: Namespace::Data, key }).collect(),
            )?;
        }
        let Some(next) = next else {
            let Op::Put { namespace, key, .. } = grave.row() else { return Ok(()) };
            return commit(
                store,
                [Op::Put { namespace, key, value: Bytes::from_static(SWEPT) }].into_iter().collect(),
            );
        };
        rest = KeyRange::new(successor(&next), rest.end().cloned());
        store.chores.pause(REST);
    }
    Ok(())
}

fn commit(store: &Store, batch: Batch) -> Result<(), StorageError> {
    let (answer, answered) = std::sync::mpsc::sync_channel(1);
    let done = Box::new(move |result| drop(answer.send(result)));
    store.submit(Submission::new(vec![batch], Durability::Buffered, done));
    answered.recv().unwrap_or(Err(StorageError::Closed))
}
