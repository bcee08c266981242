//! Who minted what, seen from outside: the first commit that shows a dot is its minting, and what lay in that
//! cell before is what a blind write replaced.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_causality::{Dot, Payload, Record};
use starling_types::{ActorId, Instant, PartitionId, RequestId};

/// One minting.
#[derive(Debug, Clone)]
pub struct Mint {
    /// The write's dot.
    pub dot: Dot,
    /// When.
    pub at: Instant,
    /// The node that minted it.
    pub node: usize,
    /// The row: which key.
    pub row: Bytes,
    /// The value, or none for a delete.
    pub value: Option<Bytes>,
    /// The siblings that the minting node held.
    pub base: BTreeSet<Dot>,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Observer {
    /// Every minting, by dot.
    pub mints: BTreeMap<Dot, Mint>,
    /// Which client request made which dots.
    pub origins: BTreeMap<RequestId, BTreeSet<Dot>>,
    /// The actor under which each node last minted in each partition.
    pub actors: BTreeMap<(usize, PartitionId), ActorId>,
}

impl Observer {
    /// A node hands a record to its disk; `before` is what it had staged or stored for the row. Says whether
    /// that minted anything.
    pub(crate) fn staged(
        &mut self,
        at: Instant,
        place: (usize, PartitionId),
        row: &Bytes,
        before: &Record,
        after: &Record,
    ) -> bool {
        let known = self.mints.len();
        for sibling in after.siblings() {
            if self.mints.contains_key(&sibling.dot) {
                continue;
            }
            let value = match &sibling.payload {
                Payload::Value(value) => Some(value.clone()),
                Payload::Tombstone => None,
            };
            let mint = Mint {
                dot: sibling.dot,
                at,
                node: place.0,
                row: row.clone(),
                value,
                base: before.siblings().iter().map(|s| s.dot).collect(),
            };
            self.actors.insert(place, sibling.dot.actor);
            self.mints.insert(sibling.dot, mint);
        }
        self.mints.len() > known
    }

    pub(crate) fn made(&mut self, request: RequestId, dot: Dot) {
        self.origins.entry(request).or_default().insert(dot);
    }
}
