//! Messages from other members.

use starling_types::NodeId;
use starling_wire::gossip::{Body, LAST_COUNT, MAX_RUMOURS, Message};

use super::{Effect, Gossip, Notice, SHARED_NOTICE_INTERVAL};

impl Gossip {
    pub(super) fn receive(&mut self, from: NodeId, message: Message, out: &mut Vec<Effect>) {
        if from == self.me {
            return;
        }
        if message.generation.0 > LAST_COUNT || message.incarnation > LAST_COUNT {
            self.counters.refused += 1;
            return;
        }
        if self.has_left() {
            return self.answer_as_departed(from, message.body, out);
        }
        self.table.remember(from);
        for rumour in message.rumours.into_iter().take(MAX_RUMOURS) {
            self.take_rumour(rumour, out);
        }
        self.compare_digests(from, message.members, message.shared, &message.body, out);
        let current = self.table.get(from).is_none_or(|known| known.info.generation <= message.generation);
        self.receive_body(from, message.body, current, out);
    }

    /// `current` is whether the sender is at least the generation of it that we know: the answer of an older one proves
    /// nothing about the newer.
    fn receive_body(&mut self, from: NodeId, body: Body, current: bool, out: &mut Vec<Effect>) {
        match body {
            Body::Ping { seq, reliable } => self.answer(from, seq, reliable, out),
            Body::Ack { seq, wall } if current => {
                let (now, sent) = (self.now, self.on_ack(from, seq, out));
                if let Some(sent) = sent {
                    self.clocks.take(now.instant, from, wall, now.instant.since(sent));
                }
            }
            Body::PingFor { seq, target } => self.on_ping_for(from, seq, target, out),
            Body::Reached { seq } => self.on_reached(from, seq),
            Body::Unreached { seq } => self.on_unreached(from, seq),
            Body::Compare { claims } => self.on_compare(from, claims, out),
            Body::Delta { records, wanted } => self.on_delta(from, records, wanted, out),
            Body::Ack { .. } | Body::Rumours => {}
        }
    }

    fn answer(&mut self, from: NodeId, seq: u64, reliable: bool, out: &mut Vec<Effect>) {
        self.send(from, Body::Ack { seq, wall: self.now.wall }, None, reliable, out);
    }

    fn answer_as_departed(&mut self, from: NodeId, body: Body, out: &mut Vec<Effect>) {
        if let Body::Ping { seq, reliable } = body {
            self.answer(from, seq, reliable, out);
        }
    }

    fn compare_digests(
        &mut self,
        from: NodeId,
        members: u64,
        shared: u64,
        body: &Body,
        out: &mut Vec<Effect>,
    ) {
        if shared != self.shared {
            self.notice_difference(from, out);
        }
        let comparing = matches!(body, Body::Compare { .. } | Body::Delta { .. });
        if !comparing && members != self.table.digest() {
            self.on_mismatch(from, out);
        }
    }

    fn notice_difference(&mut self, peer: NodeId, out: &mut Vec<Effect>) {
        let now = self.now.instant;
        let Some(entry) = self.table.get_mut(peer) else {
            return;
        };
        if entry.differed.is_none_or(|last| now.since(last) >= SHARED_NOTICE_INTERVAL) {
            entry.differed = Some(now);
            out.push(Effect::Notify(Notice::SharedDiffers { peer }));
        }
    }
}
