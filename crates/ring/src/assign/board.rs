//! The assignment while it is worked on: owners so far, what each node holds, what it is to hold.

use std::cmp::Ordering;

use starling_types::PartitionId;

use super::Ground;
use crate::owners::{OwnerTable, VACANT};

pub(super) struct Board<'a> {
    pub ground: &'a Ground,
    /// Owners in the old layout, as far as they are still members.
    pub before: OwnerTable,
    pub owners: OwnerTable,
    /// Copies that each node holds on this board.
    pub held: Vec<u32>,
    /// Copies that each node held before.
    pub held_at_first: Vec<u32>,
    pub targets: Vec<u32>,
}

impl<'a> Board<'a> {
    /// An empty board; `held` counts what `before` lists, until [`super::fill::keep`] has taken it over.
    pub fn new(ground: &'a Ground, before: OwnerTable, held: Vec<u32>, targets: Vec<u32>) -> Self {
        let owners = OwnerTable::vacant(ground.bits, ground.copies);
        Self { ground, before, owners, held_at_first: held.clone(), held, targets }
    }

    pub fn zone(&self, node: u16) -> u16 {
        self.ground.zone_of[usize::from(node)]
    }

    pub fn is_surplus(&self, node: u16) -> bool {
        self.held[usize::from(node)] > self.targets[usize::from(node)]
    }

    pub fn is_deficit(&self, node: u16) -> bool {
        self.held[usize::from(node)] < self.targets[usize::from(node)]
    }

    /// All nodes, by index.
    pub fn nodes(&self) -> std::ops::Range<u16> {
        0..self.held.len() as u16
    }

    /// Copies that `node` must gain, judged by what it held before.
    pub fn least_moved(&self, node: u16) -> u32 {
        self.targets[usize::from(node)].saturating_sub(self.held_at_first[usize::from(node)])
    }

    /// Orders nodes by how full they would be with one copy more, relative to their targets.
    pub fn by_fullness(&self, a: u16, b: u16) -> Ordering {
        let (a, b) = (usize::from(a), usize::from(b));
        let fullness = |x: usize, y: usize| (u64::from(self.held[x]) + 1) * u64::from(self.targets[y]);
        fullness(a, b).cmp(&fullness(b, a))
    }

    /// Whether `node` may join the owners of `partition` once `leaver` (or [`VACANT`]: a hole) has left them.
    pub fn may_replace(&self, partition: PartitionId, leaver: u16, node: u16) -> bool {
        !self.owners.of(partition).contains(&node) && self.has_room(partition, leaver, self.zone(node))
    }

    /// Whether `zone` can take one more copy of `partition` once `leaver` has left it.
    pub fn has_room(&self, partition: PartitionId, leaver: u16, zone: u16) -> bool {
        let stays = |owner: u16| owner != leaver && owner != VACANT && self.zone(owner) == zone;
        self.owners.of(partition).iter().filter(|&&owner| stays(owner)).count() < self.ground.per_zone
    }

    /// Whether `node` held a copy of `partition` before, so that keeping it there moves nothing.
    pub fn held_before(&self, partition: PartitionId, node: u16) -> bool {
        self.before.of(partition).contains(&node)
    }

    /// Whether a member that held `partition` before is not among its owners.
    pub fn misses_an_old_owner(&self, partition: PartitionId) -> bool {
        let owners = self.owners.of(partition);
        self.before.of(partition).iter().any(|&old| old != VACANT && !owners.contains(&old))
    }

    /// Puts `node` in the place of `leaver`, or of a hole.
    pub fn replace(&mut self, partition: PartitionId, leaver: u16, node: u16) {
        if let Some(slot) = self.owners.of_mut(partition).iter_mut().find(|owner| **owner == leaver) {
            *slot = node;
            self.held[usize::from(node)] += 1;
            if leaver != VACANT {
                self.held[usize::from(leaver)] -= 1;
            }
        }
    }

    /// Copies whose owner did not hold them before.
    pub fn moved(&self) -> usize {
        self.ground.bits.partitions().map(|partition| self.newcomers(partition)).sum()
    }

    /// Owners of `partition` that did not hold it before.
    pub fn newcomers(&self, partition: PartitionId) -> usize {
        self.owners.of(partition).iter().filter(|&&owner| !self.held_before(partition, owner)).count()
    }
}

/// Mixes two numbers so that ties break differently for each partition, and co-owners scatter. The finalizer of
/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(super) fn scatter(a: u32, b: u32) -> u64 {
    let mut z = (u64::from(a) << 32 | u64::from(b)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
