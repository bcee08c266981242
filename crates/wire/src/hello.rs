//! The first exchange on every connection: nothing else is accepted before it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use starling_types::{ClusterId, Generation, LayoutVersion, NodeId, WallTime};

use crate::gossip::MemberInfo;

/// The protocol version that this release speaks.
pub const PROTOCOL: u16 = 2;

/// What either end says of itself. A client names no node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Lowest and highest protocol version this end speaks.
    pub protocols: (u16, u16),
    /// The cluster this end belongs to; [`ClusterId::NONE`] before `cluster init`, or for a client that takes
    /// any.
    pub cluster: ClusterId,
    /// The node, if this end is one.
    pub node: Option<NodeHello>,
    /// What a node takes for the cluster's time at this moment: clients date their requests by it.
    pub wall: Option<WallTime>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    /// Its identity; must be the one in its certificate.
    pub node: NodeId,
    /// How often it has started.
    pub generation: Generation,
    /// Its name, for people.
    pub name: String,
    /// Where it listens for peers and native clients.
    pub quic: SocketAddr,
    /// Where it speaks RESP, if it does.
    pub resp: Option<SocketAddr>,
    /// Where it speaks HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// Its failure domain.
    pub zone: String,
    /// How much it is willing to bear, as a share.
    pub weight: u32,
    /// The newest layout it knows.
    pub layout: LayoutVersion,
    /// Its software version.
    pub version: String,
}

impl NodeHello {
    /// The same in the words of the membership protocol.
    pub fn member(&self) -> MemberInfo {
        MemberInfo {
            node: self.node,
            generation: self.generation,
            name: self.name.clone(),
            quic: self.quic,
            resp: self.resp,
            http: self.http,
            zone: self.zone.clone(),
            version: self.version.clone(),
        }
    }
}

/// Why a connection was refused in words, sent before it is closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum HelloRefusal {
    /// The two ends belong to different clusters.
    #[error("this is a node of cluster {ours}, the other end belongs to cluster {theirs}: check the address")]
    OtherCluster {
        /// The refusing node's cluster.
        ours: ClusterId,
        /// The other end's.
        theirs: ClusterId,
    },
    /// The certificate names another node than the Hello.
    #[error("the certificate is not the one of node {0}: a node's certificate stays with its data directory")]
    NotYou(NodeId),
    /// No common protocol version.
    #[error("this end speaks protocol versions {}..={}: upgrade the older end", ours.0, ours.1)]
    Protocol {
        /// The refusing end's versions.
        ours: (u16, u16),
    },
}

/// Whether two ends may talk: a node without a cluster talks to everybody, so that it can be given one.
pub fn same_cluster(ours: ClusterId, theirs: ClusterId) -> Result<(), HelloRefusal> {
    if ours.is_some() && theirs.is_some() && ours != theirs {
        return Err(HelloRefusal::OtherCluster { ours, theirs });
    }
    Ok(())
}

/// Whether two ranges of protocol versions meet.
pub fn common_protocol(theirs: (u16, u16)) -> Result<u16, HelloRefusal> {
    if theirs.0 <= PROTOCOL && PROTOCOL <= theirs.1 {
        return Ok(PROTOCOL);
    }
    Err(HelloRefusal::Protocol { ours: (PROTOCOL, PROTOCOL) })
}
