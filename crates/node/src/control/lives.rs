//! Generations of nodes: a node counts its starts, and one whose disk was put back from earlier counts too few, or counts
//! again starts that it has forgotten.
//!
//! Such a node has forgotten what it acked since. A peer that knows a start that it does not remember asks nothing of it
//! and gives it nothing until it has learned of that, written down that everything may be lost, and counts beyond it.

mod memory;

use std::collections::BTreeMap;
use std::time::Duration;

use starling_coordinator::Reach;
use starling_gossip as gossip;
use starling_types::{Generation, Instant, Lineage, NodeId};
use starling_wire::gossip::LAST_COUNT;
use starling_wire::hello::NodeHello;

use self::memory::Memory;
use super::{ControlPlane, Turn};
use crate::boot::Life;
use crate::change::Change;
use crate::event::{Effect, Log};

/// The known generations of nodes.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// The generations that connected nodes last announced.
    said: BTreeMap<NodeId, Generation>,
    /// Connected nodes of an earlier generation, and the least generation that they must say.
    fenced: BTreeMap<NodeId, Generation>,
    /// When the connections to these are closed, if they have not said a later generation by then.
    closing: BTreeMap<NodeId, Instant>,
    /// How often this node has counted up because of others' claims. Not all know its last generation; but without a
    /// bound two processes that share an identity would outbid each other for ever.
    raised: u8,
    pub(super) memory: Memory,
}

impl Lives {
    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.closing.values().copied().chain(self.memory.next_deadline()).min()
    }

    /// Those that earlier runs of this node have heard of.
    pub(super) fn remembered(stored: &BTreeMap<NodeId, Life>) -> Self {
        Self { memory: Memory::new(stored), ..Self::default() }
    }
}

/// A node that counts up says so itself within this.
const OWN_WORD: Duration = Duration::from_millis(500);

/// How often a node counts up in one run.
const MOST_RAISES: u8 = 8;

impl ControlPlane {
    /// Whether the node that is connected under this identity is one of an earlier generation.
    pub(crate) fn is_fenced(&self, node: NodeId) -> bool {
        self.lives.fenced.contains_key(&node)
    }

    /// A node introduces itself.
    pub(super) fn meet(&mut self, turn: &mut Turn<'_>, hello: &NodeHello) {
        let node = hello.node;
        self.lives.said.insert(node, hello.generation);
        self.lives.fenced.remove(&node);
        self.lives.closing.remove(&node);
        if let Some(least) = self.least_life(node).filter(|&least| hello.generation < least) {
            // A node that has said goodbye and is still draining is no reason for an alarm.
            if hello.generation.beyond() < least || !self.has_left(node) {
                turn.out.push(Effect::Log(Log::Alarm(format!(
                    "node {node} is back from before its generation {least}: its disk is an earlier one"
                ))));
            }
            return self.fence(turn, node, least);
        }
        if self.last_life(node).is_some_and(|known| hello.misses(known.generation)) {
            return self.disown(turn, hello);
        }
        self.remember_life(turn, node);
        self.set_reach(turn, node, Reach::Up);
    }

    /// The node counts as far as it is known, or further, and yet does not remember the start that is known of it. All
    /// members are told that what it counts is over, itself among them.
    fn disown(&mut self, turn: &mut Turn<'_>, hello: &NodeHello) {
        let (node, generation) = (hello.node, hello.generation.last_of_its_count());
        turn.out.push(Effect::Log(Log::Alarm(format!(
            "node {node} is back as its start {generation}, but does not remember one that is known here: its disk is \
             an earlier one, or another process uses its identity"
        ))));
        self.fence(turn, node, generation.beyond());
        self.gossip(turn, gossip::Event::Outlived { node, generation });
        self.remember_life(turn, node);
    }

    fn last_life(&self, node: NodeId) -> Option<Life> {
        self.gossip.member(node).and_then(Life::of).max(self.lives.memory.of(node))
    }

    /// A generation that has said goodbye is over.
    fn least_life(&self, node: NodeId) -> Option<Generation> {
        self.last_life(node).map(Life::least)
    }

    fn has_left(&self, node: NodeId) -> bool {
        self.last_life(node).is_some_and(|life| life.is_over)
    }

    fn fence(&mut self, turn: &mut Turn<'_>, node: NodeId, least: Generation) {
        self.lives.fenced.insert(node, least);
        self.set_reach(turn, node, Reach::Down);
    }

    /// A node announces its own generation.
    pub(super) fn note_life(&mut self, turn: &mut Turn<'_>, node: NodeId, generation: Generation) {
        let said = self.lives.said.entry(node).or_default();
        if std::mem::replace(said, generation.max(*said)) < generation {
            self.remember_life(turn, node);
        }
        if self.lives.fenced.get(&node).is_some_and(|&least| generation >= least) {
            self.lives.fenced.remove(&node);
            if self.peers.connected.contains(&node) {
                self.set_reach(turn, node, Reach::Up);
            }
        }
    }

    /// A peer's claim about another node. If that node does not announce the generation itself soon, it has started
    /// since it greeted, and the connection leads to a process that is gone: the process that is there now is greeted
    /// anew.
    pub(super) fn heard_of_life(&mut self, turn: &mut Turn<'_>, node: NodeId, generation: Generation) {
        self.remember_life(turn, node);
        let said = self.lives.said.get(&node).copied();
        if self.peers.connected.contains(&node) && said.is_some_and(|said| said < generation) {
            self.fence(turn, node, generation);
            self.lives.closing.entry(node).or_insert(turn.now.instant + OWN_WORD);
        }
    }

    /// Closes connections to processes that are gone.
    pub(super) fn close_due(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.instant;
        let due: Vec<NodeId> =
            self.lives.closing.extract_if(.., |_, at| *at <= now).map(|(node, _)| node).collect();
        let is_gone = |node: &NodeId| self.is_fenced(*node) && self.peers.connected.contains(node);
        turn.out.extend(due.into_iter().filter(is_gone).map(Effect::Disconnect));
    }

    /// A peer's claim of a generation of this node, which it never announced.
    pub(super) fn heard_of_own_life(&mut self, turn: &mut Turn<'_>, generation: Generation) -> Log {
        let above = generation.max(self.me.generation).next(self.me.generation.drawn());
        if self.lives.raised >= MOST_RAISES || above.0 >= LAST_COUNT {
            return Log::Alarm(format!(
                "members know this node at generation {generation} again: another process uses its identity; stop one of the two"
            ));
        }
        self.lives.raised += 1;
        // A layout that it has accepted since then is among its losses.
        self.first.may_have_forgotten = true;
        turn.changes.push_back(Change::Raise(above));
        Log::Alarm(format!(
            "members know this node at generation {generation}, which it does not remember: its data directory was copied, or is \
             one from before; everything it held is pulled from other owners"
        ))
    }

    /// It is durable: this node is of a later generation now.
    pub(super) fn generation_raised(&mut self, turn: &mut Turn<'_>, generation: Generation) {
        self.me.generation = generation;
        self.me.lineage = Lineage::since(generation);
        self.peers.by_addr.insert(self.me.quic, self.me.clone());
        self.gossip(turn, gossip::Event::Reborn(generation));
    }
}
