//! Answers to clients, in words.

use starling_types::{Outcome, WallTime};
use starling_wire::client::{ReadReply, SiblingView};
use starling_wire::{Failure, FailureKind};

use starling_causality::{Payload, Record};

/// The answer that a read shows of a record: its live values, oldest first, and the newest delete beside them.
pub fn show(record: &Record, context: Option<bytes::Bytes>, wall: WallTime) -> ReadReply {
    let siblings = record
        .live(wall)
        .into_iter()
        .filter_map(|s| match &s.payload {
            Payload::Value(value) => {
                Some(SiblingView { value: value.clone(), dot: s.dot, expires_at: s.expires_at })
            }
            Payload::Tombstone => None,
        })
        .collect();
    // A value that has expired hides older ones as a delete does: they do not come back with its end.
    let deleted = record.siblings().iter().rev().find(|s| !s.is_live(wall)).map(|s| s.dot);
    ReadReply { siblings, context, deleted }
}

/// Too few nodes answered.
pub(crate) fn no_quorum(outcome: Outcome, got: usize, needed: u8, what: &str, story: &str) -> Failure {
    let advice = match outcome {
        Outcome::NotApplied => "nothing was changed; try again when more replicas are up",
        _ => "the write may still show up; retry with the same request id, or read it back",
    };
    Failure {
        kind: FailureKind::QuorumNotReached,
        outcome,
        detail: format!("{got} of {needed} needed {what} ({story}); {advice}"),
        retry_after_ms: None,
    }
}

/// Time ran out.
pub(crate) fn too_late(outcome: Outcome, got: usize, needed: u8, what: &str, story: &str) -> Failure {
    let failure = no_quorum(outcome, got, needed, what, story);
    Failure { kind: FailureKind::Deadline, detail: format!("time ran out: {}", failure.detail), ..failure }
}
