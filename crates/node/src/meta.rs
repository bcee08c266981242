//! The rows of the `meta` keyspace: plain data as MessagePack.

use std::fmt::Display;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use starling_types::remedy;
use starling_types::row::{RowWrite, Space};

/// A row that cannot be understood. The node must not start: it might break a promise it does not remember.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored {row} {words}")]
pub struct BootError {
    pub(crate) row: &'static str,
    pub(crate) words: String,
}

impl BootError {
    pub(crate) fn damaged(row: &'static str, why: &dyn Display) -> Self {
        Self { row, words: format!("cannot be read ({why}): {}", remedy::LOST_DISK) }
    }
}

/// A row of the `meta` keyspace.
pub(crate) fn meta_row<T: Serialize>(name: &'static [u8], value: &T) -> RowWrite {
    RowWrite { space: Space::Meta, key: Bytes::from_static(name), value: Some(encode(value).into()) }
}

/// The bytes of plain data: layouts, acceptors, buckets.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "MessagePack has a form for all plain data")]
    rmp_serde::to_vec(value).expect("plain data encodes")
}

/// The whole row: bytes behind the value mean that the row is not what was written.
pub(crate) fn decode<T: DeserializeOwned>(row: &'static str, value: &[u8]) -> Result<T, BootError> {
    let mut rest = value;
    let decoded = rmp_serde::from_read(&mut rest).map_err(|e| BootError::damaged(row, &e))?;
    match rest.len() {
        0 => Ok(decoded),
        extra => Err(BootError::damaged(row, &format_args!("{extra} bytes after its end"))),
    }
}
