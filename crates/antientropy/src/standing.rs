//! The standing of a node's replicas: which partitions have changed since they were last compared.
//!
//! ```text
//! partition p is behind at peer q  iff  something of p is staged, or
//!     q was never found equal, or p changed after the last pass with q in which all was equal had begun
//! ```
//! A change counts when it is committed: from then on a scan may show it.

use std::collections::BTreeMap;

use starling_types::{PartitionId, WallTime};

/// A moment in this node's own order of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark(u64);

/// The changes of this node's replicas.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    now: Mark,
    last: BTreeMap<PartitionId, Mark>,
    staged: BTreeMap<PartitionId, u64>,
}

/// A pass with a peer in which everything was equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Equal {
    /// When it began, in the order of changes.
    pub(crate) mark: Mark,
    /// When it began, by the wall clock.
    pub(crate) began: WallTime,
}

impl Changes {
    pub(crate) const fn now(&self) -> Mark {
        self.now
    }

    pub(crate) fn staged(&mut self, partition: PartitionId) {
        *self.staged.entry(partition).or_default() += 1;
    }

    pub(crate) fn committed(&mut self, partition: PartitionId) {
        self.now.0 += 1;
        self.last.insert(partition, self.now);
        if let Some(staged) = self.staged.get_mut(&partition) {
            *staged -= 1;
            if *staged == 0 {
                self.staged.remove(&partition);
            }
        }
    }

    /// Whether the partition may differ from a peer's, which was last found equal then.
    pub(crate) fn is_behind(&self, partition: PartitionId, equal: Option<Equal>) -> bool {
        let changed = self.last.get(&partition).copied().unwrap_or_default();
        self.staged.contains_key(&partition) || equal.is_none_or(|equal| changed > equal.mark)
    }
}
