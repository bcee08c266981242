//! A node's own records, shown for checks and debugging: between a door and the node, on no wire yet.

use std::sync::Arc;

use bytes::Bytes;
use starling_causality::Record;
use starling_types::{BucketName, Key, limits};

/// A look at this node's own records: no quorum, no other node, whether it owns the keys or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAsk {
    /// One key's record.
    Key(BucketName, Key),
    /// The records of a bucket, in the order in which they are stored.
    Page {
        /// The bucket.
        bucket: BucketName,
        /// Where an earlier page said that the next one starts.
        from: Option<Bytes>,
        /// Rows to look at, at most [`LocalAsk::MOST_ROWS`].
        limit: usize,
    },
}

impl LocalAsk {
    /// Rows that one page looks at.
    pub const MOST_ROWS: usize = limits::SCAN_PAGE_ROWS;
}

/// Records that a node holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalPage {
    /// Committed records, tombstones included. There may be none though more follow.
    pub records: Vec<LocalRecord>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Bytes>,
}

/// One record as a node holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalRecord {
    /// The key.
    pub key: Key,
    /// All of it, expired values too.
    pub record: Arc<Record>,
    /// Its context, sealed for the key.
    pub context: Bytes,
}
