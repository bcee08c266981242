//! The record that a replica stores for a key: a dotted version vector set [Preguiça et al., "Dotted Version Vectors:
//! Efficient Causality Tracking for Distributed Key-Value Stores", 2012; Almeida et al., DAIS 2014].

mod codec;
mod dead;
mod digest;
mod merge;
mod sibling;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_types::planted::{self, Bug};
use starling_types::{RequestId, WallTime};

pub use self::codec::RecordError;
use self::dead::{DeadId, DeadIds};
pub use self::digest::Digest;
pub use self::merge::Merge;
pub use self::sibling::{Payload, Sibling};
pub use self::write::Mint;
use crate::dot::Dot;
use crate::version_vector::VersionVector;

/// Siblings, and over them the context: a version vector of every write that the record holds or has superseded.
///
/// - `every sibling's dot is covered by the context`
/// - `a sibling dropped from a record stays covered by its context`, so that no old copy brings it back
/// - `only a delete, at its mint, drops a tombstone unseen; a merge drops none`: a tombstone must hide what is older as
///   long as that stands beside it, and what is later may yet turn out to be superseded
/// - `no sibling but a rescued one is of a request that is known to be superseded`: one request has one value, however
///   many dots it was minted under, and a write that saw one of them has seen all
///
/// Only one writer at a time may turn a record of an actor into the next, and whole records travel: the laws rest on
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    context: VersionVector,
    /// Strictly ascending by dot.
    siblings: Vec<Sibling>,
    dead: DeadIds,
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

    /// The last write of those that stand side by side, by [`Sibling::rank`], for buckets where the last write wins.
    /// The context stays: the others count as superseded.
    #[must_use]
    pub fn settle_lww(mut self) -> Self {
        if planted::on(Bug::OldestWins) {
            self.siblings.truncate(1);
            return self;
        }
        if let Some(last) = self.siblings.iter().max_by_key(|sibling| sibling.rank()) {
            self.siblings = vec![last.clone()];
        }
        self
    }

    /// Whether a write is known to have seen a dot of the request `id`. A request that was forgotten is not superseded.
    pub fn is_superseded(&self, id: RequestId) -> bool {
        self.dead.contains(id)
    }

    /// The dot under which the value of the request `id` stands here: the highest, if it was minted more than once.
    pub fn dot_of(&self, id: RequestId) -> Option<Dot> {
        self.siblings.iter().rev().find(|sibling| sibling.id == Some(id)).map(|sibling| sibling.dot)
    }

    /// Whether a client that reads now sees no other value than that of `dot`: nothing but deletes, and other dots of
    /// its request, stands beside it.
    pub fn is_sole(&self, dot: Dot) -> bool {
        self.sibling_of(dot).is_some_and(|one| {
            let same = |s: &Sibling| s.dot == dot || (s.id.is_some() && s.id == one.id);
            self.siblings.iter().all(|s| s.is_tombstone() || same(s))
        })
    }

    /// The values that a client sees at `wall`: neither tombstones nor expired ones, those of one request and equal
    /// ones once (under their highest dot), newest last.
    pub fn live(&self, wall: WallTime) -> Vec<&Sibling> {
        let mut live: Vec<&Sibling> = self.siblings.iter().filter(|sibling| sibling.is_live(wall)).collect();
        if live.len() > 1 {
            let (mut values, mut ids) = (BTreeSet::new(), BTreeSet::new());
            live.reverse();
            live.retain(|s| s.id.is_none_or(|id| ids.insert(id)) && values.insert(s.value()));
            live.reverse();
        }
        live
    }

    /// Whether the key is known and yet reads as absent at `wall`.
    pub fn is_tombstone(&self, wall: WallTime) -> bool {
        !self.is_empty() && !self.siblings.iter().any(|sibling| sibling.is_live(wall))
    }

    /// Number of siblings, tombstones and expired values too, every dot of a request.
    pub const fn sibling_count(&self) -> usize {
        self.siblings.len()
    }

    /// Number of values, expired ones too, those of one request once: what the cap counts. Tombstones count nothing.
    pub fn value_count(&self) -> usize {
        self.values().count()
    }

    /// How many siblings a write with `seen` would supersede by having seen them.
    pub fn drops(&self, seen: &VersionVector) -> usize {
        self.siblings.iter().filter(|sibling| seen.covers(sibling.dot)).count()
    }

    /// Bytes of all values, those of one request once. Tombstones count nothing.
    pub fn value_bytes(&self) -> usize {
        self.values().map(Bytes::len).sum()
    }

    /// About how many bytes of memory the record takes. A decoded record's values also keep alive the buffer that
    /// they were decoded from.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.context.len() * size_of::<Dot>()
            + self.siblings.len() * size_of::<Sibling>()
            + self.dead.len() * size_of::<DeadId>()
            + self.siblings.iter().filter_map(Sibling::value).map(Bytes::len).sum::<usize>()
    }

    /// Of each request's values the one under its highest dot.
    fn values(&self) -> impl Iterator<Item = &Bytes> {
        let later = |at: usize, id: RequestId| self.siblings[at + 1..].iter().any(|s| s.id == Some(id));
        let highest = move |at: usize, s: &Sibling| s.id.is_none_or(|id| !later(at, id));
        self.siblings.iter().enumerate().filter(move |&(at, s)| highest(at, s)).filter_map(|(_, s)| s.value())
    }

    fn sibling_of(&self, dot: Dot) -> Option<&Sibling> {
        let at = self.siblings.binary_search_by_key(&dot, |sibling| sibling.dot).ok()?;
        Some(&self.siblings[at])
    }
}
