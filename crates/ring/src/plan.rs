//! From one layout to the next: the part of a change that one version may make.
//!
//! A write during a transition must win in the old and in the new owners of its partition. If a version replaced
//! more than N−W owners of a partition (W a majority), the failure of its newcomers alone would stop writes. So
//! a larger change takes several versions, each planned when the one before is in force. A node that is to go
//! stays a member until it owns nothing.
//!
//! Nothing in production plans a second layout yet: layout changes will.

use starling_types::{BucketProps, PartitionId};

use crate::assign::{
    ZoneRedundancy, assign, crowding, position, primaries, sorted_roles, violations, zone_count, zone_numbers,
};
use crate::error::PlanError;
use crate::layout::Layout;
use crate::owners::{OwnerTable, VACANT};
use crate::role::Role;

/// The next layout and what it takes to get there: shown before anything moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The layout that would be committed.
    pub layout: Layout,
    /// Copies that a node holds in it and not in the layout before.
    pub moved: usize,
    /// Copies that later versions have to move before owners are where they shall be.
    pub deferred: usize,
    /// Partitions with more copies in one zone than an even spread puts there.
    pub violations: Vec<PartitionId>,
}

impl Plan {
    /// Whether this version completes the change. If not, plan again with the same roles once it is in force.
    pub fn is_complete(&self) -> bool {
        let attainable = usize::from(self.layout.wanted_copies()).min(self.layout.members().len());
        self.deferred == 0 && usize::from(self.layout.n()) == attainable
    }
}

/// The layout after `old` on the way to `roles`, which are all that shall be members in the end.
///
/// It takes in at most N−W new owners of a partition (one, where that is zero) and adds at most one to N.
pub fn next(old: &Layout, roles: &[Role]) -> Result<Layout, PlanError> {
    plan(old, roles, ZoneRedundancy::Strict).map(|plan| plan.layout)
}

/// [`next`] with what it costs, and with a choice of what to do if zones are too small.
pub fn plan(old: &Layout, roles: &[Role], zones: ZoneRedundancy) -> Result<Plan, PlanError> {
    let desired = sorted_roles(roles)?;
    let n = usize::from(old.wanted_copies()).min(desired.len()).min(usize::from(old.n()) + 1) as u8;
    let goal = assign(Some(old.owned()), &desired, n, old.bits(), zones)?.owners;
    let change = Change::new(old, &desired, &goal)?;
    let (mut owners, deferred) = change.first_step();
    primaries::spread(&mut owners, change.roles.len());
    let moved = owners.iter().map(|(p, owners)| missing(owners, change.before.of(p)).count()).sum();
    let violations = violations(&owners, &change.zone_of, change.per_zone);
    Ok(Plan { layout: change.layout(old, &owners), moved, deferred, violations })
}

/// New owners that one version may bring to a partition of `n` copies: N−W, but at least one, or clusters of one
/// or two copies could never change.
fn most_newcomers(n: u8) -> usize {
    usize::from(n - BucketProps::majority(n)).max(1)
}

/// Those of `owners` that are not in `others`.
fn missing<'a>(owners: &'a [u16], others: &'a [u16]) -> impl Iterator<Item = u16> + 'a {
    owners.iter().copied().filter(|owner| !others.contains(owner))
}

/// Where a change starts and where it leads, in one numbering of all nodes concerned.
struct Change {
    roles: Vec<Role>,
    /// Whether the node shall be a member in the end.
    stays: Vec<bool>,
    zone_of: Vec<u16>,
    /// Most copies of a partition in one zone under an even spread.
    per_zone: usize,
    before: OwnerTable,
    goal: OwnerTable,
}

impl Change {
    fn new(old: &Layout, desired: &[Role], goal: &OwnerTable) -> Result<Self, PlanError> {
        let going = old.members().filter(|role| position(desired, role.node).is_none());
        let roles = sorted_roles(&desired.iter().chain(going).cloned().collect::<Vec<_>>())?;
        let numbers = |of: &mut dyn Iterator<Item = &Role>| -> Vec<u16> {
            of.map(|role| position(&roles, role.node).unwrap_or(VACANT)).collect()
        };
        let (old_numbers, new_numbers) = (numbers(&mut old.members()), numbers(&mut desired.iter()));
        Ok(Self {
            stays: roles.iter().map(|role| position(desired, role.node).is_some()).collect(),
            zone_of: zone_numbers(&roles),
            per_zone: usize::from(goal.copies()).div_ceil(zone_count(&zone_numbers(desired))),
            before: old.owner_table().renumbered(|owner| old_numbers[usize::from(owner)]),
            goal: goal.renumbered(|owner| new_numbers[usize::from(owner)]),
            roles,
        })
    }

    /// The owners of the next version, and how many newcomers it leaves to later ones.
    fn first_step(&self) -> (OwnerTable, usize) {
        let mut owners = self.goal.clone();
        let mut deferred = 0;
        for (partition, goal) in self.goal.iter() {
            let step = self.step(self.before.of(partition), goal);
            deferred += missing(goal, &step).count();
            owners.of_mut(partition).copy_from_slice(&step);
        }
        (owners, deferred)
    }

    /// The owners between `before` and `goal` with as many newcomers as one version may bring.
    fn step(&self, before: &[u16], goal: &[u16]) -> Vec<u16> {
        let mut budget = most_newcomers(self.goal.copies());
        if missing(goal, before).count() <= budget {
            return goal.to_vec();
        }
        let mut owners = before.to_vec();
        while owners.len() > goal.len() {
            self.drop_one(&mut owners, goal);
        }
        while owners.len() < goal.len() {
            self.add_one(&mut owners, goal);
            budget = budget.saturating_sub(1);
        }
        for _ in 0..budget {
            self.swap_one(&mut owners, goal);
        }
        owners
    }

    /// Drops the owner whose absence crowds the zones least; of equals, one that is to leave the cluster.
    fn drop_one(&self, owners: &mut Vec<u16>, goal: &[u16]) {
        let without = |owner: u16| owners.iter().copied().filter(|&other| other != owner).collect::<Vec<_>>();
        let best = missing(owners, goal)
            .min_by_key(|&owner| (self.crowding(&without(owner)), self.stays[usize::from(owner)]));
        owners.retain(|&owner| Some(owner) != best);
    }

    /// Adds the newcomer that crowds the zones least.
    fn add_one(&self, owners: &mut Vec<u16>, goal: &[u16]) {
        let with = |newcomer: u16| owners.iter().copied().chain([newcomer]).collect::<Vec<_>>();
        let best = missing(goal, owners).min_by_key(|&newcomer| self.crowding(&with(newcomer)));
        owners.extend(best);
    }

    /// Swaps the pair that crowds the zones least; of equals, one that is to leave the cluster goes.
    ///
    /// If `owners` and `goal` both keep the zone rule, so does the result: any leaver has a newcomer that fits
    /// (the exchange property of the bases of a matroid).
    fn swap_one(&self, owners: &mut [u16], goal: &[u16]) {
        let swapped = |leaver: u16, newcomer: u16| -> Vec<u16> {
            owners.iter().map(|&owner| if owner == leaver { newcomer } else { owner }).collect()
        };
        let best = missing(owners, goal)
            .flat_map(|leaver| missing(goal, owners).map(move |newcomer| (leaver, newcomer)))
            .map(|(leaver, newcomer)| (swapped(leaver, newcomer), self.stays[usize::from(leaver)]))
            .min_by_key(|(swapped, stays)| (self.crowding(swapped), *stays));
        if let Some((best, _)) = best {
            owners.copy_from_slice(&best);
        }
    }

    fn crowding(&self, owners: &[u16]) -> usize {
        crowding(owners, &self.zone_of, self.per_zone)
    }

    /// The layout with these owners: members are those that stay, and those that still own something.
    fn layout(&self, old: &Layout, owners: &OwnerTable) -> Layout {
        let held = owners.counts(self.roles.len());
        let mut numbers = vec![VACANT; self.roles.len()];
        let mut roles = Vec::new();
        for (node, role) in self.roles.iter().enumerate() {
            if self.stays[node] || held[node] > 0 {
                numbers[node] = roles.len() as u16;
                roles.push(role.clone());
            }
        }
        old.successor(old.bits(), roles, owners.renumbered(|owner| numbers[usize::from(owner)]))
    }
}
