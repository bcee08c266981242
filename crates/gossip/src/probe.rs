//! Probes under way, and the next member to probe.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use starling_types::{Instant, NodeId};
use starling_wire::gossip::Claim;

/// Why a member is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Its turn came.
    Turn,
    /// Something happened: everything is tried at once.
    Urgent,
    /// It is dead; does it answer again?
    Revive,
}

/// One question, until it is answered or expires.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) purpose: Purpose,
    /// Numbers of the pings sent, and when.
    pub(crate) pings: Vec<(u64, Instant)>,
    /// Number of the request to helpers.
    pub(crate) help: Option<u64>,
    /// Helpers that were asked and have said nothing.
    pub(crate) silent: Vec<NodeId>,
    /// How many helpers were asked.
    pub(crate) asked: usize,
    /// When to ask helpers and to ping over the reliable channel.
    pub(crate) escalate_at: Option<Instant>,
    pub(crate) expires_at: Instant,
    /// A claim about the member, for it to refute.
    pub(crate) claim: Option<Claim>,
}

impl Probe {
    pub(crate) fn new(purpose: Purpose, expires_at: Instant) -> Self {
        Self {
            purpose,
            pings: Vec::with_capacity(2),
            help: None,
            silent: Vec::new(),
            asked: 0,
            escalate_at: None,
            expires_at,
            claim: None,
        }
    }

    fn deadline(&self) -> Instant {
        self.escalate_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }

    fn postpone(&mut self, span: Duration) {
        self.expires_at = self.expires_at + span;
        self.escalate_at = self.escalate_at.map(|at| at + span);
    }
}

/// All questions under way, at most one a member, and the order of turns.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    under_way: BTreeMap<NodeId, Probe>,
    /// The rest of this round, last first. Every live member is asked once a round, in an order that no other member
    /// knows, so the time to the first probe of a dead member is bounded (SWIM, section 4.3).
    turns: Vec<NodeId>,
    /// Members that this round began with, and that joined it since.
    round: (usize, usize),
}

impl Probes {
    pub(crate) fn get_mut(&mut self, target: NodeId) -> Option<&mut Probe> {
        self.under_way.get_mut(&target)
    }

    pub(crate) fn insert(&mut self, target: NodeId, probe: Probe) {
        self.under_way.insert(target, probe);
    }

    pub(crate) fn remove(&mut self, target: NodeId) -> Option<Probe> {
        self.under_way.remove(&target)
    }

    /// Whether a question is under way whose silence would count against `target`.
    pub(crate) fn is_pressing(&self, target: NodeId) -> bool {
        self.under_way.get(&target).is_some_and(|probe| probe.purpose != Purpose::Revive)
    }

    pub(crate) fn urgent(&self) -> usize {
        self.under_way.values().filter(|probe| probe.purpose == Purpose::Urgent).count()
    }

    /// The member about which helpers were asked under `number`.
    pub(crate) fn helped(&mut self, number: u64) -> Option<(NodeId, &mut Probe)> {
        let asked = |probe: &Probe| probe.help == Some(number);
        self.under_way.iter_mut().find(|(_, probe)| asked(probe)).map(|(target, probe)| (*target, probe))
    }

    /// Members whose probe must escalate or has expired at `now`.
    pub(crate) fn due(&self, now: Instant) -> Vec<NodeId> {
        let due = self.under_way.iter().filter(|(_, probe)| probe.deadline() <= now);
        due.map(|(target, _)| *target).collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.under_way.values().map(Probe::deadline).min()
    }

    pub(crate) fn postpone(&mut self, span: Duration) {
        self.under_way.values_mut().for_each(|probe| probe.postpone(span));
    }

    pub(crate) fn clear(&mut self) {
        self.under_way.clear();
    }

    /// Lets a new member into this round at a random place. When newcomers outnumber those that began it, a new
    /// round starts: the first members of a growing cluster would else wait until all newcomers were asked.
    pub(crate) fn join_round(&mut self, node: NodeId, rng: &mut ChaCha8Rng) {
        self.round.1 += 1;
        if self.round.1 > self.round.0 {
            return self.turns.clear();
        }
        let place = rng.random_range(0..=self.turns.len());
        self.turns.insert(place, node);
    }

    /// The member whose turn it is among those that are `ready`; a new round is shuffled from `live` when this one is
    /// over.
    pub(crate) fn next_turn(
        &mut self,
        live: impl Fn() -> Vec<NodeId>,
        ready: impl Fn(NodeId) -> bool,
        rng: &mut ChaCha8Rng,
    ) -> Option<NodeId> {
        for _ in 0..2 {
            while let Some(node) = self.turns.pop() {
                if ready(node) && !self.is_pressing(node) {
                    return Some(node);
                }
            }
            self.turns = live();
            self.turns.shuffle(rng);
            self.round = (self.turns.len(), 0);
        }
        None
    }
}

/// A probe sent on behalf of another member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relay {
    /// The member that asked, and the number it asked under.
    pub(crate) origin: (NodeId, u64),
    pub(crate) target: NodeId,
    /// When to tell the origin that there is no answer yet.
    pub(crate) nack_at: Option<Instant>,
    pub(crate) expires_at: Instant,
}

impl Relay {
    fn deadline(&self) -> Instant {
        self.nack_at.map_or(self.expires_at, |at| at.min(self.expires_at))
    }
}

/// Questions asked for others, by the number of our ping; at most [`MAX_RELAYS`].
#[derive(Debug, Default)]
pub(crate) struct Relays(BTreeMap<u64, Relay>);

impl Relays {
    /// Whether there was room.
    pub(crate) fn insert(&mut self, number: u64, relay: Relay) -> bool {
        let room = self.0.len() < MAX_RELAYS;
        if room {
            self.0.insert(number, relay);
        }
        room
    }

    /// Takes out the relay that ping `number` to `target` served.
    pub(crate) fn answered(&mut self, number: u64, target: NodeId) -> Option<Relay> {
        let meant = self.0.get(&number).is_some_and(|relay| relay.target == target);
        if meant { self.0.remove(&number) } else { None }
    }

    /// Drops what expired at `now` and returns the members to send a nack.
    pub(crate) fn turn(&mut self, now: Instant) -> Vec<(NodeId, u64)> {
        self.0.retain(|_, relay| relay.expires_at > now);
        let due = self.0.values_mut().filter(|relay| relay.nack_at.is_some_and(|at| at <= now));
        due.map(|relay| {
            relay.nack_at = None;
            relay.origin
        })
        .collect()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.0.values().map(Relay::deadline).min()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Far above what members ask of each other in one period, even when a third of a large cluster is gone.
const MAX_RELAYS: usize = 256;

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::testing::node;

    #[test]
    fn a_round_asks_everyone_once() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut probes = Probes::default();
        let live = || (1..=9).map(node).collect::<Vec<_>>();
        for _ in 0..3 {
            let mut round: Vec<_> =
                (0..9).filter_map(|_| probes.next_turn(live, |_| true, &mut rng)).collect();
            round.sort_unstable();
            assert_eq!(round, live());
        }
    }

    #[test]
    fn the_first_member_of_a_growing_cluster_is_not_passed_over() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut probes = Probes::default();
        probes.join_round(node(1), &mut rng);
        assert_eq!(probes.next_turn(|| vec![node(1)], |_| true, &mut rng), Some(node(1)));
        for bits in 2..=8 {
            probes.join_round(node(bits), &mut rng);
        }
        let live = || (1..=8).map(node).collect::<Vec<_>>();
        assert!((0..8).any(|_| probes.next_turn(live, |_| true, &mut rng) == Some(node(1))));
    }

    #[test]
    fn nobody_ready_means_nobody_asked() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(Probes::default().next_turn(|| vec![node(1)], |_| false, &mut rng), None);
        assert_eq!(Probes::default().next_turn(Vec::new, |_| true, &mut rng), None);
    }

    #[test]
    fn relays_nack_once_expire_and_are_bounded() {
        let mut relays = Relays::default();
        let at = Instant::from_nanos;
        let relay = Relay { origin: (node(1), 7), target: node(2), nack_at: Some(at(5)), expires_at: at(9) };
        assert!((0..MAX_RELAYS as u64).all(|number| relays.insert(number, relay)));
        assert!(!relays.insert(u64::MAX, relay));
        assert!(relays.answered(0, node(3)).is_none(), "answered by another than the target");
        assert_eq!(relays.answered(0, node(2)).map(|relay| relay.origin), Some((node(1), 7)));
        assert_eq!(relays.next_deadline(), Some(at(5)));
        assert_eq!(relays.turn(at(5)).len(), MAX_RELAYS - 1);
        assert!(relays.turn(at(6)).is_empty());
        relays.turn(at(9));
        assert_eq!(relays.next_deadline(), None);
    }
}
