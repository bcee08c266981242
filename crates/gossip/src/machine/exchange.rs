//! Comparing whole tables: what rumours missed, what a newcomer lacks, what a partition let drift apart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::seq::IndexedRandom;
use starling_types::{Instant, NodeId, limits};
use starling_wire::gossip::{Body, Claim, Record, Status};

use super::{Effect, Gossip};
use crate::table::{Entry, Standing};

/// When to compare.
#[derive(Debug)]
pub(super) struct Schedule {
    next: Instant,
    /// Whether any member ever answered: a newcomer asks often until then.
    answered: bool,
    /// Earliest comparison because of a differing digest.
    mismatch_after: Instant,
    /// Grows while differing digests lead to nothing new.
    pause: Duration,
    /// Our digest, and since when.
    settled: (u64, Instant),
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, answered: false, mismatch_after: now, pause: MISMATCH_PAUSE, settled: (0, now) }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    fn settled_for(&self, now: Instant) -> Duration {
        now.since(self.settled.1)
    }
}

impl Gossip {
    pub(super) fn turn_exchange(&mut self, out: &mut Vec<Effect>) {
        let (now, digest) = (self.now.instant, self.table.digest());
        if self.exchange.settled.0 != digest {
            self.exchange.settled = (digest, now);
        }
        if self.exchange.next > now {
            return;
        }
        let Some(peer) = self.partner() else { return };
        self.compare_with(peer, out);
    }

    pub(super) fn has_partner(&self) -> bool {
        self.table.others().any(|entry| entry.status != Status::Left)
    }

    /// A random live member; if there is none, a dead one, which may have come back.
    fn partner(&mut self) -> Option<NodeId> {
        let live = self.random_live(1, &[]).pop();
        live.or_else(|| {
            let dead: Vec<NodeId> = self.dead().collect();
            dead.choose(&mut self.rng).copied()
        })
    }

    fn compare_with(&mut self, peer: NodeId, out: &mut Vec<Effect>) {
        let interval = self.config.compare_interval;
        let jitter = self.rng.random_range(0.9..1.1);
        let wait = if self.exchange.answered { interval.mul_f64(jitter) } else { UNANSWERED_PAUSE };
        self.exchange.next = self.now.instant + wait;
        let short = |entry: &Entry| {
            let claim = entry.claim(self.me);
            Claim { status: settled(claim.status), ..claim }
        };
        let claims = self.table.entries().map(short).collect();
        self.send(peer, Body::Compare { claims }, None, true, out);
    }

    /// A stranger shows up. Until a member has answered us, it is our way in.
    pub(super) fn exchange_with_stranger(&mut self, peer: NodeId, out: &mut Vec<Effect>) {
        if !self.exchange.answered && self.table.get(peer).is_some() {
            self.compare_with(peer, out);
        }
    }

    /// A peer's digest differs from ours. While news travels that is normal: only a lasting difference is
    /// worth a comparison, and one that comparisons do not mend (one of us forgot a member, the other not yet)
    /// ever fewer.
    pub(super) fn on_mismatch(&mut self, peer: NodeId, out: &mut Vec<Effect>) {
        let now = self.now.instant;
        let quiet =
            self.exchange.settled_for(now) >= self.config.rumour_interval.saturating_mul(SETTLE_ROUNDS);
        if !quiet || now < self.exchange.mismatch_after {
            return;
        }
        self.exchange.mismatch_after = now + self.exchange.pause;
        self.exchange.pause = (self.exchange.pause * 2).min(self.config.compare_interval);
        self.compare_with(peer, out);
    }

    pub(super) fn on_compare(&mut self, from: NodeId, claims: Vec<Claim>, out: &mut Vec<Effect>) {
        let theirs: BTreeMap<NodeId, Claim> =
            claims.into_iter().take(limits::MAX_MEMBERS).map(|claim| (claim.node, claim)).collect();
        if let Some(me) = theirs.get(&self.me) {
            self.take_claim(*me, out);
        }
        let records =
            self.table.entries().filter(|entry| is_newer(entry, &theirs)).map(settled_record).collect();
        let wanted = theirs.values().filter(|claim| self.lacks(claim)).map(|claim| claim.node).collect();
        self.send(from, Body::Delta { records, wanted }, None, true, out);
    }

    fn lacks(&self, claim: &Claim) -> bool {
        match self.table.get(claim.node) {
            Some(entry) => {
                claim.node != self.me && entry.standing().settled() < Standing::of_claim(claim).settled()
            }
            None => !self.table.is_forgotten(claim.node),
        }
    }

    pub(super) fn on_delta(
        &mut self,
        from: NodeId,
        records: Vec<Record>,
        wanted: Vec<NodeId>,
        out: &mut Vec<Effect>,
    ) {
        let before = self.table.digest();
        self.exchange.answered = true;
        for record in records.into_iter().take(limits::MAX_MEMBERS) {
            self.take_compared(record, out);
        }
        if self.table.digest() != before {
            self.exchange.pause = MISMATCH_PAUSE;
        }
        let wanted: BTreeSet<NodeId> = wanted.into_iter().take(limits::MAX_MEMBERS).collect();
        let known = wanted.into_iter().filter_map(|node| self.table.get(node));
        let records: Vec<Record> = known.map(settled_record).collect();
        if !records.is_empty() {
            self.send(from, Body::Delta { records, wanted: Vec::new() }, None, true, out);
        }
    }

    /// A conviction that comes by comparison may be as old as a partition: the member is asked before it is
    /// believed, and told what to refute.
    fn take_compared(&mut self, record: Record, out: &mut Vec<Effect>) {
        let node = record.info.node;
        let contested = record.status == Status::Dead
            && record.info.is_sound()
            && self.table.get(node).is_some_and(|known| {
                known.is_live()
                    && known.info.generation == record.info.generation
                    && known.standing() < Standing::of_record(&record)
            });
        if contested && node != self.me {
            let claim = Claim {
                node,
                generation: record.info.generation,
                incarnation: record.incarnation,
                status: Status::Dead,
                by: self.me,
            };
            self.probe_urgently(node, Some(claim), out);
        } else {
            self.take_record(record, out);
        }
    }
}

fn is_newer(ours: &Entry, theirs: &BTreeMap<NodeId, Claim>) -> bool {
    let theirs = theirs.get(&ours.info.node).map(|claim| Standing::of_claim(claim).settled());
    theirs.is_none_or(|theirs| ours.standing().settled() > theirs)
}

fn settled_record(entry: &Entry) -> Record {
    Record { status: settled(entry.status), ..entry.record() }
}

fn settled(status: Status) -> Status {
    if status == Status::Suspect { Status::Alive } else { status }
}

/// Shortest time between two comparisons because of differing digests.
const MISMATCH_PAUSE: Duration = Duration::from_secs(1);
/// How often a newcomer asks until a member answers.
const UNANSWERED_PAUSE: Duration = Duration::from_secs(1);
/// Rounds of rumours after which news has normally reached everyone (`ring-and-layout`, section 3: 4.3 rounds
/// for a thousand members).
const SETTLE_ROUNDS: u32 = 10;
