//! A node's own rows, page by page, for a backup.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use starling_types::row::{RowRange, Space};
use starling_types::{BucketName, ClusterId, Generation, LayoutVersion, NodeId};

/// A page of a node's rows, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// Which rows.
    pub space: Space,
    /// The first key; empty at the start.
    pub from: Bytes,
    /// Only rows of these buckets, where rows have one; all if there are none.
    pub buckets: Vec<BucketName>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPage {
    /// Whose rows they are.
    pub exporter: Exporter,
    /// The number of the store's last commit when the page was read.
    pub sequence: u64,
    /// Keys and values, in the order of keys. There may be none though more follow.
    pub rows: Vec<(Bytes, Bytes)>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<Bytes>,
    /// Ranges of keys within the page, each to before its end, that could not be read.
    pub damaged: Vec<RowRange>,
}

/// The node that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exporter {
    /// The node.
    pub node: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Its cluster, if it has one.
    pub cluster: Option<ClusterId>,
    /// How often it has started.
    pub generation: Generation,
    /// The layout in force.
    pub layout: LayoutVersion,
    /// Its release.
    pub version: String,
}
