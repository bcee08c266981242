//! Requests of a coordinator to replicas. Records travel as their encoded, checksummed bytes, so that damage anywhere
//! between two disks is noticed by the node that decodes them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use starling_causality::{Digest, Dot, VersionVector};
use starling_types::{BucketName, Key, NodeId, RequestId, WallTime};

/// Merge this record into yours and say so when that is as durable as demanded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merge {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: Key,
    /// The whole record, never a bare delta.
    pub record: Bytes,
    /// Number of the bucket properties under which it was written ([`starling_types::PropsStamp::number`]); 0 for
    /// data that are taken under any.
    pub props: u64,
    /// Whether the ack must mean fsynced.
    pub durable: bool,
    /// The client request that minted a dot of this record, to be remembered against retries.
    pub origin: Option<Origin>,
    /// The absent owner this copy stands for, if the receiver is its fallback.
    pub stands_for: Option<NodeId>,
}

/// Which client request made which dot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The client's request.
    pub request: RequestId,
    /// The dot minted for it.
    pub dot: Dot,
}

/// The answer to a [`Merge`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Merged {
    /// Done, and as durable as this says.
    #[serde(rename = "d")]
    Done {
        /// Whether it is fsynced.
        durable: bool,
    },
    /// Not done.
    #[serde(rename = "x")]
    Refused(Refusal),
}

/// Show your record of this key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: Key,
    /// The digest of the coordinator's record: an equal one need not travel.
    pub digest: Option<Digest>,
}

/// The answer to a [`Read`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadAnswer {
    /// Equal to the digest asked about.
    #[serde(rename = "s")]
    Same,
    /// The record; an empty one means that this owner, which holds the partition, has nothing.
    #[serde(rename = "r")]
    Record(Shown),
    /// This replica cannot vouch for the partition yet: counts towards no quorum.
    #[serde(rename = "u")]
    Unknown,
    /// The same, with what it does have, which may be less than it once had: joins the answer, counts towards no quorum.
    #[serde(rename = "p")]
    Partial(Shown),
    /// Not answered.
    #[serde(rename = "x")]
    Refused(Refusal),
}

/// A record as a replica shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// The record's bytes.
    pub record: Bytes,
    /// Number of the bucket's properties that the replica goes by. The asker may show a record written under newer
    /// rules than it knows; it must neither keep it nor send it on under its own number.
    pub props: u64,
}

/// Why a replica did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// It is no owner of the key in its layout.
    #[error("it does not own the key in layout {0}")]
    NotOwner(u64),
    /// The sender's layout is older than what this replica is bound to.
    #[error("the sender's layout is older than {0}")]
    StaleEpoch(u64),
    /// It is starting, draining or has no layout.
    #[error("it is not serving")]
    NotReady,
    /// It sheds load.
    #[error("it is overloaded")]
    Overloaded,
    /// The record's checksum does not match.
    #[error("the record arrived damaged")]
    Damaged,
    /// Its storage refused.
    #[error("its storage refused: {0}")]
    Storage(String),
    /// The bucket's properties here are not those that the sender went by: both tell each other theirs. With the
    /// number of its own; 0 if it knows no such bucket.
    #[error("it knows other properties of the bucket")]
    StaleProps(u64),
    /// Its disk is nearly full: it takes deletes and repairs, and no new values.
    #[error("its disk is nearly full")]
    DiskFull,
}

/// Asks the owners what they know of this client request, and of its key, before a write is made that may have been
/// made before, or that means to replace what it has not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recall {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: Key,
    /// The client's request.
    pub request: RequestId,
    /// Which try asks: it claims the request, and a lower one is told so.
    pub attempt: u8,
}

/// The answer to a [`Recall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recalled {
    /// It took place.
    #[serde(rename = "k")]
    Known {
        /// The dot minted for it; `None` if only that it was replaced since is remembered.
        dot: Option<Dot>,
        /// The current record.
        shown: Shown,
    },
    /// A later try of the request has asked before.
    #[serde(rename = "c")]
    Claimed,
    /// Nothing is known of it here.
    #[serde(rename = "n")]
    Nothing(Held),
    /// Not answered.
    #[serde(rename = "x")]
    Refused(Refusal),
}

/// An owner's knowledge of a key, where it knows nothing of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Of requests issued until then, it may have known and have forgotten.
    pub since: WallTime,
    /// The context of the committed record.
    pub context: VersionVector,
    /// Whether this owner is sure that it never heard of the key.
    pub is_empty: bool,
    /// Whether this owner holds all that is left of what it once held: if not, its context counts towards nothing.
    pub is_sure: bool,
}
