//! The cluster as this node sees it at this moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use starling_coordinator::{Plan, Reach, Terms};
use starling_ring::Layout;
use starling_types::{ClusterId, LayoutVersion, NodeId, Now, PartitionId, WallTime};

use crate::buckets::BucketTable;

/// Layout, buckets and up-set: what every plan is made of.
#[derive(Debug, Clone)]
pub struct View {
    /// This node.
    pub me: NodeId,
    layout: Option<Arc<Layout>>,
    buckets: BucketTable,
    reach: BTreeMap<NodeId, Reach>,
    /// Milliseconds by which our wall clock is ahead of the median of our peers' and ours; 0 while there is none.
    clock_offset_ms: i64,
}

impl View {
    /// A view that knows no other node yet.
    pub const fn new(me: NodeId, layout: Option<Arc<Layout>>, buckets: BucketTable) -> Self {
        Self { me, layout, buckets, reach: BTreeMap::new(), clock_offset_ms: 0 }
    }

    /// The buckets and their rules, as they are durable here.
    pub const fn buckets(&self) -> &BucketTable {
        &self.buckets
    }

    /// Puts the rules of buckets in force.
    pub fn adopt_buckets(&mut self, buckets: BucketTable) {
        self.buckets = buckets;
    }

    /// The layout in force.
    pub const fn layout(&self) -> Option<&Arc<Layout>> {
        self.layout.as_ref()
    }

    /// Puts a layout in force.
    pub fn adopt(&mut self, layout: Arc<Layout>) {
        self.layout = Some(layout);
    }

    /// The cluster this node belongs to.
    pub fn cluster(&self) -> ClusterId {
        self.layout.as_ref().map_or(ClusterId::NONE, |l| l.cluster())
    }

    /// The version of the layout in force.
    pub fn epoch(&self) -> LayoutVersion {
        self.layout.as_ref().map_or(LayoutVersion::NONE, |l| l.version())
    }

    /// The reachability assumed of a node: nothing heard of it is as good as down.
    pub fn reach(&self, node: NodeId) -> Reach {
        self.reach.get(&node).copied().unwrap_or(Reach::Down)
    }

    /// Whether a node is connected and not suspected.
    pub fn is_up(&self, node: NodeId) -> bool {
        self.reach(node) == Reach::Up
    }

    /// The latest claim about a node counts.
    pub fn set_reach(&mut self, node: NodeId, reach: Reach) {
        self.reach.insert(node, reach);
    }

    /// Whether this node may mint: one whose wall clock is off serves and merges only (semantics, section 2).
    pub const fn may_coordinate(&self) -> bool {
        self.clock_offset_ms.unsigned_abs() as u128 <= starling_types::limits::HLC_MAX_LEAD.as_millis()
    }

    /// The best that this node knows of the cluster's time: its own wall, less its distance to the median of its peers'
    /// and its own. Right nodes agree in it to within [`starling_types::limits::MAX_SKEW`], and a node whose clock is
    /// wrong judges no other's time by it.
    pub const fn cluster_wall(&self, now: Now) -> WallTime {
        now.wall.ahead_by(self.clock_offset_ms.saturating_neg())
    }

    /// Takes note of our wall clock's distance from the median of our peers'.
    pub fn set_clock_offset(&mut self, offset_ms: Option<i64>) {
        self.clock_offset_ms = offset_ms.unwrap_or(0);
    }

    /// Whether this node owns the partition.
    pub fn owns(&self, partition: PartitionId) -> bool {
        self.layout.as_ref().is_some_and(|l| l.owns(self.me, partition))
    }

    /// The reachable owners of a partition, in order of preference, those in doubt last.
    pub fn reachable_owners(&self, partition: PartitionId) -> Vec<NodeId> {
        let Some(layout) = &self.layout else {
            return Vec::new();
        };
        let mut owners: Vec<NodeId> =
            layout.owners(partition).filter(|&n| n != self.me && self.reach(n) != Reach::Down).collect();
        owners.sort_by_key(|&n| self.reach(n));
        owners
    }

    /// The plan of a request that this node, an owner, drives: the owners of `partition` to ask, of which `quorum`
    /// suffice.
    pub fn plan(&self, partition: PartitionId, quorum: u8, terms: &Terms<'_>) -> Option<Plan> {
        let layout = self.layout.as_ref()?;
        // Owners may fall silent while the request is under way: fallbacks are chosen beforehand.
        let fallbacks = match layout.members().len() > usize::from(layout.n()) {
            true => layout
                .fallbacks(partition)
                .filter(|&n| self.reach(n) == Reach::Up)
                .take(usize::from(layout.n()) - 1)
                .collect(),
            false => Vec::new(),
        };
        let owners = (layout.owners(partition), quorum);
        Some(Plan::new(self.me, [owners], |node| self.reach(node), fallbacks, terms))
    }
}
