//! The first exchange on every connection: nothing else is accepted before it.

use std::fmt;
use std::net::SocketAddr;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use starling_types::{ClusterId, Generation, LayoutVersion, Lineage, NodeId, WallTime};

use crate::gossip::MemberInfo;

/// The lowest and highest protocol version that this release speaks. The changes of each: docs/design/versions.md.
pub const PROTOCOLS: (u16, u16) = (3, 3);

/// The introduction of either end. A client names no node.
///
/// It may be longer than the reader knows, and so may [`NodeHello`]. A field that is appended has a `#[serde(default)]`,
/// for ends that do not send it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Hello {
    /// Lowest and highest protocol version this end speaks.
    pub protocols: (u16, u16),
    /// The cluster this end belongs to; [`ClusterId::NONE`] before `cluster init`, or for a client that takes
    /// any.
    pub cluster: ClusterId,
    /// The node, if this end is one.
    pub node: Option<NodeHello>,
    /// A node's estimate of the cluster's time at this moment: clients date their requests by it.
    pub wall: Option<WallTime>,
}

/// The introduction of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct NodeHello {
    /// Its identity; must be the one in its certificate.
    pub node: NodeId,
    /// This start of it.
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
    /// The starts that it remembers; empty if it is of a release that does not.
    #[serde(default)]
    pub lineage: Lineage,
}

impl NodeHello {
    /// Whether it does not remember this start of it, which others do: its disk is one from before.
    pub fn misses(&self, known: Generation) -> bool {
        match self.lineage.is_empty() || !self.lineage.is_sound() {
            true => Lineage::since(self.generation).misses(known),
            false => self.lineage.misses(known),
        }
    }

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

/// Whether two ends may talk: a node without a cluster talks to every end, so that it can be given one.
pub fn same_cluster(ours: ClusterId, theirs: ClusterId) -> Result<(), HelloRefusal> {
    if ours.is_some() && theirs.is_some() && ours != theirs {
        return Err(HelloRefusal::OtherCluster { ours, theirs });
    }
    Ok(())
}

/// Two ends without a protocol version in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolGap {
    /// Lowest and highest version of this end.
    pub ours: (u16, u16),
    /// The same of the other.
    pub theirs: (u16, u16),
}

impl fmt::Display for ProtocolGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ours: (oldest, newest), theirs } = self;
        write!(
            f,
            "this end speaks protocol versions {oldest} to {newest}, the other {} to {}: ",
            theirs.0, theirs.1
        )?;
        match newest < &theirs.0 {
            true => write!(f, "upgrade this end to a release that speaks one of the other's"),
            false => write!(f, "upgrade the other end to a release that speaks one of this end's"),
        }
    }
}

impl std::error::Error for ProtocolGap {}

/// The version that two ends speak: the lower of their newest.
///
/// # Errors
/// If that is older than the oldest of either.
pub fn common_protocol(ours: (u16, u16), theirs: (u16, u16)) -> Result<u16, ProtocolGap> {
    let lower = ours.1.min(theirs.1);
    if lower >= ours.0.max(theirs.0) { Ok(lower) } else { Err(ProtocolGap { ours, theirs }) }
}

/// Structures that later releases may make longer: what follows the known fields is passed over.
macro_rules! growing {
    ($($name:ident),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Known;
                impl<'de> Visitor<'de> for Known {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str(stringify!($name))
                    }

                    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<$name, A::Error> {
                        let known = $name::deserialize(SeqAccessDeserializer::new(&mut fields))?;
                        while fields.next_element::<IgnoredAny>()?.is_some() {}
                        Ok(known)
                    }
                }
                deserializer.deserialize_seq(Known)
            }
        }
    )+};
}

growing!(Hello, NodeHello);
