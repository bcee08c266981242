//! The changes that the two machines of a node pass to each other.

use starling_coordinator::Reach;
use starling_types::{Generation, NodeId};

/// One thing that changed, in the order in which it did; what it changed to stands in the [`crate::View`].
#[derive(Debug)]
pub(crate) enum Change {
    /// A layout came into force.
    Layout,
    /// The reachability that this node assumes of another.
    Reach(NodeId, Reach),
    /// Newer properties of buckets are in force here.
    Buckets,
    /// This node and another know the same of buckets.
    Agreed(NodeId),
    /// Another member knows this node, and no later generation of it.
    Recognised,
    /// Members know a later generation of this node: it must take this generation, and has lost what it held.
    Raise(Generation),
    /// The shard met a node that goes by other properties of a bucket.
    PropsDiffer(NodeId),
    /// The shard has counted the hints that it found at the start.
    HintsCounted,
}
