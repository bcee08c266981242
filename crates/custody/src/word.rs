//! How far a node can answer for a key.

use starling_types::{BucketName, Held};

use crate::sources::Sources;
use crate::unsure::{Stage, Unsure};

/// How far a node's answer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It can say that the key is absent.
    Full,
    /// The records it holds are complete; of keys that it does not hold it can say nothing until an operator has
    /// accepted the loss.
    OfWhatItHolds,
    /// It is still pulling what it lost: what it has counts towards nothing, and it mints nothing.
    None,
}

impl Word {
    /// Whether it counts for a key of which the node holds something, or nothing.
    pub const fn counts(self, holds_something: bool) -> bool {
        match self {
            Self::Full => true,
            Self::OfWhatItHolds => holds_something,
            Self::None => false,
        }
    }
}

impl Unsure {
    /// A bucket need not wait for what a stricter one asks for.
    pub(crate) fn word(&self, sources: &Sources<'_>, bucket: &BucketName) -> Word {
        if !self.has_begun_to_pull() {
            return Word::None;
        }
        let is_synced = sources.rules.get(bucket).is_none_or(|props| props.durable);
        let held = if is_synced { Held::Synced } else { Held::All };
        if sources.copies(self, held, Some(bucket)).are_enough() {
            return Word::Full;
        }
        match (self.stage, sources.unheard(self).is_empty()) {
            // Accepted, or about to be trusted: so until that is written down.
            (_, true) if is_synced && self.synced => Word::OfWhatItHolds,
            (_, true) => Word::Full,
            (Stage::Whole | Stage::Storing(_), false) if self.accepted => Word::OfWhatItHolds,
            (_, false) => Word::None,
        }
    }
}
