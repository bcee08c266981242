//! Bucket properties: cluster-wide, gossiped, versioned (semantics, section 1).

use serde::{Deserialize, Serialize};

/// What happens to concurrent values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflict {
    /// Keep them all, side by side, until a write that has seen them replaces them.
    #[default]
    Siblings,
    /// The maximum (Hlc, ActorId) stays. Concurrent writes lose; an application that cannot bear it uses
    /// siblings.
    Lww,
}

/// The rules of one bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketProps {
    /// Raised by every change; a replica with older properties fetches these before it applies a write.
    pub version: u64,
    /// Replies that a read needs; `None` is a majority of N.
    pub r: Option<u8>,
    /// Acks that a write needs; `None` is a majority of N.
    pub w: Option<u8>,
    /// Only owners count towards W, and reads return only what later reads will also see.
    pub strict: bool,
    /// What happens to concurrent values.
    pub conflict: Conflict,
    /// An ack means fsynced on that replica.
    pub durable: bool,
    /// Life of a value in milliseconds, unless the write says otherwise.
    pub ttl_ms: Option<u64>,
}

impl Default for BucketProps {
    fn default() -> Self {
        Self {
            version: 1,
            r: None,
            w: None,
            strict: false,
            conflict: Conflict::Siblings,
            durable: true,
            ttl_ms: None,
        }
    }
}

impl BucketProps {
    /// More than half of `n`.
    pub const fn majority(n: u8) -> u8 {
        n / 2 + 1
    }

    /// Acks a write needs in a cluster with `n` copies, never more than `n`.
    pub fn write_quorum(&self, n: u8) -> u8 {
        self.w.unwrap_or(Self::majority(n)).min(n)
    }

    /// Replies a read needs in a cluster with `n` copies, never more than `n`.
    pub fn read_quorum(&self, n: u8) -> u8 {
        self.r.unwrap_or(Self::majority(n)).min(n)
    }
}
