//! The machine: passes with every peer, and answers to theirs.
//!
//! Of two nodes the one with the lower id walks; when it is done it tells the other how it went, so that both know
//! where they stand without reading everything twice. A frame that is lost costs time, never truth: an unanswered page
//! is compared anew, an unanswered repair is left to the next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use starling_types::{ExchangeId, Instant, NodeId, Now, QualifiedKey, Token, WallTime, limits};
use starling_wire::Message;
use starling_wire::sync::{Compare, Compared, Swept};

use crate::event::{Counters, Effect, Errand, Event, ScanTicket};
use crate::pace::Pace;
use crate::page::{Page, Rows, listed};
use crate::pass::{Pass, Step};
use crate::refill::Refill;
use crate::shared::Shared;
use crate::standing::{Changes, Equal};

/// The sweeps of one node.
#[derive(Debug)]
pub struct Sweep {
    me: NodeId,
    pace: Pace,
    pub(crate) seed: u64,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) first_exchange: u128,
    pub(crate) exchanges: u64,
    tickets: u64,
    pub(crate) pairs: BTreeMap<NodeId, Pair>,
    pub(crate) up: BTreeSet<NodeId>,
    scans: BTreeMap<ScanTicket, Purpose>,
    pub(crate) changes: Changes,
    /// Before this no further page is read.
    next_page: Instant,
    pub(crate) counters: Counters,
    pub(crate) stopped: bool,
    pub(crate) refill: Refill,
    /// Looked for after each event: a node asks for it in every turn.
    next: Option<Instant>,
}

/// This node and another that share partitions.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) shared: Shared,
    pub(crate) pass: Option<Pass>,
    due: Option<Instant>,
    /// Until the next pass, should the present one find something.
    pause: Duration,
    /// The pass that the peer walks, as it began here.
    pub(crate) theirs: Option<(u64, Equal)>,
    /// Pages of the peer's that wait to be compared.
    pub(crate) asked: usize,
    /// The last pass in which all was equal, unless something was found different since.
    pub(crate) equal: Option<Equal>,
    /// When it began, whatever was found since.
    proved: Option<WallTime>,
}

/// What a scan is for.
#[derive(Debug)]
pub(crate) enum Purpose {
    Walk(NodeId),
    Pull(NodeId),
    Answer(NodeId, ExchangeId, Compare),
}

impl Sweep {
    /// A node that has compared nothing yet. Its exchanges are numbered from `first_exchange` on.
    pub fn new(me: NodeId, pace: Pace, seed: u64, first_exchange: ExchangeId) -> Self {
        Self {
            me,
            pace,
            seed: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            first_exchange: first_exchange.bits(),
            exchanges: 0,
            tickets: 0,
            pairs: BTreeMap::new(),
            up: BTreeSet::new(),
            scans: BTreeMap::new(),
            changes: Changes::default(),
            next_page: Instant::ORIGIN,
            counters: Counters::default(),
            stopped: false,
            refill: Refill::default(),
            next: None,
        }
    }

    /// The one entrance.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Layout { seed, shared } => self.layout(now.instant, seed, shared),
            Event::Up(peer) => self.peer_up(now.instant, peer),
            Event::Down(peer) => self.peer_down(peer),
            Event::Staged(partition) => return self.changes.staged(partition),
            Event::Committed(partition) => return self.changes.committed(partition),
            Event::Scanned(ticket, rows) => self.scanned(now.instant, ticket, rows, out),
            Event::Asked(from, exchange, compare) => self.asked(now, from, exchange, compare, out),
            Event::Compared(from, exchange, answer) => self.compared(from, exchange, answer),
            Event::ReadHere(errand, record) => {
                self.on_errand(errand, |pass, _| pass.read_here(now.instant, errand, record, out));
            }
            Event::Fetched(errand, answer) => self.on_errand(errand, |pass, counters| {
                pass.fetched(now.instant, errand, &answer, counters, out);
            }),
            Event::MergedHere(errand, done) => self.on_errand(errand, |pass, counters| {
                pass.merged(errand.exchange, true, done, counters);
            }),
            Event::Merged(errand, done) => self.on_errand(errand, |pass, counters| {
                pass.merged(errand.exchange, false, done, counters);
            }),
            Event::Doubt(partition, held) => self.refill.doubt(partition, held),
            Event::Pull(partition) => self.refill.pull(partition),
            Event::Trust(partition) => self.refill.trust(partition),
            Event::Swept(from, swept) => self.swept(from, swept),
            Event::Stop => self.stop(),
            Event::Tick => {}
        }
        self.pull(now.instant, out);
        self.work(now, out);
        self.next = self.find_deadline();
    }

    /// When [`Event::Tick`] is due.
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    fn find_deadline(&self) -> Option<Instant> {
        let full = self.walking() >= Pace::AT_ONCE;
        let walked = self.pairs.iter().filter(|(peer, _)| self.walks(**peer));
        let deadlines = walked.filter_map(|(_, pair)| match &pair.pass {
            None => pair.due.filter(|_| !full),
            Some(Pass { step: Step::Ready, .. }) => Some(self.next_page),
            Some(pass) => pass.next_deadline(),
        });
        deadlines.chain(self.next_pull()).min()
    }

    /// Whether `exchange` is a repair that waits for this peer's answer.
    pub fn awaits(&self, errand: Errand) -> bool {
        let pass = self.pairs.get(&errand.peer).and_then(|pair| pair.pass.as_ref());
        pass.is_some_and(|pass| pass.awaits(errand.exchange)) || self.refill.awaits(errand)
    }

    /// The key of a repair that waits for this peer's answer.
    pub fn repairs(&self, errand: Errand) -> Option<&QualifiedKey> {
        let walk = self.pairs.get(&errand.peer).and_then(|pair| pair.pass.as_ref());
        let passes = walk.into_iter().chain(self.refill.pull_from(errand.peer));
        passes.filter_map(|pass| pass.key_of(errand.exchange)).next()
    }

    /// Whether nothing that differs is being repaired.
    pub fn is_quiet(&self) -> bool {
        let repairs = |pair: &Pair| pair.pass.as_ref().is_some_and(Pass::is_repairing);
        !self.pairs.values().any(repairs) && !self.refill.is_wanted()
    }

    /// Whether passes are started here.
    pub const fn is_on(&self) -> bool {
        self.pace.is_on()
    }

    /// How many partitions may differ from another owner's: no pass in which all was equal has begun since they
    /// changed here.
    pub fn behind(&self) -> usize {
        let behind = self.pairs.values().flat_map(|pair| {
            let partitions = pair.shared.partitions().iter();
            partitions.filter(|&&partition| self.changes.is_behind(partition, pair.equal))
        });
        behind.collect::<BTreeSet<_>>().len()
    }

    /// What was written before this moment, all peers hold as this node does, or did when they were last compared.
    /// None while there is a peer that was not compared since the start, or none at all.
    pub fn proved_through(&self) -> Option<WallTime> {
        self.pairs.values().map(|pair| pair.proved).min().flatten()
    }

    /// What sweeps have done since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn layout(&mut self, now: Instant, seed: u64, shared: BTreeMap<NodeId, Shared>) {
        self.seed = seed;
        self.scans.clear();
        self.refill.start_over();
        self.pairs = shared.into_iter().map(|(peer, shared)| (peer, Pair::new(shared, &self.pace))).collect();
        for peer in self.up.clone() {
            self.visit_soon(now, peer);
        }
    }

    fn peer_up(&mut self, now: Instant, peer: NodeId) {
        // Heard of again and again, it is not visited more often.
        if self.up.insert(peer) {
            self.visit_soon(now, peer);
        }
    }

    fn visit_soon(&mut self, now: Instant, peer: NodeId) {
        let soon = self.jittered(self.pace.soon);
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.due = Some(now + soon);
        }
    }

    fn peer_down(&mut self, peer: NodeId) {
        self.up.remove(&peer);
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.pass.iter_mut().for_each(Pass::interrupt);
        }
        self.refill.interrupt(peer);
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.pairs.values_mut().for_each(|pair| pair.pass = None);
        self.refill.start_over();
    }

    /// Whether this node walks, rather than the peer, and can.
    fn walks(&self, peer: NodeId) -> bool {
        !self.stopped && self.pace.is_on() && self.me < peer && self.up.contains(&peer)
    }

    fn walking(&self) -> usize {
        self.pairs.iter().filter(|(peer, pair)| pair.pass.is_some() && self.up.contains(peer)).count()
    }

    fn on_pass(&mut self, peer: NodeId, act: impl FnOnce(&mut Pass, &mut Counters)) {
        if let Some(pass) = self.pairs.get_mut(&peer).and_then(|pair| pair.pass.as_mut()) {
            act(pass, &mut self.counters);
        }
    }

    fn work(&mut self, now: Now, out: &mut Vec<Effect>) {
        let peers: Vec<NodeId> = self.pairs.keys().copied().filter(|&peer| self.walks(peer)).collect();
        for peer in peers {
            self.work_on(now, peer, out);
        }
    }

    fn work_on(&mut self, now: Now, peer: NodeId, out: &mut Vec<Effect>) {
        let has_room = self.walking() < Pace::AT_ONCE;
        let (first, exchanges) = (self.first_exchange, &mut self.exchanges);
        let Some(pair) = self.pairs.get_mut(&peer) else { return };
        if pair.pass.is_none() && has_room && pair.due.is_some_and(|due| due <= now.instant) {
            // Drawn: a peer may remember a pass of an earlier run of this node.
            pair.pass = Some(Pass::new(self.rng.random(), self.changes.now(), now.wall));
        }
        let Some(pass) = &mut pair.pass else { return };
        if pass.is_repairing() && !pass.is_clean {
            pair.equal = None;
        }
        pass.expire(now.instant);
        pass.work(now.instant, peer, || number(first, exchanges), out);
        // Waits for the page to be repaired, and for its turn.
        if matches!(pass.step, Step::Ready) && now.instant >= self.next_page {
            match pass.cursor.and_then(|cursor| pair.shared.next(cursor)) {
                Some(token) => self.read_page(now.instant, peer, token, out),
                None => self.end(now.instant, peer, out),
            }
        }
    }

    fn read_page(&mut self, now: Instant, peer: NodeId, from: Token, out: &mut Vec<Effect>) {
        let ticket = self.scan(Purpose::Walk(peer));
        self.next_page = now + self.pace.gap;
        self.on_pass(peer, |pass, _| {
            pass.cursor = Some(from);
            pass.step = Step::Scanning(ticket);
        });
        out.push(Effect::Scan(ticket, from));
    }

    pub(crate) fn scan(&mut self, purpose: Purpose) -> ScanTicket {
        self.tickets += 1;
        let ticket = ScanTicket(self.tickets);
        self.scans.insert(ticket, purpose);
        ticket
    }

    fn scanned(&mut self, now: Instant, ticket: ScanTicket, rows: Option<Rows>, out: &mut Vec<Effect>) {
        match self.scans.remove(&ticket) {
            Some(Purpose::Walk(peer)) => self.walk(now, peer, ticket, rows, out),
            Some(Purpose::Pull(peer)) => self.pull_page(now, peer, ticket, rows, out),
            Some(Purpose::Answer(peer, exchange, compare)) => {
                if let Some(answer) = self.answer(peer, &compare, rows) {
                    out.push(Effect::Send(peer, exchange, Message::Compared(answer)));
                }
            }
            None => {}
        }
    }

    /// A page of this node's own is there: the peer compares it.
    fn walk(
        &mut self,
        now: Instant,
        peer: NodeId,
        ticket: ScanTicket,
        rows: Option<Rows>,
        out: &mut Vec<Effect>,
    ) {
        let Some(pair) = self.pairs.get_mut(&peer) else { return };
        let Some(pass) = &mut pair.pass else { return };
        let Some(from) = pass.cursor.filter(|_| matches!(pass.step, Step::Scanning(t) if t == ticket)) else {
            return;
        };
        let Some(rows) = rows else {
            // The scan failed as a whole (of damage a page says how much it stepped over): this pass leaves the partition out.
            self.counters.skipped += 1;
            pass.is_clean = false;
            return pass.advance(pair.shared.end_of(from));
        };
        self.counters.skipped += rows.unreadable as u64;
        pass.is_clean &= rows.unreadable == 0;
        let page = Page::cut(&pair.shared, from, Token::from_bits(u64::MAX), rows);
        let compare = Compare {
            pass: pass.number,
            first: std::mem::take(&mut pass.is_first_page),
            from,
            through: page.through,
            fingerprint: page.fingerprint(),
        };
        let exchange = number(self.first_exchange, &mut self.exchanges);
        pass.step = Step::Asking { exchange, page, since: now };
        out.push(Effect::Send(peer, exchange, Message::Compare(compare)));
    }

    fn compared(&mut self, from: NodeId, exchange: ExchangeId, answer: Compared) {
        if self.refill.asks(from, exchange) {
            return self.pull_compared(from, answer);
        }
        let Some(pair) = self.pairs.get_mut(&from) else { return };
        let Some(pass) = &mut pair.pass else { return };
        let page = match std::mem::replace(&mut pass.step, Step::Ready) {
            Step::Asking { exchange: asked, page, .. } if asked == exchange => page,
            other => return pass.step = other,
        };
        self.counters.pages += 1;
        match answer {
            Compared::Same => pass.advance(page.through),
            Compared::Different { through, entries } | Compared::Partial { through, entries, .. }
                if entries.len() <= limits::SWEEP_ENTRIES =>
            {
                let through = through.clamp(page.from, page.through);
                let theirs = listed(self.seed, &pair.shared, (page.from, through), entries);
                pass.repair(through, page.differences(theirs));
            }
            Compared::Unreadable | Compared::Different { .. } | Compared::Partial { .. } => {
                self.counters.skipped += 1;
                pass.is_clean = false;
                pass.advance(page.through);
            }
            Compared::Refused(_) => {
                // It starts, stops, or has another layout: what it holds is no use at the moment.
                pass.is_clean = false;
                pass.cursor = None;
            }
        }
    }

    /// The walk is over: the peer is told, and the next one is due.
    fn end(&mut self, now: Instant, peer: NodeId, out: &mut Vec<Effect>) {
        let Some(pair) = self.pairs.get_mut(&peer) else { return };
        let Some(pass) = pair.pass.take() else { return };
        self.counters.passes += 1;
        let swept = Swept { pass: pass.number, equal: pass.is_clean };
        let pause = if pass.is_clean {
            pair.found_equal(Equal { mark: pass.mark, began: pass.began });
            pair.pause = self.pace.soon;
            self.pace.period
        } else {
            pair.equal = None;
            let pause = pair.pause;
            pair.pause = (pause * 2).min(self.pace.period);
            pause
        };
        let pause = self.jittered(pause);
        let exchange = number(self.first_exchange, &mut self.exchanges);
        out.push(Effect::Send(peer, exchange, Message::Swept(swept)));
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.due = Some(now + pause);
        }
    }

    /// Up to a half more: nodes that started together do not walk together.
    fn jittered(&mut self, span: Duration) -> Duration {
        span + span.mul_f64(self.rng.random_range(0.0..0.5))
    }
}

impl Pair {
    const fn new(shared: Shared, pace: &Pace) -> Self {
        Self {
            shared,
            pass: None,
            due: None,
            pause: pace.soon,
            theirs: None,
            asked: 0,
            equal: None,
            proved: None,
        }
    }

    pub(crate) fn found_equal(&mut self, equal: Equal) {
        self.equal = Some(equal);
        self.proved = Some(equal.began);
    }
}

pub(crate) fn number(first: u128, count: &mut u64) -> ExchangeId {
    *count += 1;
    ExchangeId::from_bits(first.wrapping_add(u128::from(*count)))
}
