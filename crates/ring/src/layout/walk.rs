//! The clockwise walk that finds stand-ins (Dynamo, section 4.6: hinted handoff).

use starling_types::PartitionId;

use super::Layout;

/// Indexes of all members that do not own `partition`, nodes in zones without a copy first.
pub(super) fn fallbacks(layout: &Layout, partition: PartitionId) -> impl Iterator<Item = u16> {
    let in_new_zone = move |index: &u16| {
        layout.owners.of(partition).iter().all(|&owner| zone(layout, owner) != zone(layout, *index))
    };
    // The count ends the first walk early: without it, a ring with a single zone would be walked to its end.
    let in_new_zones = (0..layout.roles.len() as u16).filter(in_new_zone).count();
    Walk::from(layout, partition)
        .filter(in_new_zone)
        .take(in_new_zones)
        .chain(Walk::from(layout, partition).filter(move |index| !in_new_zone(index)))
}

fn zone(layout: &Layout, index: u16) -> u16 {
    layout.zones[usize::from(index)]
}

/// Every member that is no owner of the first partition, once: in the order in which the following partitions
/// name them, then those that own nothing at all.
struct Walk<'a> {
    layout: &'a Layout,
    /// The next place in the owner table, and how many places are left before the circle closes.
    slot: usize,
    left: usize,
    /// Members already met; `unmet` counts the others.
    met: Vec<bool>,
    unmet: usize,
}

impl<'a> Walk<'a> {
    fn from(layout: &'a Layout, partition: PartitionId) -> Self {
        let owners = layout.owners.of(partition);
        let mut met = vec![false; layout.roles.len()];
        for &owner in owners {
            met[usize::from(owner)] = true;
        }
        let slots = layout.owners.slots.len();
        let slot = (partition.0 as usize + 1) * owners.len() % slots;
        Self { layout, slot, left: slots, unmet: met.len() - owners.len(), met }
    }

    fn next_on_ring(&mut self) -> Option<u16> {
        while self.left > 0 {
            let owner = self.layout.owners.slots[self.slot];
            self.slot = (self.slot + 1) % self.layout.owners.slots.len();
            self.left -= 1;
            if !self.met[usize::from(owner)] {
                return Some(owner);
            }
        }
        None
    }
}

impl Iterator for Walk<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        self.unmet = self.unmet.checked_sub(1)?;
        let index = match self.next_on_ring() {
            Some(index) => index,
            None => self.met.iter().position(|met| !met)? as u16,
        };
        self.met[usize::from(index)] = true;
        Some(index)
    }
}
