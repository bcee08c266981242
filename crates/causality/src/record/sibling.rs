//! One write, as a record holds it.

use bytes::Bytes;
use starling_types::{RequestId, WallTime};

use crate::dot::Dot;
use crate::hlc::Hlc;

/// The value or tombstone of a write. Ordered only so that two replicas which disagree about one dot, which no honest
/// history brings about, settle on the same payload: a tombstone wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Payload {
    /// A value; empty is a value too.
    Value(Bytes),
    /// A delete, remembered so that older copies cannot bring the value back.
    Tombstone,
}

/// One write that no other write is known to have seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sibling {
    /// Which write.
    pub dot: Dot,
    /// Its value or tombstone.
    pub payload: Payload,
    /// When it reads as absent, on every replica alike; `None` is never.
    pub expires_at: Option<WallTime>,
    /// The request that made it: siblings of one request are one value. `None` for tombstones, where the last write
    /// wins, and in records of a format that did not know it.
    pub id: Option<RequestId>,
    /// Its place among the last writes where the last one wins, if that is not the time of its dot: see
    /// [`Self::rank`].
    pub rank: Option<Hlc>,
    /// A merge of two records that each claimed to have superseded the other kept it: from then on no context ends
    /// it, only a write that saw it so.
    pub rescued: bool,
}

impl Sibling {
    /// The value, unless this is a tombstone. It may have expired: see [`Self::is_live`].
    pub const fn value(&self) -> Option<&Bytes> {
        match &self.payload {
            Payload::Value(value) => Some(value),
            Payload::Tombstone => None,
        }
    }

    /// Whether this is a delete.
    pub const fn is_tombstone(&self) -> bool {
        matches!(self.payload, Payload::Tombstone)
    }

    /// Whether a client sees this value at `wall`: no tombstone, and not expired (at `expires_at` it is).
    pub fn is_live(&self, wall: WallTime) -> bool {
        !self.is_tombstone() && self.expires_at.is_none_or(|end| wall < end)
    }

    /// The order that decides where the last write wins; ties go by dot.
    pub fn rank(&self) -> (Hlc, Dot) {
        (self.rank.unwrap_or(self.dot.hlc), self.dot)
    }

    /// The join of two replicas' siblings of one dot. Honest replicas differ at most in what a merge found out
    /// (rescued) and in what an older format could not carry (id, rank).
    pub(super) fn joined(&self, other: &Self) -> Self {
        let stronger = if self.strength() >= other.strength() { self } else { other };
        Self {
            id: if stronger.is_tombstone() { None } else { self.id.max(other.id) },
            rank: self.rank.max(other.rank),
            rescued: self.rescued || other.rescued,
            ..stronger.clone()
        }
    }

    fn strength(&self) -> (&Payload, Option<WallTime>) {
        (&self.payload, self.expires_at)
    }
}
