//! The data plane: client requests on their way, and the replicas this node owns.
//!
//! Everything that one event sets off inside the node is worked off in the same turn, through one queue; what
//! is left are effects for the shell.

mod client;
mod damage;
mod done;
mod hints;
mod local;
mod machine;
mod pressure;
pub(crate) mod replica;
mod row_range;
pub(crate) mod suspect;
mod sweep;
mod timing;
mod totals;
mod tried;
mod turn;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use starling_antientropy::{self as antientropy, Sweep};
use starling_coordinator::{self as coordinator, Answer, get, put};
use starling_handoff::HintReplay;
use starling_types::hash::TokenMap;
use starling_types::planted::{self, Bug};
use starling_types::{
    Conflict, Generation, Instant, NodeId, PartitionBits, PartitionId, QualifiedKey, RequestId,
};
use starling_vnode::{
    self as vnode, CellKey, ClientWrite, CommitFailure, LoadFailure, OpId, Replaces, Vnodes,
};
use starling_wire::{Class, KvReply, KvRequest, Message, QuorumChoice};

use self::done::{Context, Remote};
use self::machine::{Input, Kind, Machine};
use self::suspect::Suspects;
pub use self::totals::{Counters, Totals};
use self::turn::phrase;
pub(crate) use self::turn::{Route, Turn};
use crate::admission::Admission;
use crate::boot::{Boot, Config};
use crate::control::BucketNews;
use crate::event::{CommitId, Effect, ReplyHandle};

/// The shard of a node.
pub struct Shard {
    pub(crate) vnodes: Vnodes,
    pub(crate) hints: HintReplay,
    pub(crate) sweep: Sweep,
    pub(crate) admission: Admission,
    pub(crate) counters: Counters,
    /// A node that turned out in this turn to go by other properties of a bucket.
    pub(crate) differing: Option<NodeId>,
    /// The volume has less room than its reserve.
    pub(crate) disk_full: bool,
    pub(crate) suspects: Suspects,
    me: NodeId,
    max_value: usize,
    /// Bytes on their way to disk above which nothing new is staged.
    max_staged: usize,
    in_flight: TokenMap<RequestId, InFlight>,
    by_client: TokenMap<RequestId, RequestId>,
    contexts: TokenMap<OpId, Context>,
    deliveries: BTreeMap<RequestId, (NodeId, QualifiedKey)>,
    /// The partitions of records on their way to disk.
    staged: TokenMap<vnode::Ticket, PartitionId>,
    looks: BTreeMap<ReplyHandle, local::Look>,
    timers: BTreeSet<(Instant, RequestId)>,
    work: VecDeque<Work>,
    room: Room,
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
    /// What a retry must ask for to get the same answer.
    asked: Asked,
    weight: usize,
    deadline: Instant,
    timer: Option<Instant>,
    /// Its effects among the work.
    queued: usize,
}

/// Room for the effects of one event, kept for the next.
#[derive(Default)]
struct Room {
    vnode: Vec<vnode::Effect>,
    request: Vec<coordinator::Effect>,
}

/// The part of a request that two tries have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Asked {
    op: &'static str,
    quorum: QuorumChoice,
}

impl Asked {
    const fn of(request: &KvRequest) -> Self {
        Self { op: request.op.name(), quorum: request.quorum }
    }
}

enum Work {
    Vnode(vnode::Effect),
    Request(RequestId, coordinator::Effect),
}

impl Shard {
    /// The shard of a node that just started.
    pub fn new(config: &Config, boot: &Boot, bits: PartitionBits, started: Instant) -> Self {
        let vnodes = vnode::Boot {
            ceiling: boot.ceiling,
            actors: boot.actors.clone(),
            started,
            // Stable over starts, if actors are to outlive unclean stops.
            seed: if planted::on(Bug::ActorsSurvive) {
                config.node.bits()
            } else {
                config.seed ^ 0x766e_6f64
            },
            cache_bytes: config.cache_bytes,
            max_value: config.max_value,
        };
        let exchange_base = first_exchange(config.node, config.generation);
        let sweep_exchanges = RequestId::from_bits(exchange_base | SWEEP_EXCHANGES);
        Self {
            vnodes: Vnodes::new(vnodes, bits),
            hints: HintReplay::default(),
            sweep: Sweep::new(config.node, config.sweep, config.seed ^ SWEEP_SEED, sweep_exchanges),
            admission: Admission::new(config.max_in_flight, config.max_in_flight_bytes),
            differing: None,
            counters: Counters::default(),
            disk_full: false,
            suspects: Suspects::default(),
            me: config.node,
            max_value: config.max_value,
            max_staged: config.max_in_flight_bytes,
            in_flight: TokenMap::default(),
            by_client: TokenMap::default(),
            contexts: TokenMap::default(),
            deliveries: BTreeMap::new(),
            staged: TokenMap::default(),
            looks: BTreeMap::new(),
            timers: BTreeSet::new(),
            work: VecDeque::new(),
            room: Room::default(),
            exchange_base,
            next_exchange: 0,
            next_op: 0,
        }
    }

    /// Numbers what is asked of others from now on as a later life of this node would.
    pub(crate) fn number_exchanges(&mut self, generation: Generation) {
        self.exchange_base = first_exchange(self.me, generation);
    }

    /// Whether no client waits and nothing is on its way to disk.
    pub fn is_quiet(&self) -> bool {
        self.in_flight.is_empty() && self.vnodes.is_quiet()
    }

    /// Partitions that may have lost records, and are not vouched for until others' are here.
    pub fn suspect_partitions(&self) -> usize {
        self.suspects.count()
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
            sweep: self.sweep.counters(),
        }
    }

    /// When [`Shard::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let request = self.timers.first().map(|&(at, _)| at);
        let suspects = self.suspects.next_deadline();
        let deadlines = [request, self.hints.next_deadline(), self.sweep.next_deadline(), suspects];
        deadlines.into_iter().flatten().min()
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
        self.tick_suspects(turn);
        self.sweep_event(turn, antientropy::Event::Tick);
        self.pump(turn);
    }

    pub(crate) fn peer_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let exchanges: BTreeSet<RequestId> = self.in_flight.keys().copied().collect();
        for exchange in exchanges {
            self.input(turn, exchange, Input::PeerDown(node));
        }
        self.hint_target(turn, node, false);
        self.sweep_peer(turn, node, false);
        self.pump(turn);
    }

    /// Tells the requests under way what changed about buckets.
    pub(crate) fn bucket_news(&mut self, turn: &mut Turn<'_>, news: &BucketNews) {
        let exchanges: BTreeSet<RequestId> = self.in_flight.keys().copied().collect();
        for exchange in exchanges {
            let bucket = self.in_flight.get(&exchange).map(|r| r.key.bucket().clone());
            let register = bucket.filter(|_| news.buckets_changed);
            if let Some(register) = register.and_then(|b| turn.view.buckets().register(&b)) {
                let (props, number) = (register.props.clone(), register.stamp().number());
                let write = self.in_flight.get_mut(&exchange).and_then(|r| r.write.as_mut());
                write.into_iter().for_each(|w| w.lww = props.conflict == Conflict::Lww);
                self.input(turn, exchange, Input::Put(put::Event::PropsChanged(props.clone(), number)));
                self.input(turn, exchange, Input::Get(get::Event::PropsChanged(props, number)));
            }
            for &node in &news.agreed {
                self.input(turn, exchange, Input::Put(put::Event::PropsAgree(node)));
            }
        }
        self.pump(turn);
    }

    pub(crate) fn loaded(
        &mut self,
        turn: &mut Turn<'_>,
        cell: CellKey,
        row: Result<Option<Bytes>, LoadFailure>,
    ) {
        self.vnode(turn, vnode::Event::Loaded(cell, row));
        self.pump(turn);
    }

    pub(crate) fn committed(
        &mut self,
        turn: &mut Turn<'_>,
        ticket: vnode::Ticket,
        result: Result<(), CommitFailure>,
    ) {
        self.note_committed(turn, ticket);
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
        self.vnodes.handle(turn.now, event, &mut self.room.vnode);
        self.work.extend(self.room.vnode.drain(..).map(Work::Vnode));
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
                self.note_staged(turn, ticket, &rows);
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
                        repeated: staged.repeated,
                        in_part: staged.in_part,
                    };
                    self.input(turn, exchange, Input::Put(put::Event::Staged(staged)));
                }
            }
            vnode::Effect::Damaged(cell, why) => self.row_damaged(turn, cell, &why),
            vnode::Effect::Done(op, result) => {
                if let Some(context) = self.contexts.remove(&op) {
                    self.done(turn, context, result);
                }
            }
        }
    }

    /// Hands something to a request's machine, and puts the request away once it is over.
    fn input(&mut self, turn: &mut Turn<'_>, exchange: RequestId, input: Input) {
        let Some(request) = self.in_flight.get_mut(&exchange) else {
            return;
        };
        request.machine.handle(turn.now.instant, input, &mut self.room.request);
        request.queued += self.room.request.len();
        self.work.extend(self.room.request.drain(..).map(|e| Work::Request(exchange, e)));
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
        let request = self.in_flight.get_mut(&exchange);
        request.into_iter().for_each(|request| request.queued -= 1);
        self.carry_out(turn, exchange, effect);
        self.put_away(exchange);
    }

    fn carry_out(&mut self, turn: &mut Turn<'_>, exchange: RequestId, effect: coordinator::Effect) {
        match effect {
            coordinator::Effect::Send(node, class, message) => {
                self.send(turn, exchange, node, class, message)
            }
            coordinator::Effect::Respond(answer) => self.respond(turn, exchange, answer),
            coordinator::Effect::Coordinate(heard) => {
                let Some(write) = self.in_flight.get(&exchange).and_then(|r| r.write.clone()) else {
                    return;
                };
                let write = informed(write, heard);
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
                let lww = turn.view.buckets().is_lww(key.bucket());
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
    }

    /// A machine that is over has no effect left behind it but those already queued.
    fn put_away(&mut self, exchange: RequestId) {
        if !self.in_flight.get(&exchange).is_some_and(|r| r.queued == 0 && r.machine.is_over()) {
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
        if !planted::on(Bug::AdmissionLeaks) {
            self.admission.leave(request.weight);
        }
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
            (Kind::Write, KvReply::Written(written)) => {
                self.counters.writes_in_part += u64::from(written.receipt.partial);
                &mut self.counters.writes_ok
            }
            (Kind::Write, KvReply::Read(_)) => &mut self.counters.writes_ok,
        };
        *counter += 1;
    }
}

/// A write with what was found out for it.
fn informed(mut write: ClientWrite, heard: put::Heard) -> ClientWrite {
    write.vouched = heard.context.max_hlc();
    if let Replaces::All(context) = &mut write.replaces {
        *context = heard.context;
    }
    write.tries.is_new = heard.is_new;
    write.tries.is_known = heard.is_known;
    write.is_absent_elsewhere = heard.is_absent;
    write
}

/// An answer to an exchange of an earlier run must not pass for one of this run.
fn first_exchange(me: NodeId, generation: Generation) -> u128 {
    let run = u128::from(generation.0) << 40;
    (u128::from(me.bits()) << 64) | (run & u128::from(u64::MAX))
}

/// Sets the sweep's chance apart from the vnodes'.
const SWEEP_SEED: u64 = 0x0073_7765_6570;
/// Sweeps number their exchanges from here on within a run's 2^40: no run has as many requests.
const SWEEP_EXCHANGES: u128 = 1 << 39;
