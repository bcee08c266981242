//! The replicas that are asked again: those that knew other properties of the bucket than the write was made under.
//!
//! Such a replica refuses and tells its properties; either it or this node then learns the newer ones and makes
//! them durable. The write waits for that as it waits for any slow replica, and goes out once more.

use std::collections::{BTreeMap, BTreeSet};

use starling_types::NodeId;

/// How often one node is asked again: its properties, and this node's, may change meanwhile.
const MOST: u8 = 2;

/// The reaction to a node that refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Ask it again now.
    Again,
    /// Until both know the same.
    Wait,
    /// It has been asked often enough.
    Lost,
}

/// The stale replicas of one write.
#[derive(Debug, Default)]
pub(super) struct Resend {
    refused: BTreeMap<NodeId, u8>,
    waiting: BTreeSet<NodeId>,
    agreed: BTreeSet<NodeId>,
}

impl Resend {
    /// A node refused: it went by the properties numbered `theirs`, the write by `ours`.
    pub(super) fn refused(&mut self, node: NodeId, theirs: u64, ours: u64) -> Refused {
        let times = self.refused.entry(node).or_default();
        *times += 1;
        if *times > MOST {
            return Refused::Lost;
        }
        // Words overtake each other: this node may have learned of the newer ones, or of the agreement, before.
        if theirs == ours || self.agreed.remove(&node) {
            return Refused::Again;
        }
        self.waiting.insert(node);
        Refused::Wait
    }

    /// A node knows the same properties as this one now; whether it is to be asked again.
    pub(super) fn agreed(&mut self, node: NodeId) -> bool {
        let waited = self.waiting.remove(&node);
        if !waited {
            self.agreed.insert(node);
        }
        waited
    }

    /// All that wait; they need not any more.
    pub(super) fn take(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.waiting)
    }
}
