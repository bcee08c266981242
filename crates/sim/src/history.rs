//! What clients did and were told.

use std::collections::BTreeSet;

use bytes::Bytes;
use starling_causality::{Dot, VersionVector};
use starling_types::{Instant, RequestId};

/// One operation of a client, over all its tries.
#[derive(Debug, Clone)]
pub struct Op {
    /// The client's number.
    pub client: usize,
    /// The key's number.
    pub key: usize,
    /// The same over all tries.
    pub request: RequestId,
    /// What it did.
    pub kind: Kind,
    /// What its writer had seen.
    pub seen: Seen,
    /// Tries so far.
    pub tries: u8,
    /// The dots that were acked: more than one only if tries were acked under different dots.
    pub acked: BTreeSet<Dot>,
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
    pub answer: Option<(Instant, Vec<Bytes>)>,
}

/// What an operation does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Reads.
    Get,
    /// Writes a value that no other operation writes.
    Put(Bytes),
    /// Deletes.
    Delete,
}

/// What a writer has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Nothing,
    /// Whatever the coordinator holds.
    Local,
    /// These writes, shown by an earlier read or made by itself, and what the context that came with them covers.
    Dots(BTreeSet<Dot>, VersionVector),
}

/// How operations ended, summed up.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
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

/// Sums up.
pub fn tally(ops: &[Op]) -> Tally {
    let mut sum = Tally::default();
    for op in ops {
        sum.retries += u64::from(op.tries.saturating_sub(1));
        match (op.is_write(), op.acked.is_empty()) {
            (false, _) => sum.reads += u64::from(!op.open && !op.uncertain && !op.refused),
            (true, false) => {
                sum.acked += 1;
                sum.acked_late += u64::from(op.tries > 1);
            }
            (true, true) if op.certainly_refused() => sum.refused += 1,
            (true, true) => sum.unknown += 1,
        }
    }
    sum
}
