//! The right to mint dots: the node's clock with its durable ceiling, and one actor per vnode.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use starling_causality::{Dot, Hlc, HlcClock, VersionVector};
use starling_types::planted::{self, Bug};
use starling_types::{ActorId, Now, PartitionId};

/// A dot, and what its commit must carry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Minting {
    pub(crate) dot: Dot,
    /// The ceiling that must be durable before the write is acked: it rides in the same batch.
    pub(crate) needed: Option<Hlc>,
    /// How far ahead of the wall its bound was, if too far for the clock to follow.
    pub(crate) outlying: Option<Duration>,
}

/// The mint of one node.
#[derive(Debug)]
pub(crate) struct Mint {
    clock: HlcClock,
    actors: BTreeMap<PartitionId, ActorId>,
    /// Those of the last stop, until it is confirmed that it was the last.
    inherited: BTreeMap<PartitionId, ActorId>,
    rng: rand::rngs::ChaCha8Rng,
    lease_asked: Option<Hlc>,
    /// For [`Bug::ActorsSurvive`].
    seed: u64,
}

impl Mint {
    /// `actors` are those of the last stop if that was clean, and none otherwise: a replica that may have
    /// forgotten something must not speak under its old name (semantics, section 2).
    pub(crate) fn new(ceiling: Hlc, actors: BTreeMap<PartitionId, ActorId>, seed: u64) -> Self {
        let rng = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
        let inherited = actors;
        Self {
            clock: HlcClock::new(ceiling),
            actors: BTreeMap::new(),
            inherited,
            rng,
            lease_asked: None,
            seed,
        }
    }

    /// A dot above `above`, which covers the key's own record, the newest staged one. That record has every time that
    /// this actor ever minted for the key, and nothing else makes a dot of one (key, actor) unique: not the clock,
    /// which outlying times pass by, nor its ceiling. `None` if time ends there.
    pub(crate) fn dot(&mut self, partition: PartitionId, now: Now, above: Hlc) -> Option<Minting> {
        let above = if planted::on(Bug::MintsBelow) { Hlc::ZERO } else { above };
        let minted = self.clock.mint(now, above)?;
        let needed = self.clock.rides(now, minted).map(|ceiling| self.lease(ceiling));
        let dot = Dot { actor: self.actor(partition), hlc: minted.hlc };
        Some(Minting { dot, needed, outlying: minted.outlying })
    }

    fn actor(&mut self, partition: PartitionId) -> ActorId {
        if planted::on(Bug::ActorsSurvive) {
            let seed = self.seed ^ u64::from(partition.0);
            return ActorId::from_bits(rand::rngs::ChaCha8Rng::seed_from_u64(seed).next_u64());
        }
        *self.actors.entry(partition).or_insert_with(|| ActorId::from_bits(self.rng.next_u64()))
    }

    /// The stop before this start was this node's last, not one from before a disk was put back: its actors go on,
    /// where no new one has begun.
    pub(crate) fn inherit(&mut self) {
        for (partition, actor) in std::mem::take(&mut self.inherited) {
            self.actors.entry(partition).or_insert(actor);
        }
    }

    /// After a commit that failed behind a dot already sent: that actor is never used again.
    pub(crate) fn retire(&mut self, partition: PartitionId) {
        self.actors.remove(&partition);
        self.inherited.remove(&partition);
    }

    /// The highest time that a writer of a key may have seen of the vnode's present actor, if it has one: that of the
    /// clock, or an outlying one that the key's record `own` has.
    pub(crate) fn claimed(&self, partition: PartitionId, own: &VersionVector) -> Option<(ActorId, Hlc)> {
        self.actors.get(&partition).map(|&actor| (actor, self.clock.last().max(own.get(actor))))
    }

    pub(crate) fn observe(&mut self, remote: Hlc, now: Now) {
        self.clock.observe(remote, now);
    }

    /// The ceiling to make durable in good time, if one is due and none is under way.
    pub(crate) fn lease_due(&mut self) -> Option<Hlc> {
        let ceiling = self.clock.wants_lease()?;
        self.lease_asked.is_none().then(|| self.lease(ceiling))
    }

    const fn lease(&mut self, ceiling: Hlc) -> Hlc {
        self.lease_asked = Some(ceiling);
        ceiling
    }

    pub(crate) fn leased(&mut self, ceiling: Hlc) {
        self.clock.lease(ceiling);
        if self.lease_asked.is_some_and(|asked| asked <= ceiling) {
            self.lease_asked = None;
        }
    }

    pub(crate) const fn lease_failed(&mut self) {
        self.lease_asked = None;
    }

    pub(crate) fn actors(&self) -> impl Iterator<Item = (PartitionId, ActorId)> {
        self.actors.iter().map(|(&partition, &actor)| (partition, actor))
    }

    pub(crate) const fn clock(&self) -> &HlcClock {
        &self.clock
    }
}
