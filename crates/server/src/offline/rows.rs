//! One stored row: is it what it should be, and what does it hold?

use std::fmt;

use bytes::Bytes;
use starling_causality::{Record, RecordError};
use starling_types::row::Space;
use starling_types::{BucketName, ClusterId, Key, NodeId, QualifiedKey, Token};
use starling_vnode::rows;

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its target, if it is a hint.
    pub target: Option<NodeId>,
    /// The token that the row says.
    pub token: Token,
    /// The partition's generation, if it is no hint.
    pub generation: Option<u32>,
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: Key,
    /// The record.
    pub record: Record,
}

/// A flaw of a row whose bytes are those that were written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Its key is no record's.
    #[error("the row's key names no record")]
    Key,
    /// Its token is not the key's in this cluster.
    #[error("the row stands at token {stands}, and its key belongs to token {belongs}")]
    Token {
        /// Where it is.
        stands: Token,
        /// Where it should be.
        belongs: Token,
    },
    /// Its value is no record.
    #[error("the record cannot be read: {0}")]
    Record(RecordError),
}

/// A row with a flaw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlawedRow {
    /// Where.
    pub namespace: Space,
    /// The row's key.
    pub row: Bytes,
    /// Its flaw.
    pub flaw: Flaw,
}

impl fmt::Display for FlawedRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} row {}: {}", self.namespace, self.row.escape_ascii(), self.flaw)
    }
}

/// The record that a row of data or hints holds. Without a cluster, tokens cannot be checked.
///
/// # Errors
/// The flaw of the row.
pub fn judge(cluster: Option<ClusterId>, namespace: Space, row: &[u8], value: &Bytes) -> Result<Held, Flaw> {
    let (target, generation, token, bucket, key) = match namespace {
        Space::Hints => {
            let (target, token, bucket, key) = rows::hint_parts(row).ok_or(Flaw::Key)?;
            (Some(target), None, token, bucket, key)
        }
        Space::Data | Space::Meta => {
            let (token, generation, bucket, key) = rows::parse_data(row).ok_or(Flaw::Key)?;
            (None, Some(generation), token, bucket, key)
        }
    };
    if let Some(cluster) = cluster {
        let belongs = QualifiedKey::new(cluster.hash_seed(), bucket.clone(), key.clone()).token();
        if belongs != token {
            return Err(Flaw::Token { stands: token, belongs });
        }
    }
    let record = Record::decode(value).map_err(Flaw::Record)?;
    Ok(Held { target, token, generation, bucket, key, record })
}
