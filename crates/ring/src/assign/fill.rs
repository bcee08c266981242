//! Keep the old owners that may stay, then give every hole to the node that needs it most.

use starling_types::PartitionId;

use super::board::{Board, scatter};
use crate::owners::VACANT;

/// Takes over every old owner that is still a member, except where a zone or the list has too many.
///
/// Order is kept and holes come last, so that a lost primary is followed by an owner that has the data.
pub(super) fn keep(board: &mut Board<'_>) {
    for partition in board.ground.bits.partitions() {
        let mut kept: Vec<u16> =
            board.before.of(partition).iter().copied().filter(|&owner| owner != VACANT).collect();
        while let Some(position) = misfit(board, &kept) {
            board.held[usize::from(kept.remove(position))] -= 1;
        }
        board.owners.of_mut(partition)[..kept.len()].copy_from_slice(&kept);
    }
}

/// The owner to drop, if one must be: the fullest of a crowded zone, else the fullest of a list that is too long.
fn misfit(board: &Board<'_>, owners: &[u16]) -> Option<usize> {
    let in_zone_of =
        |node: u16| owners.iter().filter(|&&other| board.zone(other) == board.zone(node)).count();
    let fullest = |positions: &mut dyn Iterator<Item = usize>| {
        positions.max_by(|&a, &b| board.by_fullness(owners[a], owners[b]).then(a.cmp(&b)))
    };
    let crowded = &mut (0..owners.len()).filter(|&at| in_zone_of(owners[at]) > board.ground.per_zone);
    fullest(crowded).or_else(|| {
        let too_long = owners.len() > usize::from(board.ground.copies);
        too_long.then(|| fullest(&mut (0..owners.len()))).flatten()
    })
}

/// Fills the holes in an order that jumps about the ring, so that no part of it gets the last picks.
pub(super) fn fill(board: &mut Board<'_>) {
    let mut holes: Vec<(u64, PartitionId)> = Vec::new();
    for (partition, owners) in board.owners.iter() {
        let vacant = (0u32..).zip(owners).filter(|(_, owner)| **owner == VACANT);
        holes.extend(vacant.map(|(slot, _)| (scatter(partition.0, slot), partition)));
    }
    holes.sort_unstable();
    for (_, partition) in holes {
        if let Some(node) = neediest(board, partition) {
            board.replace(partition, VACANT, node);
        }
    }
}

/// The least full node that may join; there always is one, because the zones have room for N owners and fewer
/// are in place. Equally full nodes are ordered anew for each partition.
fn neediest(board: &Board<'_>, partition: PartitionId) -> Option<u16> {
    let tie = |node: u16| scatter(partition.0, u32::from(node) << 16);
    let mut best: Option<u16> = None;
    for node in board.nodes() {
        let needier = best
            .is_none_or(|best| board.by_fullness(node, best).then_with(|| tie(node).cmp(&tie(best))).is_lt());
        if needier && board.may_replace(partition, VACANT, node) {
            best = Some(node);
        }
    }
    best
}
