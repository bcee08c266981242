//! The control plane: membership, the layout in force, and the decision on the first one.

mod buckets;
mod company;
mod dials;
mod first_layout;
mod lives;
mod rivals;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use starling_coordinator::Reach;
use starling_gossip::{self as gossip, Gossip, Notice, Status};
use starling_ring::{Layout, Verdict};
use starling_types::row::CommitFailure;
use starling_types::{ExchangeId, Generation, Instant, LayoutVersion, NodeId, Now};
use starling_wire::client::{AdminReply, AdminRequest};
use starling_wire::cluster::{Decide, Propose, SharedState};
use starling_wire::gossip::MemberInfo;
use starling_wire::hello::NodeHello;
use starling_wire::{Class, Envelope, Message};

use self::buckets::Buckets;
use self::dials::Peers;
use self::first_layout::{AfterCommit, FirstLayout};
use self::lives::Lives;
use self::rivals::Rivals;
use crate::boot::{Boot, Config, Life};
use crate::change::Change;
use crate::event::{Effect, Log, ReplyHandle};
use crate::founding::{self, Founding};
use crate::view::View;

/// The control plane of a node.
pub struct ControlPlane {
    me: NodeHello,
    view: Arc<View>,
    gossip: Gossip,
    first: FirstLayout,
    peers: Peers,
    next_commit: u64,
    next_exchange: u64,
    buckets: Buckets,
    lives: Lives,
    rivals: Rivals,
}

/// Input.
pub(crate) enum Event {
    /// The node has started.
    Started,
    /// [`ControlPlane::next_deadline`] has come.
    Tick,
    /// The node is about to stop.
    Leave,
    /// A connection to a node is usable.
    PeerUp(NodeHello, SocketAddr),
    /// The last connection to a node is gone.
    PeerDown(NodeId),
    /// A frame of the control plane.
    Message(NodeId, Envelope),
    /// An operator's request.
    Admin(ReplyHandle, AdminRequest),
    /// The answer to a commit.
    Committed(u64, Result<(), CommitFailure>),
    /// A later count of this node's starts is durable.
    GenerationRaised(Generation),
    /// A node was found to go by other properties of a bucket than this one.
    PropsDiffer(NodeId),
    /// The wall clock's distance from the median of the peers', in milliseconds, if they are enough.
    ClockWeighed(Option<i64>),
    /// A second process runs as this member, or as this node.
    Rival(Option<(NodeId, SocketAddr)>),
    /// Where other members may be found, from now on.
    Seeds(Vec<SocketAddr>),
}

/// One turn of the control plane.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) changes: &'a mut VecDeque<Change>,
    pub(crate) out: &'a mut Vec<Effect>,
}

impl ControlPlane {
    /// The control plane of a node that just started.
    pub fn new(config: &Config, boot: &Boot, now: Now) -> Self {
        let me = hello(config, boot.layout.as_ref());
        let known = boot.layout.iter().flat_map(|l| l.members()).filter(|r| r.node != config.node);
        let known = known.map(|role| {
            let life = boot.last_life(role.node);
            (member_of_role(role, life), life.map_or(Status::Alive, Life::status))
        });
        let gossip = Gossip::new(
            gossip::Config::preset(config.gossip),
            me.member(),
            known.collect(),
            config.seed ^ 0x676f_7373,
            now,
        );
        Self {
            gossip,
            first: FirstLayout::new(config, boot),
            peers: Peers::new(&me, &config.seeds),
            view: Arc::new(View::new(me.node, boot.layout.clone().map(Arc::new), boot.buckets.clone())),
            me,
            next_commit: 0,
            next_exchange: 0,
            buckets: Buckets::new(&boot.buckets),
            lives: Lives::remembered(&boot.lives),
            rivals: Rivals::default(),
        }
    }

    /// The hello that this node sends of itself.
    pub const fn hello(&self) -> &NodeHello {
        &self.me
    }

    /// The membership machine, for status.
    pub const fn members(&self) -> &Gossip {
        &self.gossip
    }

    /// Whether a connection to the node is up.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.peers.connected.contains(&node)
    }

    /// When [`ControlPlane::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let founding = self.first.founding.as_ref().and_then(Founding::next_deadline);
        let dial = self.peers.dial_at.values().min().copied();
        let orders = self.buckets.next_deadline();
        let memory = self.lives.next_deadline();
        [self.gossip.next_deadline(), founding, dial, orders, memory].into_iter().flatten().min()
    }

    /// The cluster as this node sees it.
    pub const fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The one entrance.
    pub(crate) fn handle(
        &mut self,
        now: Now,
        event: Event,
        changes: &mut VecDeque<Change>,
        out: &mut Vec<Effect>,
    ) {
        let turn = &mut Turn { now, changes, out };
        match event {
            Event::Started => self.started(turn),
            Event::Tick => self.tick(turn),
            Event::Leave => self.gossip(turn, gossip::Event::Leave),
            Event::PeerUp(hello, addr) => self.peer_up(turn, hello, addr),
            Event::PeerDown(node) => self.peer_down(turn, node),
            Event::Message(from, envelope) => self.peer_message(turn, from, envelope),
            Event::Admin(reply, request) => self.admin(turn, reply, request),
            Event::Committed(id, result) => self.committed(turn, id, result),
            Event::GenerationRaised(generation) => self.generation_raised(turn, generation),
            Event::PropsDiffer(node) => self.props_differ(turn, node),
            Event::Rival(rival) => self.met_rival(turn, rival),
            Event::Seeds(seeds) => self.peers.seeds = seeds,
            Event::ClockWeighed(offset) => self.change_view(|view| view.set_clock_offset(offset)),
        }
    }

    /// Components that were given the view keep the one they have.
    fn change_view(&mut self, change: impl FnOnce(&mut View)) {
        change(Arc::make_mut(&mut self.view));
    }

    fn started(&mut self, turn: &mut Turn<'_>) {
        self.share_digest(turn);
        self.remember_members(turn);
        self.plan_dials(turn);
        self.dial_due(turn);
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        self.gossip(turn, gossip::Event::Tick);
        self.dial_due(turn);
        self.close_due(turn);
        self.drive_founding(turn, founding::Event::Tick);
        self.answer_orders(turn);
        self.remember_again(turn);
    }

    fn peer_up(&mut self, turn: &mut Turn<'_>, hello: NodeHello, addr: SocketAddr) {
        let node = hello.node;
        self.peers.connected.insert(node);
        self.peers.dial_at.remove(&node);
        self.together(node);
        self.peers.by_addr.insert(addr, hello.clone());
        self.peers.by_addr.insert(hello.quic, hello.clone());
        self.meet(turn, &hello);
        self.keep_company(turn, &hello);
        if !self.greet_with_buckets(turn, node) && hello.layout < self.view.epoch() {
            self.send_shared(turn, node, false);
        }
        self.drive_founding(turn, founding::Event::Tick);
    }

    fn peer_down(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        self.peers.connected.remove(&node);
        self.peers.by_addr.retain(|_, hello| hello.node != node);
        self.set_reach(turn, node, Reach::Down);
        self.gossip(turn, gossip::Event::Disconnected(node));
        self.forget_buckets_of(turn, node);
        self.plan_dials(turn);
    }

    fn peer_message(&mut self, turn: &mut Turn<'_>, from: NodeId, envelope: Envelope) {
        let exchange = envelope.exchange;
        match envelope.message {
            Message::Gossip(message) => self.hear_gossip(turn, from, message),
            Message::Propose(Propose { layout }) => self.proposed(turn, from, exchange, &layout),
            Message::Decide(Decide { layout }) => self.decided(turn, Some((from, exchange)), &layout),
            Message::Verdict(verdict) => {
                self.drive_founding(turn, founding::Event::Verdict(from, verdict));
            }
            Message::Shared(shared) => self.shared(turn, from, shared),
            // Data messages never come here.
            _ => {}
        }
    }

    fn admin(&mut self, turn: &mut Turn<'_>, reply: ReplyHandle, request: AdminRequest) {
        let answer = match request {
            AdminRequest::Init { nodes, copies, bits } => {
                match self.found(turn, reply, nodes, copies, bits) {
                    Ok(()) => return,
                    Err(why) => AdminReply::Refused(why),
                }
            }
            AdminRequest::Layout => AdminReply::Layout(self.view.layout().map(|l| Layout::clone(l))),
            AdminRequest::Status
            | AdminRequest::Export(_)
            | AdminRequest::AcceptLosses { .. }
            | AdminRequest::ClockAccept => {
                AdminReply::Refused("this is answered elsewhere in the node".into())
            }
            AdminRequest::BucketSet { name, changes, create } => {
                match self.set_bucket(turn, reply, name, &changes, create) {
                    Ok(()) => return,
                    Err(why) => AdminReply::Refused(why),
                }
            }
            AdminRequest::BucketList => {
                AdminReply::Buckets(self.view.buckets().registers().cloned().collect())
            }
        };
        turn.out.push(Effect::RespondAdmin(reply, answer));
    }

    fn committed(&mut self, turn: &mut Turn<'_>, id: u64, result: Result<(), CommitFailure>) {
        let result = result.map_err(|failure| failure.to_string());
        if self.buckets_committed(turn, id, &result) || self.lives_committed(turn, id, &result) {
            return;
        }
        let Some((acceptor, after)) = self.first.after_commit.remove(&id) else {
            return;
        };
        if let Err(error) = result {
            // The store is poisoned or full: nothing was promised, no answer is sent, the asker asks again.
            return turn
                .out
                .push(Effect::Log(Log::Alarm(format!("the layout could not be stored: {error}"))));
        }
        self.first.stored = acceptor;
        match after {
            AfterCommit::Answer(to, exchange, verdict) => self.give(turn, to, exchange, verdict),
            AfterCommit::Adopt(layout, asker) => {
                let hash = layout.hash();
                self.adopt(turn, layout);
                if let Some((to, exchange)) = asker {
                    self.give(turn, to, exchange, Verdict::Decided(hash));
                }
            }
        }
    }

    fn adopt(&mut self, turn: &mut Turn<'_>, layout: Layout) {
        if layout.version() <= self.view.epoch() {
            return;
        }
        self.me.layout = layout.version();
        self.peers.by_addr.insert(self.me.quic, self.me.clone());
        let words = format!(
            "layout {} of cluster {}, {} nodes",
            layout.version(),
            layout.cluster(),
            layout.members().len()
        );
        turn.out.push(Effect::Log(Log::LayoutAdopted(words)));
        let layout = Arc::new(layout);
        self.change_view(|view| view.adopt(Arc::clone(&layout)));
        let me = self.me.node;
        for role in layout.members().filter(|r| r.node != me) {
            let life = self.lives.memory.of(role.node);
            self.gossip(turn, gossip::Event::Learned(member_of_role(role, life)));
        }
        self.meet_members(turn);
        self.remember_members(turn);
        turn.changes.push_back(Change::Layout);
        self.share_digest(turn);
        self.plan_dials(turn);
    }

    fn share_digest(&mut self, turn: &mut Turn<'_>) {
        let hash = self.view.layout().map_or(0, |l| l.hash().0);
        let buckets = self.view.buckets().digest();
        self.gossip(turn, gossip::Event::Shared((hash >> 64) as u64 ^ hash as u64 ^ buckets));
    }

    /// A peer's layout and buckets. A layout that is newer is taken if this node has accepted it or has none of its
    /// own; buckets are joined if they are of this node's cluster.
    fn shared(&mut self, turn: &mut Turn<'_>, from: NodeId, shared: SharedState) {
        let ours = self.view.epoch();
        let theirs = shared.layout.as_ref().map_or(LayoutVersion::NONE, Layout::version);
        let ours_too = shared.layout.as_ref().is_some_and(|l| l.cluster() == self.view.cluster());
        let lacks = ours_too && self.heard_buckets(turn, from, shared.buckets);
        if let Some(layout) = shared.layout.filter(|l| l.is_member(self.me.node) && theirs > ours) {
            if self.first.may_have_forgotten && self.view.layout().is_none() {
                // It lost what it had accepted; that must have been the layout that others go by.
                let _ = self.first.acceptor.propose(self.me.node, &layout);
            }
            self.decided(turn, None, &layout);
        }
        if shared.reply || theirs < ours || lacks {
            self.tell_when_stored(turn, from);
        }
    }

    fn send_shared(&mut self, turn: &mut Turn<'_>, to: NodeId, reply: bool) {
        let layout = self.view.layout().map(|l| Layout::clone(l));
        let shared =
            SharedState { node: self.me.node, layout, reply, buckets: self.view.buckets().changed() };
        self.say(turn, to, Message::Shared(shared));
    }

    fn gossip(&mut self, turn: &mut Turn<'_>, event: gossip::Event) {
        let mut effects = Vec::new();
        self.gossip.handle(turn.now, event, &mut effects);
        for effect in effects {
            match effect {
                gossip::Effect::Send { to, message, reliable } => {
                    let class = if reliable { Class::Control } else { Class::Datagram };
                    let exchange = self.exchange();
                    self.send(turn, to, exchange, class, Message::Gossip(message));
                }
                gossip::Effect::Notify(notice) => self.notice(turn, notice),
            }
        }
    }

    fn notice(&mut self, turn: &mut Turn<'_>, notice: Notice) {
        let log = match notice {
            Notice::Joined(info) => {
                self.remember_life(turn, info.node);
                Log::MemberUp(info.node)
            }
            Notice::Alive(node) => {
                if self.peers.connected.contains(&node) && !self.is_fenced(node) {
                    self.set_reach(turn, node, Reach::Up);
                }
                Log::MemberUp(node)
            }
            Notice::Suspect(node) => {
                if self.peers.connected.contains(&node) && !self.is_fenced(node) {
                    self.set_reach(turn, node, Reach::Suspect);
                }
                Log::MemberSuspect(node)
            }
            Notice::Dead(node) => {
                self.set_reach(turn, node, Reach::Down);
                Log::MemberDead(node)
            }
            Notice::Left(node) => {
                self.remember_life(turn, node);
                self.set_reach(turn, node, Reach::Down);
                Log::MemberLeft(node)
            }
            Notice::Changed(info) => return self.heard_of_life(turn, info.node, info.generation),
            Notice::SharedDiffers { peer } => return self.send_shared(turn, peer, true),
            Notice::Recognised => {
                turn.changes.push_back(Change::Recognised);
                return;
            }
            Notice::Impostor { generation } => self.heard_of_own_life(turn, generation),
        };
        turn.out.push(Effect::Log(log));
    }

    fn set_reach(&mut self, turn: &mut Turn<'_>, node: NodeId, reach: Reach) {
        if self.view.reach(node) != reach {
            self.change_view(|view| view.set_reach(node, reach));
            turn.changes.push_back(Change::Reach(node, reach));
        }
    }

    fn exchange(&mut self) -> ExchangeId {
        self.next_exchange += 1;
        ExchangeId::from_bits((u128::from(self.me.node.bits()) << 64) | u128::from(self.next_exchange))
    }

    fn say(&mut self, turn: &mut Turn<'_>, to: NodeId, message: Message) {
        let exchange = self.exchange();
        self.send(turn, to, exchange, Class::Control, message);
    }

    fn send(&self, turn: &mut Turn<'_>, to: NodeId, exchange: ExchangeId, class: Class, message: Message) {
        let (cluster, epoch) = (self.view.cluster(), self.view.epoch());
        turn.out.push(Effect::Send(
            to,
            class,
            Envelope { cluster, epoch, exchange, deadline_ms: 0, message },
        ));
    }
}

fn hello(config: &Config, layout: Option<&Layout>) -> NodeHello {
    NodeHello {
        node: config.node,
        generation: config.generation,
        name: config.name.clone(),
        quic: config.quic,
        resp: config.resp,
        http: config.http,
        zone: config.zone.clone(),
        weight: config.weight,
        layout: layout.map_or(LayoutVersion::NONE, Layout::version),
        version: env!("CARGO_PKG_VERSION").into(),
        lineage: config.lineage.clone(),
    }
}

/// The record of a member that has not been heard in this run.
fn member_of_role(role: &starling_ring::Role, last: Option<Life>) -> MemberInfo {
    MemberInfo {
        node: role.node,
        generation: last.map_or(Generation(0), |life| life.generation),
        name: role.name.clone(),
        quic: last.and_then(|life| life.addr).unwrap_or(role.addr),
        resp: None,
        http: None,
        zone: role.zone.as_str().into(),
        version: String::new(),
    }
}
