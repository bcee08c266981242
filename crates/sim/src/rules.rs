//! The rules of the bucket that clients use, and how they change during a run.

use std::time::Duration;

use starling_types::{BucketChanges, Conflict};

/// Deviations from the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// From the start.
    pub first: BucketChanges,
    /// After some time of work.
    pub later: Option<(Duration, BucketChanges)>,
}

impl Rules {
    /// Nothing differs.
    pub const DEFAULT: Self = Self { first: NO_CHANGE, later: None };

    /// Only the last writer of a key stays, now or later: concurrent writes may be lost.
    pub fn keeps_one(&self) -> bool {
        let later = self.later.and_then(|(_, changes)| changes.conflict);
        [self.first.conflict, later].contains(&Some(Conflict::Lww))
    }

    /// They begin by keeping the last writer only, and end by keeping siblings.
    pub fn grows_siblings(&self) -> bool {
        let later = self.later.and_then(|(_, changes)| changes.conflict);
        self.keeps_one() && later == Some(Conflict::Siblings)
    }

    /// One ack is enough, now or later.
    pub fn asks_one_ack(&self) -> bool {
        let later = self.later.and_then(|(_, changes)| changes.w);
        [self.first.w, later].contains(&Some(1))
    }

    /// Every request is strict from the start.
    pub fn is_strict(&self) -> bool {
        self.first.strict == Some(true)
    }

    /// Acks may mean memory only, now or later.
    pub fn is_loose(&self) -> bool {
        let later = self.later.and_then(|(_, changes)| changes.durable);
        [self.first.durable, later].contains(&Some(false))
    }
}

/// Nothing.
pub const NO_CHANGE: BucketChanges = BucketChanges {
    r: None,
    w: None,
    strict: None,
    conflict: None,
    durable: None,
    ttl_ms: None,
    least_w: None,
};
