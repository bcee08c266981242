//! The placement of a key, as this node sees it: the body of `GET /v1/key/{bucket}/{key}/explain`.

use serde::Serialize;
use starling_coordinator::Reach;
use starling_ring::Layout;
use starling_types::{BucketName, Key, NodeId, QualifiedKey};

use crate::node::Node;

/// One key's place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The layout that says so.
    pub layout_version: u64,
    /// Where on the ring, in hexadecimal.
    pub token: String,
    /// The partition that holds the token.
    pub partition: u32,
    /// Copies there shall be.
    pub copies: u8,
    /// The owners, primary first.
    pub owners: Vec<Host>,
    /// The nodes that stand in for an absent owner, in this order; as many as there are owners.
    pub fallbacks: Vec<Host>,
    /// Whether the node that answers owns the key: if not, it passes requests on to an owner.
    pub owned_here: bool,
    /// Why the node that answers cannot vouch for its own copy, if it cannot.
    pub suspect_here: Option<String>,
}

/// One node of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Its identity.
    pub node_id: String,
    /// Its name in the layout.
    pub name: String,
    /// Its failure domain.
    pub zone: String,
    /// The reachability that the answering node assumes of it: `self`, `up`, `suspect` or `down`.
    pub reach: &'static str,
}

impl Node {
    /// The placement of a key; `None` before `cluster init`.
    pub fn explain(&self, bucket: BucketName, key: Key) -> Option<Explanation> {
        let layout = self.view().layout()?;
        let token = QualifiedKey::new(layout.cluster().hash_seed(), bucket, key).token();
        let partition = layout.partition_of(token);
        let owners: Vec<Host> = layout.owners(partition).map(|node| self.host(layout, node)).collect();
        let fallbacks = layout.fallbacks(partition).take(owners.len()).map(|node| self.host(layout, node));
        Some(Explanation {
            layout_version: layout.version().0,
            token: format!("{:016x}", token.bits()),
            partition: partition.0,
            copies: layout.n(),
            fallbacks: fallbacks.collect(),
            owners,
            owned_here: self.view().owns(partition),
            suspect_here: self.data_plane().custody.why(partition).map(str::to_owned),
        })
    }

    fn host(&self, layout: &Layout, node: NodeId) -> Host {
        let role = layout.role(node);
        let reach = match self.view().reach(node) {
            _ if node == self.view().me => "self",
            Reach::Up => "up",
            Reach::Suspect => "suspect",
            Reach::Down => "down",
        };
        let name = role.map(|role| role.name.clone()).unwrap_or_default();
        let zone = role.map(|role| role.zone.as_str().to_owned()).unwrap_or_default();
        Host { node_id: node.to_string(), name, zone, reach }
    }
}
