//! Client requests under way: each with its machine, its timer, and its place in the admission.

use std::collections::{BTreeSet, VecDeque};

use starling_coordinator::{Effect, Event, Request};
use starling_types::hash::TokenMap;
use starling_types::planted::{self, Bug};
use starling_types::{ExchangeId, Generation, Instant, NodeId, QualifiedKey, RequestId};
use starling_vnode::ClientWrite;
use starling_wire::{KvRequest, QuorumChoice};

use super::turned_away::{Try, TurnedAway};
use super::{Route, Work};
use crate::admission::Admission;
use crate::boot::Config;
use crate::event::ReplyHandle;

pub(super) struct Requests {
    pub(super) admission: Admission,
    pub(super) turned_away: TurnedAway,
    /// Replicas that reads have repaired.
    pub(super) repairs: u64,
    under_way: TokenMap<ExchangeId, InFlight>,
    by_client: TokenMap<RequestId, ExchangeId>,
    timers: BTreeSet<(Instant, ExchangeId)>,
    exchange_base: u128,
    next_exchange: u64,
    /// Room for the effects of one event, kept for the next.
    room: Vec<Effect>,
}

/// A client request under way.
pub(super) struct InFlight {
    machine: Request,
    pub(super) key: QualifiedKey,
    /// The order to the vnode, if it is a write.
    pub(super) write: Option<ClientWrite>,
    pub(super) routes: Vec<Route>,
    client: RequestId,
    attempt: u8,
    /// Its question: a retry must ask the same to get the same answer.
    subject: Subject,
    weight: usize,
    pub(super) deadline: Instant,
    timer: Option<Instant>,
    /// Its effects among the work.
    queued: usize,
}

/// The part of a request that two tries have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Subject {
    op: &'static str,
    quorum: QuorumChoice,
}

impl Requests {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            admission: Admission::new(config.max_in_flight, config.max_in_flight_bytes),
            turned_away: TurnedAway::default(),
            repairs: 0,
            under_way: TokenMap::default(),
            by_client: TokenMap::default(),
            timers: BTreeSet::new(),
            exchange_base: first_exchange(config.node, config.generation),
            next_exchange: 0,
            room: Vec::new(),
        }
    }

    /// A number for something that is asked of another node.
    pub(super) fn number(&mut self) -> ExchangeId {
        self.next_exchange += 1;
        ExchangeId::from_bits(self.exchange_base.wrapping_add(u128::from(self.next_exchange)))
    }

    /// Numbers from now on as a later generation of this node would.
    pub(super) fn renumber(&mut self, me: NodeId, generation: Generation) {
        self.exchange_base = first_exchange(me, generation);
    }

    pub(super) fn len(&self) -> usize {
        self.under_way.len()
    }

    pub(super) fn get(&self, exchange: ExchangeId) -> Option<&InFlight> {
        self.under_way.get(&exchange)
    }

    pub(super) fn get_mut(&mut self, exchange: ExchangeId) -> Option<&mut InFlight> {
        self.under_way.get_mut(&exchange)
    }

    /// All, in order.
    pub(super) fn all(&self) -> BTreeSet<ExchangeId> {
        self.under_way.keys().copied().collect()
    }

    /// A retry that arrives while its first try is unanswered waits for the same answer.
    pub(super) fn joins_its_first_try(&mut self, route: Route, request: &KvRequest) -> bool {
        let exchange = self.by_client.get(&request.id);
        let first = exchange.and_then(|exchange| self.under_way.get_mut(exchange));
        let first = first.filter(|first| !first.routes.is_empty() && first.is_tried_again_by(request));
        first.map(|first| first.routes.push(route)).is_some()
    }

    pub(super) fn launch(
        &mut self,
        exchange: ExchangeId,
        in_flight: InFlight,
        effects: Vec<Effect>,
        work: &mut VecDeque<Work>,
    ) {
        self.by_client.insert(in_flight.client, exchange);
        self.under_way.insert(exchange, InFlight { queued: effects.len(), ..in_flight });
        work.extend(effects.into_iter().map(|e| Work::Request(exchange, e)));
        self.reschedule(exchange);
    }

    /// Something happens to a request, which is put away once it is over.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        exchange: ExchangeId,
        event: Event,
        work: &mut VecDeque<Work>,
    ) {
        let Some(request) = self.under_way.get_mut(&exchange) else {
            return;
        };
        request.machine.handle(now, event, &mut self.room);
        request.queued += self.room.len();
        work.extend(self.room.drain(..).map(|e| Work::Request(exchange, e)));
        self.reschedule(exchange);
        // The last answer may end it with no further message.
        self.put_away(exchange);
    }

    /// One of its effects is no work any more.
    pub(super) fn carried_out(&mut self, exchange: ExchangeId) {
        if let Some(request) = self.under_way.get_mut(&exchange) {
            request.queued -= 1;
            self.put_away(exchange);
        }
    }

    /// When [`Self::next_due`] has something.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|&(at, _)| at)
    }

    /// One whose timer has run out.
    pub(super) fn next_due(&mut self, now: Instant) -> Option<ExchangeId> {
        let &(at, exchange) = self.timers.first().filter(|&&(at, _)| at <= now)?;
        self.timers.remove(&(at, exchange));
        if let Some(request) = self.under_way.get_mut(&exchange) {
            request.timer = None;
        }
        Some(exchange)
    }

    fn reschedule(&mut self, exchange: ExchangeId) {
        let Some(request) = self.under_way.get_mut(&exchange) else {
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

    /// A machine that is over has no effect left behind it but those already queued.
    fn put_away(&mut self, exchange: ExchangeId) {
        if !self.get(exchange).is_some_and(|r| r.queued == 0 && r.machine.is_over()) {
            return;
        }
        self.give_up(exchange);
    }

    /// Nothing of it is waited for any more.
    pub(super) fn give_up(&mut self, exchange: ExchangeId) {
        let Some(request) = self.under_way.remove(&exchange) else {
            return;
        };
        if let Some(at) = request.timer {
            self.timers.remove(&(at, exchange));
        }
        if self.by_client.get(&request.client) == Some(&exchange) {
            self.by_client.remove(&request.client);
        }
        self.repairs += u64::from(request.machine.repairs());
        if !planted::on(Bug::AdmissionLeaks) {
            self.admission.leave(request.weight);
        }
    }
}

impl InFlight {
    /// The try of it that is made here.
    pub(super) const fn this_try(&self) -> Try {
        (self.client, self.attempt)
    }

    /// A request that `machine` drives.
    pub(super) fn new(
        machine: Request,
        request: &KvRequest,
        route: Route,
        key: QualifiedKey,
        deadline: Instant,
    ) -> Self {
        Self {
            machine,
            key,
            write: None,
            routes: vec![route],
            client: request.id,
            attempt: request.attempt,
            subject: Subject::of(request),
            weight: request.weight(),
            deadline,
            timer: None,
            queued: 0,
        }
    }

    /// Whether its answer may still be taken, or has been given.
    pub(super) fn is_heard(&self, is_heard: impl Fn(ReplyHandle) -> bool) -> bool {
        let may_hear =
            |route: &Route| if let Route::Client(handle) = *route { is_heard(handle) } else { true };
        self.routes.is_empty() || self.routes.iter().any(may_hear)
    }

    pub(super) const fn machine(&self) -> &Request {
        &self.machine
    }

    fn is_tried_again_by(&self, request: &KvRequest) -> bool {
        let same_key = *self.key.bucket() == request.bucket && *self.key.key() == request.key;
        same_key && self.subject == Subject::of(request)
    }
}

impl Subject {
    const fn of(request: &KvRequest) -> Self {
        Self { op: request.op.name(), quorum: request.quorum }
    }
}

/// An answer to an exchange of an earlier run must not pass for one of this run.
pub(super) fn first_exchange(me: NodeId, generation: Generation) -> u128 {
    let run = u128::from(generation.0) << 40;
    (u128::from(me.bits()) << 64) | (run & u128::from(u64::MAX))
}
