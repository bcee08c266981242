//! The data plane: client requests on their way, and the replicas this node owns.
//!
//! Everything that one event sets off inside the node is worked off in the same turn, through one queue; what
//! is left are effects for the shell.

mod calls;
mod client;
mod counters;
mod damage;
mod done;
mod hints;
mod local;
mod pressure;
pub(crate) mod replica;
mod requests;
mod sweep;
mod timing;
mod tried;
mod turn;
mod turned_away;
mod vouching;

use std::collections::VecDeque;

use bytes::Bytes;
use starling_antientropy::{self as antientropy, Sweep};
use starling_coordinator::{self as coordinator, Answer, Reach, put};
use starling_custody::{self as custody, Custody, Losses, OrderId, Ticket};
use starling_types::hash::TokenMap;
use starling_types::planted::{self, Bug};
use starling_types::row::{CommitFailure, LoadFailure, Page, RowRange, Space};
use starling_types::{Conflict, ExchangeId, Generation, Instant, NodeId, Now, PartitionBits, PartitionId};
use starling_vnode::{self as vnode, CellKey, ClientWrite, OpId, Replaces, Vnodes};
use starling_wire::local::LocalAsk;
use starling_wire::{Class, Envelope, KvRequest, Message};

use self::calls::Calls;
pub use self::counters::Counters;
use self::done::{Context, Remote};
use self::hints::Hints;
use self::pressure::Pressure;
use self::requests::{Requests, first_exchange};
use self::turn::phrase;
pub(crate) use self::turn::{Ask, Route, Turn};
use crate::boot::{Boot, Config};
use crate::change::Change;
use crate::disk::Disk;
use crate::event::{CommitId, Effect, ReplyHandle, ScanId};
use crate::view::View;

/// The shard of a node.
pub struct Shard {
    pub(crate) vnodes: Vnodes,
    pub(crate) hints: Hints,
    pub(crate) sweep: Sweep,
    requests: Requests,
    pub(crate) counters: Counters,
    pub(crate) pressure: Pressure,
    pub(crate) custody: Custody,
    me: NodeId,
    calls: Calls,
    /// The partitions of records on their way to disk.
    staged: TokenMap<vnode::Ticket, PartitionId>,
    work: VecDeque<Work>,
    /// Room for the effects of one event, kept for the next.
    room: Vec<vnode::Effect>,
}

/// Input.
pub(crate) enum Event {
    /// The node has started, and may have lost this before.
    Started(Losses),
    /// A client asks, here or at a node that is no owner.
    Request(Route, KvRequest),
    /// A client of the local door looks at this node's own records.
    Local(ReplyHandle, LocalAsk),
    /// A frame of the data plane.
    Message(NodeId, Envelope),
    /// An operator accepts losses.
    AcceptLosses(ReplyHandle, Option<PartitionId>, bool),
    /// The answer to a load.
    Loaded(CellKey, Result<Option<Bytes>, LoadFailure>),
    /// The answer to a scan.
    Scanned(OpId, Result<Page, String>),
    /// The answer to a commit of records.
    Committed(vnode::Ticket, Result<(), CommitFailure>),
    /// The answer to the commit of what may be lost.
    LossesStored(u64, Result<(), CommitFailure>),
    /// Data rows were found to be unreadable.
    Damaged(Vec<RowRange>, u64),
    /// The disk is in another state than before.
    Disk(Disk),
    /// A later count of this node's starts is durable.
    GenerationRaised(Generation),
    /// The control plane says what changed.
    Changed(Change),
    /// Begin nothing new of one's own accord.
    Drain,
    /// [`Shard::next_deadline`] has come.
    Tick,
}

enum Work {
    Vnode(vnode::Effect),
    Request(ExchangeId, coordinator::Effect),
}

impl Shard {
    /// The shard of a node that just started.
    pub fn new(config: &Config, boot: &Boot, started: Instant) -> Self {
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
            vnodes: Vnodes::new(vnodes, PartitionBits::DEFAULT),
            hints: Hints::default(),
            sweep: Sweep::new(config.node, config.sweep, config.seed ^ SWEEP_SEED, sweep_exchanges),
            requests: Requests::new(config),
            counters: Counters::default(),
            pressure: Pressure {
                disk: Disk::default(),
                max_value: config.max_value,
                max_staged: config.max_in_flight_bytes,
            },
            custody: Custody::new(config.node),
            me: config.node,
            calls: Calls::default(),
            staged: TokenMap::default(),
            work: VecDeque::new(),
            room: Vec::new(),
        }
    }

    /// The one entrance.
    pub(crate) fn handle(
        &mut self,
        now: Now,
        view: &View,
        event: Event,
        changes: &mut VecDeque<Change>,
        out: &mut Vec<Effect>,
    ) {
        let turn = &mut Turn { now, view, changes, out };
        match event {
            Event::Started(losses) => self.started(turn, losses),
            Event::Request(route, request) => self.request(turn, route, request),
            Event::Local(handle, ask) => self.local(turn, handle, ask),
            Event::Message(from, envelope) => self.peer_message(turn, from, envelope),
            Event::AcceptLosses(reply, partition, without_silent) => {
                let by = OrderId(reply.0);
                self.custody_event(turn, custody::Event::Accept { by, partition, without_silent });
            }
            Event::Loaded(cell, row) => self.vnode(turn, vnode::Event::Loaded(cell, row)),
            Event::Scanned(op, page) => self.vnode(turn, vnode::Event::Scanned(op, page)),
            Event::Committed(ticket, result) => {
                self.note_committed(turn, ticket);
                self.vnode(turn, vnode::Event::Committed(ticket, result));
            }
            Event::LossesStored(serial, result) => {
                self.custody_event(turn, custody::Event::Stored(Ticket(serial), result.is_ok()));
            }
            Event::Damaged(ranges, number) => {
                self.rows_damaged(turn, ranges);
                self.custody_event(turn, custody::Event::Note(number));
            }
            Event::Disk(disk) => self.disk_is(disk, turn.out),
            Event::GenerationRaised(generation) => self.requests.renumber(self.me, generation),
            Event::Changed(change) => self.changed(turn, change),
            Event::Drain => self.sweep_event(turn, antientropy::Event::Stop),
            Event::Tick => self.tick(turn),
        }
        self.pump(turn);
    }

    fn started(&mut self, turn: &mut Turn<'_>, losses: Losses) {
        self.count_hints(turn, None);
        self.custody_rules(turn);
        self.custody_event(turn, custody::Event::Lost(losses));
        self.layout_in_force(turn);
    }

    fn changed(&mut self, turn: &mut Turn<'_>, change: Change) {
        match change {
            Change::Layout => {
                self.layout_in_force(turn);
                // Before there was a layout, no hint could be told for whose key it is.
                self.count_hints(turn, None);
            }
            Change::Reach(node, Reach::Up) => {
                self.hint_target(turn, node, true);
                self.sweep_peer(turn, node, true);
                self.custody_event(turn, custody::Event::Up(node));
            }
            Change::Reach(node, Reach::Suspect) => self.custody_event(turn, custody::Event::Up(node)),
            Change::Reach(node, Reach::Down) => self.peer_down(turn, node),
            Change::Buckets => self.buckets_changed(turn),
            Change::Agreed(node) => self.tell_all(turn, &coordinator::Event::PropsAgree(node)),
            Change::Recognised => self.vnodes.inherit_actors(),
            Change::Raise(generation) => self.custody_event(turn, custody::Event::LaterLife(generation)),
            // The node's own, and its control plane's.
            Change::PropsDiffer(_) | Change::HintsCounted => {}
        }
    }

    fn layout_in_force(&mut self, turn: &mut Turn<'_>) {
        if let Some(layout) = turn.view.layout() {
            self.vnodes.set_layout(layout.bits(), layout.cluster().hash_seed());
        }
        self.sweep_layout(turn);
        self.custody_layout(turn);
    }

    /// Whether no client waits and nothing is on its way to disk.
    pub fn is_quiet(&self) -> bool {
        self.requests.len() == 0 && self.vnodes.is_quiet()
    }

    /// Partitions that may have lost records, and are not vouched for until others' are here.
    pub fn suspect_partitions(&self) -> usize {
        self.custody.count()
    }

    /// Requests under way, those that only linger included.
    pub fn under_way(&self) -> usize {
        self.requests.len()
    }

    /// Bytes of requests in flight.
    pub fn in_flight_bytes(&self) -> usize {
        self.requests.admission.bytes()
    }

    /// The counters of the shard.
    pub fn counters(&self) -> Counters {
        let (read_repairs, shed) = (self.requests.repairs, self.requests.admission.shed());
        Counters { read_repairs, shed, ..self.counters }
    }

    /// When [`Shard::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let custody = self.custody.next_deadline();
        let deadlines =
            [self.requests.next_deadline(), self.hints.next_deadline(), self.sweep.next_deadline(), custody];
        deadlines.into_iter().flatten().min()
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(exchange) = self.requests.next_due(turn.now.instant) {
            self.tell(turn, exchange, coordinator::Event::Tick);
        }
        self.tick_hints(turn);
        self.custody_event(turn, custody::Event::Tick);
        self.sweep_event(turn, antientropy::Event::Tick);
    }

    fn peer_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        self.tell_all(turn, &coordinator::Event::PeerDown(node));
        self.hint_target(turn, node, false);
        self.sweep_peer(turn, node, false);
        self.custody_event(turn, custody::Event::Down(node));
    }

    fn tell_all(&mut self, turn: &Turn<'_>, event: &coordinator::Event) {
        for exchange in self.requests.all() {
            self.tell(turn, exchange, event.clone());
        }
    }

    /// The requests under way go by the newest rules of their buckets.
    fn buckets_changed(&mut self, turn: &mut Turn<'_>) {
        for exchange in self.requests.all() {
            let Some(request) = self.requests.get_mut(exchange) else { continue };
            let Some(register) = turn.view.buckets().register(request.key.bucket()) else { continue };
            let (props, number) = (register.props.clone(), register.stamp().number());
            request.write.iter_mut().for_each(|write| write.lww = props.conflict == Conflict::Lww);
            self.tell(turn, exchange, coordinator::Event::PropsChanged(props, number));
        }
        self.custody_rules(turn);
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

    fn vnode_effect(&mut self, turn: &mut Turn<'_>, effect: vnode::Effect) {
        match effect {
            vnode::Effect::Load(cell) => turn.out.push(Effect::Load(cell)),
            vnode::Effect::Scan { op, space, prefix, from } => {
                let is_count = space == Space::Hints && prefix.is_empty();
                let id = if is_count { ScanId::AllHints(op) } else { ScanId::Records(op) };
                turn.out.push(Effect::Scan { id, space, prefix, from });
            }
            vnode::Effect::Commit { ticket, rows, changed, durable } => {
                changed.into_iter().for_each(|changed| self.note_staged(turn, ticket, &changed));
                turn.out.push(Effect::Commit { id: CommitId::Shard(ticket), rows, durable });
            }
            vnode::Effect::Staged(op, staged) => {
                if let Some(&Context::Write(exchange)) = self.calls.get(op) {
                    self.tell(turn, exchange, coordinator::Event::Staged(staged));
                }
            }
            vnode::Effect::Damaged(cell, why) => self.row_damaged(turn, cell, &why),
            vnode::Effect::Done(op, result) => {
                if let Some(context) = self.calls.end(op) {
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
                let op = self.calls.begin(Context::Write(exchange));
                self.vnode(turn, vnode::Event::Coordinate(op, write));
            }
            coordinator::Effect::ReadHere => {
                let Some(key) = self.requests.get(exchange).map(|r| r.key.clone()) else {
                    return;
                };
                let op = self.calls.begin(Context::Read(exchange));
                self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
            }
            coordinator::Effect::MergeHere(record, origin) => {
                let Some(key) = self.requests.get(exchange).map(|r| r.key.clone()) else {
                    return;
                };
                let lww = turn.view.buckets().is_lww(key.bucket());
                let op = self.calls.begin(Context::MergeHere(exchange));
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
        let (this, is_write) = (request.this_try(), request.write.is_some());
        for route in routes {
            if is_write {
                self.turn_away(route, this, &reply);
            }
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
