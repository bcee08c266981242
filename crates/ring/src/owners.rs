//! The owners of all partitions.

use serde::{Deserialize, Serialize};
use starling_types::{PartitionBits, PartitionId, limits};

/// N owners for each of Q partitions, as indexes into a list of roles sorted by node id, primary first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerTable {
    pub(crate) copies: u8,
    pub(crate) slots: Vec<u16>,
}

/// A place in a table that has no owner: members never number that many.
pub(crate) const VACANT: u16 = u16::MAX;

const _: () = assert!(limits::MAX_MEMBERS < VACANT as usize);

impl OwnerTable {
    /// A table without owners, to be filled.
    pub(crate) fn vacant(bits: PartitionBits, copies: u8) -> Self {
        Self { copies, slots: vec![VACANT; bits.count() as usize * usize::from(copies)] }
    }

    /// N.
    pub const fn copies(&self) -> u8 {
        self.copies
    }

    /// Q.
    pub(crate) fn partitions(&self) -> usize {
        self.slots.len() / usize::from(self.copies.max(1))
    }

    /// The owners of `partition`, primary first; none if the table has no such partition.
    pub fn of(&self, partition: PartitionId) -> &[u16] {
        let n = usize::from(self.copies);
        let first = partition.0 as usize * n;
        self.slots.get(first..first + n).unwrap_or_default()
    }

    /// The owners of `partition`, to be changed.
    pub(crate) fn of_mut(&mut self, partition: PartitionId) -> &mut [u16] {
        let n = usize::from(self.copies);
        let first = partition.0 as usize * n;
        self.slots.get_mut(first..first + n).unwrap_or_default()
    }

    /// Every partition with its owners.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, &[u16])> {
        (0u32..).map(PartitionId).zip(self.slots.chunks(usize::from(self.copies).max(1)))
    }

    /// Copies held by each of `members` nodes.
    pub fn counts(&self, members: usize) -> Vec<u32> {
        let mut counts = vec![0; members];
        for &owner in self.slots.iter().filter(|&&owner| owner != VACANT) {
            counts[usize::from(owner)] += 1;
        }
        counts
    }

    /// The same table over another numbering of the nodes.
    pub(crate) fn renumbered(&self, number: impl Fn(u16) -> u16) -> Self {
        Self { copies: self.copies, slots: self.slots.iter().map(|&owner| number(owner)).collect() }
    }
}
