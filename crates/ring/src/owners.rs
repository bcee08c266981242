//! Lists of nodes: the owners of one partition, and the table of all of them.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
use starling_types::{NodeId, PartitionBits, PartitionId, limits};

const MOST: usize = limits::MAX_COPIES as usize;

/// The owners of one partition, primary first; on the stack, so that a lookup never allocates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerList {
    len: u8,
    nodes: [NodeId; MOST],
}

impl OwnerList {
    /// Takes the first [`limits::MAX_COPIES`] of `nodes`; no layout has more owners.
    pub(crate) fn collect(nodes: impl Iterator<Item = NodeId>) -> Self {
        let mut list = Self { len: 0, nodes: [NodeId::from_bits(0); MOST] };
        for (slot, node) in list.nodes.iter_mut().zip(nodes) {
            *slot = node;
            list.len += 1;
        }
        list
    }
}

impl Deref for OwnerList {
    type Target = [NodeId];

    fn deref(&self) -> &[NodeId] {
        &self.nodes[..usize::from(self.len)]
    }
}

/// Where a token's data live: its partition and that partition's owners, primary first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreferenceList {
    /// The partition that holds the token.
    pub partition: PartitionId,
    /// Its owners in order of preference.
    pub owners: OwnerList,
}

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
