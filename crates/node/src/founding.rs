//! `cluster init`: how a node that belongs to no cluster makes one of itself and the nodes the operator named.
//!
//! Steps: connect to all of them, propose a first layout to each in order of node id (each accepts at most one,
//! durably), and tell all when every one has accepted. Safety lies in [`starling_ring::decide`]; this machine
//! only carries messages, and may die at any moment: the same command goes on where it stopped.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use starling_ring::{InitError, Layout, PlanError, Progress, Proposal, Role, Verdict, Weight, Zone};
use starling_types::{ClusterId, Instant, LayoutVersion, NodeId, PartitionBits};
use starling_wire::hello::NodeHello;

use crate::event::ReplyHandle;

/// The whole founding must be over by then.
pub const TIMEOUT: Duration = Duration::from_secs(10);
/// A question unanswered for this long is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The order of the operator.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where the nodes are, this one included.
    pub nodes: Vec<SocketAddr>,
    /// Copies of every key.
    pub copies: u8,
    /// b, where the ring has 2^b partitions.
    pub bits: u8,
    /// The new cluster, if no earlier proposal has to be finished.
    pub cluster: ClusterId,
    /// The client that waits for the answer.
    pub reply: ReplyHandle,
}

/// Input.
#[derive(Debug)]
pub enum Event {
    /// A node answered a proposal or a decision (this one included).
    Verdict(NodeId, Verdict),
    /// Time has passed, or a node has connected.
    Tick,
}

/// Output.
#[derive(Debug)]
pub enum Effect {
    /// Try to connect.
    Connect(SocketAddr),
    /// Ask this node to accept the layout.
    Propose(NodeId, Layout),
    /// Tell this node that the layout is decided.
    Decide(NodeId, Layout),
    /// It is done, or it failed and why.
    Finished(ReplyHandle, Result<Layout, String>),
}

/// One founding under way.
#[derive(Debug)]
pub struct Founding {
    order: Order,
    deadline: Instant,
    ask_at: Instant,
    /// Of the nodes named, once all are known.
    names: BTreeMap<NodeId, String>,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    Gathering,
    Proposing(Proposal),
    /// Nodes that have not yet confirmed the decision.
    Telling(Layout, Vec<NodeId>),
    Over,
}

impl Founding {
    /// Starts; a [`Event::Tick`] is due at once.
    pub fn new(now: Instant, order: Order) -> Self {
        Self { order, deadline: now + TIMEOUT, ask_at: now, names: BTreeMap::new(), phase: Phase::Gathering }
    }

    /// The one entrance. `known`: the nodes this one has a connection with, and itself, by address.
    pub fn handle(
        &mut self,
        now: Instant,
        known: &BTreeMap<SocketAddr, NodeHello>,
        event: Event,
        out: &mut Vec<Effect>,
    ) {
        match event {
            Event::Verdict(from, verdict) => self.verdict(now, from, verdict, out),
            Event::Tick => self.tick(now, known, out),
        }
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        (!self.is_over()).then_some(self.ask_at.min(self.deadline))
    }

    /// Whether the operator was answered.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn tick(&mut self, now: Instant, known: &BTreeMap<SocketAddr, NodeHello>, out: &mut Vec<Effect>) {
        if let Phase::Gathering = self.phase {
            self.gather(now, known, out);
        }
        if now >= self.deadline && !self.is_over() {
            let why = self.unanswered(known);
            return self.finish(Err(why), out);
        }
        if now >= self.ask_at && !self.is_over() {
            self.ask_at = now + ASK_AGAIN;
            self.ask(known, out);
        }
    }

    fn gather(&mut self, now: Instant, known: &BTreeMap<SocketAddr, NodeHello>, out: &mut Vec<Effect>) {
        let Some(hellos) = self.order.nodes.iter().map(|a| known.get(a)).collect::<Option<Vec<_>>>() else {
            return;
        };
        match self.first_layout(&hellos) {
            Ok(layout) => {
                let settled = hellos.iter().filter(|hello| hello.layout != LayoutVersion::NONE);
                let settled = settled.map(|hello| hello.node).collect();
                self.names = hellos.iter().map(|hello| (hello.node, hello.name.clone())).collect();
                self.phase = Phase::Proposing(Proposal::asking_first(layout, settled));
                self.ask_at = now;
            }
            Err(why) => self.finish(Err(why), out),
        }
    }

    fn first_layout(&self, hellos: &[&NodeHello]) -> Result<Layout, String> {
        let bits = PartitionBits::try_from(self.order.bits).map_err(|e| e.to_string())?;
        let roles = hellos.iter().zip(&self.order.nodes).map(|(hello, &addr)| role(hello, addr));
        let roles = roles.collect::<Result<Vec<_>, _>>()?;
        Layout::first(self.order.cluster, self.order.copies, bits, roles)
            .map_err(|e: PlanError| e.to_string())
    }

    fn ask(&self, known: &BTreeMap<SocketAddr, NodeHello>, out: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Gathering => {
                let missing = self.order.nodes.iter().filter(|a| !known.contains_key(a));
                out.extend(missing.map(|&addr| Effect::Connect(addr)));
            }
            Phase::Proposing(proposal) => {
                out.extend(proposal.ask().map(|node| Effect::Propose(node, proposal.layout().clone())));
            }
            Phase::Telling(layout, missing) => {
                out.extend(missing.iter().map(|&node| Effect::Decide(node, layout.clone())));
            }
            Phase::Over => {}
        }
    }

    fn verdict(&mut self, now: Instant, from: NodeId, verdict: Verdict, out: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Proposing(proposal) => {
                let progress = proposal.answer(from, verdict);
                self.progress(now, progress, out);
            }
            Phase::Telling(layout, missing) => {
                if verdict == Verdict::Decided(layout.hash()) {
                    missing.retain(|&n| n != from);
                }
                if missing.is_empty() {
                    let layout = layout.clone();
                    self.finish(Ok(layout), out);
                }
            }
            Phase::Gathering | Phase::Over => {}
        }
    }

    fn progress(&mut self, now: Instant, progress: Progress, out: &mut Vec<Effect>) {
        self.ask_at = now;
        match progress {
            Progress::Waiting => {}
            Progress::Adopt(other) => self.phase = Phase::Proposing(*other),
            Progress::Decided => {
                if let Phase::Proposing(proposal) = &self.phase {
                    let layout = proposal.layout().clone();
                    let members = layout.members().map(|r| r.node).collect();
                    self.phase = Phase::Telling(layout, members);
                }
            }
            Progress::Failed(error) => return self.finish(Err(self.in_names(&error)), out),
        }
        self.tick(now, &BTreeMap::new(), out);
    }

    /// Nodes by name, as an operator knows them, beside their ids.
    fn in_names(&self, error: &InitError) -> String {
        let mut words = error.to_string();
        for (node, name) in &self.names {
            words = words.replacen(&format!("node {node} "), &format!("{name} (node {node}) "), 1);
        }
        words
    }

    fn unanswered(&self, known: &BTreeMap<SocketAddr, NodeHello>) -> String {
        let list = |what: &str, who: Vec<String>| {
            format!("{what} {}; run the same command again when they are up", who.join(", "))
        };
        let name = |node: NodeId| match self.names.get(&node) {
            Some(name) => format!("{node} ({name})"),
            None => node.to_string(),
        };
        match &self.phase {
            Phase::Gathering => {
                let missing = self.order.nodes.iter().filter(|a| !known.contains_key(a));
                let missing = missing.map(ToString::to_string).collect();
                list("no node could be reached, with a certificate of the same authority, at", missing)
            }
            Phase::Proposing(p) => {
                list("no answer to the proposal from node", p.ask().map(name).into_iter().collect())
            }
            Phase::Telling(_, missing) => list(
                "the cluster is decided, but this was not confirmed by node",
                missing.iter().copied().map(name).collect(),
            ),
            Phase::Over => String::new(),
        }
    }

    fn finish(&mut self, result: Result<Layout, String>, out: &mut Vec<Effect>) {
        self.phase = Phase::Over;
        out.push(Effect::Finished(self.order.reply, result));
    }
}

fn role(hello: &NodeHello, addr: SocketAddr) -> Result<Role, String> {
    Ok(Role {
        node: hello.node,
        name: hello.name.clone(),
        addr,
        zone: Zone::new(&hello.zone).map_err(|e| e.to_string())?,
        weight: Weight::new(hello.weight).map_err(|e| e.to_string())?,
    })
}
