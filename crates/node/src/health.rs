//! Whether keys can be served from here: the partitions for which a request with the usual quorum would fail now.

use std::time::Duration;

use serde::Serialize;
use starling_coordinator::Reach;
use starling_gossip as gossip;
use starling_ring::Layout;
use starling_types::{BucketName, BucketProps, Instant, NodeId, PartitionId};

use crate::control::ControlPlane;
use crate::view::View;

/// Partitions within reach, and those that lack a quorum from here. The quorums are those of the default bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Quorums {
    /// All partitions of the layout; 0 before there is one.
    pub partitions: usize,
    /// Too few owners can be reached to read their keys.
    pub without_read: usize,
    /// Too few owners and fallbacks can be reached to write to their keys.
    pub without_write: usize,
}

impl Quorums {
    /// As a node sees the cluster at this moment.
    pub(crate) fn of(view: &View) -> Self {
        let Some(layout) = view.layout() else { return Self::default() };
        let props = view.buckets().props(&BucketName::default_bucket()).cloned().unwrap_or_default();
        let partitions = || (0..layout.bits().count()).map(PartitionId);
        let near = Near { view, layout, props };
        Self {
            partitions: partitions().count(),
            without_read: partitions().filter(|&partition| !near.can_read(partition)).count(),
            without_write: partitions().filter(|&partition| !near.can_write(partition)).count(),
        }
    }

    /// Partitions that lack one of the two, at least.
    pub fn lacking(&self) -> usize {
        self.without_read.max(self.without_write)
    }

    /// Whether a client had better ask another node: more than half of all keys cannot be served from here.
    pub fn is_lost(&self) -> bool {
        self.lacking() * 2 > self.partitions
    }

    /// In words, if anything is lacking.
    pub fn complaint(&self) -> Option<String> {
        let Self { partitions, without_read, without_write } = self;
        (self.lacking() > 0).then(|| {
            format!(
                "{without_read} of {partitions} partitions have no read quorum from here, and {without_write} no write \
                 quorum: too few of their owners can be reached; look at the members that are not alive or not \
                 connected, and at the network between them and this node"
            )
        })
    }
}

/// The owners in reach.
struct Near<'a> {
    view: &'a View,
    layout: &'a Layout,
    props: BucketProps,
}

impl Near<'_> {
    fn is_near(&self, node: NodeId) -> bool {
        node == self.view.me || self.view.reach(node) != Reach::Down
    }

    fn owners(&self, partition: PartitionId) -> usize {
        self.layout.owners(partition).filter(|&owner| self.is_near(owner)).count()
    }

    fn can_read(&self, partition: PartitionId) -> bool {
        self.owners(partition) >= usize::from(self.props.read_quorum(self.layout.n()))
    }

    /// An owner must coordinate; fallbacks stand in for others, unless the bucket is strict.
    fn can_write(&self, partition: PartitionId) -> bool {
        let needed = usize::from(self.props.write_quorum(self.layout.n()));
        let owners = self.owners(partition);
        let fallbacks = || {
            let up = self
                .layout
                .fallbacks(partition)
                .filter(|&node| node == self.view.me || self.view.is_up(node));
            up.take(usize::from(self.layout.n()) - 1).count()
        };
        owners >= needed || (owners > 0 && !self.props.strict && owners + fallbacks() >= needed)
    }
}

/// A member that others find alive and this node has not been connected to for so long: the link between them is broken.
const BROKEN_AFTER: Duration = Duration::from_secs(5);

/// A line about each broken link.
pub(crate) fn broken_links(control: &ControlPlane, now: Instant) -> Vec<String> {
    let is_broken = |member: &gossip::Member<'_>| {
        let apart =
            control.apart_since(member.info.node).is_some_and(|since| now.since(since) >= BROKEN_AFTER);
        apart && member.status == gossip::Status::Alive && !control.is_connected(member.info.node)
    };
    let broken = control.members().members().filter(is_broken);
    let words = |member: gossip::Member<'_>| {
        let info = member.info;
        format!(
            "no connection to {} ({}) at {}, which other members find alive: the network between it and this node is \
             broken, in one direction at least; what both should do together takes longer or fails",
            info.name, info.node, info.quic
        )
    };
    broken.map(words).collect()
}

#[cfg(test)]
mod tests;
