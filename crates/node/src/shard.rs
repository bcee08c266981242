//! The data plane: client requests on their way, and the replicas this node owns.
//!
//! Everything that one event sets off inside the node is worked off in the same turn, through one queue; what
//! is left are effects for the shell.

mod client;
mod counters;
mod damage;
mod done;
mod hints;
mod local;
mod pressure;
pub(crate) mod replica;
mod requests;
mod row_range;
pub(crate) mod suspect;
mod sweep;
mod timing;
mod tried;
mod turn;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use starling_antientropy::{self as antientropy, Sweep};
use starling_coordinator::{self as coordinator, Answer, put};
use starling_handoff::HintReplay;
use starling_types::hash::TokenMap;
use starling_types::planted::{self, Bug};
use starling_types::row::{CommitFailure, LoadFailure};
use starling_types::{
    Conflict, ExchangeId, Generation, Instant, NodeId, PartitionBits, PartitionId, QualifiedKey,
};
use starling_vnode::{self as vnode, CellKey, ClientWrite, OpId, Replaces, Vnodes};
use starling_wire::{Class, Message};

pub use self::counters::Counters;
use self::done::{Context, Remote};
use self::requests::{Requests, first_exchange};
use self::suspect::Suspects;
use self::turn::phrase;
pub(crate) use self::turn::{Route, Turn};
use crate::boot::{Boot, Config};
use crate::control::BucketNews;
use crate::event::{CommitId, Effect, ReplyHandle};

/// The shard of a node.
pub struct Shard {
    pub(crate) vnodes: Vnodes,
    pub(crate) hints: HintReplay,
    pub(crate) sweep: Sweep,
    requests: Requests,
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
    contexts: TokenMap<OpId, Context>,
    deliveries: BTreeMap<ExchangeId, (NodeId, QualifiedKey)>,
    /// The partitions of records on their way to disk.
    staged: TokenMap<vnode::Ticket, PartitionId>,
    looks: BTreeMap<ReplyHandle, local::Look>,
    work: VecDeque<Work>,
    /// Room for the effects of one event, kept for the next.
    room: Vec<vnode::Effect>,
    next_op: u64,
}

enum Work {
    Vnode(vnode::Effect),
    Request(ExchangeId, coordinator::Effect),
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
        let first_exchange = first_exchange(config.node, config.generation);
        let sweep_exchanges = ExchangeId::from_bits(first_exchange | SWEEP_EXCHANGES);
        Self {
            vnodes: Vnodes::new(vnodes, bits),
            hints: HintReplay::default(),
            sweep: Sweep::new(config.node, config.sweep, config.seed ^ SWEEP_SEED, sweep_exchanges),
            requests: Requests::new(config),
            differing: None,
            counters: Counters::default(),
            disk_full: false,
            suspects: Suspects::default(),
            me: config.node,
            max_value: config.max_value,
            max_staged: config.max_in_flight_bytes,
            contexts: TokenMap::default(),
            deliveries: BTreeMap::new(),
            staged: TokenMap::default(),
            looks: BTreeMap::new(),
            work: VecDeque::new(),
            room: Vec::new(),
            next_op: 0,
        }
    }

    /// Numbers what is asked of others from now on as a later life of this node would.
    pub(crate) fn number_exchanges(&mut self, generation: Generation) {
        self.requests.renumber(self.me, generation);
    }

    /// Whether no client waits and nothing is on its way to disk.
    pub fn is_quiet(&self) -> bool {
        self.requests.len() == 0 && self.vnodes.is_quiet()
    }

    /// Partitions that may have lost records, and are not vouched for until others' are here.
    pub fn suspect_partitions(&self) -> usize {
        self.suspects.count()
    }

    /// Requests under way, those that only linger included.
    pub fn under_way(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of requests in flight.
    pub fn in_flight_bytes(&self) -> usize {
        self.requests.admission.bytes()
    }

    /// What it has counted.
    pub fn counters(&self) -> Counters {
        let (read_repairs, shed) = (self.requests.repairs, self.requests.admission.shed());
        Counters { read_repairs, shed, ..self.counters }
    }

    /// When [`Shard::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let suspects = self.suspects.next_deadline();
        let deadlines =
            [self.requests.next_deadline(), self.hints.next_deadline(), self.sweep.next_deadline(), suspects];
        deadlines.into_iter().flatten().min()
    }

    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(exchange) = self.requests.next_due(turn.now.instant) {
            self.tell(turn, exchange, coordinator::Event::Tick);
        }
        self.tick_hints(turn);
        self.tick_suspects(turn);
        self.sweep_event(turn, antientropy::Event::Tick);
        self.pump(turn);
    }

    pub(crate) fn peer_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        for exchange in self.requests.all() {
            self.tell(turn, exchange, coordinator::Event::PeerDown(node));
        }
        self.hint_target(turn, node, false);
        self.sweep_peer(turn, node, false);
        self.pump(turn);
    }

    /// Tells the requests under way what changed about buckets.
    pub(crate) fn bucket_news(&mut self, turn: &mut Turn<'_>, news: &BucketNews) {
        for exchange in self.requests.all() {
            if news.buckets_changed {
                self.props_changed(turn, exchange);
            }
            for &node in &news.agreed {
                self.tell(turn, exchange, coordinator::Event::PropsAgree(node));
            }
        }
        self.pump(turn);
    }

    fn props_changed(&mut self, turn: &Turn<'_>, exchange: ExchangeId) {
        let Some(request) = self.requests.get_mut(exchange) else {
            return;
        };
        let Some(register) = turn.view.buckets().register(request.key.bucket()) else {
            return;
        };
        let (props, number) = (register.props.clone(), register.stamp().number());
        request.write.iter_mut().for_each(|write| write.lww = props.conflict == Conflict::Lww);
        self.tell(turn, exchange, coordinator::Event::PropsChanged(props, number));
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
        self.vnodes.handle(turn.now, event, &mut self.room);
        self.work.extend(self.room.drain(..).map(Work::Vnode));
    }

    fn op(&mut self, context: Context) -> OpId {
        self.next_op += 1;
        let op = OpId(self.next_op);
        self.contexts.insert(op, context);
        op
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
                    self.tell(turn, exchange, coordinator::Event::Staged(staged));
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

    /// Something happens to a request.
    fn tell(&mut self, turn: &Turn<'_>, exchange: ExchangeId, event: coordinator::Event) {
        self.requests.handle(turn.now.instant, exchange, event, &mut self.work);
    }

    fn request_effect(&mut self, turn: &mut Turn<'_>, exchange: ExchangeId, effect: coordinator::Effect) {
        self.carry_out(turn, exchange, effect);
        self.requests.carried_out(exchange);
    }

    fn carry_out(&mut self, turn: &mut Turn<'_>, exchange: ExchangeId, effect: coordinator::Effect) {
        match effect {
            coordinator::Effect::Send(node, class, message) => {
                self.send(turn, exchange, node, class, message)
            }
            coordinator::Effect::Respond(answer) => self.respond(turn, exchange, answer),
            coordinator::Effect::Coordinate(heard) => {
                let Some(write) = self.requests.get(exchange).and_then(|r| r.write.clone()) else {
                    return;
                };
                let write = informed(write, heard);
                let op = self.op(Context::Write(exchange));
                self.vnode(turn, vnode::Event::Coordinate(op, write));
            }
            coordinator::Effect::ReadHere => {
                let Some(key) = self.requests.get(exchange).map(|r| r.key.clone()) else {
                    return;
                };
                let op = self.op(Context::Read(exchange));
                self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
            }
            coordinator::Effect::MergeHere(record, origin) => {
                let Some(key) = self.requests.get(exchange).map(|r| r.key.clone()) else {
                    return;
                };
                let lww = turn.view.buckets().is_lww(key.bucket());
                let op = self.op(Context::MergeHere(exchange));
                let cell = CellKey::data(key);
                self.vnode(turn, vnode::Event::Merge { op, cell, record, origin, lww, durable: true });
            }
            coordinator::Effect::KeepHint(target, record) => {
                let Some(key) = self.requests.get(exchange).map(|r| r.key.clone()) else {
                    return;
                };
                self.keep_hint(turn, target, key, &record);
            }
        }
    }

    fn send(&self, turn: &mut Turn<'_>, exchange: ExchangeId, node: NodeId, class: Class, message: Message) {
        let left = self.requests.get(exchange).map(|r| r.deadline.since(turn.now.instant).as_millis());
        let deadline_ms = u32::try_from(left.unwrap_or(0)).unwrap_or(u32::MAX).max(1);
        turn.send(exchange, node, class, deadline_ms, message);
    }

    fn respond(&mut self, turn: &mut Turn<'_>, exchange: ExchangeId, answer: Answer) {
        let Some(request) = self.requests.get_mut(exchange) else {
            return;
        };
        let routes = std::mem::take(&mut request.routes);
        let reply = phrase(turn, &request.key, answer);
        self.counters.count(request.machine(), &reply);
        for route in routes {
            turn.answer(route, reply.clone());
        }
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

/// Sets the sweep's chance apart from the vnodes'.
const SWEEP_SEED: u64 = 0x0073_7765_6570;
/// Sweeps number their exchanges from here on within a run's 2^40: no run has as many requests.
const SWEEP_EXCHANGES: u128 = 1 << 39;
