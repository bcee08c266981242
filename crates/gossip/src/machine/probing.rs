//! Asking members whether they live: in turn, at once when something happened, and the dead now and then.

use std::time::Duration;

use starling_types::{Instant, NodeId};
use starling_wire::gossip::{Body, Claim, Status};

use super::{Effect, Gossip};
use crate::probe::{Probe, Purpose, Relay};

impl Gossip {
    pub(super) fn on_connected(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        match self.status(node) {
            Some(Status::Suspect) => self.probe_urgently(node, None, out),
            Some(Status::Dead) => self.revive(node, out),
            _ => {}
        }
    }

    pub(super) fn on_disconnected(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if node != self.me && matches!(self.status(node), Some(Status::Alive | Status::Suspect)) {
            self.probe_urgently(node, None, out);
        }
    }

    /// Starts the next probe of the round.
    pub(super) fn take_turn(&mut self, out: &mut Vec<Effect>) {
        let table = &self.table;
        if self.turn_at > self.now.instant || table.live_others().next().is_none() {
            return;
        }
        let span = self.health.stretch(self.config.period);
        self.turn_at = self.now.instant + span;
        let live = || table.live_others().map(|entry| entry.info.node).collect();
        let ready = |node| table.get(node).is_some_and(|entry| entry.is_live());
        let Some(target) = self.probes.next_turn(live, ready, &mut self.rng) else {
            return;
        };
        let mut probe = Probe::new(Purpose::Turn, self.turn_at);
        probe.escalate_at = Some(self.now.instant + self.patience(target));
        self.ask(target, &mut probe, false, out);
        self.probes.insert(target, probe);
    }

    /// Tries everything at once. Not before all of it failed is the member suspected.
    pub(super) fn probe_urgently(&mut self, target: NodeId, claim: Option<Claim>, out: &mut Vec<Effect>) {
        if self.probes.is_pressing(target) || self.probes.urgent() >= MAX_URGENT || self.has_left() {
            return;
        }
        let expires_at = self.now.instant + self.health.stretch(self.config.period);
        let mut probe = Probe { claim, ..Probe::new(Purpose::Urgent, expires_at) };
        self.ask(target, &mut probe, false, out);
        self.escalate(target, &mut probe, out);
        self.probes.insert(target, probe);
    }

    /// Asks a dead member whether it answers again; its silence says nothing new.
    pub(super) fn revive(&mut self, target: NodeId, out: &mut Vec<Effect>) {
        if self.has_left() {
            return;
        }
        let mut probe = Probe::new(Purpose::Revive, self.now.instant + self.config.revive_interval);
        self.ask(target, &mut probe, true, out);
        self.probes.insert(target, probe);
    }

    /// Asks the next dead member, in the order of ids.
    pub(super) fn turn_dead(&mut self, out: &mut Vec<Effect>) {
        let after = self.dead().find(|node| *node > self.revived);
        let Some(target) = after.or_else(|| self.dead().next()) else {
            return;
        };
        if self.revive_at <= self.now.instant {
            self.revive_at = self.now.instant + self.config.revive_interval;
            self.revived = target;
            self.revive(target, out);
        }
    }

    pub(super) fn turn_probes(&mut self, out: &mut Vec<Effect>) {
        for target in self.probes.due(self.now.instant) {
            let Some(mut probe) = self.probes.remove(target) else {
                continue;
            };
            if probe.expires_at <= self.now.instant {
                self.fail(target, &probe, out);
            } else {
                probe.escalate_at = None;
                self.escalate(target, &mut probe, out);
                self.probes.insert(target, probe);
            }
        }
    }

    fn fail(&mut self, target: NodeId, probe: &Probe, out: &mut Vec<Effect>) {
        if probe.purpose == Purpose::Revive {
            return;
        }
        self.counters.probes_failed += 1;
        // Helpers that hear us say so even when the target is silent: their silence is our own trouble.
        self.health.worse(if probe.asked > 0 { probe.silent.len() as u32 } else { 1 });
        let incarnation =
            self.table.get(target).filter(|entry| entry.is_live()).map(|entry| entry.incarnation);
        if let Some(incarnation) = incarnation {
            self.accuse(target, incarnation, self.me, out);
        }
    }

    /// Sends a ping.
    fn ask(&mut self, target: NodeId, probe: &mut Probe, reliable: bool, out: &mut Vec<Effect>) {
        let seq = self.next_number();
        probe.pings.push((seq, self.now.instant));
        self.counters.probes += 1;
        self.send(target, Body::Ping { seq, reliable }, probe.claim, reliable, out);
    }

    /// Asks others to ping, and pings over the reliable channel: datagrams alone may be what fails.
    fn escalate(&mut self, target: NodeId, probe: &mut Probe, out: &mut Vec<Effect>) {
        self.ask(target, probe, true, out);
        let helpers = self.random_live(self.config.helpers, &[target]);
        let seq = self.next_number();
        for helper in &helpers {
            self.send(*helper, Body::PingFor { seq, target }, None, false, out);
        }
        probe.help = Some(seq);
        probe.asked = helpers.len();
        probe.silent = helpers;
    }

    /// How long `target` may take for a ping: three times its slow round trips, but leaving time for helpers.
    fn patience(&self, target: NodeId) -> Duration {
        let slow = self.table.get(target).map_or(Duration::ZERO, |entry| entry.slowest.saturating_mul(3));
        let most = (self.config.period / 2).max(self.config.ping_timeout);
        self.health.stretch(self.config.ping_timeout.max(slow).min(most))
    }

    /// A ping of ours was answered: passes that on to the member that asked for it, or returns when the ping was sent.
    pub(super) fn on_ack(&mut self, from: NodeId, seq: u64, out: &mut Vec<Effect>) -> Option<Instant> {
        if let Some(relay) = self.relays.answered(seq, from) {
            let (origin, number) = relay.origin;
            self.send(origin, Body::Reached { seq: number }, None, false, out);
            return None;
        }
        let sent = self.probes.get_mut(from)?.pings.iter().find(|(number, _)| *number == seq)?.1;
        self.succeed(from);
        self.note_round_trip(from, self.now.instant.since(sent));
        Some(sent)
    }

    pub(super) fn on_reached(&mut self, helper: NodeId, seq: u64) {
        let Some((target, probe)) = self.probes.helped(seq) else {
            return;
        };
        if probe.silent.contains(&helper) {
            self.succeed(target);
        }
    }

    pub(super) fn on_unreached(&mut self, helper: NodeId, seq: u64) {
        if let Some((_, probe)) = self.probes.helped(seq) {
            probe.silent.retain(|silent| *silent != helper);
        }
    }

    fn succeed(&mut self, target: NodeId) {
        if self.probes.remove(target).is_some_and(|probe| probe.purpose == Purpose::Turn) {
            self.health.better();
        }
    }

    fn note_round_trip(&mut self, peer: NodeId, trip: Duration) {
        if let Some(entry) = self.table.get_mut(peer) {
            entry.slowest = trip.max(entry.slowest.mul_f64(0.9));
        }
    }

    pub(super) fn on_ping_for(&mut self, origin: NodeId, seq: u64, target: NodeId, out: &mut Vec<Effect>) {
        if target == self.me {
            return self.send(origin, Body::Reached { seq }, None, false, out);
        }
        let number = self.next_number();
        let relay = Relay {
            origin: (origin, seq),
            target,
            nack_at: Some(self.now.instant + self.config.ping_timeout.mul_f64(NACK_SHARE)),
            expires_at: self.now.instant + self.config.period,
        };
        if self.table.get(target).is_none() || !self.relays.insert(number, relay) {
            return self.send(origin, Body::Unreached { seq }, None, false, out);
        }
        self.send(target, Body::Ping { seq: number, reliable: false }, None, false, out);
    }

    pub(super) fn turn_relays(&mut self, out: &mut Vec<Effect>) {
        for (origin, seq) in self.relays.turn(self.now.instant) {
            self.send(origin, Body::Unreached { seq }, None, false, out);
        }
    }
}

/// Urgent probes under way at a time: a healed partition or a lost switch must not set off one per member.
const MAX_URGENT: usize = 32;
/// A helper says "no answer yet" after this share of the ping timeout, so that it arrives in time.
const NACK_SHARE: f64 = 0.8;
