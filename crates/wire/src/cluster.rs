//! How the first layout is decided among empty nodes, and how layouts and bucket properties spread.

use serde::{Deserialize, Serialize};
use starling_ring::Layout;
use starling_types::{BucketName, BucketProps, NodeId, PropsStamp};

/// Accept this first layout, durably, or say why not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propose {
    /// The first layout of the new cluster.
    pub layout: Layout,
}

/// All named nodes accepted this layout: it is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decide {
    /// The decided layout.
    pub layout: Layout,
}

/// A node's copy of the state that every member shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedState {
    /// The sender.
    pub node: NodeId,
    /// The newest layout, if there is one.
    pub layout: Option<Layout>,
    /// Whether the sender wants the receiver's state in return: once all that it has heard is durable.
    pub reply: bool,
    /// The buckets whose properties were set explicitly, in order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buckets: Vec<BucketRegister>,
}

/// The properties of one bucket, and the node that set them: of two for one bucket, the one with the higher stamp
/// counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketRegister {
    /// The bucket.
    pub name: BucketName,
    /// Its rules.
    pub props: BucketProps,
    /// The node that was asked to set them.
    pub by: NodeId,
}

impl BucketRegister {
    /// The stamp that it is compared by.
    pub const fn stamp(&self) -> PropsStamp {
        PropsStamp::new(self.props.version, self.by)
    }
}
