//! The table of all messages: one op code each, in the frame's header, never a name in the body.

use serde::{Deserialize, Serialize};
use starling_ring::Verdict;

use crate::client::{AdminReply, AdminRequest, KvReply, KvRequest};
use crate::cluster::{Decide, Propose, SharedState};
use crate::frame::{BodyError, decode_body, encode_body};
use crate::gossip;
use crate::hello::{Hello, HelloRefusal};
use crate::replica::{Merge, Merged, Read, ReadAnswer, Recall, Recalled};
use crate::sync::{Compare, Compared, Swept};

/// Traffic classes, which never queue behind each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Membership and layouts.
    Control,
    /// Requests that a client waits for.
    Foreground,
    /// Hints and repair.
    Background,
    /// Gossip that may be lost.
    Datagram,
}

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident($body:ty) = $op:literal),+ $(,)?) => {
        /// Everything that one process can say to another.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message {
            $($(#[$doc])* $name($body),)+
        }

        impl Message {
            /// The op code in the frame's header.
            pub const fn op(&self) -> u16 {
                match self { $(Self::$name(_) => $op,)+ }
            }

            /// The name for logs and metrics.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)+ }
            }

            /// Appends the body.
            pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BodyError> {
                match self { $(Self::$name(body) => encode_body(body, out),)+ }
            }

            /// Reads the body of `op`; `None` for an op code this release does not know.
            pub fn decode(op: u16, body: &[u8]) -> Option<Result<Self, BodyError>> {
                match op {
                    $($op => Some(decode_body::<$body>(body).map(Self::$name)),)+
                    _ => None,
                }
            }

            /// All op codes, to hold them against each other in tests.
            pub const OPS: &'static [u16] = &[$($op),+];
        }
    };
}

messages! {
    /// The first frame in either direction.
    Hello(Hello) = 1,
    /// The connection is refused.
    HelloRefused(HelloRefusal) = 2,
    /// Finish what is under way: this end closes soon.
    GoAway(GoAway) = 3,

    /// Membership.
    Gossip(gossip::Message) = 16,

    /// A record for a replica.
    Merge(Merge) = 32,
    /// Its ack.
    Merged(Merged) = 33,
    /// A read of a replica.
    Read(Read) = 34,
    /// Its answer.
    ReadAnswer(ReadAnswer) = 35,
    /// Is a request id known?
    Recall(Recall) = 36,
    /// Its answer.
    Recalled(Recalled) = 37,

    /// A client's request, from a client or passed on by a node that is no owner.
    Request(KvRequest) = 48,
    /// Its answer.
    Reply(KvReply) = 49,
    /// An operator's request.
    Admin(AdminRequest) = 50,
    /// Its answer.
    AdminReply(AdminReply) = 51,

    /// The first layout, proposed.
    Propose(Propose) = 64,
    /// The answer to a proposal or a decision.
    Verdict(Verdict) = 65,
    /// The first layout, decided.
    Decide(Decide) = 66,
    /// Layout exchange.
    Shared(SharedState) = 67,

    /// A page of a sweep.
    Compare(Compare) = 80,
    /// Its answer.
    Compared(Compared) = 81,
    /// A read of a replica for repair: as [`Message::Read`], in the background.
    Fetch(Read) = 82,
    /// Its answer.
    Fetched(ReadAnswer) = 83,
    /// The end of a sweep's pass.
    Swept(Swept) = 84,
}

/// Why an end is about to close.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoAway {
    /// For a person.
    pub reason: String,
}
