//! The machine: passes with every peer, and answers to theirs.
//!
//! Of two nodes the one with the lower id walks; when it is done it tells the other how it went, so that both know
//! where they stand without reading everything twice. A frame that is lost costs time, never truth: an unanswered page
//! is compared anew, an unanswered repair is left to the next pass.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use starling_types::{ExchangeId, Instant, NodeId, Now, PartitionId, QualifiedKey, Token, WallTime};
use starling_wire::Message;
use starling_wire::sync::{Compare, Swept};

use crate::event::{Counters, Effect, Errand, Event, Held, ScanTicket};
use crate::pace::Pace;
use crate::page::Rows;
use crate::refill::Refill;
use crate::shared::Shared;
use crate::standing::{Changes, Equal};
use crate::walk::{Numbers, Policy, Turn, Walk};

/// The sweeps of one node.
#[derive(Debug)]
pub struct Sweep {
    me: NodeId,
    pace: Pace,
    seed: u64,
    rng: ChaCha8Rng,
    numbers: Numbers,
    pub(crate) pairs: BTreeMap<NodeId, Pair>,
    up: BTreeSet<NodeId>,
    pub(crate) scans: Scans,
    pub(crate) changes: Changes,
    /// Before this no further page is read.
    next_page: Instant,
    pub(crate) counters: Counters,
    stopped: bool,
    pub(crate) refill: Refill,
    /// Looked for after each event: a node asks for it in every turn.
    next: Option<Instant>,
}

/// This node and another that share partitions.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) shared: Shared,
    sweep: Option<Walk>,
    pull: Option<Walk>,
    due: Option<Instant>,
    /// Until the next sweep, should the present one find something.
    pause: Duration,
    /// The pass that the peer walks, as it began here.
    pub(crate) theirs: Option<(u64, Equal)>,
    /// Pages of the peer's that wait to be compared.
    pub(crate) asked: usize,
    /// The last pass in which all was equal, unless something was found different since.
    pub(crate) equal: Option<Equal>,
    /// When it began, even if a difference was found since.
    proved: Option<WallTime>,
}

/// The purpose of a scan.
#[derive(Debug)]
pub(crate) enum Purpose {
    Walk(NodeId),
    Answer(NodeId, ExchangeId, Compare),
}

/// The scans under way.
#[derive(Debug, Default)]
pub(crate) struct Scans {
    tickets: u64,
    purposes: BTreeMap<ScanTicket, Purpose>,
}

impl Scans {
    pub(crate) fn begin(&mut self, purpose: Purpose) -> ScanTicket {
        self.tickets += 1;
        let ticket = ScanTicket(self.tickets);
        self.purposes.insert(ticket, purpose);
        ticket
    }
}

impl Sweep {
    /// A node that has compared nothing yet. Its exchanges are numbered from `first_exchange` on.
    pub fn new(me: NodeId, pace: Pace, seed: u64, first_exchange: ExchangeId) -> Self {
        Self {
            me,
            pace,
            seed: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            numbers: Numbers(first_exchange.bits()),
            pairs: BTreeMap::new(),
            up: BTreeSet::new(),
            scans: Scans::default(),
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
            Event::Compared(peer, exchange, answer) => {
                self.on_errand(now.instant, Errand { peer, exchange }, out, |walk, turn| {
                    walk.compared(turn, exchange, answer)
                })
            }
            Event::ReadHere(errand, record) => self.on_errand(now.instant, errand, out, |walk, turn| {
                walk.read_here(turn, errand.exchange, record)
            }),
            Event::Fetched(errand, answer) => self.on_errand(now.instant, errand, out, |walk, turn| {
                walk.fetched(turn, errand.exchange, &answer)
            }),
            Event::MergedHere(errand, done) => self.on_errand(now.instant, errand, out, |walk, turn| {
                walk.merged(turn, errand.exchange, true, done)
            }),
            Event::Merged(errand, done) => self.on_errand(now.instant, errand, out, |walk, turn| {
                walk.merged(turn, errand.exchange, false, done)
            }),
            Event::Doubt(partition, held) => self.refill.doubt(partition, held),
            Event::Pull(partition) => {
                self.refill.pull(partition);
                self.drop_pulls_of(partition);
            }
            Event::Trust(partition) => {
                self.refill.trust(partition);
                self.drop_pulls_of(partition);
            }
            Event::Swept(from, swept) => self.swept(from, swept),
            Event::Stop => self.stop(),
            Event::Tick => {}
        }
        self.work(now, out);
        self.next = self.find_deadline();
    }

    /// When [`Event::Tick`] is due.
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    fn find_deadline(&self) -> Option<Instant> {
        let full = self.walking() >= Pace::AT_ONCE;
        let swept = self.pairs.iter().filter(|(peer, _)| self.walks(**peer));
        let sweeps = swept.filter_map(|(_, pair)| match &pair.sweep {
            None => pair.due.filter(|_| !full),
            Some(walk) if walk.is_ready() => Some(self.next_page),
            Some(walk) => walk.next_deadline(),
        });
        let up = self.pairs.iter().filter(|(peer, _)| !self.stopped && self.up.contains(peer));
        let pulls = up.filter_map(|(&peer, pair)| match &pair.pull {
            None => self.refill.next_look(peer),
            Some(walk) => walk.next_deadline(),
        });
        sweeps.chain(pulls).min()
    }

    /// Whether `exchange` is a question of a walk's that waits for this peer's answer.
    pub fn awaits(&self, errand: Errand) -> bool {
        self.pairs.get(&errand.peer).is_some_and(|pair| pair.walks().any(|walk| walk.awaits(errand.exchange)))
    }

    /// The key of a repair that waits for this peer's answer.
    pub fn repairs(&self, errand: Errand) -> Option<&QualifiedKey> {
        self.pairs.get(&errand.peer)?.walks().find_map(|walk| walk.key_of(errand.exchange))
    }

    /// Whether nothing that differs is being repaired.
    pub fn is_quiet(&self) -> bool {
        let repairs = |pair: &Pair| pair.sweep.as_ref().is_some_and(Walk::is_repairing);
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

    /// All peers hold the writes from before this moment as this node does, or did when they were last compared. None
    /// while there is a peer that was not compared since the start, or none at all.
    pub fn proved_through(&self) -> Option<WallTime> {
        self.pairs.values().map(|pair| pair.proved).min().flatten()
    }

    /// The counts of sweeps since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn layout(&mut self, now: Instant, seed: u64, shared: BTreeMap<NodeId, Shared>) {
        self.seed = seed;
        self.scans.purposes.clear();
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
            pair.sweep.iter_mut().for_each(Walk::interrupt);
            pair.pull = None;
        }
        self.refill.look_again(peer);
    }

    fn stop(&mut self) {
        self.stopped = true;
        self.pairs.values_mut().for_each(|pair| (pair.sweep, pair.pull) = (None, None));
        self.refill.start_over();
    }

    fn drop_pulls_of(&mut self, partition: PartitionId) {
        let is_of = |walk: &mut Walk| matches!(walk.policy, Policy::Pull(pulled) if pulled == partition);
        self.pairs.values_mut().for_each(|pair| drop(pair.pull.take_if(is_of)));
    }

    /// Whether this node walks, rather than the peer, and can.
    fn walks(&self, peer: NodeId) -> bool {
        !self.stopped && self.pace.is_on() && self.me < peer && self.up.contains(&peer)
    }

    fn walking(&self) -> usize {
        self.pairs.iter().filter(|(peer, pair)| pair.sweep.is_some() && self.up.contains(peer)).count()
    }

    fn on_errand(
        &mut self,
        now: Instant,
        errand: Errand,
        out: &mut Vec<Effect>,
        act: impl FnOnce(&mut Walk, &mut Turn<'_>),
    ) {
        self.on_walk(now, errand.peer, out, |walk| walk.awaits(errand.exchange), act);
    }

    fn on_walk(
        &mut self,
        now: Instant,
        peer: NodeId,
        out: &mut Vec<Effect>,
        is: impl Fn(&Walk) -> bool,
        act: impl FnOnce(&mut Walk, &mut Turn<'_>),
    ) {
        let Some(pair) = self.pairs.get_mut(&peer) else { return };
        let mut turn = Turn {
            now,
            seed: self.seed,
            shared: &pair.shared,
            numbers: &mut self.numbers,
            counters: &mut self.counters,
            out,
        };
        if let Some(walk) = pair.pull.iter_mut().chain(&mut pair.sweep).find(|walk| is(walk)) {
            act(walk, &mut turn);
        }
    }

    fn scanned(&mut self, now: Instant, ticket: ScanTicket, rows: Option<Rows>, out: &mut Vec<Effect>) {
        match self.scans.purposes.remove(&ticket) {
            Some(Purpose::Walk(peer)) => {
                let scans = |walk: &Walk| walk.scans(ticket);
                self.on_walk(now, peer, out, scans, |walk, turn| walk.scanned(turn, rows));
            }
            Some(Purpose::Answer(peer, exchange, compare)) => {
                if let Some(answer) = self.answer(peer, &compare, rows) {
                    out.push(Effect::Send(peer, exchange, Message::Compared(answer)));
                }
            }
            None => {}
        }
    }

    fn work(&mut self, now: Now, out: &mut Vec<Effect>) {
        if self.stopped {
            return;
        }
        let up: Vec<NodeId> = self.pairs.keys().copied().filter(|peer| self.up.contains(peer)).collect();
        if self.refill.is_wanted() {
            up.iter().for_each(|&peer| self.pull_from(now.instant, peer, out));
        }
        for peer in up {
            if self.walks(peer) {
                self.sweep_with(now, peer, out);
            }
        }
    }

    /// Pulls what is wanted, a partition after the other.
    fn pull_from(&mut self, now: Instant, peer: NodeId, out: &mut Vec<Effect>) {
        self.begin_pull(now, peer);
        while let Some(walk) = self.go_on(now, peer, true, out) {
            self.end_pull(now, peer, &walk, out);
            self.begin_pull(now, peer);
        }
    }

    fn begin_pull(&mut self, now: Instant, peer: NodeId) {
        let Some(pair) = self.pairs.get_mut(&peer).filter(|pair| pair.pull.is_none()) else { return };
        if let Some(partition) = self.refill.next(now, peer, &pair.shared) {
            let (policy, ends) = (Policy::Pull(partition), pair.shared.ends_of(partition));
            pair.pull = Some(Walk::new(peer, self.rng.random(), policy, ends));
        }
    }

    fn end_pull(&mut self, now: Instant, peer: NodeId, walk: &Walk, out: &mut Vec<Effect>) {
        let Policy::Pull(partition) = walk.policy else { return };
        self.counters.pulls += 1;
        self.refill.look_again(peer);
        if walk.has_gaps {
            return self.refill.tried(now, partition, peer, Held::Part);
        }
        self.refill.tried(now, partition, peer, walk.held);
        out.push(Effect::Pulled { partition, peer, held: walk.held });
    }

    fn sweep_with(&mut self, now: Now, peer: NodeId, out: &mut Vec<Effect>) {
        let has_room = self.walking() < Pace::AT_ONCE;
        let Some(pair) = self.pairs.get_mut(&peer) else { return };
        if pair.sweep.is_none() && has_room && pair.due.is_some_and(|due| due <= now.instant) {
            let policy = Policy::Sweep(Equal { mark: self.changes.now(), began: now.wall });
            let ends = (Token::from_bits(0), Token::from_bits(u64::MAX));
            // Drawn: a peer may remember a pass of an earlier run of this node.
            pair.sweep = Some(Walk::new(peer, self.rng.random(), policy, ends));
        }
        if pair.sweep.as_ref().is_some_and(|walk| walk.is_repairing() && !walk.is_clean) {
            pair.equal = None;
        }
        if let Some(walk) = self.go_on(now.instant, peer, false, out) {
            self.end_sweep(now.instant, peer, &walk, out);
        }
    }

    /// Takes the pull from a peer, or the sweep with it, as far as it goes now. It comes back when it is over.
    fn go_on(&mut self, now: Instant, peer: NodeId, is_pull: bool, out: &mut Vec<Effect>) -> Option<Walk> {
        self.on_walk(now, peer, out, |walk| walk.is_pull() == is_pull, Walk::work);
        let pair = self.pairs.get_mut(&peer)?;
        let slot = if is_pull { &mut pair.pull } else { &mut pair.sweep };
        let walk = slot.as_mut()?;
        // Waits for the page to be repaired, and for its turn.
        if !walk.is_ready() || (!is_pull && now < self.next_page) {
            return None;
        }
        let Some(from) = walk.next(&pair.shared) else { return slot.take() };
        let ticket = self.scans.begin(Purpose::Walk(peer));
        walk.read(from, ticket);
        out.push(Effect::Scan(ticket, from));
        if !is_pull {
            self.next_page = now + self.pace.gap;
        }
        None
    }

    /// The peer is told how it went, and the next sweep is due.
    fn end_sweep(&mut self, now: Instant, peer: NodeId, walk: &Walk, out: &mut Vec<Effect>) {
        let (Some(pair), Policy::Sweep(began)) = (self.pairs.get_mut(&peer), walk.policy) else { return };
        self.counters.passes += 1;
        let swept = Swept { pass: walk.number, equal: walk.is_clean };
        let pause = if walk.is_clean {
            pair.found_equal(began);
            pair.pause = self.pace.soon;
            self.pace.period
        } else {
            pair.equal = None;
            let pause = pair.pause;
            pair.pause = (pause * 2).min(self.pace.period);
            pause
        };
        let pause = self.jittered(pause);
        out.push(Effect::Send(peer, self.numbers.next(), Message::Swept(swept)));
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
            sweep: None,
            pull: None,
            due: None,
            pause: pace.soon,
            theirs: None,
            asked: 0,
            equal: None,
            proved: None,
        }
    }

    fn walks(&self) -> impl Iterator<Item = &Walk> {
        self.pull.iter().chain(&self.sweep)
    }

    pub(crate) fn found_equal(&mut self, equal: Equal) {
        self.equal = Some(equal);
        self.proved = Some(equal.began);
    }
}
