//! Clients: they read, write blindly, write with what they have seen, delete, and retry under the same request
//! id, at the same node or another.

mod ask;
mod clock;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use starling_causality::Dot;
use starling_node::ReplyHandle;
use starling_types::{Instant, Key, Outcome};
use starling_wire::{KvReply, KvRequest};

use crate::history::{Ack, Op, Seen, Sight, Try, TryEnd};
use crate::seed::Seed;
use crate::workload::clock::Clock;
use crate::world::World;

/// How clients behave.
#[derive(Debug, Clone)]
pub struct WorkloadOptions {
    /// Clients.
    pub clients: usize,
    /// Keys they share.
    pub keys: usize,
    /// Keys beyond these that one client writes, with contexts or nothing, and all clients read, all strictly.
    pub registers: usize,
    /// Least W that they ask for: where a disk may forget what it acked, one ack is none.
    pub least_w: u8,
    /// Longest pause between two operations of a client.
    pub think: Duration,
    /// Time limit they give a request; they wait a little longer.
    pub patience: Duration,
    /// Most tries of one operation.
    pub tries: u8,
    /// Share of retries that come only after some seconds.
    pub late_retries: f64,
    /// Copies of every key: the largest quorum.
    pub copies: u8,
    /// A client's clock differs from the true time by at most this, in milliseconds. Those that may be off by more than
    /// right clocks date their requests by what nodes have shown them, as our clients do.
    pub clock_skew_ms: i64,
    /// Longest value, in bytes.
    pub longest: usize,
    /// Share of writes of shared keys that expire, within a few seconds.
    pub ttl: f64,
    /// Only the last writer of a key is kept. A register's writer then says always what it replaces, and waits after
    /// a write of unknown outcome until it is too late for it.
    pub lww: bool,
    /// Every request is strict, by the bucket's rules.
    pub strict: bool,
}

impl WorkloadOptions {
    /// How many keys there are in all.
    pub const fn all_keys(&self) -> usize {
        self.keys + self.registers
    }
}

/// All clients, and the history of what they did.
pub struct Workload {
    options: WorkloadOptions,
    clients: Vec<Client>,
    /// Which operation, and which try of it, an answer is for.
    handles: BTreeMap<ReplyHandle, (usize, u8)>,
    /// Every operation, in the order in which they began.
    pub ops: Vec<Op>,
    stopped: bool,
}

struct Client {
    rng: ChaCha8Rng,
    clock: Clock,
    /// Per key: the newest context, and what it covers.
    seen: BTreeMap<usize, (Bytes, Seen)>,
    /// Keys of which a write of its own may still show up.
    loose: BTreeSet<usize>,
    open: Option<Open>,
}

struct Open {
    op: usize,
    request: KvRequest,
    handle: ReplyHandle,
}

/// Wake tokens: which client, and whether it gives up on an answer or begins anew.
const CLIENT: u64 = 1 << 48;
const GIVE_UP: u64 = 1 << 49;
const RETRY: u64 = 1 << 47;
/// For how long a request may be under way beyond its client's patience.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// After how long a write that was given up can win over nothing that came later, under any clocks.
const TOO_LATE: Duration = Duration::from_secs(5);

impl Workload {
    /// Clients that begin when [`Workload::start`] is called.
    pub fn new(seed: Seed, options: WorkloadOptions) -> Self {
        let client = |index| {
            let mut rng = seed.stream("client", index as u64);
            let skew = options.clock_skew_ms;
            let clock = Clock::new(rng.random_range(-skew..=skew), skew);
            Client { rng, clock, seen: BTreeMap::new(), loose: BTreeSet::new(), open: None }
        };
        Self {
            clients: (0..options.clients).map(client).collect(),
            options,
            handles: BTreeMap::new(),
            ops: Vec::new(),
            stopped: false,
        }
    }

    /// Sets them going.
    pub fn start(&mut self, world: &mut World) {
        for (number, client) in self.clients.iter_mut().enumerate() {
            client.clock.meet(world, number % world.len());
        }
        (0..self.clients.len()).for_each(|c| self.pause(world, c, Duration::ZERO));
    }

    /// They begin nothing new.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Whether all have ended what they had begun.
    pub fn is_idle(&self) -> bool {
        self.clients.iter().all(|c| c.open.is_none())
    }

    /// A wake token came; `false` if it is none of theirs.
    pub fn wake(&mut self, world: &mut World, token: u64) -> bool {
        if token & GIVE_UP != 0 {
            self.give_up(world, ReplyHandle(token & !GIVE_UP));
        } else if token & RETRY != 0 {
            self.try_again(world, (token & !RETRY) as usize);
        } else if token & CLIENT != 0 {
            self.begin(world, (token & !CLIENT) as usize);
        } else {
            return false;
        }
        true
    }

    /// An answer came, perhaps long after its client gave up on it.
    pub fn reply(&mut self, world: &mut World, handle: ReplyHandle, reply: KvReply) {
        let Some(&(index, _)) = self.handles.get(&handle) else {
            return;
        };
        if let KvReply::Written(written) = &reply {
            let op = &mut self.ops[index];
            op.acked.extend(written.receipt.dot);
            op.acks.push(Ack { at: world.now(), receipt: written.receipt.clone() });
            op.acked_at.get_or_insert(world.now());
        }
        let client = self.ops[index].client;
        let awaited = self.clients[client].open.as_ref().is_some_and(|o| o.handle == handle);
        if awaited {
            let end = match &reply {
                KvReply::Failed(failure) => TryEnd::Failed(failure.kind),
                _ => TryEnd::Done,
            };
            self.close_try(index, end);
            self.answered(world, client, index, reply);
        }
    }

    fn answered(&mut self, world: &mut World, client: usize, index: usize, reply: KvReply) {
        let key = self.ops[index].key;
        match reply {
            KvReply::Read(read) => {
                let covers = read.context.as_ref().and_then(|t| world.open_context(t, key_name(key)));
                let sight = Sight {
                    began: self.answers_since(index),
                    ended: world.now(),
                    shown: read.siblings.iter().map(|s| (s.dot, s.value.clone())).collect(),
                    covers: covers.unwrap_or_default(),
                };
                self.ops[index].answer = Some(sight);
                let dots = read.siblings.iter().map(|s| s.dot).collect();
                self.learn(world, client, key, read.context, dots);
            }
            KvReply::Written(written) => {
                let dots = written.receipt.dot.into_iter().collect();
                self.learn(world, client, key, written.context, dots);
            }
            KvReply::Failed(failure) => {
                if failure.outcome == Outcome::NotApplied {
                    self.ops[index].refused = true;
                } else {
                    self.ops[index].uncertain = true;
                }
                return self.retry(world, client);
            }
        }
        self.end(world, client);
    }

    /// When what an answer shows may have been read first: a later try may get the answer of an earlier one that is
    /// still under way.
    fn answers_since(&self, index: usize) -> Instant {
        let op = &self.ops[index];
        let last = op.tries.last().map_or(op.began, |one| one.sent);
        let lasts = self.options.patience + UNDER_WAY;
        let first = op.tries.iter().map(|one| one.sent).find(|&sent| sent + lasts >= last);
        first.unwrap_or(last)
    }

    fn learn(&mut self, world: &World, client: usize, key: usize, token: Option<Bytes>, dots: BTreeSet<Dot>) {
        let seen = &mut self.clients[client].seen;
        // To clients the token is opaque; the judge looks into it.
        let covers = token.as_ref().and_then(|t| world.open_context(t, key_name(key)));
        match token.zip(covers) {
            Some((token, covers)) => seen.insert(key, (token, Seen::Dots(dots, covers))),
            None => seen.remove(&key),
        };
    }

    fn give_up(&mut self, world: &mut World, handle: ReplyHandle) {
        let Some(&(index, _)) = self.handles.get(&handle) else {
            return;
        };
        let client = self.ops[index].client;
        if self.clients[client].open.as_ref().is_some_and(|o| o.handle == handle) {
            self.ops[index].uncertain = true;
            self.close_try(index, TryEnd::Silence);
            self.retry(world, client);
        }
    }

    fn close_try(&mut self, index: usize, end: TryEnd) {
        if let Some(last) = self.ops[index].tries.last_mut() {
            last.end = end;
        }
    }

    /// Once more with the same id, or that was it.
    fn retry(&mut self, world: &mut World, client: usize) {
        let me = &mut self.clients[client];
        let Some(open) = &mut me.open else { return };
        let op = &self.ops[open.op];
        if op.tries.len() >= usize::from(self.options.tries) || me.rng.random_bool(0.3) {
            return self.end(world, client);
        }
        open.request.attempt += 1;
        if self.options.late_retries > 0.0 && me.rng.random_bool(self.options.late_retries) {
            open.handle = ReplyHandle(0);
            let wait = Duration::from_millis(me.rng.random_range(1_000..15_000));
            return world.wake(wait, RETRY | client as u64);
        }
        self.try_again(world, client);
    }

    fn try_again(&mut self, world: &mut World, client: usize) {
        let mut open = self.clients[client].open.take();
        if let Some(open) = &mut open {
            self.send(world, client, open);
        }
        self.clients[client].open = open;
    }

    fn end(&mut self, world: &mut World, client: usize) {
        let mut wait = Duration::ZERO;
        if let Some(open) = self.clients[client].open.take() {
            let op = &mut self.ops[open.op];
            op.open = false;
            op.ended = Some(world.now());
            let is_loose_end = op.is_write() && op.uncertain && op.acked.is_empty();
            if is_loose_end {
                self.clients[client].loose.insert(op.key);
            }
            if self.options.lww && op.key >= self.options.keys && is_loose_end {
                wait = TOO_LATE;
            }
        }
        self.pause(world, client, wait);
    }

    fn pause(&mut self, world: &mut World, client: usize, wait: Duration) {
        if !self.stopped {
            let think = self.options.think.mul_f64(self.clients[client].rng.random::<f64>());
            world.wake(wait + think, CLIENT | client as u64);
        }
    }

    fn begin(&mut self, world: &mut World, client: usize) {
        if self.stopped || self.clients[client].open.is_some() {
            return;
        }
        let index = self.ops.len();
        let (op, request) = self.invent(world, client);
        self.ops.push(op);
        let mut open = Open { op: index, request, handle: ReplyHandle(0) };
        self.send(world, client, &mut open);
        self.clients[client].open = Some(open);
    }

    fn send(&mut self, world: &mut World, client: usize, open: &mut Open) {
        let node = self.clients[client].rng.random_range(0..world.len());
        let clock = &mut self.clients[client].clock;
        clock.meet(world, node);
        open.request.began = clock.wall(world);
        open.handle = world.request(node, open.request.clone());
        self.ops[open.op].tries.push(Try { node, sent: world.now(), end: TryEnd::Open });
        self.handles.insert(open.handle, (open.op, open.request.attempt));
        let wait = self.options.patience + Duration::from_millis(100);
        world.wake(wait, GIVE_UP | open.handle.0);
    }
}

/// The key with this number.
pub fn key_name(key: usize) -> Key {
    #[expect(clippy::expect_used, reason = "short and not empty")]
    Key::new(format!("key-{key}")).expect("a short key is a key")
}
