//! How nodes that belong to no cluster agree on their first layout.
//!
//! ```text
//! decided(L)  ⇒  every member of L has durably accepted L
//! accepted(node) is set once and never changes
//! ⇒  two decided first layouts have no member in common
//! ```
//!
//! There is no majority to ask before there is a cluster, so the rule is unanimity. Its price: nodes that
//! accepted different proposals block both. Proposers ask in order of node id ([`Proposal::ask`]), so of two
//! that race for the same nodes the second is stopped at the first node and finishes the other's layout; nodes
//! that are still blocked hold no data and can be wiped.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use starling_types::{ClusterId, LayoutVersion, NodeId, limits, remedy};

use crate::layout::Layout;

/// One node's memory of the first layout. **Whoever holds it makes it durable before sending the verdict**;
/// after a refusal nothing has changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptor {
    accepted: Option<Layout>,
    decided: Option<Layout>,
}

/// A node's answer to a proposal or a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It accepts the layout with this hash, and no other, for good.
    Accepted(crate::LayoutHash),
    /// The layout with this hash is the first of its cluster.
    Decided(crate::LayoutHash),
    /// It does not.
    Refused(Refusal),
}

/// Why a node refuses. Its state is as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Only the first layout is decided in this way.
    #[error("layout {0} is not the first of a cluster")]
    NotFirst(LayoutVersion),
    /// The node is no member of the proposal, for instance because it was wiped and has a new id.
    #[error("the proposed layout does not name node {0}: look up the node's present id and propose again")]
    NotNamed(NodeId),
    /// It belongs to a cluster already, by this layout.
    #[error("the node is a member of cluster {}", .0.cluster())]
    Member(Box<Layout>),
    /// It has accepted another proposal: this one.
    #[error("the node has accepted the first layout of cluster {}", .0.cluster())]
    Promised(Box<Layout>),
    /// It is told of a decision that was made without its consent.
    #[error("the node never accepted the layout that is said to be decided")]
    NeverAccepted,
    /// With so many copies of a key, records of the values that it takes could not all be merged.
    #[error(
        "limits.max_value is {max_value} bytes, and with {copies} copies of each key at most {limit} can be \
         taken: lower it on every node and restart them, or ask for fewer copies"
    )]
    ValueLimit {
        /// The largest value that the node takes, in bytes.
        max_value: u64,
        /// How many copies were proposed.
        copies: u8,
        /// The largest that may be configured with these, in bytes.
        limit: u64,
    },
}

impl Refusal {
    /// The objection of a node that takes values of up to `max_value` bytes to the copies that `layout` asks for, if
    /// records of such values could not all be merged.
    pub fn of_values(max_value: usize, layout: &Layout) -> Option<Self> {
        let copies = layout.wanted_copies();
        let limit = limits::max_value_for(copies);
        let refusal = Self::ValueLimit { max_value: max_value as u64, copies, limit: limit as u64 };
        (max_value > limit).then_some(refusal)
    }
}

impl Acceptor {
    /// The layout this node has accepted.
    pub const fn accepted(&self) -> Option<&Layout> {
        self.accepted.as_ref()
    }

    /// The first layout of the node's cluster, once it has one.
    pub const fn decided(&self) -> Option<&Layout> {
        self.decided.as_ref()
    }

    /// Answers a proposal on behalf of node `me`. The same proposal again gets the same answer.
    pub fn propose(&mut self, me: NodeId, proposal: &Layout) -> Verdict {
        if let Some(verdict) = self.settled(proposal) {
            return verdict;
        }
        if !proposal.is_member(me) {
            return Verdict::Refused(Refusal::NotNamed(me));
        }
        match &self.accepted {
            Some(accepted) if accepted.hash() != proposal.hash() => {
                return Verdict::Refused(Refusal::Promised(Box::new(accepted.clone())));
            }
            Some(_) => {}
            None => self.accepted = Some(proposal.clone()),
        }
        Verdict::Accepted(proposal.hash())
    }

    /// Learns that all members have accepted `layout`. The same decision again gets the same answer.
    pub fn decide(&mut self, layout: &Layout) -> Verdict {
        if let Some(verdict) = self.settled(layout) {
            return verdict;
        }
        if self.accepted.as_ref().map(Layout::hash) != Some(layout.hash()) {
            return Verdict::Refused(Refusal::NeverAccepted);
        }
        self.decided = Some(layout.clone());
        Verdict::Decided(layout.hash())
    }

    /// The answer where none is left to choose.
    fn settled(&self, layout: &Layout) -> Option<Verdict> {
        match &self.decided {
            Some(decided) if decided.hash() == layout.hash() => Some(Verdict::Decided(decided.hash())),
            Some(decided) => Some(Verdict::Refused(Refusal::Member(Box::new(decided.clone())))),
            None if layout.version() != LayoutVersion::FIRST => {
                Some(Verdict::Refused(Refusal::NotFirst(layout.version())))
            }
            None => None,
        }
    }
}

/// A first layout on its way, and the nodes that have accepted it. It exists in the process that runs `cluster init`;
/// nothing is lost with it, for the same command goes on where it stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    layout: Layout,
    /// Nodes that are asked before all others: they say that they belong to a cluster, and would refuse after others have
    /// accepted for good.
    settled: BTreeSet<NodeId>,
    accepted: BTreeSet<NodeId>,
}

/// Where a proposal stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Some member has not accepted: go on with [`Proposal::ask`].
    Waiting,
    /// All members have accepted: send them the decision.
    Decided,
    /// An earlier proposal for exactly these nodes is under way or decided: go on with it instead. If it has no node
    /// left to ask, it is decided.
    Adopt(Box<Proposal>),
    /// It will never be decided.
    Failed(InitError),
}

/// Why `cluster init` cannot succeed. No node has joined a cluster because of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    /// A node has an objection of its own.
    #[error("node {node} refuses: {refusal}")]
    Refused {
        /// The node.
        node: NodeId,
        /// Why.
        refusal: Refusal,
    },
    /// A node belongs to a cluster with other members.
    #[error(
        "node {node} is a member of cluster {cluster}, whose members are not the nodes named here; {}",
        remedy::RUNNING_CLUSTER
    )]
    OtherCluster {
        /// The node.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// A node has accepted a proposal for other nodes.
    #[error(
        "node {node} has accepted the first layout of cluster {cluster} with the nodes {}: {}",
        named(members),
        remedy::UNFINISHED
    )]
    OtherMembers {
        /// The node.
        node: NodeId,
        /// The cluster it waits for.
        cluster: ClusterId,
        /// The nodes that that layout names: id, name and address.
        members: Vec<(NodeId, String, SocketAddr)>,
    },
    /// Some nodes have accepted one proposal and some another.
    #[error(
        "node {node} has accepted the first layout of cluster {theirs} and others that of cluster {ours}, so \
         neither can be decided: start these nodes with new data directories (--data) and run \
         `starling cluster init` again"
    )]
    Split {
        /// The node.
        node: NodeId,
        /// The cluster that it accepted.
        theirs: ClusterId,
        /// The cluster that was proposed to it.
        ours: ClusterId,
    },
}

impl Proposal {
    /// Proposes `layout`, which [`Layout::first`] made of the nodes that the operator named.
    pub const fn new(layout: Layout) -> Self {
        Self::asking_first(layout, BTreeSet::new())
    }

    /// As [`Proposal::new`], where `settled` nodes belong to a cluster, as far as is known.
    pub const fn asking_first(layout: Layout, settled: BTreeSet<NodeId>) -> Self {
        Self { layout, settled, accepted: BTreeSet::new() }
    }

    /// The proposed layout.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The node to ask next, or again: one that belongs to a cluster, or else the first by id that has not accepted. Only the order makes a race of
    /// two proposers end well; its outcome is safe in any order.
    pub fn ask(&self) -> Option<NodeId> {
        let open =
            || self.layout.members().map(|role| role.node).filter(|node| !self.accepted.contains(node));
        open().find(|node| self.settled.contains(node)).or_else(|| open().next())
    }

    /// Counts an answer. Repeated, late and foreign answers do no harm.
    pub fn answer(&mut self, from: NodeId, verdict: Verdict) -> Progress {
        let ours = self.layout.hash();
        if !self.layout.is_member(from) {
            return self.progress();
        }
        match verdict {
            Verdict::Accepted(hash) | Verdict::Decided(hash) if hash == ours => self.count(from),
            Verdict::Accepted(_) | Verdict::Decided(_) => self.progress(),
            Verdict::Refused(Refusal::Member(other) | Refusal::Promised(other)) if other.hash() == ours => {
                self.count(from)
            }
            Verdict::Refused(Refusal::Member(other)) => self.overtaken(from, *other, true),
            Verdict::Refused(Refusal::Promised(other)) => self.overtaken(from, *other, false),
            Verdict::Refused(refusal) => Progress::Failed(InitError::Refused { node: from, refusal }),
        }
    }

    fn count(&mut self, from: NodeId) -> Progress {
        self.accepted.insert(from);
        self.progress()
    }

    fn progress(&self) -> Progress {
        if self.ask().is_none() { Progress::Decided } else { Progress::Waiting }
    }

    /// `from` is bound to the layout `other`, by a decision or by its own acceptance.
    fn overtaken(&self, from: NodeId, other: Layout, is_decided: bool) -> Progress {
        let cluster = other.cluster();
        let members = |layout: &Layout| layout.members().map(|role| role.node).collect::<Vec<_>>();
        let error = if members(&other) == members(&self.layout) {
            if self.accepted.is_empty() {
                let (settled, accepted) = (self.settled.clone(), BTreeSet::from([from]));
                return Progress::Adopt(Box::new(Self { layout: other, settled, accepted }));
            }
            InitError::Split { node: from, theirs: cluster, ours: self.layout.cluster() }
        } else if is_decided {
            InitError::OtherCluster { node: from, cluster }
        } else {
            let members = other.members().map(|role| (role.node, role.name.clone(), role.addr)).collect();
            InitError::OtherMembers { node: from, cluster, members }
        };
        Progress::Failed(error)
    }
}

fn named(members: &[(NodeId, String, SocketAddr)]) -> String {
    let words = members.iter().map(|(node, name, addr)| format!("{name} ({node}, {addr})"));
    words.collect::<Vec<_>>().join(", ")
}
