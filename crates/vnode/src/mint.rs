//! Who may make dots: the node's clock with its durable ceiling, and one actor per vnode.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use starling_causality::{Dot, Hlc, HlcClock};
use starling_types::{ActorId, PartitionId, WallTime};

/// The mint of one node.
#[derive(Debug)]
pub(crate) struct Mint {
    clock: HlcClock,
    actors: BTreeMap<PartitionId, ActorId>,
    /// Those of the last stop, until somebody confirms that it was the last.
    inherited: BTreeMap<PartitionId, ActorId>,
    rng: rand::rngs::ChaCha8Rng,
    lease_asked: Option<Hlc>,
}

impl Mint {
    /// `actors` are those of the last stop if that was clean, and none otherwise: a replica that may have
    /// forgotten something must not speak under its old name (semantics, section 2).
    pub(crate) fn new(ceiling: Hlc, actors: BTreeMap<PartitionId, ActorId>, seed: u64) -> Self {
        let rng = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
        let inherited = actors;
        Self { clock: HlcClock::new(ceiling), actors: BTreeMap::new(), inherited, rng, lease_asked: None }
    }

    /// A dot above `above`, or the ceiling that must be durable first.
    pub(crate) fn dot(&mut self, partition: PartitionId, wall: WallTime, above: Hlc) -> Result<Dot, Hlc> {
        let hlc = self.clock.mint(wall, above).map_err(|needs| needs.ceiling)?;
        Ok(Dot { actor: self.actor(partition), hlc })
    }

    /// Whether time ends at `above` (or has ended for this clock): no lease will ever help.
    pub(crate) fn is_spent(&self, above: Hlc) -> bool {
        let seen = self.clock.last().max(above);
        seen.next() == seen
    }

    fn actor(&mut self, partition: PartitionId) -> ActorId {
        *self.actors.entry(partition).or_insert_with(|| ActorId::from_bits(self.rng.next_u64()))
    }

    /// The stop before this start was this node's last, not one from before a disk was put back: its actors go on,
    /// where no new one has begun.
    pub(crate) fn inherit(&mut self) {
        for (partition, actor) in std::mem::take(&mut self.inherited) {
            self.actors.entry(partition).or_insert(actor);
        }
    }

    /// After a commit that failed behind a dot already sent: nobody will use that actor again.
    pub(crate) fn retire(&mut self, partition: PartitionId) {
        self.actors.remove(&partition);
        self.inherited.remove(&partition);
    }

    /// The highest time this node has claimed under the vnode's present actor, if it has one.
    pub(crate) fn claimed(&self, partition: PartitionId) -> Option<(ActorId, Hlc)> {
        self.actors.get(&partition).map(|&actor| (actor, self.clock.last()))
    }

    pub(crate) fn observe(&mut self, remote: Hlc, wall: WallTime) {
        self.clock.observe(remote, wall);
    }

    /// The ceiling to make durable now, if one is due (or `needed`) and not yet under way.
    pub(crate) fn lease_due(&mut self, wall: WallTime, needed: Option<Hlc>) -> Option<Hlc> {
        let ceiling = needed.or_else(|| self.clock.wants_lease(wall))?;
        if self.lease_asked.is_some_and(|asked| asked >= ceiling || needed.is_none()) {
            return None;
        }
        self.lease_asked = Some(ceiling);
        Some(ceiling)
    }

    pub(crate) fn leased(&mut self, ceiling: Hlc) {
        self.clock.lease(ceiling);
        if self.lease_asked.is_some_and(|asked| asked <= ceiling) {
            self.lease_asked = None;
        }
    }

    pub(crate) fn lease_failed(&mut self) {
        self.lease_asked = None;
    }

    pub(crate) fn actors(&self) -> impl Iterator<Item = (PartitionId, ActorId)> {
        self.actors.iter().map(|(&partition, &actor)| (partition, actor))
    }

    pub(crate) const fn clock(&self) -> &HlcClock {
        &self.clock
    }
}
