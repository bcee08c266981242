//! Clients: they read, write blindly, write with what they have seen, delete, and retry under the same request
//! id, at the same node or another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt};
use starling_causality::Dot;
use starling_node::ReplyHandle;
use starling_types::{BucketName, Key, Outcome, RequestId};
use starling_wire::client::Seen as WireSeen;
use starling_wire::{KvOp, KvReply, KvRequest, QuorumChoice};

use crate::history::{Kind, Op, Seen};
use crate::seed::Seed;
use crate::world::World;

/// How clients behave.
#[derive(Debug, Clone)]
pub struct WorkloadOptions {
    /// Clients.
    pub clients: usize,
    /// Keys they share.
    pub keys: usize,
    /// Keys beyond these that one client writes, with contexts or nothing, and everybody reads, all strictly.
    pub registers: usize,
    /// Least W that they ask for: where a disk may forget what it acked, one ack is none.
    pub least_w: u8,
    /// Longest pause between two operations of a client.
    pub think: Duration,
    /// Time limit they give a request; they wait a little longer.
    pub patience: Duration,
    /// Most tries of one operation.
    pub tries: u8,
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
    /// Per key: the newest context, and what it covers.
    seen: BTreeMap<usize, (Bytes, Seen)>,
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

impl Workload {
    /// Clients that begin when [`Workload::start`] is called.
    pub fn new(seed: Seed, options: WorkloadOptions) -> Self {
        let client =
            |index| Client { rng: seed.stream("client", index as u64), seen: BTreeMap::new(), open: None };
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
        (0..self.clients.len()).for_each(|c| self.pause(world, c));
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
            self.ops[index].acked.extend(written.receipt.dot);
            self.ops[index].acked_at.get_or_insert(world.now());
        }
        let client = self.ops[index].client;
        let awaited = self.clients[client].open.as_ref().is_some_and(|o| o.handle == handle);
        if awaited {
            self.answered(world, client, index, reply);
        }
    }

    fn answered(&mut self, world: &mut World, client: usize, index: usize, reply: KvReply) {
        let key = self.ops[index].key;
        match reply {
            KvReply::Read(read) => {
                let values = read.siblings.iter().map(|s| s.value.clone()).collect();
                self.ops[index].answer = Some((world.now(), values));
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
            self.retry(world, client);
        }
    }

    /// Once more with the same id, or that was it.
    fn retry(&mut self, world: &mut World, client: usize) {
        let me = &mut self.clients[client];
        let Some(open) = &mut me.open else { return };
        let op = &self.ops[open.op];
        if op.tries >= self.options.tries || me.rng.random_bool(0.3) {
            return self.end(world, client);
        }
        open.request.attempt += 1;
        let mut open = me.open.take();
        if let Some(open) = &mut open {
            self.send(world, client, open);
        }
        self.clients[client].open = open;
    }

    fn end(&mut self, world: &mut World, client: usize) {
        if let Some(open) = self.clients[client].open.take() {
            self.ops[open.op].open = false;
        }
        self.pause(world, client);
    }

    fn pause(&mut self, world: &mut World, client: usize) {
        if !self.stopped {
            let think = self.options.think.mul_f64(self.clients[client].rng.random::<f64>());
            world.wake(think, CLIENT | client as u64);
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
        open.request.began = world.now_at(0).wall;
        open.handle = world.request(node, open.request.clone());
        self.ops[open.op].tries += 1;
        self.handles.insert(open.handle, (open.op, open.request.attempt));
        let wait = self.options.patience + Duration::from_millis(100);
        world.wake(wait, GIVE_UP | open.handle.0);
    }

    /// The registers that a client writes.
    fn registers_of(&self, client: usize) -> Vec<usize> {
        let all = self.options.keys..self.options.keys + self.options.registers;
        all.filter(|key| key % self.options.clients == client).collect()
    }

    fn invent(&mut self, world: &World, client: usize) -> (Op, KvRequest) {
        let number = self.ops.len();
        let registers = self.registers_of(client);
        let me = &mut self.clients[client];
        let key = me.choose(&self.options, &registers);
        let is_register = key >= self.options.keys;
        let id = (u128::from(me.rng.next_u64()) << 64) | u128::from(me.rng.next_u64());
        let request = RequestId::from_bits(id);
        let (seen, wire) = if is_register { me.memory(key) } else { me.outlook(key) };
        let value = Bytes::from(format!("value {number} of client {client}"));
        let (kind, op) = match me.rng.random_range(0..100) {
            _ if is_register && !registers.contains(&key) => (Kind::Get, KvOp::Get),
            0..30 => (Kind::Get, KvOp::Get),
            30..45 if !is_register => (Kind::Delete, KvOp::Delete { seen: wire }),
            _ => {
                let put = KvOp::Put { value: value.clone(), seen: wire, ttl_ms: None };
                (Kind::Put(value), put)
            }
        };
        let quorum = match is_register {
            true => QuorumChoice { r: None, w: None, strict: Some(true) },
            false => me.quorum(kind == Kind::Get, self.options.least_w),
        };
        let request = KvRequest {
            id: request,
            attempt: 0,
            issued: world.now_at(0).wall,
            began: world.now_at(0).wall,
            timeout_ms: u32::try_from(self.options.patience.as_millis()).unwrap_or(u32::MAX),
            patience_ms: u32::try_from(self.options.patience.as_millis()).unwrap_or(u32::MAX),
            bucket: BucketName::default_bucket(),
            key: key_name(key),
            op,
            quorum,
            forwarded: false,
        };
        let op = Op {
            client,
            key,
            request: request.id,
            kind,
            seen,
            tries: 0,
            acked: BTreeSet::new(),
            uncertain: false,
            refused: false,
            open: true,
            began: world.now(),
            acked_at: None,
            answer: None,
        };
        (op, request)
    }
}

impl Client {
    /// A key; one time in four a register, and of these every other time one of its own.
    fn choose(&mut self, options: &WorkloadOptions, own: &[usize]) -> usize {
        if options.registers == 0 || self.rng.random_range(0..4) > 0 {
            return self.rng.random_range(0..options.keys);
        }
        match self.rng.random_bool(0.5) && !own.is_empty() {
            true => own[self.rng.random_range(0..own.len())],
            false => options.keys + self.rng.random_range(0..options.registers),
        }
    }

    /// What it has seen of a key, if anything.
    fn memory(&self, key: usize) -> (Seen, WireSeen) {
        let seen = self.seen.get(&key).cloned();
        seen.map_or((Seen::Nothing, WireSeen::Nothing), |(token, seen)| (seen, WireSeen::Context(token)))
    }

    fn outlook(&mut self, key: usize) -> (Seen, WireSeen) {
        let dice = self.rng.random_range(0..10);
        match self.seen.get(&key) {
            Some((token, seen)) if dice < 5 => (seen.clone(), WireSeen::Context(token.clone())),
            _ if dice == 9 => (Seen::Nothing, WireSeen::Nothing),
            _ => (Seen::Local, WireSeen::Local),
        }
    }

    fn quorum(&mut self, read: bool, least_w: u8) -> QuorumChoice {
        let size = match self.rng.random_range(0..10) {
            0 => Some(1),
            1 => Some(3),
            _ => None,
        };
        let strict = self.rng.random_bool(0.15).then_some(true);
        match read {
            true => QuorumChoice { r: size, w: None, strict },
            false => QuorumChoice { r: None, w: size.map(|w| w.max(least_w)), strict },
        }
    }
}

/// The key with this number.
pub fn key_name(key: usize) -> Key {
    #[expect(clippy::expect_used, reason = "short and not empty")]
    Key::new(format!("key-{key}")).expect("a short key is a key")
}
