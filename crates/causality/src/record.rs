//! What a replica stores for a key: a dotted version vector set [Preguiça et al., "Dotted Version Vectors: Efficient
//! Causality Tracking for Distributed Key-Value Stores", 2012; Almeida et al., DAIS 2014].

mod codec;
mod digest;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_types::WallTime;

pub use self::codec::RecordError;
pub use self::digest::Digest;
use crate::dot::Dot;
use crate::version_vector::VersionVector;
use crate::walk::{Pair, side_by_side};

/// What a write left behind. Ordered only so that two replicas which disagree about one dot, which no honest
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
    /// What it left behind.
    pub payload: Payload,
    /// When it reads as absent, on every replica alike; `None` is never.
    pub expires_at: Option<WallTime>,
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

    fn stronger<'a>(&'a self, other: &'a Self) -> &'a Self {
        let rank = |sibling: &'a Self| (&sibling.payload, sibling.expires_at);
        if rank(self) >= rank(other) { self } else { other }
    }
}

/// Siblings, and over them the context: a version vector of every write that the record holds or has superseded.
///
/// - `every sibling's dot is covered by the context`
/// - `a sibling dropped from a record stays covered by its context`, so that no old copy brings it back
/// - `a tombstone is kept only while it is the highest dot`: below a higher sibling it tells a client nothing, and
///   the context covers it. A narrower rule, which keeps a tombstone beside a later value, is not associative: of
///   concurrent deletes 1 and 2 and a value 3 that has seen only 2, merging (1, 2) first would leave {3}, merging
///   (2, 3) first {1, 3}.
///
/// Only one writer at a time may turn a record of an actor into the next, and whole records travel: the laws rest on
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    context: VersionVector,
    /// Strictly ascending by dot.
    siblings: Vec<Sibling>,
}

/// What [`Record::merge`] made of two records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The merged record.
    pub record: Record,
    /// Each side claims to have superseded all that the other holds: somebody has forgotten what it wrote. Every
    /// value was kept; quarantine the record and raise an alarm.
    pub conflict: bool,
}

impl Record {
    /// Every write that this record holds or has superseded: what a client that reads it has seen.
    pub const fn context(&self) -> &VersionVector {
        &self.context
    }

    /// All siblings, tombstones and expired values too, ordered by dot.
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    /// Whether the key was never heard of: no context, no siblings.
    pub const fn is_empty(&self) -> bool {
        self.context.is_empty() && self.siblings.is_empty()
    }

    /// The record after a write by a client that has seen `seen`: drops exactly the siblings which that covers (and
    /// a tombstone that the new dot outruns), adds the new one; the context grows by `seen` and `dot`. `dot` must be
    /// freshly minted above `seen` and this record's context.
    #[must_use]
    pub fn write(
        &self,
        seen: &VersionVector,
        dot: Dot,
        payload: Payload,
        expires_at: Option<WallTime>,
    ) -> Self {
        let mut context = self.context.joined(seen);
        context.raise(dot);
        let mut siblings = Vec::with_capacity(self.sibling_count() - self.drops(seen) + 1);
        siblings.extend(self.siblings.iter().filter(|sibling| !seen.covers(sibling.dot)).cloned());
        let written = Sibling { dot, payload, expires_at };
        match siblings.binary_search_by_key(&dot, |sibling| sibling.dot) {
            Ok(at) => siblings[at] = written,
            Err(at) => siblings.insert(at, written),
        }
        Self::normal(context, siblings)
    }

    /// The join of two replicas' records: keeps what both hold, and what one holds and the other has not superseded.
    /// Commutative, associative, idempotent. Never empties two records that both hold something: see
    /// [`Merge::conflict`].
    #[must_use]
    pub fn merge(&self, other: &Self) -> Merge {
        let context = self.context.joined(&other.context);
        let mut siblings = self.survivors(other);
        let conflict = siblings.is_empty() && !self.siblings.is_empty() && !other.siblings.is_empty();
        if conflict {
            siblings.extend_from_slice(&self.siblings);
            siblings.extend_from_slice(&other.siblings);
            siblings.sort_by_key(|sibling| sibling.dot);
        }
        Merge { record: Self::normal(context, siblings), conflict }
    }

    /// The last write of those that stand side by side, by (time, actor), for buckets where the last write wins.
    /// The context stays: the others count as superseded.
    #[must_use]
    pub fn settle_lww(mut self) -> Self {
        if let Some(last) = self.siblings.pop() {
            self.siblings.clear();
            self.siblings.push(last);
        }
        self
    }

    /// The values that a client sees at `wall`: neither tombstones nor expired ones, equal values once (under their
    /// highest dot), newest last.
    pub fn live(&self, wall: WallTime) -> Vec<&Sibling> {
        let mut live: Vec<&Sibling> = self.siblings.iter().filter(|sibling| sibling.is_live(wall)).collect();
        if live.len() > 1 {
            let mut shown = BTreeSet::new();
            live.reverse();
            live.retain(|sibling| shown.insert(sibling.value()));
            live.reverse();
        }
        live
    }

    /// Whether the key is known and yet reads as absent at `wall`.
    pub fn is_tombstone(&self, wall: WallTime) -> bool {
        !self.is_empty() && !self.siblings.iter().any(|sibling| sibling.is_live(wall))
    }

    /// Number of siblings, tombstones and expired values too.
    pub const fn sibling_count(&self) -> usize {
        self.siblings.len()
    }

    /// How many siblings a write with `seen` would supersede.
    pub fn drops(&self, seen: &VersionVector) -> usize {
        self.siblings.iter().filter(|sibling| seen.covers(sibling.dot)).count()
    }

    /// Bytes of all values. Tombstones count nothing.
    pub fn value_bytes(&self) -> usize {
        self.siblings.iter().filter_map(Sibling::value).map(Bytes::len).sum()
    }

    /// About how many bytes of memory the record takes. A decoded record's values also keep alive the buffer that
    /// they were decoded from.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.context.len() * size_of::<Dot>()
            + self.siblings.len() * size_of::<Sibling>()
            + self.value_bytes()
    }

    fn survivors(&self, other: &Self) -> Vec<Sibling> {
        let mut survivors = Vec::with_capacity(self.sibling_count().max(other.sibling_count()));
        for pair in side_by_side(&self.siblings, &other.siblings, |sibling| sibling.dot) {
            match pair {
                Pair::Both(ours, theirs) => survivors.push(ours.stronger(theirs).clone()),
                Pair::Left(ours) if !other.context.covers(ours.dot) => survivors.push(ours.clone()),
                Pair::Right(theirs) if !self.context.covers(theirs.dot) => survivors.push(theirs.clone()),
                Pair::Left(_) | Pair::Right(_) => {}
            }
        }
        survivors
    }

    /// Applies the tombstone rule to siblings that are in order and covered.
    fn normal(context: VersionVector, mut siblings: Vec<Sibling>) -> Self {
        if let Some(highest) = siblings.last().map(|sibling| sibling.dot) {
            siblings.retain(|sibling| !sibling.is_tombstone() || sibling.dot == highest);
        }
        Self { context, siblings }
    }
}
