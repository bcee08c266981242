//! The events that go into the machine and the effects that come out of it.

use std::sync::Arc;

use bytes::Bytes;
pub use starling_causality::Staged;
use starling_causality::{Digest, Hlc, Payload, Record, VersionVector};
use starling_types::{Instant, NodeId, QualifiedKey, RequestId, WallTime};
use starling_wire::replica::Origin;

use crate::rows::CellKey;
pub use crate::tries::Tries;
use starling_types::row::{CommitFailure, LoadFailure, Page, RowRange, RowWrite, Space};

/// The caller's number for something it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// The promise that a commit becomes durable; tickets are resolved in the order they were issued, but that a full disk
/// refuses at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Where a record is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CellKind {
    /// As an owner of the key.
    Data,
    /// On behalf of an absent owner: a hint.
    Hint(NodeId),
}

/// A client's write, with everything decided but the dot.
#[derive(Debug, Clone)]
pub struct ClientWrite {
    /// The client's request, for the memory of request ids.
    pub request: RequestId,
    /// The key.
    pub key: QualifiedKey,
    /// A value or a tombstone.
    pub payload: Payload,
    /// The versions it replaces.
    pub replaces: Replaces,
    /// When the value reads as absent.
    pub expires_at: Option<WallTime>,
    /// Last-writer-wins bucket.
    pub lww: bool,
    /// Whether the commit must be fsynced.
    pub durable: bool,
    /// When the client stops waiting: a write that was not staged by then never is, or it would come after
    /// writes that followed it.
    pub deadline: Instant,
    /// Which try of the request it is.
    pub tries: Tries,
    /// Every other owner is sure that it holds no record of the key: a delete has nothing to do if this one holds
    /// none either.
    pub is_absent_elsewhere: bool,
    /// The highest time that owners of the key were heard to hold.
    pub vouched: Hlc,
}

/// The versions that a write replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replaces {
    /// Those that its writer has seen.
    Seen(VersionVector),
    /// All that this replica holds, and that others were heard to hold: a blind write.
    All(VersionVector),
}

/// Input.
#[derive(Debug)]
pub enum Event {
    /// Make a client's write here.
    Coordinate(OpId, ClientWrite),
    /// Merge a record that another node made.
    Merge {
        /// The caller's number.
        op: OpId,
        /// As an owner, or for one.
        cell: CellKey,
        /// The record.
        record: Record,
        /// The client request that made a dot of it.
        origin: Option<Origin>,
        /// Last-writer-wins bucket.
        lww: bool,
        /// Whether the commit must be fsynced.
        durable: bool,
    },
    /// Show the committed record.
    Read(OpId, CellKey),
    /// Show a page of committed records, in the order of their rows, from a row key on or from the first.
    Scan(OpId, ScanRange, Option<Bytes>),
    /// Delete a hint row if it still has this digest.
    DropHint {
        /// The caller's number.
        op: OpId,
        /// The hint.
        cell: CellKey,
        /// The digest that was delivered.
        digest: Digest,
    },
    /// Give up a row that cannot be read: it is deleted, if it still cannot, and counts as absent from then on.
    Discard(OpId, CellKey),
    /// Write a row again whose stored bytes turned out to be damaged, from what is in memory, if anything is.
    Mend(OpId, CellKey),
    /// The answer to [`Effect::Scan`], or why there is none.
    Scanned(OpId, Result<Page, String>),
    /// The answer to [`Effect::Load`].
    Loaded(CellKey, Result<Option<Bytes>, LoadFailure>),
    /// The answer to [`Effect::Commit`].
    Committed(Ticket, Result<(), CommitFailure>),
}

/// Output.
#[derive(Debug)]
pub enum Effect {
    /// Read one row; answered by [`Event::Loaded`].
    Load(CellKey),
    /// Read a page of rows whose keys start with `prefix`, from `from` or the first; answered by [`Event::Scanned`].
    Scan {
        /// The operation it is for.
        op: OpId,
        /// The keyspace.
        space: Space,
        /// The prefix of the keys.
        prefix: Bytes,
        /// The first key.
        from: Option<Bytes>,
    },
    /// Write these rows atomically; answered by [`Event::Committed`].
    Commit {
        /// Its number.
        ticket: Ticket,
        /// The rows.
        rows: Vec<RowWrite>,
        /// The record that becomes another by it; none if it is only the clock's ceiling.
        changed: Option<Changed>,
        /// Whether it must be fsynced before it is answered.
        durable: bool,
    },
    /// A coordinated write has its dot and may be sent to the other owners; its own commit is under way.
    Staged(OpId, Staged),
    /// A row turned out to be damaged: what it held is lost here. Its vnode's actor is retired.
    Damaged(CellKey, String),
    /// The operation is over.
    Done(OpId, Result<Done, Refused>),
}

/// A record that becomes another. The digests of both are what a hash tree over the records is told.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Where it is held.
    pub cell: CellKey,
    before: Option<Arc<Record>>,
    after: Arc<Record>,
}

impl Changed {
    pub(crate) const fn new(cell: CellKey, before: Option<Arc<Record>>, after: Arc<Record>) -> Self {
        Self { cell, before, after }
    }

    /// The digest of the newest record staged before this one; none if there was nothing.
    pub fn before(&self) -> Option<Digest> {
        self.before.as_ref().filter(|record| !record.is_empty()).map(|record| record.digest())
    }

    /// The digest of the record as it will be; none if nothing is left.
    pub fn after(&self) -> Option<Digest> {
        (!self.after.is_empty()).then(|| self.after.digest())
    }
}

/// Which records a scan shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanRange {
    /// Those held as an owner.
    Data,
    /// All hints.
    Hints,
    /// The hints for one absent owner.
    HintsFor(NodeId),
}

/// A page of committed records.
#[derive(Debug, Clone, Default)]
pub struct RecordPage {
    /// Where each is held, and the record.
    pub records: Vec<(CellKey, Arc<Record>)>,
    /// The damaged rows of it: ranges that the engine cannot read, and rows that are no records.
    pub damaged: Vec<RowRange>,
    /// The ranges that could not be read this time, and may be the next.
    pub unread: Vec<RowRange>,
    /// The row key that the next page begins with, if there is one.
    pub next: Option<Bytes>,
}

/// The result of an operation.
#[derive(Debug, Clone)]
pub enum Done {
    /// A coordinate or merge: committed as asked and visible.
    Committed,
    /// A delete that stored nothing: neither this replica nor any other holds a record.
    Absent,
    /// A read: the committed record, empty if there is none.
    Read(Arc<Record>),
    /// A scan.
    Page(RecordPage),
    /// A hint row: deleted, or changed since and kept.
    HintDropped(bool),
    /// Whether the row had to be given up; otherwise it can be read after all.
    Discarded(bool),
}

/// Why an operation did not happen here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The write would add to too many siblings.
    #[error(
        "the key has {0} siblings: read it, resolve them, and write with the context of that read; \
         a write that replaces siblings is never refused"
    )]
    TooManySiblings(usize),
    /// The context was not given out by this cluster as it is.
    #[error("the context claims writes that this replica never made: read the key again for a fresh context")]
    ForgedContext,
    /// The context lies too far in the future.
    #[error("the context is {0} ms ahead of this node's clock: read the key again, and check the clocks")]
    FutureContext(u64),
    /// Another try of the request may be under way by now: the other owners must be asked first.
    #[error("another try of this request may be under way; nothing was changed by this one")]
    Late,
    /// Where the last write wins, it would lose at once to what it may not replace: see [`Tries`].
    #[error(
        "where the last write wins, this try of the request counts as made before what is there; nothing was changed by \
         it: read the key, and write again as a new request if the value there is not yours"
    )]
    Outranked,
    /// Another try of the request goes on.
    #[error("a later try of this request is under way: ask again with the same request id")]
    Claimed,
    /// An earlier try of the request took place, and its write was replaced since.
    #[error("this write took place before, and a later one has replaced it: nothing was written again")]
    Superseded,
    /// Its time ran out before it could be staged.
    #[error("time ran out before this node's disk answered; nothing was changed")]
    TooLate,
    /// A client's write would leave a record that, merged with what other owners may have written, fits no message.
    #[error(
        "with this value the key's record would have {bytes} bytes, and a write may leave at most {limit}; nothing was \
         changed: read the key, and write one value with the context of that read in place of its siblings"
    )]
    TooLarge {
        /// The size that the record would have.
        bytes: usize,
        /// The size that it may have.
        limit: usize,
    },
    /// The row could not be read; nothing was changed.
    #[error("the stored record could not be read: {0}")]
    Load(String),
    /// Nothing was staged: a write of the same row before it was refused for want of room.
    #[error("{0}")]
    Full(String),
    /// The row was not read: too much waits for the disk. Nothing was changed.
    #[error("too much waits for this node's disk; nothing was changed; retry later")]
    Busy,
    /// The row was not read: nothing that is still under way had asked for it.
    #[error("the request was over before the disk was asked; nothing was changed")]
    Unwanted,
    /// The row is damaged: this replica cannot vouch for the key; nothing was changed.
    #[error("the stored record is damaged: {0}")]
    Damaged(String),
    /// The commit failed after it was staged.
    #[error("the commit failed: {0}")]
    Commit(String),
    /// There was no room for the commit after it was staged.
    #[error("the commit was refused: {0}")]
    NoSpace(String),
}

impl Refused {
    /// Whether nothing had been staged or sent.
    pub const fn nothing_staged(&self) -> bool {
        !matches!(self, Self::Commit(_) | Self::NoSpace(_))
    }
}
