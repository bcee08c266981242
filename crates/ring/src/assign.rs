//! The assignment of owners: deterministic, and moving no more than it must.
//!
//! The steps, each in its file: `targets` gives every node a whole number of copies; `board` holds the state
//! that the others work on; `fill` keeps the old owners that may stay and fills the holes; `balance` moves
//! copies from nodes above their target to nodes below; `primaries` orders the owners.
//!
//! Targets are always reached. They are the sums of a fractional assignment that obeys every rule (give each
//! partition `target/Q` of each node), so by the integrality of flows a whole one exists; and as long as it is
//! not reached, the augmenting paths of `balance` find one more step towards it.

mod balance;
mod board;
mod fill;
pub(crate) mod primaries;
mod targets;

use std::collections::BTreeMap;

use starling_types::{NodeId, PartitionBits, PartitionId, limits};

use self::board::Board;
use crate::error::PlanError;
use crate::owners::{OwnerTable, VACANT};
use crate::role::Role;

/// The rule for zones that are too small to take their even part of the copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ZoneRedundancy {
    /// Refuse the plan and say why.
    #[default]
    Strict,
    /// Put more copies into the larger zones, by the least excess that gives room for all, and list the
    /// partitions concerned. Nothing in production asks for it yet: layout changes will.
    Relaxed,
}

/// Owners for every partition, and what it takes to get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The owners, as indexes into the roles in order of node id.
    pub owners: OwnerTable,
    /// Copies that a node holds now and did not before. Without an old layout: all.
    pub moved: usize,
    /// The fewest copies that could move, judged by the number that each node holds before and after. Zones may
    /// force more.
    pub least: usize,
    /// Partitions with more copies in one zone than an even spread puts there.
    pub violations: Vec<PartitionId>,
}

/// Assigns `n` owners to each partition so that load follows weight and zones are spread, moving as little as
/// that allows from `before`, the roles and owners of a layout ([`crate::Layout::owned`]). The result does not depend
/// on the order of `roles`.
///
/// It is the goal of a change, not its next step: it may replace several owners of one partition at once, which
/// [`crate::plan()`] does in several versions.
pub fn assign(
    before: Option<(&[Role], &OwnerTable)>,
    roles: &[Role],
    n: u8,
    bits: PartitionBits,
    zones: ZoneRedundancy,
) -> Result<Assignment, PlanError> {
    let roles = sorted_roles(roles)?;
    check_copies(n, roles.len())?;
    let ground = Ground::survey(&roles, n, bits, zones)?;
    let before = known_owners(before, &roles, bits)?;
    let held = before.counts(roles.len());
    let targets = targets::targets(&ground, &held);
    let least = targets.iter().zip(&held).map(|(&t, &h)| t.saturating_sub(h) as usize).sum();

    let mut board = Board::new(&ground, before, held, targets);
    fill::keep(&mut board);
    fill::fill(&mut board);
    balance::balance(&mut board);
    let moved = board.moved();
    let mut owners = board.owners;
    primaries::spread(&mut owners, roles.len());
    let violations = violations(&owners, &ground.zone_of, ground.even_spread());
    Ok(Assignment { owners, moved, least, violations })
}

/// The owners before under the numbering of `roles`; [`VACANT`] where one is no longer a member.
fn known_owners(
    before: Option<(&[Role], &OwnerTable)>,
    roles: &[Role],
    bits: PartitionBits,
) -> Result<OwnerTable, PlanError> {
    let Some((members, owners)) = before else {
        return Ok(OwnerTable::vacant(bits, 0));
    };
    if owners.partitions() != bits.count() as usize {
        return Err(PlanError::PartitionCount {
            old: owners.partitions().max(1).ilog2() as u8,
            new: bits.bits(),
        });
    }
    let number: Vec<u16> = members.iter().map(|role| position(roles, role.node).unwrap_or(VACANT)).collect();
    Ok(owners.renumbered(|owner| number.get(usize::from(owner)).copied().unwrap_or(VACANT)))
}

/// The ground of the assignment: nodes, zones and the rule of the zones.
struct Ground {
    copies: u8,
    bits: PartitionBits,
    weights: Vec<u32>,
    zone_of: Vec<u16>,
    /// Nodes of each zone.
    zones: Vec<Vec<u16>>,
    /// Most copies of one partition in one zone.
    per_zone: usize,
}

impl Ground {
    fn survey(
        roles: &[Role],
        copies: u8,
        bits: PartitionBits,
        redundancy: ZoneRedundancy,
    ) -> Result<Self, PlanError> {
        let zone_of = zone_numbers(roles);
        let mut zones = vec![Vec::new(); zone_count(&zone_of)];
        for (node, &zone) in (0u16..).zip(&zone_of) {
            zones[usize::from(zone)].push(node);
        }
        let sizes: Vec<usize> = zones.iter().map(Vec::len).collect();
        let per_zone = most_per_zone(copies, &sizes, redundancy)?;
        let weights = roles.iter().map(|role| role.weight.units()).collect();
        Ok(Self { copies, bits, weights, zone_of, zones, per_zone })
    }

    /// Most copies of a partition in one zone if all zones were large enough.
    fn even_spread(&self) -> usize {
        usize::from(self.copies).div_ceil(self.zones.len())
    }

    /// Copies that a zone can take in all.
    fn room(&self, zone: usize) -> u64 {
        (self.zones[zone].len().min(self.per_zone) as u64) * u64::from(self.bits.count())
    }
}

/// The even spread, or the least excess over it that gives every copy a node of its own.
fn most_per_zone(copies: u8, sizes: &[usize], redundancy: ZoneRedundancy) -> Result<usize, PlanError> {
    let needed = usize::from(copies);
    let room = |most: usize| sizes.iter().map(|&size| size.min(most)).sum::<usize>();
    let even = needed.div_ceil(sizes.len());
    if room(even) < needed && redundancy == ZoneRedundancy::Strict {
        return Err(PlanError::ZonesTooSmall {
            copies,
            zones: sizes.len(),
            per_zone: even,
            room: room(even),
        });
    }
    // There are at least as many nodes as copies, so a zone that may hold them all gives room.
    Ok((even..needed).find(|&most| room(most) >= needed).unwrap_or(needed))
}

/// Partitions with more than `most` copies in any zone.
pub(crate) fn violations(owners: &OwnerTable, zone_of: &[u16], most: usize) -> Vec<PartitionId> {
    owners
        .iter()
        .filter(|(_, owners)| crowding(owners, zone_of, most) > 0)
        .map(|(partition, _)| partition)
        .collect()
}

/// Copies in excess of `most` in any zone.
pub(crate) fn crowding(owners: &[u16], zone_of: &[u16], most: usize) -> usize {
    let zone = |owner: u16| zone_of[usize::from(owner)];
    (0..owners.len())
        .filter(|&i| owners[..i].iter().filter(|&&other| zone(other) == zone(owners[i])).count() >= most)
        .count()
}

/// Numbers the zones by name, and gives each role its zone's number.
pub(crate) fn zone_numbers(roles: &[Role]) -> Vec<u16> {
    let mut numbers: BTreeMap<&str, u16> = roles.iter().map(|role| (role.zone.as_str(), 0)).collect();
    for (number, entry) in (0u16..).zip(numbers.values_mut()) {
        *entry = number;
    }
    roles.iter().map(|role| numbers[role.zone.as_str()]).collect()
}

pub(crate) fn zone_count(zone_of: &[u16]) -> usize {
    zone_of.iter().max().map_or(0, |&last| usize::from(last) + 1)
}

/// The roles by node id, if together they can be members.
pub(crate) fn sorted_roles(roles: &[Role]) -> Result<Vec<Role>, PlanError> {
    if roles.is_empty() {
        return Err(PlanError::NoNodes);
    }
    if roles.len() > limits::MAX_MEMBERS {
        return Err(PlanError::TooManyNodes(roles.len()));
    }
    if let Some(role) = roles.iter().find(|role| !role.name_is_allowed()) {
        return Err(PlanError::BadName(role.node));
    }
    let mut sorted = roles.to_vec();
    sorted.sort_by_key(|role| role.node);
    match sorted.windows(2).find(|pair| pair[0].node == pair[1].node) {
        Some(pair) => Err(PlanError::DuplicateNode(pair[0].node)),
        None => Ok(sorted),
    }
}

pub(crate) fn check_copies(copies: u8, nodes: usize) -> Result<(), PlanError> {
    if !(1..=limits::MAX_COPIES).contains(&copies) {
        return Err(PlanError::Copies(copies));
    }
    if usize::from(copies) > nodes {
        return Err(PlanError::TooFewNodes { copies, nodes });
    }
    Ok(())
}

/// The index of `node` in roles sorted by node id.
pub(crate) fn position(roles: &[Role], node: NodeId) -> Option<u16> {
    roles.binary_search_by_key(&node, |role| role.node).ok().map(|index| index as u16)
}
