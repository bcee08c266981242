//! The turn: events in, the machine, effects out, until nothing is left. One thread, never re-entered.

mod disk;
mod doors;
mod peers;
mod pulse;
mod watch;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rand::rngs::ChaCha12Rng;
use starling_frontend::ReplyTo;
use starling_node::{Effect, Event, Log, Node, ReplyHandle};
use starling_storage::{Engine, StorageError};
use starling_transport::{ClientId, Sent, Transport};
use starling_types::hash::TokenMap;
use starling_types::{ExchangeId, Instant, Outcome, WallTime};
use starling_wire::client::AdminReply;
use starling_wire::local::LocalPage;
use starling_wire::{Class, Envelope, Failure, FailureKind, KvReply, Message};
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;
use crate::config::Settings;
use crate::home::Home;
use crate::metrics::{self, Telemetry};
use crate::reactor::pulse::Pulse;
use crate::reactor::watch::Watch;
use crate::readers::{Readers, Scan};
use crate::storage_executor::{Job, StorageExecutor};

/// A node's shell: the machine, and everything it is connected to.
pub struct Reactor {
    clock: Clock,
    node: RefCell<Node>,
    events: RefCell<VecDeque<Event>>,
    in_turn: Cell<bool>,
    /// The room of the last turn's effects, for the next one's.
    room: Cell<Vec<Effect>>,
    waiting: RefCell<TokenMap<u64, Waiting>>,
    next_handle: Cell<u64>,
    rng: RefCell<ChaCha12Rng>,
    engine: Arc<dyn Engine>,
    /// The findings of the store's open, in words.
    store_report: String,
    disk: StorageExecutor,
    readers: RefCell<Readers>,
    transport: OnceCell<Rc<Transport>>,
    telemetry: Telemetry,
    settings: Settings,
    /// Of clients, at each of the doors that need a descriptor for each.
    connections: usize,
    home: RefCell<Home>,
    addresses: OnceCell<Addresses>,
    /// When the timer will fire; a turn that needs it earlier wakes it.
    timer: Cell<Option<Instant>>,
    pulse: Pulse,
    watch: Watch,
    timer_changed: Notify,
    phase_changed: Notify,
    end: RefCell<Option<End>>,
    ended: Notify,
}

/// Where the doors are, once they are open.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// RESP.
    pub resp: SocketAddr,
    /// HTTP.
    pub http: SocketAddr,
    /// QUIC, as announced to others.
    pub quic: SocketAddr,
}

/// How a node ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// Everything is on disk.
    #[error("it was asked to stop")]
    Drained,
    /// The store refused a commit.
    #[error("its store failed: {0}")]
    StorageFailed(String),
}

/// A client that waits for an answer.
struct Waiting {
    whom: Whom,
    op: &'static str,
    since: Instant,
}

enum Whom {
    Door(ReplyTo),
    Quic(ClientId, ExchangeId),
    Local(oneshot::Sender<Result<LocalPage, Failure>>),
}

/// The failure that a client gets in place of an answer that cannot be sent to it.
fn unsent(message: &Message) -> Option<Failure> {
    let outcome = match message {
        Message::Reply(KvReply::Written(_)) => Outcome::Applied,
        Message::Reply(KvReply::Read(_)) => Outcome::NotApplied,
        Message::Reply(KvReply::Failed(failure)) => failure.outcome,
        _ => return None,
    };
    let detail =
        "the answer does not fit the connection's queue, or any message: ask for less at a time".into();
    Some(Failure { kind: FailureKind::Overloaded, outcome, detail, retry_after_ms: None })
}

/// The parts of a reactor.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) node: Node,
    pub(crate) first_effects: Vec<Effect>,
    pub(crate) rng: ChaCha12Rng,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) store_report: String,
    pub(crate) disk: StorageExecutor,
    pub(crate) readers: Readers,
    pub(crate) telemetry: Telemetry,
    pub(crate) settings: Settings,
    pub(crate) connections: usize,
    pub(crate) home: Home,
}

impl Reactor {
    /// A reactor without a network yet; the first effects of the machine wait for [`Reactor::connect`].
    pub(crate) fn new(parts: Parts) -> (Rc<Self>, Vec<Effect>) {
        let reactor = Self {
            clock: parts.clock,
            node: RefCell::new(parts.node),
            events: RefCell::default(),
            in_turn: Cell::new(false),
            room: Cell::default(),
            waiting: RefCell::default(),
            next_handle: Cell::new(0),
            rng: RefCell::new(parts.rng),
            engine: parts.engine,
            store_report: parts.store_report,
            disk: parts.disk,
            readers: RefCell::new(parts.readers),
            transport: OnceCell::new(),
            telemetry: parts.telemetry,
            settings: parts.settings,
            connections: parts.connections,
            home: RefCell::new(parts.home),
            addresses: OnceCell::new(),
            timer: Cell::new(None),
            pulse: Pulse::default(),
            watch: Watch::default(),
            timer_changed: Notify::new(),
            phase_changed: Notify::new(),
            end: RefCell::new(None),
            ended: Notify::new(),
        };
        (Rc::new(reactor), parts.first_effects)
    }

    /// The network is there: carries out what the machine wanted first.
    pub(crate) fn connect(&self, transport: Rc<Transport>, addresses: Addresses, effects: Vec<Effect>) {
        // Set once, by the daemon, before anything else runs.
        let _ = self.transport.set(transport);
        let _ = self.addresses.set(addresses);
        self.in_turn.set(true);
        self.carry_out(effects);
        self.in_turn.set(false);
        self.turn();
    }

    /// The node's estimate of the cluster's time.
    pub(crate) fn cluster_time(&self) -> WallTime {
        self.node.borrow().cluster_wall(self.clock.now())
    }

    /// When a request that a door reads at this moment may have come: before a pause in which the node stood still.
    pub(crate) fn may_have_come(&self) -> WallTime {
        self.cluster_time().before(self.pulse.stood_still(self.clock.now().instant))
    }

    /// Queues an event for the next turn.
    pub(crate) fn push(&self, event: Event) {
        self.events.borrow_mut().push_back(event);
    }

    /// Runs the machine until nothing is left to do.
    pub(crate) fn turn(&self) {
        if self.in_turn.replace(true) {
            // An effect of the running turn led here; that turn takes the event up.
            return;
        }
        self.pulse.beat(self.clock.now().instant);
        let before = self.node.borrow().phase();
        let mut effects = self.room.take();
        let mut jobs = Vec::new();
        while let Some(event) = self.next_event() {
            self.node.borrow_mut().handle(self.clock.now(), event, &mut effects);
            for effect in effects.drain(..) {
                self.effect(effect, &mut jobs);
            }
        }
        self.room.set(effects);
        self.hand_over(jobs);
        self.in_turn.set(false);
        self.reset_timer();
        if before != self.node.borrow().phase() {
            self.phase_changed.notify_waiters();
        }
    }

    fn next_event(&self) -> Option<Event> {
        let event = self.events.borrow_mut().pop_front();
        if event.is_some() {
            return event;
        }
        self.feed_readers();
        self.events.borrow_mut().pop_front()
    }

    fn carry_out(&self, effects: Vec<Effect>) {
        let mut jobs = Vec::new();
        effects.into_iter().for_each(|effect| self.effect(effect, &mut jobs));
        self.hand_over(jobs);
    }

    fn hand_over(&self, jobs: Vec<Job>) {
        self.disk.submit(jobs);
    }

    fn effect(&self, effect: Effect, jobs: &mut Vec<Job>) {
        match effect {
            Effect::Send(to, class, envelope) => self.send(to, class, &envelope),
            Effect::Respond(handle, reply) => self.respond(handle, reply),
            Effect::RespondAdmin(handle, reply) => self.respond_admin(handle, reply),
            Effect::RespondLocal(handle, page) => self.respond_local(handle, page),
            Effect::Load(cell) => self.load(cell),
            Effect::Scan { id, space, prefix, from } => self.scan(Scan { id, space, prefix, from }),
            Effect::Commit { id, rows, durable } => {
                jobs.push(Job { id, batch: rows.into_iter().collect(), durable })
            }
            Effect::Connect(addr, node) => {
                if let Some(transport) = self.transport.get() {
                    transport.dial(addr, node);
                }
            }
            Effect::Disconnect(node) => {
                if let Some(transport) = self.transport.get() {
                    transport.disconnect(node);
                }
            }
            Effect::RaiseGeneration(generation) => match self.home.borrow_mut().raise(generation) {
                Ok(()) => self.push(Event::GenerationRaised(generation)),
                Err(error) => tracing::error!(%error, "the count of starts could not be raised"),
            },
            Effect::DamageNoted(number) => self.watch.damage_noted(number),
            Effect::Drained => self.finish(End::Drained),
            Effect::Log(log) => self.log(&log),
        }
    }

    fn respond(&self, handle: ReplyHandle, reply: KvReply) {
        let Some(waiting) = self.waiting.borrow_mut().remove(&handle.0) else { return };
        let seconds = self.clock.instant().since(waiting.since).as_secs_f64();
        self.telemetry.answered(waiting.op, seconds, &reply);
        match waiting.whom {
            Whom::Door(door) => door.send(reply),
            Whom::Quic(client, exchange) => self.reply(client, exchange, Message::Reply(reply)),
            Whom::Local(_) => {}
        }
    }

    fn respond_local(&self, handle: ReplyHandle, page: Result<LocalPage, Failure>) {
        let waiting = self.waiting.borrow_mut().remove(&handle.0);
        if let Some(Waiting { whom: Whom::Local(answer), .. }) = waiting {
            // The client may be gone.
            let _ = answer.send(page);
        }
    }

    fn respond_admin(&self, handle: ReplyHandle, reply: AdminReply) {
        let waiting = self.waiting.borrow_mut().remove(&handle.0);
        if let Some(Waiting { whom: Whom::Quic(client, exchange), .. }) = waiting {
            self.reply(client, exchange, Message::AdminReply(reply));
        }
    }

    fn wait(&self, whom: Whom, op: &'static str) -> ReplyHandle {
        let handle = self.next_handle.get() + 1;
        self.next_handle.set(handle);
        self.waiting.borrow_mut().insert(handle, Waiting { whom, op, since: self.clock.instant() });
        ReplyHandle(handle)
    }

    fn send(&self, to: starling_types::NodeId, class: Class, envelope: &Envelope) {
        if let Some(transport) = self.transport.get() {
            // A message that cannot be sent is as good as lost on the way: its sender has a deadline.
            let _ = transport.send(to, class, envelope);
        }
    }

    /// Answers a client. An answer that does not fit its queue is replaced by a failure that does.
    fn reply(&self, client: ClientId, exchange: ExchangeId, message: Message) {
        let unsent = unsent(&message);
        let refused = [Sent::Full, Sent::TooLarge].contains(&self.say(client, exchange, message));
        if let (true, Some(failure)) = (refused, unsent) {
            let _ = self.say(client, exchange, Message::Reply(KvReply::Failed(failure)));
        }
    }

    fn say(&self, client: ClientId, exchange: ExchangeId, message: Message) -> Sent {
        let node = self.node.borrow();
        let (cluster, epoch) = (node.view().cluster(), node.view().epoch());
        let envelope = Envelope { cluster, epoch, exchange, deadline_ms: 0, message };
        self.transport.get().map_or(Sent::NotConnected, |transport| transport.reply(client, &envelope))
    }

    fn log(&self, log: &Log) {
        match log {
            Log::MemberUp(node) => tracing::info!(%node, "member is up"),
            Log::MemberSuspect(node) => tracing::info!(%node, "member is suspected"),
            Log::MemberDead(node) => tracing::warn!(%node, "member is presumed dead: hints are kept for it"),
            Log::MemberLeft(node) => tracing::info!(%node, "member said goodbye"),
            Log::ForeignFrame(node) => tracing::warn!(%node, "dropped a frame of another cluster"),
            Log::Alarm(what) => tracing::error!("{what}"),
            Log::Recovered(what) => tracing::info!("{what}"),
            Log::LayoutAdopted(what) => {
                tracing::info!("{what} is in force");
                let cluster = self.node.borrow().view().cluster();
                if let Err(error) = self.home.borrow_mut().join(cluster) {
                    // The layout itself is in the store; the file is for people.
                    tracing::warn!(%error, "node.json could not be updated");
                }
            }
        }
    }

    fn finish(&self, end: End) {
        self.end.borrow_mut().get_or_insert(end);
        self.ended.notify_waiters();
    }

    /// How the node ended, once it has.
    pub(crate) async fn ended(&self) -> End {
        loop {
            let notified = self.ended.notified();
            if let Some(end) = self.end.borrow().clone() {
                return end;
            }
            notified.await;
        }
    }

    /// Waits until the node has left its starting phase.
    pub(crate) async fn started(&self) {
        loop {
            let notified = self.phase_changed.notified();
            if self.node.borrow().phase() != starling_node::node::Phase::Starting {
                return;
            }
            notified.await;
        }
    }

    fn reset_timer(&self) {
        let due = self.node.borrow().next_deadline();
        let earlier = match (due, self.timer.get()) {
            (Some(due), Some(set)) => due < set,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if earlier {
            self.timer_changed.notify_one();
        }
    }

    /// Ticks the machine when it is due, for ever.
    pub(crate) async fn run_timer(self: Rc<Self>) {
        loop {
            let due = self.node.borrow().next_deadline();
            self.timer.set(due);
            let Some(due) = due else {
                self.timer_changed.notified().await;
                continue;
            };
            tokio::select! {
                biased;
                () = self.timer_changed.notified() => {}
                () = tokio::time::sleep_until(self.clock.at(due)) => {
                    self.push(Event::Tick);
                    self.turn();
                }
            }
        }
    }

    /// Shows that the node does not stand still, for ever.
    pub(crate) async fn run_pulse(self: Rc<Self>) {
        loop {
            self.pulse.beat(self.clock.now().instant);
            tokio::time::sleep(pulse::INTERVAL).await;
        }
    }

    /// The store refuses all work.
    pub(crate) fn store_failed(&self, error: &StorageError) {
        metrics::poisoned();
        self.finish(End::StorageFailed(error.to_string()));
    }

    /// Refuses new work and finishes what is under way.
    pub(crate) fn drain(&self) {
        if let Some(transport) = self.transport.get() {
            transport.leave("the node is stopping");
        }
        self.push(Event::Drain);
        self.turn();
    }

    /// Keeps histograms small while no scrape comes.
    pub(crate) fn upkeep(&self) {
        self.telemetry.upkeep();
    }
}
