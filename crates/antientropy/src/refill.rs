//! What this node may have lost, brought back: each partition concerned is walked with every other owner of it.
//!
//! Such a walk does not wait for its turn, nor for the node with the lower id, and it is not over before everything
//! that the peer holds is here. A peer that has lost records itself says so; it is walked again until it has not.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use starling_types::{ExchangeId, Instant, NodeId, PartitionId, Token, limits};
use starling_wire::Message;
use starling_wire::sync::{Compare, Compared};

use crate::event::{Counters, Effect, Errand, Held, ScanTicket};
use crate::page::{Page, Rows, listed};
use crate::pass::{Pass, Step};
use crate::shared::Shared;
use crate::sweep::{Purpose, Sweep, number};

/// Before a partition is walked again with a peer that did not show all of it; doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// The partitions that this node cannot vouch for.
#[derive(Debug, Default)]
pub(crate) struct Refill {
    doubted: BTreeMap<PartitionId, Held>,
    /// Those to be pulled, and how that went with whom.
    wanted: BTreeMap<PartitionId, BTreeMap<NodeId, Try>>,
    pulls: BTreeMap<NodeId, Pull>,
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

/// A walk.
#[derive(Debug)]
struct Pull {
    partition: PartitionId,
    last: Token,
    pass: Pass,
    /// What the peer says of itself.
    held: Held,
}

impl Refill {
    pub(crate) fn doubt(&mut self, partition: PartitionId, held: Held) {
        self.doubted.insert(partition, held);
    }

    pub(crate) fn pull(&mut self, partition: PartitionId) {
        self.wanted.insert(partition, BTreeMap::new());
        self.drop_pulls_of(partition);
    }

    pub(crate) fn trust(&mut self, partition: PartitionId) {
        self.doubted.remove(&partition);
        self.wanted.remove(&partition);
        self.drop_pulls_of(partition);
    }

    fn drop_pulls_of(&mut self, partition: PartitionId) {
        self.pulls.retain(|_, pull| pull.partition != partition);
        self.look.clear();
    }

    /// With whom partitions are shared has changed, or nothing is to be begun any more.
    pub(crate) fn start_over(&mut self) {
        self.pulls.clear();
        self.look.clear();
        self.wanted.values_mut().for_each(BTreeMap::clear);
    }

    pub(crate) fn interrupt(&mut self, peer: NodeId) {
        self.pulls.remove(&peer);
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

    pub(crate) fn pull_from(&self, peer: NodeId) -> Option<&Pass> {
        self.pulls.get(&peer).map(|pull| &pull.pass)
    }

    pub(crate) fn awaits(&self, errand: Errand) -> bool {
        self.pulls.get(&errand.peer).is_some_and(|pull| pull.pass.awaits(errand.exchange))
    }

    /// Whether the peer was asked for a page under this number.
    pub(crate) fn asks(&self, peer: NodeId, exchange: ExchangeId) -> bool {
        let step = self.pulls.get(&peer).map(|pull| &pull.pass.step);
        matches!(step, Some(Step::Asking { exchange: asked, .. }) if *asked == exchange)
    }

    /// What to walk with the peer next; and when to look again if there is nothing now.
    fn next(&self, now: Instant, peer: NodeId, shared: &Shared) -> Result<PartitionId, Option<Instant>> {
        let mut again: Option<Instant> = None;
        for (&partition, tries) in self.wanted.iter().filter(|(p, _)| shared.has(**p)) {
            match tries.get(&peer) {
                None => return Ok(partition),
                Some(tried) if tried.held == Held::All => {}
                Some(tried) if tried.again <= now => return Ok(partition),
                Some(tried) => again = Some(again.map_or(tried.again, |at| at.min(tried.again))),
            }
        }
        Err(again)
    }
}

impl Sweep {
    /// Runs the repair's own walk.
    pub(crate) fn on_errand(&mut self, errand: Errand, act: impl FnOnce(&mut Pass, &mut Counters)) {
        let pull = self.refill.pulls.get_mut(&errand.peer).map(|pull| &mut pull.pass);
        let pull = pull.filter(|pass| pass.awaits(errand.exchange));
        let walk = self.pairs.get_mut(&errand.peer).and_then(|pair| pair.pass.as_mut());
        if let Some(pass) = pull.or(walk) {
            act(pass, &mut self.counters);
        }
    }

    pub(crate) fn pull(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.stopped || !self.refill.is_wanted() {
            return;
        }
        let up: Vec<NodeId> = self.pairs.keys().copied().filter(|peer| self.up.contains(peer)).collect();
        for peer in up {
            self.begin_pull(now, peer);
            self.go_on_pulling(now, peer, out);
        }
    }

    fn begin_pull(&mut self, now: Instant, peer: NodeId) {
        let is_due = self.refill.look.get(&peer).is_none_or(|again| again.is_some_and(|at| at <= now));
        let Some(pair) = self.pairs.get(&peer) else { return };
        if !is_due || self.refill.pulls.contains_key(&peer) {
            return;
        }
        match self.refill.next(now, peer, &pair.shared) {
            Ok(partition) => {
                let (first, last) = pair.shared.ends_of(partition);
                let pass = Pass::from(first, self.rng.random());
                self.refill.pulls.insert(peer, Pull { partition, last, pass, held: Held::All });
            }
            Err(again) => drop(self.refill.look.insert(peer, again)),
        }
    }

    fn go_on_pulling(&mut self, now: Instant, peer: NodeId, out: &mut Vec<Effect>) {
        let (first, exchanges) = (self.first_exchange, &mut self.exchanges);
        let Some(pull) = self.refill.pulls.get_mut(&peer) else { return };
        pull.pass.expire(now);
        pull.pass.work(now, peer, || number(first, exchanges), out);
        if !matches!(pull.pass.step, Step::Ready) {
            return;
        }
        match pull.pass.cursor.filter(|&cursor| cursor <= pull.last) {
            Some(token) => {
                let ticket = self.scan(Purpose::Pull(peer));
                if let Some(pull) = self.refill.pulls.get_mut(&peer) {
                    pull.pass.step = Step::Scanning(ticket);
                }
                out.push(Effect::Scan(ticket, token));
            }
            None => self.end_pull(now, peer, out),
        }
    }

    /// A page of this node's own is there: the peer compares it.
    pub(crate) fn pull_page(
        &mut self,
        now: Instant,
        peer: NodeId,
        ticket: ScanTicket,
        rows: Option<Rows>,
        out: &mut Vec<Effect>,
    ) {
        let (Some(pair), Some(pull)) = (self.pairs.get(&peer), self.refill.pulls.get_mut(&peer)) else {
            return;
        };
        let is_awaited = matches!(pull.pass.step, Step::Scanning(t) if t == ticket);
        let Some(from) = pull.pass.cursor.filter(|_| is_awaited) else { return };
        let Some(rows) = rows else {
            self.counters.skipped += 1;
            return pull.pass.break_off();
        };
        // Rows that are damaged here count as absent: the peer's take their place.
        let page = Page::cut(&pair.shared, from, pull.last, rows);
        let compare = Compare {
            pass: pull.pass.number,
            first: false,
            from,
            through: page.through,
            fingerprint: page.fingerprint(),
        };
        let exchange = number(self.first_exchange, &mut self.exchanges);
        pull.pass.step = Step::Asking { exchange, page, since: now };
        out.push(Effect::Send(peer, exchange, Message::Compare(compare)));
    }

    pub(crate) fn pull_compared(&mut self, peer: NodeId, answer: Compared) {
        let (Some(pair), Some(pull)) = (self.pairs.get(&peer), self.refill.pulls.get_mut(&peer)) else {
            return;
        };
        let Step::Asking { page, .. } = std::mem::replace(&mut pull.pass.step, Step::Ready) else {
            return;
        };
        self.counters.pages += 1;
        if let Compared::Partial { synced, .. } = answer {
            pull.held = pull.held.min(if synced { Held::Synced } else { Held::Part });
        }
        match answer {
            Compared::Same => pull.pass.advance(page.through),
            Compared::Different { through, entries } | Compared::Partial { through, entries, .. }
                if entries.len() <= limits::SWEEP_ENTRIES =>
            {
                let through = through.clamp(page.from, page.through);
                let theirs = listed(self.seed, &pair.shared, (page.from, through), entries);
                pull.pass.repair(through, page.differences(theirs));
            }
            Compared::Refused(_) => pull.pass.break_off(),
            Compared::Unreadable | Compared::Different { .. } | Compared::Partial { .. } => {
                self.counters.skipped += 1;
                pull.pass.pass_over(page.through);
            }
        }
    }

    fn end_pull(&mut self, now: Instant, peer: NodeId, out: &mut Vec<Effect>) {
        let Some(pull) = self.refill.pulls.remove(&peer) else { return };
        self.refill.look.remove(&peer);
        self.counters.pulls += 1;
        let Some(tries) = self.refill.wanted.get_mut(&pull.partition) else { return };
        let pause = tries.get(&peer).map_or(SHORTEST, |tried| (tried.pause * 2).min(LONGEST));
        let held = if pull.pass.has_gaps { Held::Part } else { pull.held };
        tries.insert(peer, Try { held, again: now + pause, pause });
        if !pull.pass.has_gaps {
            out.push(Effect::Pulled { partition: pull.partition, peer, held });
        }
        // The next one at once.
        self.begin_pull(now, peer);
        self.go_on_pulling(now, peer, out);
    }

    pub(crate) fn next_pull(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        let looks = self.refill.look.iter().filter(|(peer, _)| self.up.contains(peer));
        let looks = looks.filter(|(peer, _)| !self.refill.pulls.contains_key(peer)).filter_map(|(_, at)| *at);
        let pulls = self.refill.pulls.values().filter_map(|pull| pull.pass.next_deadline());
        looks.chain(pulls).min()
    }
}
