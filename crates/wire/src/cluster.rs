//! How the first layout is decided among empty nodes, and how layouts spread.

use serde::{Deserialize, Serialize};
use starling_ring::Layout;
use starling_types::NodeId;

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

/// What a node holds of the state that every member shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedState {
    /// The sender.
    pub node: NodeId,
    /// The newest layout, if there is one.
    pub layout: Option<Layout>,
    /// Whether the sender wants the receiver's state in return.
    pub reply: bool,
}
