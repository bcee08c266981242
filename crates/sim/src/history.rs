//! The operations of clients, and the answers that they got.

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_causality::{Dot, VersionVector};
use starling_types::{Instant, RequestId, WallTime};
use starling_wire::FailureKind;
use starling_wire::client::Receipt;

/// One operation of a client, over all its tries.
#[derive(Debug, Clone)]
pub struct Op {
    /// The client's number.
    pub client: usize,
    /// The key's number.
    pub key: usize,
    /// The same over all tries.
    pub request: RequestId,
    /// The operation.
    pub kind: Kind,
    /// The writes that its writer had seen.
    pub seen: Seen,
    /// When it was issued, by its client's clock.
    pub issued: WallTime,
    /// Owners that a read asks for, or a blind write must hear.
    pub r: u8,
    /// Acks that a write asks for.
    pub w: u8,
    /// Whether it was asked for strictly.
    pub strict: bool,
    /// After how long its value expires.
    pub ttl_ms: Option<u64>,
    /// Its tries so far.
    pub tries: Vec<Try>,
    /// The dots that were acked: more than one only if tries were acked under different dots.
    pub acked: BTreeSet<Dot>,
    /// Every ack, in the order in which they came.
    pub acks: Vec<Ack>,
    /// Some try ended without a certain word.
    pub uncertain: bool,
    /// Some try was refused with nothing applied.
    pub refused: bool,
    /// It has not ended.
    pub open: bool,
    /// When its first try was sent.
    pub began: Instant,
    /// When its first ack came.
    pub acked_at: Option<Instant>,
    /// When a read was answered, and with what.
    pub answer: Option<Sight>,
    /// When its client was through with it.
    pub ended: Option<Instant>,
}

/// One try of an operation.
#[derive(Debug, Clone)]
pub struct Try {
    /// The node it was sent to.
    pub node: usize,
    /// When.
    pub sent: Instant,
    /// Its end, for its client.
    pub end: TryEnd,
}

/// A client's knowledge of how a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryEnd {
    /// Nothing yet.
    Open,
    /// It was done.
    Done,
    /// It was refused or failed.
    Failed(FailureKind),
    /// No answer came in time.
    Silence,
}

/// One ack.
#[derive(Debug, Clone)]
pub struct Ack {
    /// When the client had it.
    pub at: Instant,
    /// Its receipt.
    pub receipt: Receipt,
}

/// The result of a read.
#[derive(Debug, Clone)]
pub struct Sight {
    /// When the try that was answered was sent.
    pub began: Instant,
    /// When the answer came.
    pub ended: Instant,
    /// The values, and the writes that made them.
    pub shown: Vec<(Dot, Bytes)>,
    /// The dots that the context that came with it covers.
    pub covers: VersionVector,
}

/// The action of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Reads.
    Get,
    /// Writes a value that no other operation writes.
    Put(Bytes),
    /// Deletes.
    Delete,
}

/// The writes that a writer has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Nothing,
    /// Those that the coordinator holds.
    Local,
    /// Those that W owners had acked before it began.
    Quorum,
    /// These writes, shown by an earlier read or made by itself, and what the context that came with them covers.
    Dots(BTreeSet<Dot>, VersionVector),
}

/// How operations ended, summed up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Endings {
    /// Reads answered.
    pub reads: u64,
    /// Writes acked.
    pub acked: u64,
    /// Writes of unknown outcome.
    pub unknown: u64,
    /// Writes refused.
    pub refused: u64,
    /// Tries beyond the first.
    pub retries: u64,
    /// Writes acked only at a later try.
    pub acked_late: u64,
}

impl Op {
    /// Whether it changes data.
    pub fn is_write(&self) -> bool {
        self.kind != Kind::Get
    }

    /// Whether it certainly changed nothing.
    pub fn certainly_refused(&self) -> bool {
        self.refused && !self.uncertain && !self.open && self.acked.is_empty()
    }
}

impl Endings {
    /// Sums up.
    pub fn of(ops: &[Op]) -> Self {
        let mut sum = Self::default();
        for op in ops {
            sum.retries += op.tries.len().saturating_sub(1) as u64;
            match (op.is_write(), op.acked.is_empty()) {
                (false, _) => sum.reads += u64::from(!op.open && !op.uncertain && !op.refused),
                (true, false) => {
                    sum.acked += 1;
                    sum.acked_late += u64::from(op.tries.len() > 1);
                }
                (true, true) if op.certainly_refused() => sum.refused += 1,
                (true, true) => sum.unknown += 1,
            }
        }
        sum
    }
}
