//! Stored bytes as a read shows them: checked, and let go of the block that they came in.

use bytes::Bytes;
use lsm_tree::Slice;

use crate::Space;
use crate::engine::Found;
use crate::error::StorageError;
use crate::row;
use starling_types::row::{RowRange, successor};

/// Rows this small are copied out of the block they lie in, so that they do not keep it in memory.
const SMALL: usize = 4 << 10;

pub(super) fn read_row(namespace: Space, key: &[u8], stored: Slice) -> Result<Bytes, StorageError> {
    row::decode(namespace, key, stored.into()).map(detach)
}

/// A row that was read, or the damage found in its place.
pub(super) fn found(namespace: Space, key: Slice, stored: Slice) -> Found {
    match read_row(namespace, &key, stored) {
        Ok(value) => Found::Row(detach(key.into()), value),
        Err(_) => Found::Damage(RowRange::new(Bytes::copy_from_slice(&key), Some(successor(&key)))),
    }
}

/// Frees small bytes from the block they came in; large ones have their block to themselves.
pub(super) fn detach(bytes: Bytes) -> Bytes {
    if bytes.len() < SMALL { Bytes::copy_from_slice(&bytes) } else { bytes }
}
