//! Membership: the messages of the protocol (SWIM, Das et al. 2002, with Lifeguard, Dadgar et al. 2018). Every message
//! carries the sender's own version of itself, a digest of its member table, and as many rumours as fit; a message that
//! may be lost stays under [`DATAGRAM_BUDGET`].

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use starling_types::{Generation, NodeId, WallTime};

/// Most bytes of an encoded [`Message`] that may go as a datagram. With the frame's header it stays under the
/// 1,150 bytes that every path between nodes carries.
pub const DATAGRAM_BUDGET: usize = 1_050;
/// Most rumours that a receiver looks at in one message.
pub const MAX_RUMOURS: usize = 64;
/// Longest member name, in bytes.
pub const MAX_NAME: usize = 64;
/// Longest zone name, in bytes.
pub const MAX_ZONE: usize = 64;
/// Longest software version, in bytes.
pub const MAX_VERSION: usize = 32;
/// Highest generation or incarnation that a node believes. Counting up once a microsecond reaches it in 146,000 years,
/// so a higher one is damage; believing it would leave its owner no number to answer with.
pub const LAST_COUNT: u64 = 1 << 62;

/// The properties that a node announces of itself; only the node itself raises its generation or incarnation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MemberInfo {
    /// Its identity.
    pub node: NodeId,
    /// This start of it.
    pub generation: Generation,
    /// Its name, for people; at most [`MAX_NAME`] bytes.
    pub name: String,
    /// Where it listens for peers and native clients.
    pub quic: SocketAddr,
    /// Where it speaks RESP, if it does.
    pub resp: Option<SocketAddr>,
    /// Where it speaks HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// Its failure domain; at most [`MAX_ZONE`] bytes.
    pub zone: String,
    /// Its software version; at most [`MAX_VERSION`] bytes.
    pub version: String,
}

impl MemberInfo {
    /// Whether every field obeys its limit. A receiver ignores what does not.
    pub fn is_sound(&self) -> bool {
        self.generation.0 <= LAST_COUNT
            && self.name.len() <= MAX_NAME
            && self.zone.len() <= MAX_ZONE
            && self.version.len() <= MAX_VERSION
    }

    /// An upper bound of the encoded size, in bytes.
    fn weight(&self) -> usize {
        let addresses =
            [Some(self.quic), self.resp, self.http].into_iter().map(address_weight).sum::<usize>();
        32 + self.name.len() + self.zone.len() + self.version.len() + addresses
    }
}

/// Each byte of an address may encode as two, in an array, with tag, length and port.
fn address_weight(address: Option<SocketAddr>) -> usize {
    match address {
        None => 1,
        Some(SocketAddr::V4(_)) => 18,
        Some(SocketAddr::V6(_)) => 44,
    }
}

/// The state claimed of a member. In the order in which, at one incarnation, the later wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum Status {
    /// It answers.
    Alive,
    /// It did not answer another member; it has until a deadline to refute.
    Suspect,
    /// It did not refute. Placement is not touched: only hints and quorums look elsewhere.
    Dead,
    /// It said goodbye; final for its generation.
    Left,
}

impl From<Status> for u8 {
    fn from(status: Status) -> Self {
        match status {
            Status::Alive => 0,
            Status::Suspect => 1,
            Status::Dead => 2,
            Status::Left => 3,
        }
    }
}

/// A status byte that this release does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("member status {0} is none this release knows: the sender is damaged or newer")]
pub struct UnknownStatus(u8);

impl TryFrom<u8> for Status {
    type Error = UnknownStatus;

    fn try_from(byte: u8) -> Result<Self, UnknownStatus> {
        match byte {
            0 => Ok(Self::Alive),
            1 => Ok(Self::Suspect),
            2 => Ok(Self::Dead),
            3 => Ok(Self::Left),
            unknown => Err(UnknownStatus(unknown)),
        }
    }
}

/// All that is known of a member: enough to add it to a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The properties that it announces of itself.
    pub info: MemberInfo,
    /// Raised by the member alone, to refute; 0 is hearsay, the member itself starts at 1.
    pub incarnation: u64,
    /// How it is.
    pub status: Status,
}

/// A status without the rest: what a table that has the member needs, and all that a Compare says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The member that it is about.
    pub node: NodeId,
    /// The member's generation.
    pub generation: Generation,
    /// The incarnation of the member that this answers.
    pub incarnation: u64,
    /// How it is.
    pub status: Status,
    /// The accuser: a suspicion counts once per accuser.
    pub by: NodeId,
}

/// News that spreads by riding on other messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rumour {
    /// A member joined, refuted or changed.
    #[serde(rename = "r")]
    Record(Record),
    /// A member is suspected, convicted, or left.
    #[serde(rename = "c")]
    Claim(Claim),
}

impl Rumour {
    /// The member that it is about.
    pub fn node(&self) -> NodeId {
        match self {
            Self::Record(record) => record.info.node,
            Self::Claim(claim) => claim.node,
        }
    }

    /// An upper bound of the encoded size, in bytes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Record(record) => 16 + record.info.weight(),
            Self::Claim(_) => 48,
        }
    }
}

/// The purpose of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Are you there?
    Ping {
        /// Chosen by the sender, returned in the Ack.
        seq: u64,
        /// Whether it came over the reliable channel, where the Ack has to go too.
        reliable: bool,
    },
    /// I am.
    Ack {
        /// The Ping's.
        seq: u64,
        /// The answering node's wall clock, for the clock median (semantics, section 2).
        wall: WallTime,
    },
    /// Ping `target` for me: I cannot reach it.
    PingFor {
        /// Chosen by the sender, returned in Reached or Unreached.
        seq: u64,
        /// The node to ping.
        target: NodeId,
    },
    /// The target of a PingFor answered.
    Reached {
        /// The PingFor's.
        seq: u64,
    },
    /// The target has not answered yet; but you can hear me, so the fault is not yours.
    Unreached {
        /// The PingFor's.
        seq: u64,
    },
    /// Nothing but rumours.
    Rumours,
    /// All I know, in short. Answered by a Delta. Suspicion is local and passes for Alive here.
    Compare {
        /// One claim a member, the sender included.
        claims: Vec<Claim>,
    },
    /// The records that a Compare, or a Delta's `wanted`, showed to be missing.
    Delta {
        /// Where the sender's knowledge is newer.
        records: Vec<Record>,
        /// Members of which the receiver's knowledge is newer: to be answered by one more Delta, which wants nothing.
        wanted: Vec<NodeId>,
    },
}

/// One gossip message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The sender's generation, by its own claim.
    pub generation: Generation,
    /// The sender's incarnation, by its own claim.
    pub incarnation: u64,
    /// Digest of the sender's member table; unequal tables are compared.
    pub members: u64,
    /// Digest of the cluster state the sender's control plane holds.
    pub shared: u64,
    /// Its purpose.
    pub body: Body,
    /// News.
    pub rumours: Vec<Rumour>,
}

impl Message {
    /// An upper bound of the encoded size without rumours, in bytes, for bodies that go as datagrams.
    pub const BARE_WEIGHT: usize = 96;
}

const _: () = assert!(Message::BARE_WEIGHT + 48 < DATAGRAM_BUDGET);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_bound_the_encoded_size() {
        for far in [SocketAddr::from(([0xffff; 8], u16::MAX)), SocketAddr::from(([0xff; 4], u16::MAX))] {
            bound_rumours_of(far);
        }
    }

    fn bound_rumours_of(far: SocketAddr) {
        let info = MemberInfo {
            node: NodeId::from_bits(u64::MAX),
            generation: Generation(u64::MAX),
            name: "n".repeat(MAX_NAME),
            quic: far,
            resp: Some(far),
            http: Some(far),
            zone: "z".repeat(MAX_ZONE),
            version: "v".repeat(MAX_VERSION),
        };
        let node = info.node;
        let record = Rumour::Record(Record { info, incarnation: u64::MAX, status: Status::Left });
        let (generation, incarnation) = (Generation(u64::MAX), u64::MAX);
        let claim = Rumour::Claim(Claim { node, generation, incarnation, status: Status::Dead, by: node });
        for rumour in [record, claim] {
            let encoded = rmp_serde::to_vec(&rumour).unwrap();
            assert!(encoded.len() <= rumour.weight(), "{} > {}", encoded.len(), rumour.weight());
            assert!(rumour.weight() + Message::BARE_WEIGHT <= DATAGRAM_BUDGET);
            assert_eq!(rmp_serde::from_slice::<Rumour>(&encoded).unwrap(), rumour);
        }
    }

    #[test]
    fn bare_messages_stay_under_their_bound() {
        let (seq, target) = (u64::MAX, NodeId::from_bits(u64::MAX));
        let wall = WallTime::from_millis(u64::MAX);
        for body in [
            Body::Ping { seq, reliable: true },
            Body::Ack { seq, wall },
            Body::PingFor { seq, target },
            Body::Reached { seq },
            Body::Unreached { seq },
            Body::Rumours,
        ] {
            let message = Message {
                generation: Generation(u64::MAX),
                incarnation: u64::MAX,
                members: u64::MAX,
                shared: u64::MAX,
                body,
                rumours: Vec::new(),
            };
            let encoded = rmp_serde::to_vec(&message).unwrap();
            assert!(encoded.len() <= Message::BARE_WEIGHT, "{message:?}: {}", encoded.len());
            assert_eq!(rmp_serde::from_slice::<Message>(&encoded).unwrap(), message);
        }
    }

    #[test]
    fn an_unknown_status_is_refused() {
        assert!(rmp_serde::from_slice::<Status>(&[9]).is_err());
        for status in [Status::Alive, Status::Suspect, Status::Dead, Status::Left] {
            assert_eq!(Status::try_from(u8::from(status)), Ok(status));
        }
    }
}
