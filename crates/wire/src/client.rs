//! Requests of applications: the one request type that RESP, HTTP and the native client all produce.

mod receipt;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use starling_causality::Dot;
pub use starling_ring::Layout;
use starling_types::{
    BadSpan, BucketChanges, BucketName, Key, NodeId, Outcome, PartitionId, RequestId, WallTime, limits, span,
};

pub use crate::cluster::BucketRegister;
pub use crate::export::{Export, ExportPage, Exporter};
pub use receipt::{Field, Grounds};

/// One request for one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvRequest {
    /// The same over all retries of this request.
    pub id: RequestId,
    /// 0 for the first try. A retry asks the owners for the id before it mints.
    pub attempt: u8,
    /// When the client issued it, in the cluster's time: the same over all tries.
    pub issued: WallTime,
    /// When this try began, in the cluster's time. Time that it spends in sockets, or before a node that stands
    /// still, counts.
    pub began: WallTime,
    /// Time limit of this try in milliseconds since it began, at most [`limits::MAX_TIMEOUT`]; 0 takes the default.
    pub timeout_ms: u32,
    /// Milliseconds since this try began after which its sender may try elsewhere; 0 says that it never will: this is
    /// the only try there is.
    pub patience_ms: u32,
    /// The bucket.
    pub bucket: BucketName,
    /// The key within the bucket.
    pub key: Key,
    /// The operation.
    pub op: KvOp,
    /// Quorums other than the bucket's.
    pub quorum: QuorumChoice,
    /// Whether a node that is no owner already passed it on: no second hop.
    pub forwarded: bool,
}

impl KvRequest {
    /// A request issued at `issued`, in the cluster's time, that is tried once and takes the default time limit and the
    /// bucket's quorums.
    pub fn new(id: RequestId, issued: WallTime, bucket: BucketName, key: Key, op: KvOp) -> Self {
        Self {
            id,
            attempt: 0,
            issued,
            began: issued,
            timeout_ms: 0,
            patience_ms: 0,
            bucket,
            key,
            op,
            quorum: QuorumChoice::default(),
            forwarded: false,
        }
    }

    /// Whether what it states can be honoured. Every door asks before it passes a request on.
    ///
    /// # Errors
    /// The span that is outside its limits.
    pub fn check(&self) -> Result<(), BadSpan> {
        if self.timeout_ms > 0 {
            span::time_limit(self.timeout_ms.into())?;
        }
        match self.op {
            KvOp::Put { ttl_ms: Some(ms), .. } => span::life(ms).map(|_| ()),
            _ => Ok(()),
        }
    }

    /// The time limit in force.
    pub fn timeout(&self) -> Duration {
        match (self.timeout_ms, &self.op) {
            (0, KvOp::Get) => limits::READ_TIMEOUT,
            (0, _) => limits::WRITE_TIMEOUT,
            (ms, _) => Duration::from_millis(u64::from(ms)).min(limits::MAX_TIMEOUT),
        }
    }

    /// The time at which no client waits for this try any more.
    pub fn ends(&self) -> WallTime {
        self.began.after(self.timeout())
    }

    /// From when on another try of the request may be under way; `None` if there never will be one.
    pub fn may_go_elsewhere(&self) -> Option<WallTime> {
        let patience = Duration::from_millis(u64::from(self.patience_ms)).min(self.timeout());
        (self.patience_ms > 0).then(|| self.began.after(patience))
    }

    /// M of the rule *one id, one value* (semantics, section 3): what is minted above it comes after the first try, by
    /// every node's clock. The same for every try, whatever its own time limit.
    pub fn first_try_ends(&self) -> WallTime {
        self.issued.after(limits::FIRST_TRY_WINDOW)
    }

    /// Bytes it occupies while in flight.
    pub fn weight(&self) -> usize {
        let value = if let KvOp::Put { value, .. } = &self.op { value.len() } else { 0 };
        size_of::<Self>() + self.key.as_bytes().len() + value
    }
}

/// The operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvOp {
    /// Read the value, or the siblings, and the context.
    #[serde(rename = "g")]
    Get,
    /// Write a value.
    #[serde(rename = "p")]
    Put {
        /// The value.
        value: Bytes,
        /// The versions that the writer has seen.
        seen: Seen,
        /// Life of the value in milliseconds; the bucket's default otherwise.
        ttl_ms: Option<u64>,
    },
    /// Write a tombstone.
    #[serde(rename = "d")]
    Delete {
        /// The versions that the writer has seen.
        seen: Seen,
    },
}

impl KvOp {
    /// Whether it changes data.
    pub const fn is_write(&self) -> bool {
        !matches!(self, Self::Get)
    }

    /// The versions that a write has seen.
    pub const fn seen(&self) -> Option<&Seen> {
        match self {
            Self::Get => None,
            Self::Put { seen, .. } | Self::Delete { seen } => Some(seen),
        }
    }

    /// The name for metrics and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put { .. } => "put",
            Self::Delete { .. } => "del",
        }
    }
}

/// The versions that a writer has seen: exactly those are replaced by its write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// Nothing: the value becomes a sibling of all that is there.
    #[serde(rename = "n")]
    Nothing,
    /// All that the coordinating replica holds, which may lag behind what was acked elsewhere.
    #[serde(rename = "l")]
    Local,
    /// Every write that W owners had acked before this one began: what a blind writer means.
    #[serde(rename = "q")]
    Quorum,
    /// A context token that an earlier read or write returned.
    #[serde(rename = "c")]
    Context(Bytes),
}

/// Quorums that a request asks for instead of its bucket's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumChoice {
    /// Replies a read needs.
    pub r: Option<u8>,
    /// Acks a write needs.
    pub w: Option<u8>,
    /// Only owners count.
    pub strict: Option<bool>,
}

/// The answer to a [`KvRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KvReply {
    /// To a get.
    #[serde(rename = "r")]
    Read(ReadReply),
    /// To a put or delete.
    #[serde(rename = "w")]
    Written(WriteReply),
    /// To either.
    #[serde(rename = "f")]
    Failed(Failure),
}

/// The answer of a read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadReply {
    /// The values, oldest first; none when the key is absent, several when writes were concurrent.
    pub siblings: Vec<SiblingView>,
    /// The versions that this read has seen, for the write that follows it; `None` when there never was anything.
    pub context: Option<Bytes>,
    /// The newest delete, or value that has expired, that stands beside the values, if one does.
    pub deleted: Option<Dot>,
}

impl ReadReply {
    /// The value shown to a client without a notion of siblings: the one with the highest dot, unless a delete that it
    /// has not seen is newer still.
    pub fn newest(&self) -> Option<&SiblingView> {
        let hidden = |value: &&SiblingView| self.deleted.is_none_or(|delete| delete < value.dot);
        self.siblings.last().filter(hidden)
    }
}

/// One value of a read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiblingView {
    /// The value.
    pub value: Bytes,
    /// The write that made it.
    pub dot: Dot,
    /// When it expires.
    pub expires_at: Option<WallTime>,
}

/// A write that reached its quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteReply {
    /// For the next write, if this value is the sole sibling; otherwise the writer has not seen the others.
    pub context: Option<Bytes>,
    /// Siblings there are now, this one included.
    pub siblings: u32,
    /// Whether the coordinating replica held a live value before.
    pub existed: bool,
    /// The receipt: what was done, on which nodes.
    pub receipt: Receipt,
}

/// The evidence that a write returns (semantics, section 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The write's dot; `None` for a delete that had nothing to do: every owner holds no record at all.
    pub dot: Option<Dot>,
    /// The node that coordinated it.
    pub coordinator: NodeId,
    /// Nodes that hold it as demanded.
    pub acked: u8,
    /// How many of those own the key.
    pub owners: u8,
    /// Acks that were needed.
    pub w: u8,
    /// Copies there shall be.
    pub n: u8,
    /// Whether every ack means fsynced.
    pub durable: bool,
    /// Owners that did not answer and for which a hint is kept.
    pub hinted: u8,
    /// A blind write heard too few owners to be sure that it replaces all that was acked before it.
    pub partial: bool,
    /// W was below the bucket's `least_w`: after a loss of this write's copies no owner answers for it.
    pub unvouched: bool,
}

/// Why a request failed, and what became of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail} (outcome: {outcome})")]
pub struct Failure {
    /// The class of the failure.
    pub kind: FailureKind,
    /// The outcome of the write.
    pub outcome: Outcome,
    /// The cause and the remedy, for a person.
    pub detail: String,
    /// When to try again, if the node is overloaded or not ready.
    pub retry_after_ms: Option<u32>,
}

impl Failure {
    /// A failure before anything was staged or sent.
    pub fn refused(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, outcome: Outcome::NotApplied, detail: detail.into(), retry_after_ms: None }
    }

    /// A failure after something was staged or sent.
    pub fn unknown(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, outcome: Outcome::Unknown, detail: detail.into(), retry_after_ms: None }
    }

    /// The same, with a time after which a retry makes sense.
    #[must_use]
    pub fn retry_after(mut self, span: Duration) -> Self {
        self.retry_after_ms = Some(u32::try_from(span.as_millis()).unwrap_or(u32::MAX));
        self
    }
}

/// A request that states what cannot be was never begun.
impl From<BadSpan> for Failure {
    fn from(bad: BadSpan) -> Self {
        Self::refused(FailureKind::BadRequest, bad.to_string())
    }
}

/// Classes of failure that a program can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request itself is wrong.
    BadRequest,
    /// A key, value or context over its limit.
    TooLarge,
    /// The bucket does not exist.
    NoSuchBucket,
    /// The key has too many siblings: resolve them first.
    TooManySiblings,
    /// The node sheds load.
    Overloaded,
    /// The node cannot serve: no layout, starting, draining, or its clock is off.
    NotReady,
    /// Too few replicas answered.
    QuorumNotReached,
    /// Time ran out.
    Deadline,
    /// This node's storage refused.
    Storage,
    /// This node's disk is nearly full: it takes deletes, and no new values.
    DiskFull,
}

impl FailureKind {
    /// The name that all interfaces use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::TooLarge => "too_large",
            Self::NoSuchBucket => "no_such_bucket",
            Self::TooManySiblings => "too_many_siblings",
            Self::Overloaded => "overloaded",
            Self::NotReady => "not_ready",
            Self::QuorumNotReached => "quorum_not_reached",
            Self::Deadline => "deadline",
            Self::Storage => "storage",
            Self::DiskFull => "disk_full",
        }
    }
}

/// A request of an operator's tool to one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// Form a cluster of these empty, running nodes.
    Init {
        /// Their QUIC addresses.
        nodes: Vec<std::net::SocketAddr>,
        /// Copies of every key, lowered to the node count.
        copies: u8,
        /// b, where the ring has 2^b partitions.
        bits: u8,
    },
    /// The node's status as JSON, as `GET /v1/status`.
    Status,
    /// The layout in force, for clients that go straight to an owner.
    Layout,
    /// Create a bucket, or change one.
    BucketSet {
        /// Its name.
        name: BucketName,
        /// The differences from the defaults, or from the present properties.
        changes: BucketChanges,
        /// Whether it must be new; otherwise it must exist.
        create: bool,
    },
    /// All buckets.
    BucketList,
    /// A page of the node's own rows, for a backup.
    Export(Export),
    /// Nothing more of what this node lost can come back: a key that it does not hold is absent from now on.
    AcceptLosses {
        /// This partition; otherwise all that wait for an acceptance.
        partition: Option<PartitionId>,
        /// Owners that do not answer now never will again: they are not waited for.
        without_silent: bool,
    },
    /// The system's clock, which has jumped, is right: go by it.
    ClockAccept,
}

/// The answer to an [`AdminRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminReply {
    /// The cluster exists.
    Initialised(Layout),
    /// JSON text.
    Status(String),
    /// `None` before `cluster init`.
    Layout(Option<Layout>),
    /// No, and why.
    Refused(String),
    /// The bucket is as asked, durably on the node that was asked, and so far on this many members.
    BucketSet {
        /// The bucket as it is now.
        bucket: BucketRegister,
        /// Members that hold it durably, the node asked included.
        held_by: u32,
        /// All members.
        members: u32,
    },
    /// In order of their names.
    Buckets(Vec<BucketRegister>),
    /// Rows.
    Exported(ExportPage),
    /// Durably: so many partitions are vouched for again.
    LossesAccepted {
        /// How many.
        partitions: u32,
    },
    /// The node goes by its system's clock.
    ClockAccepted {
        /// By how many milliseconds its wall time moved: 0 if it went by that clock before.
        moved_ms: i64,
    },
}
