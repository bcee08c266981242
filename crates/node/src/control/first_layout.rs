//! The first layout: this node's part as proposer and as acceptor. Nothing is said before it is durable.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use starling_ring::{Acceptor, Layout, Refusal, Verdict};
use starling_types::row::RowWrite;
use starling_types::{ClusterId, ExchangeId, NodeId, Now};
use starling_wire::client::AdminReply;
use starling_wire::cluster::{Decide, Propose};
use starling_wire::{Class, Message};

use super::{ControlPlane, Turn};
use crate::boot::{Boot, Config, META_ACCEPTOR, META_LAYOUT};
use crate::event::{CommitId, Effect, ReplyHandle};
use crate::founding::{self, Founding, Order};
use crate::meta::meta_row;

/// This node's part in the decision.
pub(super) struct FirstLayout {
    pub(super) acceptor: Acceptor,
    /// The acceptor as it is on disk: no verdict is given from a newer one.
    pub(super) stored: Acceptor,
    pub(super) founding: Option<Founding>,
    /// The answers to be sent once a commit is durable.
    pub(super) after_commit: BTreeMap<u64, (Acceptor, AfterCommit)>,
    /// Something that was durable may be lost.
    pub(super) may_have_forgotten: bool,
    /// The largest value that this node takes, in bytes.
    max_value: usize,
    seed: u64,
}

pub(super) enum AfterCommit {
    /// The verdict on a proposal or decision, for another node or for this node's own founding.
    Answer(NodeId, ExchangeId, Verdict),
    /// The decided layout comes into force, then the verdict is given.
    Adopt(Layout, Option<(NodeId, ExchangeId)>),
}

impl FirstLayout {
    pub(super) fn new(config: &Config, boot: &Boot) -> Self {
        Self {
            acceptor: boot.acceptor.clone(),
            stored: boot.acceptor.clone(),
            founding: None,
            after_commit: BTreeMap::new(),
            may_have_forgotten: !boot.losses.is_empty(),
            max_value: config.max_value,
            seed: config.seed,
        }
    }
}

impl ControlPlane {
    pub(super) fn found(
        &mut self,
        turn: &mut Turn<'_>,
        reply: ReplyHandle,
        nodes: Vec<SocketAddr>,
        copies: u8,
        bits: u8,
    ) -> Result<(), String> {
        if self.first.founding.is_some() {
            return Err("another `cluster init` is under way on this node: wait for it".into());
        }
        if nodes.iter().collect::<BTreeSet<_>>().len() != nodes.len() {
            return Err("a node is named twice: name each address once".into());
        }
        if !nodes.contains(&self.me.quic) {
            let me = self.me.quic;
            return Err(format!(
                "this node listens at {me}, which is not among the named nodes: name it as it is"
            ));
        }
        self.next_exchange += 1;
        let order = Order { nodes, copies, bits, cluster: self.new_cluster(turn.now), reply };
        self.first.founding = Some(Founding::new(turn.now.instant, order));
        self.drive_founding(turn, founding::Event::Tick);
        Ok(())
    }

    /// Fresh for every founding: the node's seed, its start, and the hour.
    pub(super) fn new_cluster(&self, now: Now) -> ClusterId {
        use rand::{Rng, SeedableRng};
        let seed = self.first.seed ^ now.wall.millis().rotate_left(20) ^ self.next_exchange;
        let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
        let bits = (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64());
        ClusterId::from_bits(bits | 1)
    }

    pub(super) fn drive_founding(&mut self, turn: &mut Turn<'_>, event: founding::Event) {
        let Some(founding) = &mut self.first.founding else {
            return;
        };
        let mut effects = Vec::new();
        founding.handle(turn.now.instant, &self.peers.by_addr, event, &mut effects);
        if founding.is_over() {
            self.first.founding = None;
        }
        for effect in effects {
            self.founding_effect(turn, effect);
        }
    }

    pub(super) fn founding_effect(&mut self, turn: &mut Turn<'_>, effect: founding::Effect) {
        match effect {
            founding::Effect::Connect(addr) => turn.out.push(Effect::Connect(addr, None)),
            founding::Effect::Propose(node, layout) if node == self.me.node => {
                let exchange = self.exchange();
                self.proposed(turn, node, exchange, &layout);
            }
            founding::Effect::Propose(node, layout) => {
                self.say(turn, node, Message::Propose(Propose { layout }));
            }
            founding::Effect::Decide(node, layout) if node == self.me.node => {
                let exchange = self.exchange();
                self.decided(turn, Some((node, exchange)), &layout);
            }
            founding::Effect::Decide(node, layout) => {
                self.say(turn, node, Message::Decide(Decide { layout }));
            }
            founding::Effect::Finished(reply, Ok(layout)) => {
                turn.out.push(Effect::RespondAdmin(reply, AdminReply::Initialised(layout)));
            }
            founding::Effect::Finished(reply, Err(why)) => {
                turn.out.push(Effect::RespondAdmin(reply, AdminReply::Refused(why)));
            }
        }
    }

    pub(super) fn proposed(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        exchange: ExchangeId,
        layout: &Layout,
    ) {
        let verdict = match Refusal::of_values(self.first.max_value, layout) {
            Some(refusal) if self.first.acceptor.accepted().is_none() => Verdict::Refused(refusal),
            _ => self.first.acceptor.propose(self.me.node, layout),
        };
        self.give_when_stored(turn, from, exchange, verdict);
    }

    pub(super) fn decided(
        &mut self,
        turn: &mut Turn<'_>,
        asker: Option<(NodeId, ExchangeId)>,
        layout: &Layout,
    ) {
        let verdict = self.first.acceptor.decide(layout);
        let in_force = layout.version() <= self.view.epoch();
        if !in_force && matches!(verdict, Verdict::Decided(_)) {
            let rows = vec![meta_row(META_ACCEPTOR, &self.first.acceptor), meta_row(META_LAYOUT, layout)];
            self.commit(turn, rows, AfterCommit::Adopt(layout.clone(), asker));
        } else if let Some((from, exchange)) = asker {
            self.give_when_stored(turn, from, exchange, verdict);
        }
    }

    /// A commit may be under way, or have failed: then the same rows go once more, and the verdict after them.
    pub(super) fn give_when_stored(
        &mut self,
        turn: &mut Turn<'_>,
        to: NodeId,
        exchange: ExchangeId,
        verdict: Verdict,
    ) {
        if self.first.acceptor == self.first.stored {
            return self.give(turn, to, exchange, verdict);
        }
        let rows = vec![meta_row(META_ACCEPTOR, &self.first.acceptor)];
        self.commit(turn, rows, AfterCommit::Answer(to, exchange, verdict));
    }

    /// A verdict goes to the node that asked; this node's own founding is asked and told without a network.
    pub(super) fn give(&mut self, turn: &mut Turn<'_>, to: NodeId, exchange: ExchangeId, verdict: Verdict) {
        if to == self.me.node {
            return self.drive_founding(turn, founding::Event::Verdict(to, verdict));
        }
        self.send(turn, to, exchange, Class::Control, Message::Verdict(verdict));
    }

    pub(super) fn commit(&mut self, turn: &mut Turn<'_>, rows: Vec<RowWrite>, after: AfterCommit) {
        self.next_commit += 1;
        self.first.after_commit.insert(self.next_commit, (self.first.acceptor.clone(), after));
        turn.out.push(Effect::Commit { id: CommitId::Control(self.next_commit), rows, durable: true });
    }
}
