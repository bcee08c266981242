//! The heap of what is to happen, and the nodes it happens to.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use starling_causality::{ContextToken, Record, VersionVector};
use starling_node::node::Phase;
use starling_node::{CommitId, Effect, Event, Log, Node, Pace, ReplyHandle, ScanId};
use starling_storage::Engine;
use starling_types::row::{CommitFailure, Page, Space};
use starling_types::{BucketName, ClusterId, Instant, Key, NodeId, Now, QualifiedKey, WallTime};
use starling_vnode::CellKey;
use starling_wire::client::{AdminReply, AdminRequest};
use starling_wire::{KvReply, KvRequest};

use crate::counters::Counters;
use crate::disk::Disk;
use crate::host::{self, Host};
use crate::listen::{Listener, Passed};
use crate::network::Network;
use crate::observer::Observer;
use crate::sabotage::Sabotage;
use crate::seed::Seed;
use crate::toll::{Harm, Toll};
use crate::trace::Trace;
use crate::troubles::{Trouble, Troubles};

pub use crate::network::Weather;

/// The properties of the world.
#[derive(Debug, Clone)]
pub struct WorldOptions {
    /// Nodes.
    pub nodes: usize,
    /// The network between them, and between them and their clients.
    pub weather: Weather,
    /// Least and most time of one fsync.
    pub fsync: (Duration, Duration),
    /// The same for node 0, if its disk is of another kind.
    pub laggard: Option<(Duration, Duration)>,
    /// Wall clocks differ from the true time by at most this, in milliseconds.
    pub clock_skew_ms: i64,
    /// Share of loads that are answered in the same turn.
    pub inline_loads: f64,
    /// Share of the other loads that take longer than any patience.
    pub slow_loads: f64,
    /// A lie told to the nodes.
    pub sabotage: Sabotage,
}

/// A notice to the world's driver.
#[derive(Debug)]
pub enum Notice {
    /// A client has its answer.
    Reply(ReplyHandle, KvReply),
    /// An operator has its answer.
    Admin(ReplyHandle, AdminReply),
    /// [`World::wake`] has come.
    Wake(u64),
    /// A node has stopped cleanly.
    Stopped(usize),
    /// A node's store is poisoned: a daemon would exit now.
    Poisoned(usize),
}

/// An event to come.
#[derive(Debug)]
pub(crate) enum Happening {
    Frame { to: usize, from: usize, connection: u64, passage: Passage, bytes: Vec<u8> },
    Dial { from: usize, to: usize, life: u64 },
    LinkLost { node: usize, peer: usize, connection: u64 },
    IdleCheck { a: usize, b: usize },
    Synced { node: usize, life: u64, slow: bool },
    Refused { node: usize, life: u64, id: CommitId, full: CommitFailure },
    Load { node: usize, life: u64, cell: CellKey, answer: Option<Event>, slow: bool },
    Scan { node: usize, life: u64, id: ScanId, order: ScanOrder, page: Option<Result<Page, String>> },
    Tick { node: usize, life: u64 },
    Pressure { node: usize },
    Request { node: usize, handle: ReplyHandle, request: KvRequest },
    Reply { handle: ReplyHandle, reply: KvReply },
    Admin { node: usize, handle: ReplyHandle, request: AdminRequest },
    AdminReply { handle: ReplyHandle, reply: AdminReply },
    Wake(u64),
}

/// A frame's way through the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage {
    /// Later frames have greater numbers.
    pub(crate) number: u64,
    /// It took much longer than usual.
    pub(crate) late: bool,
    /// It is the second copy.
    pub(crate) again: bool,
}

/// A scan as it was ordered.
#[derive(Debug)]
pub(crate) struct ScanOrder {
    pub(crate) namespace: Space,
    pub(crate) prefix: bytes::Bytes,
    pub(crate) from: Option<bytes::Bytes>,
}

/// The incarnation that the node binds context tokens to, besides cluster and key.
const BUCKET_INCARNATION: u64 = 1;
/// An operation that takes longer, on a disk or on the way between nodes, has been slowed down by a fault.
pub(crate) const SLOW: Duration = Duration::from_millis(30);
/// For how long a lost frame can hold up a request.
pub(crate) const LOSS_FELT: Duration = Duration::from_secs(2);
/// After how long a silent connection is given up.
pub(crate) const IDLE: Duration = Duration::from_millis(2_500);

/// The world.
pub struct World {
    pub(crate) seed: Seed,
    pub(crate) options: WorldOptions,
    pub(crate) now: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    sequence: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) network: Network,
    /// Chance of the way between clients and nodes.
    clients: ChaCha8Rng,
    pub(crate) notices: VecDeque<Notice>,
    pub(crate) held: Vec<Happening>,
    /// The newest frame that arrived on each connection, from each of its ends.
    pub(crate) newest_frame: BTreeMap<(u64, usize), u64>,
    next_handle: u64,
    /// Counts of events.
    pub counters: Counters,
    /// The effects of faults.
    pub toll: Toll,
    /// Its fingerprint.
    pub trace: Trace,
    /// The mints of all nodes.
    pub observer: Observer,
    /// The nodes that were troubled, and when.
    pub troubles: Troubles,
    /// Once there is one.
    pub(crate) cluster: Option<ClusterId>,
    /// Which key a request was for.
    pub(crate) asked: BTreeMap<ReplyHandle, Key>,
    /// Nodes that stopped without being asked to, or whose disks failed, and when.
    pub unclean: Vec<(usize, Instant)>,
    /// The node whose disk was replaced by an earlier one.
    pub put_back: Option<usize>,
    /// How far a wall clock has been off at most, in milliseconds.
    pub worst_clock_ms: u64,
    /// The messages of nodes to their operators, newest last.
    pub logs: VecDeque<(Instant, usize, Log)>,
    pub(crate) listener: Option<Listener>,
}

impl World {
    /// A world of empty nodes, all started, that do not compare what they hold.
    pub fn new(seed: Seed, options: WorldOptions) -> Self {
        Self::sweeping(seed, options, Pace::OFF)
    }

    /// A world of empty nodes, all started.
    pub fn sweeping(seed: Seed, options: WorldOptions, sweep: Pace) -> Self {
        let mut hosts = Vec::new();
        for index in 0..options.nodes {
            let disk = Disk::new(
                seed.stream("disk", index as u64),
                if index == 0 { options.laggard.unwrap_or(options.fsync) } else { options.fsync },
            );
            let mut host = Host::new(seed, index, disk, sweep);
            let skew = options.clock_skew_ms;
            host.clock_offset_ms = host.rng.random_range(-skew..=skew);
            hosts.push(host);
        }
        let mut world = Self {
            network: Network::new(seed, options.weather),
            clients: seed.stream("client links", 0),
            seed,
            options,
            now: Instant::from_nanos(1),
            queue: BTreeMap::new(),
            sequence: 0,
            hosts,
            notices: VecDeque::new(),
            held: Vec::new(),
            newest_frame: BTreeMap::new(),
            next_handle: 0,
            counters: Counters::default(),
            toll: Toll::default(),
            trace: Trace::default(),
            observer: Observer::default(),
            troubles: Troubles::default(),
            cluster: None,
            asked: BTreeMap::new(),
            unclean: Vec::new(),
            put_back: None,
            worst_clock_ms: 0,
            logs: VecDeque::new(),
            listener: None,
        };
        if world.options.laggard.is_some() {
            world.troubles.begin(0, Trouble::SlowDisk, world.now);
        }
        (0..world.hosts.len()).for_each(|node| world.start(node));
        world
    }

    /// The true time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Lets one thing happen after the other until the driver is to be told something, or `until` has come.
    pub fn next(&mut self, until: Instant) -> Option<Notice> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Some(notice);
            }
            let &(at, _) = self.queue.first_key_value()?.0;
            if at > until {
                self.now = until;
                return None;
            }
            let (_, happening) = self.queue.pop_first()?;
            self.now = at;
            self.happen(happening);
        }
    }

    /// Lets `span` pass; what the driver would be told is returned together.
    pub fn run_for(&mut self, span: Duration) -> Vec<Notice> {
        let until = self.now + span;
        let mut notices = Vec::new();
        while let Some(notice) = self.next(until) {
            notices.push(notice);
        }
        notices
    }

    /// Has the driver told [`Notice::Wake`] after `span`.
    pub fn wake(&mut self, span: Duration, token: u64) {
        self.after(span, Happening::Wake(token));
    }

    /// A node's machine, while it runs.
    pub fn node(&self, node: usize) -> Option<&Node> {
        self.hosts[node].machine.as_ref()
    }

    /// The true wall time, and so many milliseconds.
    pub fn true_wall(&self, offset_ms: i64) -> WallTime {
        host::wall(self.now, offset_ms)
    }

    /// The time as a node sees it.
    pub fn now_at(&self, node: usize) -> Now {
        self.hosts[node].now(self.now)
    }

    /// A node's identity.
    pub fn id(&self, node: usize) -> NodeId {
        self.hosts[node].id()
    }

    /// Where nodes are, by number.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        (0..self.hosts.len()).map(host::address).collect()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The dots that a context token of this cluster covers.
    pub fn open_context(&self, token: &[u8], key: Key) -> Option<VersionVector> {
        let cluster = self.cluster?;
        let key = QualifiedKey::new(cluster.hash_seed(), BucketName::default_bucket(), key);
        ContextToken::open(token, cluster, BUCKET_INCARNATION, &key).ok()
    }

    /// The record a node has on disk under a data row's key.
    pub fn stored(&self, node: usize, row: &[u8]) -> Option<Record> {
        let stored = self.hosts[node].disk.engine.get(Space::Data, row);
        Record::decode(&stored.ok()??).ok()
    }

    /// The keys of a node's rows.
    pub fn rows(&self, node: usize, namespace: Space) -> Vec<bytes::Bytes> {
        self.hosts[node].rows(namespace).into_iter().map(|(key, _)| key).collect()
    }

    pub(crate) fn handle(&mut self) -> ReplyHandle {
        self.next_handle += 1;
        ReplyHandle(self.next_handle)
    }

    /// How long a client's frame is on its way; none if it is lost.
    pub(crate) fn client_way(&mut self, node: usize) -> Option<Duration> {
        let weather = self.network.weather;
        let lost = self.clients.random_bool(weather.loss);
        let (least, usual) = weather.delay;
        let delay = least + usual.mul_f64(self.clients.random::<f64>());
        if lost {
            self.toll.count(Harm::Loss);
            self.troubles.strike(node, self.now, LOSS_FELT);
        }
        (!lost).then_some(delay)
    }

    pub(crate) fn after(&mut self, span: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + span, self.sequence), happening);
    }

    fn happen(&mut self, happening: Happening) {
        let Some(happening) = self.put_off(happening) else { return };
        match happening {
            Happening::Frame { to, from, .. } if self.network.is_held(from, to) => self.held.push(happening),
            Happening::Frame { to, from, connection, passage, bytes } => {
                self.frame(to, from, connection, passage, &bytes);
            }
            Happening::Pressure { node } => {
                let is_full = self.hosts[node].is_full;
                self.deliver(node, Event::Disk(crate::losses::disk(is_full)));
            }
            Happening::Dial { from, to, life } => self.dial(from, to, life),
            Happening::LinkLost { node, peer, connection } => self.link_lost(node, peer, connection),
            Happening::IdleCheck { a, b } if self.is_silent(a, b) => self.part(a, b),
            Happening::IdleCheck { .. } => {}
            Happening::Refused { node, life, id, full } if self.lives(node, life) => {
                self.tell(node, life, id, Err(full));
            }
            Happening::Synced { node, life, slow } if self.lives(node, life) => {
                if slow {
                    self.toll.count(Harm::SlowDisk);
                }
                self.synced(node);
            }
            Happening::Load { node, life, cell, answer, slow } if self.lives(node, life) => {
                if slow {
                    self.toll.count(Harm::SlowRead);
                }
                let event = answer.unwrap_or_else(|| self.load(node, cell));
                self.deliver(node, event);
            }
            Happening::Scan { node, life, id, order, page } if self.lives(node, life) => {
                let page = page.unwrap_or_else(|| self.scan(node, &order));
                self.deliver(node, Event::Scanned(id, page));
            }
            Happening::Tick { node, life } if self.lives(node, life) => self.tick(node),
            Happening::Synced { .. }
            | Happening::Refused { .. }
            | Happening::Load { .. }
            | Happening::Scan { .. }
            | Happening::Tick { .. } => {}
            Happening::Request { node, handle, request } => {
                self.deliver(node, Event::Request(handle, request))
            }
            Happening::Admin { node, handle, request } => self.deliver(node, Event::Admin(handle, request)),
            Happening::Reply { handle, reply } => self.notices.push_back(Notice::Reply(handle, reply)),
            Happening::AdminReply { handle, reply } => self.notices.push_back(Notice::Admin(handle, reply)),
            Happening::Wake(token) => self.notices.push_back(Notice::Wake(token)),
        }
    }

    pub(crate) fn lives(&self, node: usize, life: u64) -> bool {
        self.hosts[node].machine.is_some() && self.hosts[node].life == life
    }

    fn tick(&mut self, node: usize) {
        if self.hosts[node].tick_at == Some(self.now) {
            self.hosts[node].tick_at = None;
            self.deliver(node, Event::Tick);
        }
    }

    /// Whether a node runs and takes requests.
    pub fn serves(&self, node: usize) -> bool {
        self.node(node).is_some_and(|n| n.phase() == Phase::Running && n.view().layout().is_some())
    }

    pub(crate) fn deliver(&mut self, node: usize, event: Event) {
        if self.hosts[node].machine.is_some() {
            self.turn(node, Vec::new(), VecDeque::from([event]));
        }
    }

    /// Feeds events to a machine and carries out what it wants, until it wants nothing more at this moment.
    pub(crate) fn turn(&mut self, node: usize, mut effects: Vec<Effect>, mut events: VecDeque<Event>) {
        loop {
            for effect in std::mem::take(&mut effects) {
                self.heard(node, Passed::Out(&effect));
                self.effect(node, effect, &mut events);
            }
            let Some(event) = events.pop_front() else { break };
            self.trace.event(self.now, node, &event);
            self.heard(node, Passed::In(&event));
            let now = self.hosts[node].now(self.now);
            let Some(machine) = &mut self.hosts[node].machine else {
                return;
            };
            machine.handle(now, event, &mut effects);
        }
        self.note_losses(node);
        self.schedule_tick(node);
    }

    fn schedule_tick(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let Some(due) = host.machine.as_ref().and_then(Node::next_deadline) else {
            return;
        };
        // A shell is never on time, and never early.
        let lateness = Duration::from_micros(host.rng.random_range(1..=1_000));
        let at = due.max(self.now) + lateness;
        if host.tick_at.is_none_or(|scheduled| at < scheduled) {
            host.tick_at = Some(at);
            let life = host.life;
            self.after(at.since(self.now), Happening::Tick { node, life });
        }
    }
}
