//! The data plane: client requests on their way, and the replicas this node owns.
//!
//! Everything that one event sets off inside the node is worked off in the same turn, through one queue; what
//! is left are effects for the shell.

mod client;
mod hints;
pub(crate) mod replica;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use starling_causality::{ContextToken, VersionVector};
use starling_coordinator::{self as coordinator, Answer, Forward, Get, Put, forward, get, put, reply};
use starling_handoff::HintReplay;
use starling_types::hash::TokenMap;
use starling_types::{Instant, NodeId, Now, PartitionBits, QualifiedKey, RequestId, limits};
use starling_vnode::{self as vnode, CellKey, ClientWrite, Done, OpId, Refused, Vnodes};
use starling_wire::client::WriteReply;
use starling_wire::{Class, Envelope, Failure, FailureKind, KvReply, Message};

use crate::admission::Admission;
use crate::boot::{Boot, Config};
use crate::buckets::BucketTable;
use crate::event::{CommitId, Effect, ReplyHandle};
use crate::view::View;

/// A bucket's incarnation, which its context tokens are bound to; raised when buckets can be dropped.
const BUCKET_INCARNATION: u64 = 1;

/// One turn of the machine.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) view: &'a View,
    pub(crate) out: &'a mut Vec<Effect>,
}

/// What the shard has counted since it started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Client requests taken in, forwarded ones from other nodes included.
    pub requests: u64,
    /// Requests passed on to an owner.
    pub forwarded: u64,
    /// Writes that reached their quorum.
    pub writes_ok: u64,
    /// Reads that reached their quorum.
    pub reads_ok: u64,
    /// Writes that failed, whatever their outcome.
    pub writes_missed: u64,
    /// Reads that failed.
    pub reads_missed: u64,
    /// Merges done for other coordinators.
    pub remote_merges: u64,
    /// Reads answered for other coordinators.
    pub remote_reads: u64,
    /// Requests of other nodes refused.
    pub remote_refused: u64,
    /// Hints kept.
    pub hints_kept: u64,
    /// Replicas repaired by reads.
    pub read_repairs: u64,
}

/// Everything there is to count, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Totals {
    /// The shard's.
    pub shard: Counters,
    /// Its vnodes'.
    pub vnodes: vnode::Counters,
    /// Requests shed.
    pub shed: u64,
    /// Bytes of requests in flight.
    pub in_flight_bytes: usize,
    /// Bytes in the record cache.
    pub cached_bytes: usize,
    /// Hints delivered.
    pub hints_delivered: u64,
    /// The highest time minted or observed.
    pub clock: starling_causality::Hlc,
}

impl Totals {
    /// How far the hybrid clock is ahead of the wall.
    pub fn clock_lead(&self, now: Now) -> std::time::Duration {
        starling_types::WallTime::from_millis(self.clock.millis()).since(now.wall)
    }
}

/// The shard of a node.
pub struct Shard {
    pub(crate) vnodes: Vnodes,
    pub(crate) hints: HintReplay,
    pub(crate) admission: Admission,
    pub(crate) buckets: BucketTable,
    pub(crate) counters: Counters,
    max_value: usize,
    in_flight: TokenMap<RequestId, InFlight>,
    by_client: TokenMap<RequestId, RequestId>,
    contexts: TokenMap<OpId, Context>,
    deliveries: BTreeMap<RequestId, (NodeId, QualifiedKey)>,
    timers: BTreeSet<(Instant, RequestId)>,
    work: VecDeque<Work>,
    exchange_base: u128,
    next_exchange: u64,
    next_op: u64,
}

/// A client request under way.
struct InFlight {
    machine: Machine,
    key: QualifiedKey,
    /// What the vnode is asked, if it is a write.
    write: Option<ClientWrite>,
    routes: Vec<Route>,
    client: RequestId,
    weight: usize,
    deadline: Instant,
    timer: Option<Instant>,
}

enum Machine {
    Put(Put),
    Get(Get),
    Forward(Forward),
}

#[derive(Clone, Copy)]
enum Kind {
    Write,
    Read,
    Forward,
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a client of this node.
    Client(ReplyHandle),
    /// To the node that passed the request on, under its number.
    Node(NodeId, RequestId),
}

/// What an operation of the vnodes was for.
enum Context {
    /// A coordinated write, or a merge, of the request with this number.
    Write(RequestId),
    MergeHere(RequestId),
    Read(RequestId),
    /// Another node's.
    Remote(NodeId, RequestId, Remote),
    /// A hint that this node keeps.
    Hint(NodeId),
    /// A delivered hint's row.
    HintDrop,
}

enum Remote {
    Merge {
        durable: bool,
        /// The absent owner whose copy it is.
        stands_for: Option<NodeId>,
    },
    Read {
        digest: Option<starling_causality::Digest>,
    },
    /// The remembered write must be committed before its record is shown.
    RecallSettle {
        cell: CellKey,
        dot: starling_causality::Dot,
    },
    RecallRead {
        dot: starling_causality::Dot,
    },
}

enum Work {
    Vnode(vnode::Effect),
    Request(RequestId, coordinator::Effect),
}

/// What happens to a request's machine.
enum Input {
    Put(put::Event),
    Get(get::Event),
    Forward(forward::Event),
    PeerDown(NodeId),
    Tick,
}

impl Shard {
    /// The shard of a node that just started.
    pub fn new(config: &Config, boot: &Boot, bits: PartitionBits) -> Self {
        let vnodes = vnode::Boot {
            ceiling: boot.ceiling,
            actors: boot.actors.clone(),
            seed: config.seed ^ 0x766e_6f64,
            cache_bytes: config.cache_bytes,
            max_value: config.max_value,
        };
        let run = u128::from(config.generation.0) << 40;
        Self {
            vnodes: Vnodes::new(vnodes, bits),
            hints: HintReplay::default(),
            admission: Admission::new(config.max_in_flight, config.max_in_flight_bytes),
            buckets: BucketTable::default(),
            counters: Counters::default(),
            max_value: config.max_value,
            in_flight: TokenMap::default(),
            by_client: TokenMap::default(),
            contexts: TokenMap::default(),
            deliveries: BTreeMap::new(),
            timers: BTreeSet::new(),
            work: VecDeque::new(),
            // An answer to an exchange of an earlier run must not pass for one of this run.
            exchange_base: (u128::from(config.node.bits()) << 64) | (run & u128::from(u64::MAX)),
            next_exchange: 0,
            next_op: 0,
        }
    }

    /// Whether no client waits and nothing is on its way to disk.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.vnodes.is_quiet()
    }

    /// Requests under way, those that only linger included.
    pub fn under_way(&self) -> usize {
        self.in_flight.len()
    }

    /// Everything there is to count.
    pub fn totals(&self) -> Totals {
        Totals {
            shard: self.counters,
            vnodes: self.vnodes.counters(),
            shed: self.admission.shed(),
            in_flight_bytes: self.admission.bytes(),
            cached_bytes: self.vnodes.cached_bytes(),
            hints_delivered: self.hints.delivered_total(),
            clock: self.vnodes.clock(),
        }
    }

    /// When [`Shard::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let request = self.timers.first().map(|&(at, _)| at);
        [request, self.hints.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(&(at, exchange)) = self.timers.first() {
            if at > turn.now.instant {
                break;
            }
            self.timers.pop_first();
            if let Some(request) = self.in_flight.get_mut(&exchange) {
                request.timer = None;
            }
            self.input(turn, exchange, Input::Tick);
        }
        self.tick_hints(turn);
        self.pump(turn);
    }

    pub(crate) fn peer_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let exchanges: BTreeSet<RequestId> = self.in_flight.keys().copied().collect();
        for exchange in exchanges {
            self.input(turn, exchange, Input::PeerDown(node));
        }
        self.hint_target(turn, node, false);
        self.pump(turn);
    }

    pub(crate) fn loaded(&mut self, turn: &mut Turn<'_>, cell: CellKey, row: Result<Option<Bytes>, String>) {
        self.vnode(turn, vnode::Event::Loaded(cell, row));
        self.pump(turn);
    }

    pub(crate) fn committed(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: vnode::Ticket,
        result: Result<(), String>,
    ) {
        self.vnode(turn, vnode::Event::Committed(ticket, result));
        self.pump(turn);
    }

    /// Works off everything the present event set off.
    fn pump(&mut self, turn: &mut Turn<'_>) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Vnode(effect) => self.vnode_effect(turn, effect),
                Work::Request(exchange, effect) => self.request_effect(turn, exchange, effect),
            }
        }
    }

    fn vnode(&mut self, turn: &Turn<'_>, event: vnode::Event) {
        let mut effects = Vec::new();
        self.vnodes.handle(turn.now, event, &mut effects);
        self.work.extend(effects.into_iter().map(Work::Vnode));
    }

    fn op(&mut self, context: Context) -> OpId {
        self.next_op += 1;
        let op = OpId(self.next_op);
        self.contexts.insert(op, context);
        op
    }

    fn exchange(&mut self) -> RequestId {
        self.next_exchange += 1;
        RequestId::from_bits(self.exchange_base.wrapping_add(u128::from(self.next_exchange)))
    }

    fn vnode_effect(&mut self, turn: &mut Turn<'_>, effect: vnode::Effect) {
        match effect {
            vnode::Effect::Load(cell) => turn.out.push(Effect::Load(cell)),
            vnode::Effect::Commit { ticket, rows, durable } => {
                turn.out.push(Effect::Commit { id: CommitId::Shard(ticket), rows, durable });
            }
            vnode::Effect::Staged(op, staged) => {
                if let Some(&Context::Write(exchange)) = self.contexts.get(&op) {
                    let staged = coordinator::Staged {
                        dot: staged.dot,
                        record: staged.record,
                        context: staged.context,
                        siblings: staged.siblings,
                        existed: staged.existed,
                    };
                    self.input(turn, exchange, Input::Put(put::Event::Staged(staged)));
                }
            }
            vnode::Effect::Done(op, result) => {
                if let Some(context) = self.contexts.remove(&op) {
                    self.done(turn, context, result);
                }
            }
        }
    }

    fn done(&mut self, turn: &mut Turn<'_>, context: Context, result: Result<Done, Refused>) {
        match (context, result) {
            (Context::Write(exchange), Ok(_)) => {
                self.input(turn, exchange, Input::Put(put::Event::CommittedHere));
            }
            (Context::Write(exchange), Err(refused)) => {
                self.input(turn, exchange, Input::Put(put::Event::RefusedHere(failure(&refused))));
            }
            (Context::MergeHere(exchange), result) => self.merged_here(turn, exchange, result),
            (Context::Read(exchange), Ok(Done::Read(record))) => {
                self.input(turn, exchange, Input::Get(get::Event::ReadHere(Arc::unwrap_or_clone(record))));
            }
            (Context::Read(exchange), other) => {
                let why = other.err().map(|e| e.to_string()).unwrap_or_default();
                self.input(turn, exchange, Input::Get(get::Event::RefusedHere(why)));
            }
            (Context::Remote(node, exchange, remote), result) => {
                self.remote_done(turn, node, exchange, remote, result);
            }
            (Context::Hint(target), Ok(_)) => self.hint_kept(turn, target),
            (Context::Hint(_) | Context::HintDrop, _) => {}
        }
    }

    fn merged_here(&mut self, turn: &mut Turn<'_>, exchange: RequestId, result: Result<Done, Refused>) {
        let is_put = self.in_flight.get(&exchange).is_some_and(|r| matches!(r.machine, Machine::Put(_)));
        let input = match (is_put, result) {
            (true, Ok(_)) => Input::Put(put::Event::MergedHere),
            (true, Err(refused)) => Input::Put(put::Event::RefusedHere(failure(&refused))),
            (false, Ok(_)) => Input::Get(get::Event::MergedHere),
            (false, Err(_)) => return,
        };
        self.input(turn, exchange, input);
    }

    /// Hands something to a request's machine, and puts the request away once it is over.
    fn input(&mut self, turn: &mut Turn<'_>, exchange: RequestId, input: Input) {
        let Some(request) = self.in_flight.get_mut(&exchange) else {
            return;
        };
        let mut effects = Vec::new();
        request.machine.handle(turn.now.instant, input, &mut effects);
        self.work.extend(effects.into_iter().map(|e| Work::Request(exchange, e)));
        self.reschedule(exchange);
        // The last answer may end it without another word.
        self.put_away(exchange);
    }

    fn reschedule(&mut self, exchange: RequestId) {
        let Some(request) = self.in_flight.get_mut(&exchange) else {
            return;
        };
        let due = request.machine.next_deadline();
        if due == request.timer {
            return;
        }
        if let Some(old) = request.timer.take() {
            self.timers.remove(&(old, exchange));
        }
        request.timer = due;
        self.timers.extend(due.map(|at| (at, exchange)));
    }

    fn request_effect(&mut self, turn: &mut Turn<'_>, exchange: RequestId, effect: coordinator::Effect) {
        match effect {
            coordinator::Effect::Send(node, class, message) => {
                self.send(turn, exchange, node, class, message)
            }
            coordinator::Effect::Respond(answer) => self.respond(turn, exchange, answer),
            coordinator::Effect::Coordinate => {
                let Some(write) = self.in_flight.get(&exchange).and_then(|r| r.write.clone()) else {
                    return;
                };
                let op = self.op(Context::Write(exchange));
                self.vnode(turn, vnode::Event::Coordinate(op, write));
            }
            coordinator::Effect::ReadHere => {
                let Some(key) = self.in_flight.get(&exchange).map(|r| r.key.clone()) else {
                    return;
                };
                let op = self.op(Context::Read(exchange));
                self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
            }
            coordinator::Effect::MergeHere(record, origin) => {
                let Some(key) = self.in_flight.get(&exchange).map(|r| r.key.clone()) else {
                    return;
                };
                let lww = self.is_lww(&key);
                let op = self.op(Context::MergeHere(exchange));
                let cell = CellKey::data(key);
                self.vnode(turn, vnode::Event::Merge { op, cell, record, origin, lww, durable: true });
            }
            coordinator::Effect::KeepHint(target, record) => {
                let Some(key) = self.in_flight.get(&exchange).map(|r| r.key.clone()) else {
                    return;
                };
                self.keep_hint(turn, target, key, &record);
            }
        }
        self.put_away(exchange);
    }

    /// A machine that is over has no effect left behind it but those already queued.
    fn put_away(&mut self, exchange: RequestId) {
        let over = self.in_flight.get(&exchange).is_some_and(|r| r.machine.is_over());
        let queued = |w: &Work| matches!(w, Work::Request(other, _) if *other == exchange);
        if !over || self.work.iter().any(queued) {
            return;
        }
        let Some(request) = self.in_flight.remove(&exchange) else {
            return;
        };
        if let Some(at) = request.timer {
            self.timers.remove(&(at, exchange));
        }
        if self.by_client.get(&request.client) == Some(&exchange) {
            self.by_client.remove(&request.client);
        }
        if let Machine::Get(get) = &request.machine {
            self.counters.read_repairs += u64::from(get.repairs());
        }
        self.admission.leave(request.weight);
    }

    fn send(&self, turn: &mut Turn<'_>, exchange: RequestId, node: NodeId, class: Class, message: Message) {
        let left = self.in_flight.get(&exchange).map(|r| r.deadline.since(turn.now.instant).as_millis());
        let deadline_ms = u32::try_from(left.unwrap_or(0)).unwrap_or(u32::MAX).max(1);
        turn.send(exchange, node, class, deadline_ms, message);
    }

    fn respond(&mut self, turn: &mut Turn<'_>, exchange: RequestId, answer: Answer) {
        let Some(request) = self.in_flight.get_mut(&exchange) else {
            return;
        };
        let routes = std::mem::take(&mut request.routes);
        let machine = request.machine.kind();
        let reply = phrase(turn, &request.key, answer);
        self.count_reply(&reply, machine);
        for route in routes {
            turn.answer(route, reply.clone());
        }
    }

    fn count_reply(&mut self, reply: &KvReply, machine: Kind) {
        let counter = match (machine, reply) {
            (Kind::Forward, _) => &mut self.counters.forwarded,
            (Kind::Read, KvReply::Failed(_)) => &mut self.counters.reads_missed,
            (Kind::Read, _) => &mut self.counters.reads_ok,
            (Kind::Write, KvReply::Failed(_)) => &mut self.counters.writes_missed,
            (Kind::Write, _) => &mut self.counters.writes_ok,
        };
        *counter += 1;
    }

    fn is_lww(&self, key: &QualifiedKey) -> bool {
        let props = self.buckets.props(key.bucket());
        props.is_some_and(|p| p.conflict == starling_types::Conflict::Lww)
    }
}

impl Turn<'_> {
    pub(crate) fn send(
        &mut self,
        exchange: RequestId,
        node: NodeId,
        class: Class,
        deadline_ms: u32,
        message: Message,
    ) {
        let envelope = Envelope {
            cluster: self.view.cluster(),
            epoch: self.view.epoch(),
            request: exchange,
            deadline_ms,
            message,
        };
        self.out.push(Effect::Send(node, class, envelope));
    }

    pub(crate) fn answer(&mut self, route: Route, reply: KvReply) {
        match route {
            Route::Client(handle) => self.out.push(Effect::Respond(handle, reply)),
            Route::Node(node, exchange) => {
                self.send(exchange, node, Class::Foreground, 0, Message::Reply(reply));
            }
        }
    }

    fn seal(&self, key: &QualifiedKey, seen: &VersionVector) -> Bytes {
        let token = ContextToken::seal(self.view.cluster(), BUCKET_INCARNATION, key, seen);
        token.as_bytes().clone()
    }
}

impl Machine {
    fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<coordinator::Effect>) {
        match (self, input) {
            (Self::Put(put), Input::Put(event)) => put.handle(now, event, out),
            (Self::Put(put), Input::PeerDown(node)) => put.handle(now, put::Event::PeerDown(node), out),
            (Self::Put(put), Input::Tick) => put.handle(now, put::Event::Tick, out),
            (Self::Get(get), Input::Get(event)) => get.handle(now, event, out),
            (Self::Get(get), Input::PeerDown(node)) => get.handle(now, get::Event::PeerDown(node), out),
            (Self::Get(get), Input::Tick) => get.handle(now, get::Event::Tick, out),
            (Self::Forward(fwd), Input::Forward(event)) => fwd.handle(now, event, out),
            (Self::Forward(fwd), Input::PeerDown(node)) => {
                fwd.handle(now, forward::Event::PeerDown(node), out)
            }
            (Self::Forward(fwd), Input::Tick) => fwd.handle(now, forward::Event::Tick, out),
            // An answer that fits no question of this request.
            _ => {}
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Put(_) => Kind::Write,
            Self::Get(_) => Kind::Read,
            Self::Forward(_) => Kind::Forward,
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Put(put) => put.next_deadline(),
            Self::Get(get) => get.next_deadline(),
            Self::Forward(forward) => forward.next_deadline(),
        }
    }

    fn is_over(&self) -> bool {
        match self {
            Self::Put(put) => put.is_over(),
            Self::Get(get) => get.is_over(),
            Self::Forward(forward) => forward.is_over(),
        }
    }
}

/// The answer as the client gets it, its context sealed for this cluster and key.
fn phrase(turn: &Turn<'_>, key: &QualifiedKey, answer: Answer) -> KvReply {
    match answer {
        Answer::Read(record) => {
            let context = (!record.is_empty()).then(|| turn.seal(key, record.context()));
            KvReply::Read(reply::show(&record, context, turn.now.wall))
        }
        Answer::Written(written) => KvReply::Written(WriteReply {
            context: written.context.map(|seen| turn.seal(key, &seen)),
            siblings: written.siblings,
            existed: written.existed,
            receipt: written.receipt,
        }),
        Answer::Relayed(reply) => reply,
        Answer::Failed(failure) => KvReply::Failed(failure),
    }
}

/// A vnode's refusal as the client is told.
fn failure(refused: &Refused) -> Failure {
    let kind = match refused {
        Refused::TooManySiblings(_) => FailureKind::TooManySiblings,
        Refused::ForgedContext | Refused::FutureContext(_) => FailureKind::BadRequest,
        Refused::Load(_) | Refused::Commit(_) => FailureKind::Storage,
    };
    match refused.nothing_staged() {
        true => Failure::refused(kind, refused.to_string()),
        false => Failure::unknown(kind, refused.to_string()),
    }
}

const _: () = assert!(limits::REQUEST_MEMORY_IDS >= limits::DEFAULT_MAX_IN_FLIGHT);
