//! The partitions that this node may have lost records of, and how it went to bring them back: each is walked with
//! every other owner of it.
//!
//! Such a walk does not wait for its turn, nor for the node with the lower id, and it is not over before everything
//! that the peer holds is here. A peer that has lost records itself says so; it is walked again until it has not.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_types::{Instant, NodeId, PartitionId, Token};

use crate::event::Held;
use crate::shared::Shared;

/// Before a partition is walked again with a peer that did not show all of it; doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// The partitions that this node cannot vouch for.
#[derive(Debug, Default)]
pub(crate) struct Refill {
    doubted: BTreeMap<PartitionId, Held>,
    /// Those to be pulled, and how the last walk with each peer went.
    wanted: BTreeMap<PartitionId, BTreeMap<NodeId, Try>>,
    /// When there may be something to pull from a peer that nothing is being pulled from.
    look: BTreeMap<NodeId, Option<Instant>>,
}

/// How the last walk went.
#[derive(Debug)]
struct Try {
    held: Held,
    again: Instant,
    pause: Duration,
}

impl Refill {
    pub(crate) fn doubt(&mut self, partition: PartitionId, held: Held) {
        self.doubted.insert(partition, held);
    }

    /// From the beginning, even if some was pulled before.
    pub(crate) fn pull(&mut self, partition: PartitionId) {
        self.wanted.insert(partition, BTreeMap::new());
        self.look.clear();
    }

    pub(crate) fn trust(&mut self, partition: PartitionId) {
        self.doubted.remove(&partition);
        self.wanted.remove(&partition);
        self.look.clear();
    }

    /// The partitions shared with peers have changed, or nothing is to be begun any more.
    pub(crate) fn start_over(&mut self) {
        self.look.clear();
        self.wanted.values_mut().for_each(BTreeMap::clear);
    }

    /// A walk with the peer is over, or broken off: there may be another.
    pub(crate) fn look_again(&mut self, peer: NodeId) {
        self.look.remove(&peer);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// How much of what lies between the tokens is still here.
    pub(crate) fn held(&self, shared: &Shared, from: Token, through: Token) -> Held {
        let doubted = self.doubted.range(shared.home_of(from)..=shared.home_of(through));
        let shared = doubted.filter(|(partition, _)| shared.has(**partition));
        shared.map(|(_, held)| *held).min().unwrap_or(Held::All)
    }

    /// The partition to pull from the peer now.
    pub(crate) fn next(&mut self, now: Instant, peer: NodeId, shared: &Shared) -> Option<PartitionId> {
        if self.look.get(&peer).is_some_and(|again| again.is_none_or(|at| at > now)) {
            return None;
        }
        let mut again: Option<Instant> = None;
        for (&partition, tries) in self.wanted.iter().filter(|(p, _)| shared.has(**p)) {
            match tries.get(&peer) {
                None => return Some(partition),
                Some(tried) if tried.held == Held::All => {}
                Some(tried) if tried.again <= now => return Some(partition),
                Some(tried) => again = Some(again.map_or(tried.again, |at| at.min(tried.again))),
            }
        }
        self.look.insert(peer, again);
        None
    }

    /// The peer showed so much of the partition.
    pub(crate) fn tried(&mut self, now: Instant, partition: PartitionId, peer: NodeId, held: Held) {
        let Some(tries) = self.wanted.get_mut(&partition) else { return };
        let pause = tries.get(&peer).map_or(SHORTEST, |tried| (tried.pause * 2).min(LONGEST));
        tries.insert(peer, Try { held, again: now + pause, pause });
    }

    /// When there may be something to pull from the peer, if nothing is now.
    pub(crate) fn next_look(&self, peer: NodeId) -> Option<Instant> {
        self.look.get(&peer).copied().flatten()
    }
}
