//! Errors of a request for a layout, and of a layout from elsewhere.

use starling_types::{LayoutVersion, NodeId, PartitionId, limits};

/// No layout was made, and nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No node was named.
    #[error("no node is named: a layout needs at least one")]
    NoNodes,
    /// More nodes than owner lists can number.
    #[error("{0} nodes: a cluster has at most {max}", max = limits::MAX_MEMBERS)]
    TooManyNodes(usize),
    /// One node was named twice.
    #[error("node {0} is named twice: name each node once")]
    DuplicateNode(NodeId),
    /// A node's name is empty, too long or not printable.
    #[error(
        "the name of node {0} is not allowed: 1 to {max} bytes without control characters",
        max = limits::MAX_BUCKET_NAME
    )]
    BadName(NodeId),
    /// The cluster id that means "none".
    #[error("the cluster id is zero, which means no cluster: draw a random one")]
    NoCluster,
    /// A number of copies outside 1..=[`limits::MAX_COPIES`].
    #[error("{0} copies: ask for 1 to {max}", max = limits::MAX_COPIES)]
    Copies(u8),
    /// Copies live on distinct nodes, and there are not that many.
    #[error("{copies} copies need {copies} nodes, and there are {nodes}: add nodes or ask for fewer copies")]
    TooFewNodes {
        /// Copies asked for.
        copies: u8,
        /// Nodes named.
        nodes: usize,
    },
    /// Some zones are too small to take their even part of the copies.
    #[error(
        "{copies} copies spread evenly over {zones} zones put at most {per_zone} into each, but that gives \
         room for only {room}: add nodes to the smaller zones, ask for fewer copies, or relax the zones"
    )]
    ZonesTooSmall {
        /// Copies of each partition.
        copies: u8,
        /// Zones named.
        zones: usize,
        /// Most copies of a partition in one zone.
        per_zone: usize,
        /// Copies that find room under that rule.
        room: usize,
    },
    /// The partition count changes by [`crate::Layout::split`] only.
    #[error("the layout has 2^{old} partitions and 2^{new} were asked for: split first, then change members")]
    PartitionCount {
        /// b of the old layout.
        old: u8,
        /// b asked for.
        new: u8,
    },
    /// There is no larger partition count.
    #[error("2^{max} partitions cannot be split further", max = limits::MAX_PARTITION_BITS)]
    LastSplit,
}

/// Bytes that claim to be a layout are none. They come from damage or from a hostile peer: drop them and fetch
/// the layout from another node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The cluster id that means "none".
    #[error("the layout belongs to no cluster")]
    NoCluster,
    /// The first layout, and it alone, has no parent.
    #[error("layout {0} and its parent do not fit: version 1, and it alone, has no parent")]
    Chain(LayoutVersion),
    /// Copies, copies wanted and members contradict each other.
    #[error("the layout has {copies} copies of {wanted} wanted on {members} members, which cannot be")]
    Copies {
        /// Copies of each partition.
        copies: u8,
        /// Copies asked for.
        wanted: u8,
        /// Members listed.
        members: usize,
    },
    /// More members than owner lists can number.
    #[error("the layout lists {0} members: at most {max} are allowed", max = limits::MAX_MEMBERS)]
    TooManyMembers(usize),
    /// Members are not in strictly ascending order of node id.
    #[error("the layout lists node {0} twice or out of order")]
    MemberOrder(NodeId),
    /// A member's name is empty, too long or not printable.
    #[error("the layout gives node {0} a name that is not allowed")]
    BadName(NodeId),
    /// The owner table has another size than Q lists of N.
    #[error("the layout lists {found} owners: {expected} are needed")]
    OwnerCount {
        /// Entries found.
        found: usize,
        /// Entries that Q partitions of N copies need.
        expected: usize,
    },
    /// An owner is not among the members.
    #[error("the layout gives {partition} owner number {index}, and there is no such member")]
    UnknownOwner {
        /// Where.
        partition: PartitionId,
        /// The index found.
        index: u16,
    },
    /// A partition names one owner twice.
    #[error("the layout gives {0} the same owner twice")]
    RepeatedOwner(PartitionId),
}
