//! The generations of other members that this node remembers across its own starts.
//!
//! A row is written when a generation is first heard of, and nothing waits for it: commits become durable in their
//! order, so all that is acked to a node in this generation, or together with it, is durable here only after the row
//! that tells of it.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_ring::Layout;
use starling_types::row::RowWrite;
use starling_types::{Instant, NodeId};

use crate::boot::{Life, forgotten_life};
use crate::control::{ControlPlane, Turn};
use crate::event::{CommitId, Effect};

/// A write that the disk refused is tried again after this long.
const AGAIN: Duration = Duration::from_secs(1);

/// The generations of members, a row each on disk.
#[derive(Debug, Default)]
pub(in crate::control) struct Memory {
    /// On disk, or on the way there.
    lives: BTreeMap<NodeId, Life>,
    /// The nodes whose rows are in the commits under way.
    commits: BTreeMap<u64, Vec<(NodeId, Option<Life>)>>,
    again: Option<Instant>,
}

impl Memory {
    pub(super) fn new(stored: &BTreeMap<NodeId, Life>) -> Self {
        Self { lives: stored.clone(), ..Self::default() }
    }

    /// The last life of a node.
    pub(in crate::control) fn of(&self, node: NodeId) -> Option<Life> {
        self.lives.get(&node).copied()
    }

    pub(in crate::control) const fn next_deadline(&self) -> Option<Instant> {
        self.again
    }
}

impl ControlPlane {
    /// Something new was heard of a node.
    pub(in crate::control) fn remember_life(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        let Some(layout) = self.view.layout() else { return };
        let news = self.unwritten(layout, node);
        self.write_lives(turn, news.into_iter().collect());
    }

    /// All that was heard of members is remembered, and nothing of nodes that are members no more.
    pub(in crate::control) fn remember_members(&mut self, turn: &mut Turn<'_>) {
        let Some(layout) = self.view.layout() else { return };
        let news = layout.members().filter_map(|role| self.unwritten(layout, role.node));
        let strangers = self.lives.memory.lives.keys().filter(|&&node| !layout.is_member(node));
        let rows = news.chain(strangers.map(|&node| (node, None))).collect();
        self.write_lives(turn, rows);
    }

    pub(in crate::control) fn remember_again(&mut self, turn: &mut Turn<'_>) {
        if self.lives.memory.again.take_if(|at| *at <= turn.now.instant).is_some() {
            self.remember_members(turn);
        }
    }

    /// A member's life, if it is later than what is remembered.
    fn unwritten(&self, layout: &Layout, node: NodeId) -> Option<(NodeId, Option<Life>)> {
        if node == self.me.node || !layout.is_member(node) {
            return None;
        }
        // Gossip of a node that is leaving takes in nothing more; what others say to it still counts.
        let addr = self.announced(node).or_else(|| self.address(node));
        let said = self.lives.said.get(&node).map(|&generation| Life { generation, is_over: false, addr });
        let life = self.gossip.member(node).and_then(Life::of).max(said);
        (life > self.lives.memory.of(node)).then_some((node, life))
    }

    fn write_lives(&mut self, turn: &mut Turn<'_>, lives: Vec<(NodeId, Option<Life>)>) {
        if lives.is_empty() {
            return;
        }
        self.next_commit += 1;
        let memory = &mut self.lives.memory;
        memory.commits.insert(self.next_commit, lives.clone());
        let rows = lives.into_iter().map(|(node, life)| memory.take(node, life)).collect();
        turn.out.push(Effect::Commit { id: CommitId::Control(self.next_commit), rows, durable: true });
    }

    /// Whether the commit was one of generations.
    pub(in crate::control) fn lives_committed(
        &mut self,
        turn: &mut Turn<'_>,
        id: u64,
        result: &Result<(), String>,
    ) -> bool {
        let Some(lives) = self.lives.memory.commits.remove(&id) else {
            return false;
        };
        if result.is_err() {
            lives.into_iter().for_each(|(node, life)| self.lives.memory.doubt(node, life));
            self.lives.memory.again = Some(turn.now.instant + AGAIN);
        }
        true
    }
}

impl Memory {
    /// Whether a generation is on disk, or a removed one still there, is unknown: it is written or removed once more.
    fn doubt(&mut self, node: NodeId, life: Option<Life>) {
        match life {
            Some(_) => drop(self.lives.remove(&node)),
            None => drop(self.lives.insert(node, Life::default())),
        }
    }

    fn take(&mut self, node: NodeId, life: Option<Life>) -> RowWrite {
        match life {
            Some(life) => {
                self.lives.insert(node, life);
                life.row(node)
            }
            None => {
                self.lives.remove(&node);
                forgotten_life(node)
            }
        }
    }
}
