//! The machine: events in, effects out.

mod exchange;
mod hearsay;
mod probing;
mod receive;

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use starling_types::{Generation, Instant, NodeId, Now};
use starling_wire::gossip::{
    Body, Claim, DATAGRAM_BUDGET, MAX_NAME, MAX_VERSION, MAX_ZONE, MemberInfo, Message, Record, Rumour,
    Status,
};

use crate::clock::ClockSamples;
use crate::config::Config;
use crate::health::LocalHealth;
use crate::probe::{Probes, Relays};
use crate::rumours::Rumours;
use crate::table::{Entry, HEARSAY, Table};
use exchange::Schedule;

/// The input of the machine.
#[derive(Debug, Clone)]
pub enum Event {
    /// A message from a member whose identity the transport has verified.
    Message {
        /// The member.
        from: NodeId,
        /// Its message.
        message: Message,
    },
    /// Time has come to [`Gossip::next_deadline`].
    Tick,
    /// A layout, a file or a Hello names this member.
    Learned(MemberInfo),
    /// A connection to the node is up: a good moment to probe it.
    Connected(NodeId),
    /// The node's connection was closed or reset: a good reason to probe it.
    Disconnected(NodeId),
    /// The digest of the cluster state that the control plane now holds: layout, buckets.
    Shared(u64),
    /// Remove a dead or departed member that is in no layout any more. Ignored for a live one, which would only
    /// be learned again.
    Forget(NodeId),
    /// Say goodbye. Keep ticking for a second or so, until [`Gossip::next_deadline`] is `None`.
    Leave,
    /// This node is of a higher generation now, durably.
    Reborn(Generation),
    /// The process that runs as this member does not remember what is known of it: it must have a higher generation
    /// than this one before anything of it counts.
    Outlived {
        /// The member.
        node: NodeId,
        /// The generation that is over, whether it was ever lived or not.
        generation: Generation,
    },
}

/// The output of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send `message`.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
        /// Over the control lane, connecting if necessary; otherwise as a datagram that may be lost.
        reliable: bool,
    },
    /// Tell the control plane.
    Notify(Notice),
}

/// A change of the table, or an alarm for the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A new member, Alive unless another notice follows.
    Joined(MemberInfo),
    /// A member that was suspected, dead or gone is alive.
    Alive(NodeId),
    /// A member is suspected.
    Suspect(NodeId),
    /// A member is convicted.
    Dead(NodeId),
    /// A member said goodbye.
    Left(NodeId),
    /// A member says something else of itself, for instance a higher generation.
    Changed(MemberInfo),
    /// A peer holds other cluster state than we do. Once per second and peer at most.
    SharedDiffers {
        /// The peer.
        peer: NodeId,
    },
    /// A member knows this node, and no later generation of it. Once.
    Recognised,
    /// Members know this node by a claim that it never made and cannot overrule: a higher generation, or a goodbye.
    /// Either the data directory was copied or restored from an old backup, or another process uses it. No member
    /// listens to this node until it has a higher generation ([`Event::Reborn`]). Once per such generation.
    Impostor {
        /// The generation that members believe in.
        generation: Generation,
    },
}

/// One member as this node sees it.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// The information that it gives about itself.
    pub info: &'a MemberInfo,
    /// How it is.
    pub status: Status,
    /// Its last word.
    pub incarnation: u64,
}

starling_types::counters! {
    /// Counts since the start.
    Counters {
        /// Probes of other members (sent, failed).
        probes = "starling_gossip_probes_total" { result: "sent" },
        /// Probes that were not answered.
        probes_failed = "starling_gossip_probes_total" { result: "failed" },
        /// Records and claims ignored because they break a limit or the table is full.
        refused,
        /// Times that this node was late by more than a period.
        stalls,
    }
}

/// The membership machine of one node.
#[derive(Debug)]
pub struct Gossip {
    config: Config,
    me: NodeId,
    table: Table,
    rumours: Rumours,
    probes: Probes,
    relays: Relays,
    health: LocalHealth,
    clocks: ClockSamples,
    exchange: Schedule,
    rng: ChaCha8Rng,
    now: Now,
    /// Number of the last question.
    number: u64,
    turn_at: Instant,
    rumours_at: Instant,
    revive_at: Instant,
    /// The dead member that was last asked.
    revived: NodeId,
    shared: u64,
    impostor: Option<Generation>,
    recognised: bool,
    counters: Counters,
    /// Looked for after each event: a node asks for it in every turn, however many members there are.
    next: Option<Instant>,
}

impl Gossip {
    /// A node that knows itself and, by hearsay, `known`, each Alive or Left; no notice tells of those. The
    /// caller has durably raised `me.generation` above every one it has used, and `config` passes
    /// [`Config::check`]. Over-long texts in `me` are cut, or no peer would take them.
    pub fn new(
        config: Config,
        me: MemberInfo,
        known: Vec<(MemberInfo, Status)>,
        rng_seed: u64,
        now: Now,
    ) -> Self {
        let me = cut_to_limits(me);
        let mut rng = ChaCha8Rng::seed_from_u64(rng_seed);
        let number = u64::from(rng.random::<u32>());
        let mut machine = Self {
            me: me.node,
            table: Table::new(me),
            rumours: Rumours::default(),
            probes: Probes::default(),
            relays: Relays::default(),
            health: LocalHealth::new(config.health_limit),
            clocks: ClockSamples::default(),
            exchange: Schedule::new(now.instant),
            rng,
            now,
            number,
            turn_at: now.instant,
            rumours_at: now.instant,
            revive_at: now.instant + config.revive_interval,
            revived: NodeId::from_bits(0),
            shared: 0,
            impostor: None,
            recognised: false,
            counters: Counters::default(),
            next: None,
            config,
        };
        machine.rumours.push(Rumour::Record(machine.table.me().record()));
        for (info, status) in known {
            if info.node != machine.me && info.is_sound() {
                machine.admit(Record { info, incarnation: HEARSAY, status });
            }
        }
        machine.next = machine.find_deadline();
        machine
    }

    /// Handles one event, then everything that is due at `now`.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        self.absorb_stall(now.instant);
        self.now = Now { instant: now.instant.max(self.now.instant), ..now };
        match event {
            Event::Message { from, message } => self.receive(from, message, out),
            Event::Tick => {}
            Event::Learned(info) => self.learn(info, out),
            Event::Connected(node) => self.on_connected(node, out),
            Event::Disconnected(node) => self.on_disconnected(node, out),
            Event::Shared(digest) => self.shared = digest,
            Event::Forget(node) => self.forget(node),
            Event::Leave => self.leave(out),
            Event::Reborn(generation) => self.reborn(generation),
            Event::Outlived { node, generation } => self.outlive(node, generation, out),
        }
        self.turn(out);
        self.next = self.find_deadline();
    }

    /// When the next Tick is due; `None` if only an event can bring work. Always later than the `now` last
    /// handled.
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    fn find_deadline(&self) -> Option<Instant> {
        let rumours = self.has_rumours_to_send().then_some(self.rumours_at);
        if self.has_left() {
            return rumours;
        }
        [
            rumours,
            self.probes.next_deadline(),
            self.relays.next_deadline(),
            self.suspicions().map(|(_, deadline)| deadline).min(),
            self.table.live_others().next().map(|_| self.turn_at),
            self.dead().next().map(|_| self.revive_at),
            self.has_partner().then_some(self.exchange.next()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// All members in the order of their ids, this node included.
    pub fn members(&self) -> impl Iterator<Item = Member<'_>> {
        self.table.entries().map(|entry| Member {
            info: &entry.info,
            status: entry.status,
            incarnation: entry.incarnation,
        })
    }

    /// One member, if it is known.
    pub fn member(&self, node: NodeId) -> Option<Member<'_>> {
        let entry = self.table.get(node)?;
        Some(Member { info: &entry.info, status: entry.status, incarnation: entry.incarnation })
    }

    /// How a member is, if it is known.
    pub fn status(&self, node: NodeId) -> Option<Status> {
        self.table.get(node).map(|entry| entry.status)
    }

    /// Milliseconds by which the wall of `now` is ahead of the median of the peers heard within a minute; `None` if
    /// they are fewer than two.
    pub fn clock_offset(&self, now: Now) -> Option<i64> {
        self.clocks.offset(now)
    }

    /// By how much this node stretches its timers because it doubts itself: 1 in good health.
    pub fn health_factor(&self) -> u32 {
        self.health.factor()
    }

    /// Digest of the member table: equal on two nodes when their views agree.
    pub fn digest(&self) -> u64 {
        self.table.digest()
    }

    /// The counts since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn turn(&mut self, out: &mut Vec<Effect>) {
        if !self.has_left() {
            self.turn_probes(out);
            self.turn_suspicions(out);
            self.turn_relays(out);
            self.take_turn(out);
            self.turn_dead(out);
            self.turn_exchange(out);
        }
        self.turn_rumours(out);
    }

    /// A node that was stopped for a while has missed the messages of that time: it gives every member that time again
    /// instead of convicting it.
    fn absorb_stall(&mut self, now: Instant) {
        let Some(deadline) = self.next_deadline() else {
            return;
        };
        let late = now.since(deadline);
        if late <= self.config.period {
            return;
        }
        self.counters.stalls += 1;
        self.health.worse(1);
        self.probes.postpone(late);
        self.relays.clear();
        for (node, _) in self.suspicions().collect::<Vec<_>>() {
            let suspicion = self.table.get_mut(node).and_then(|entry| entry.suspicion.as_mut());
            suspicion.into_iter().for_each(|suspicion| suspicion.postpone(late));
        }
    }

    fn has_left(&self) -> bool {
        self.table.me().status == Status::Left
    }

    fn leave(&mut self, out: &mut Vec<Effect>) {
        if self.has_left() {
            return;
        }
        self.table.change(self.me, |entry| entry.status = Status::Left);
        self.probes.clear();
        self.relays.clear();
        let farewell = self.table.me().claim(self.me);
        for to in self.random_live(FAREWELLS, &[]) {
            self.send(to, Body::Rumours, Some(farewell), true, out);
        }
        self.rumours.push(Rumour::Claim(farewell));
    }

    fn forget(&mut self, node: NodeId) {
        if self.table.forget(node) {
            self.rumours.remove(node);
            self.clocks.forget(node);
            self.probes.remove(node);
        }
    }

    fn has_rumours_to_send(&self) -> bool {
        !self.rumours.is_empty() && self.table.live_others().next().is_some()
    }

    fn turn_rumours(&mut self, out: &mut Vec<Effect>) {
        if self.rumours_at > self.now.instant || !self.has_rumours_to_send() {
            return;
        }
        self.rumours_at = self.now.instant + self.config.rumour_interval;
        for to in self.random_live(self.config.rumour_fanout, &[]) {
            if !self.rumours.is_empty() {
                self.send(to, Body::Rumours, None, false, out);
            }
        }
    }

    /// Up to `count` live others that are not in `except`.
    fn random_live(&mut self, count: usize, except: &[NodeId]) -> Vec<NodeId> {
        let ids = self.table.live_others().map(|entry| entry.info.node);
        let live: Vec<NodeId> = ids.filter(|node| !except.contains(node)).collect();
        live.sample(&mut self.rng, count).copied().collect()
    }

    /// Sends `body` with as many rumours as fit. `first` goes before them; and a member that is doubted is told of it
    /// with every message, so that it can refute at once (Lifeguard, "buddy system").
    fn send(&mut self, to: NodeId, body: Body, first: Option<Claim>, reliable: bool, out: &mut Vec<Effect>) {
        let doubted = self.table.get(to).filter(|entry| entry.status != Status::Alive);
        let doubt = doubted.map(|entry| entry.claim(self.me));
        let mut rumours: Vec<Rumour> = doubt.into_iter().chain(first).map(Rumour::Claim).collect();
        let used: usize = rumours.iter().map(Rumour::weight).sum();
        let budget = DATAGRAM_BUDGET.saturating_sub(Message::BARE_WEIGHT + used);
        self.rumours.fill(budget, self.config.rumour_limit(self.table.live()), &mut rumours);
        let me = self.table.me();
        let message = Message {
            generation: me.info.generation,
            incarnation: me.incarnation,
            members: self.table.digest(),
            shared: self.shared,
            body,
            rumours,
        };
        out.push(Effect::Send { to, message, reliable });
    }

    fn next_number(&mut self) -> u64 {
        self.number = self.number.wrapping_add(1);
        self.number
    }

    fn suspicions(&self) -> impl Iterator<Item = (NodeId, Instant)> {
        let suspicion = |entry: &Entry| entry.suspicion.as_ref().map(|s| (entry.info.node, s.deadline()));
        self.table.others().filter_map(suspicion)
    }

    fn dead(&self) -> impl Iterator<Item = NodeId> {
        let dead = |entry: &&Entry| entry.status == Status::Dead;
        self.table.others().filter(dead).map(|entry| entry.info.node)
    }
}

fn cut_to_limits(mut info: MemberInfo) -> MemberInfo {
    for (text, limit) in
        [(&mut info.name, MAX_NAME), (&mut info.zone, MAX_ZONE), (&mut info.version, MAX_VERSION)]
    {
        while text.len() > limit {
            text.pop();
        }
    }
    info
}

/// Members told reliably of our leaving; rumours tell the rest.
const FAREWELLS: usize = 8;
/// At most one [`Notice::SharedDiffers`] a peer in this time.
const SHARED_NOTICE_INTERVAL: Duration = Duration::from_secs(1);
