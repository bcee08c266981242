//! A network of machines: seeded loss and delay, cuts, crashes, pauses, skewed clocks, virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use starling_types::{Instant, NodeId, Now, WallTime, limits};
use starling_wire::gossip::{DATAGRAM_BUDGET, Message, Status};

use crate::testing::{info, node};
use crate::{Config, Effect, Event, Gossip, Notice};

/// One thing that will happen.
#[derive(Debug)]
struct Pending {
    at: Instant,
    order: u64,
    to: u64,
    event: Event,
    /// The start of the receiver that it is meant for.
    life: u64,
}

pub(super) struct World {
    pub(super) nodes: BTreeMap<u64, Gossip>,
    pub(super) now: Instant,
    pub(super) loss: f64,
    pub(super) skew_ms: BTreeMap<u64, i64>,
    /// The notices to every node's control plane.
    pub(super) notices: Vec<(Instant, u64, Notice)>,
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    /// A digest of everything that was done.
    pub(super) trace: u64,
    config: Config,
    rng: ChaCha8Rng,
    pending: BinaryHeap<Reverse<Pending>>,
    order: u64,
    lives: BTreeMap<u64, u64>,
    cut: BTreeSet<(u64, u64)>,
    paused: BTreeMap<u64, Instant>,
}

impl World {
    pub(super) fn new(seed: u64, loss: f64) -> Self {
        Self {
            nodes: BTreeMap::new(),
            now: Instant::ORIGIN,
            loss,
            skew_ms: BTreeMap::new(),
            notices: Vec::new(),
            datagrams: 0,
            bytes: 0,
            trace: 0,
            config: Config::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            pending: BinaryHeap::new(),
            order: 0,
            lives: BTreeMap::new(),
            cut: BTreeSet::new(),
            paused: BTreeMap::new(),
        }
    }

    /// Members 1 to `count` that have all met, after `settle` of quiet.
    pub(super) fn cluster(seed: u64, loss: f64, count: u64, settle: Duration) -> Self {
        let mut world = Self::new(seed, loss);
        for bits in 1..=count {
            world.start(bits, 1, &[1]);
        }
        world.run(settle);
        world
    }

    /// Starts a node that has heard of `seeds`.
    pub(super) fn start(&mut self, bits: u64, generation: u64, seeds: &[u64]) {
        *self.lives.entry(bits).or_default() += 1;
        let (now, seed) = (self.clock(bits), self.rng.random());
        let machine = Gossip::new(self.config.clone(), info(bits, generation), Vec::new(), seed, now);
        self.nodes.insert(bits, machine);
        for seed in seeds.iter().filter(|seed| **seed != bits) {
            let known = info(*seed, 0);
            self.tell(bits, Event::Learned(known));
        }
        self.tell(bits, Event::Tick);
    }

    pub(super) fn crash(&mut self, bits: u64) {
        self.nodes.remove(&bits);
    }

    /// For `span` the node does nothing; what arrives waits.
    pub(super) fn pause(&mut self, bits: u64, span: Duration) {
        self.paused.insert(bits, self.now + span);
    }

    /// All nodes go on.
    pub(super) fn resume(&mut self) {
        self.paused.clear();
    }

    pub(super) fn cut(&mut self, left: &[u64], right: &[u64]) {
        for l in left {
            for r in right {
                self.cut.extend([(*l, *r), (*r, *l)]);
            }
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Runs until `done` says so after an event, or `span` is over; whether `done` did.
    pub(super) fn run_for(&mut self, span: Duration, done: impl Fn(&Self) -> bool) -> bool {
        self.run_until(self.now + span, done)
    }

    fn run_until(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> bool {
        while self.pending.peek().is_some_and(|next| next.0.at <= end) {
            let Some(Reverse(next)) = self.pending.pop() else {
                break;
            };
            self.now = self.now.max(next.at);
            self.happen(next);
            if done(self) {
                return true;
            }
        }
        done(self)
    }

    fn happen(&mut self, mut next: Pending) {
        if self.lives.get(&next.to) != Some(&next.life) {
            return;
        }
        if let Some(until) = self.paused.get(&next.to).filter(|until| **until > self.now) {
            next.at = *until;
            self.pending.push(Reverse(next));
            return;
        }
        let idle = |machine: &Gossip| machine.next_deadline().is_none_or(|at| at > self.now);
        let early_tick = matches!(next.event, Event::Tick) && self.nodes.get(&next.to).is_some_and(idle);
        if !early_tick {
            self.tell(next.to, next.event);
        }
    }

    pub(super) fn tell(&mut self, bits: u64, event: Event) {
        let now = self.clock(bits);
        let Some(machine) = self.nodes.get_mut(&bits) else {
            return;
        };
        let mut out = Vec::new();
        machine.handle(now, event, &mut out);
        let deadline = machine.next_deadline();
        assert!(deadline.is_none_or(|at| at > now.instant), "a deadline of node {bits} is over but not done");
        assert!(machine.members().count() <= limits::MAX_MEMBERS);
        if let Some(at) = deadline {
            self.schedule(at, bits, Event::Tick);
        }
        for effect in out {
            self.perform(bits, effect);
        }
    }

    fn perform(&mut self, from: u64, effect: Effect) {
        self.record(&format!("{from} {effect:?}"));
        match effect {
            Effect::Notify(notice) => self.notices.push((self.now, from, notice)),
            Effect::Send { to, message, reliable } => self.transmit(from, to.bits(), message, reliable),
        }
    }

    fn transmit(&mut self, from: u64, to: u64, message: Message, reliable: bool) {
        let size = rmp_serde::to_vec(&message).unwrap().len();
        self.datagrams += 1;
        self.bytes += size as u64;
        assert!(reliable || size <= DATAGRAM_BUDGET, "a datagram of {size} bytes");
        let mut delay = Duration::from_micros(self.rng.random_range(500..3_000));
        while self.rng.random_bool(self.loss) {
            if !reliable {
                return;
            }
            delay += Duration::from_millis(50);
        }
        if !self.cut.contains(&(from, to)) {
            let event = Event::Message { from: node(from), message };
            self.schedule(self.now + delay, to, event);
        }
    }

    fn schedule(&mut self, at: Instant, to: u64, event: Event) {
        self.order += 1;
        let life = self.lives.get(&to).copied().unwrap_or_default();
        self.pending.push(Reverse(Pending { at, order: self.order, to, event, life }));
    }

    pub(super) fn clock(&self, bits: u64) -> Now {
        let skew = self.skew_ms.get(&bits).copied().unwrap_or_default();
        let millis = 1_700_000_000_000 + self.now.nanos() / 1_000_000;
        Now {
            instant: self.now,
            wall: WallTime::from_millis(millis.saturating_add_signed(skew)),
            fraction: 0,
        }
    }

    fn record(&mut self, line: &str) {
        for byte in line.bytes() {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(super) fn status(&self, at: u64, of: u64) -> Option<Status> {
        self.nodes[&at].status(node(of))
    }

    /// Whether every running node sees exactly the running nodes alive, and all tables are equal.
    pub(super) fn agrees(&self) -> bool {
        let mut digests = self.nodes.values().map(Gossip::digest);
        let first = digests.next();
        let running: Vec<NodeId> = self.nodes.keys().map(|bits| node(*bits)).collect();
        digests.all(|digest| Some(digest) == first) && self.nodes.values().all(|m| alive(m) == running)
    }

    /// Notices of the given kind about `of`, as (milliseconds since the origin, the node that was told).
    pub(super) fn told(&self, kind: impl Fn(NodeId) -> Notice, of: u64) -> Vec<(u64, u64)> {
        let wanted = kind(node(of));
        let told = self.notices.iter().filter(|(_, _, notice)| *notice == wanted);
        told.map(|(at, who, _)| (at.nanos() / 1_000_000, *who)).collect()
    }

    pub(super) fn convictions(&self) -> usize {
        self.notices.iter().filter(|(_, _, notice)| matches!(notice, Notice::Dead(_))).count()
    }
}

fn alive(machine: &Gossip) -> Vec<NodeId> {
    machine.members().filter(|member| member.status == Status::Alive).map(|member| member.info.node).collect()
}

impl PartialEq for Pending {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Pending {}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
