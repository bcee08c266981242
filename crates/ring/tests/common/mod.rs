//! Rings for the tests, and what the tests measure on them.
#![allow(dead_code, missing_docs, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use starling_ring::{Layout, OwnerTable, Plan, Role, Weight, Zone, ZoneRedundancy, plan};
use starling_types::{ClusterId, NodeId, PartitionBits, PartitionId};

pub const CLUSTER: ClusterId = ClusterId::from_bits(0x51a2_1175);

pub fn bits(bits: u8) -> PartitionBits {
    PartitionBits::try_from(bits).unwrap()
}

/// Node ids that jump about, as random ones do.
pub fn node(number: u32) -> NodeId {
    NodeId::from_bits(u64::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

pub fn role(number: u32, weight: u32, zone: u32) -> Role {
    Role {
        node: node(number),
        name: format!("node-{number}"),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 7000 + number as u16)),
        zone: Zone::new(&format!("zone-{zone}")).unwrap(),
        weight: Weight::new(weight).unwrap(),
    }
}

/// `nodes` of weights 1, 1, 1, ... or 1, 2, 4, 1, ... spread over zones that do not follow the weights.
pub fn roles(nodes: std::ops::Range<u32>, weights: &[u32], zones: u32) -> Vec<Role> {
    nodes.map(|i| role(i, weights[i as usize % weights.len()], (i * 7 / 3) % zones)).collect()
}

/// The distinct zones of `roles`, with the nodes in each.
pub fn zone_sizes(roles: &[Role]) -> BTreeMap<Zone, usize> {
    let mut sizes = BTreeMap::new();
    for role in roles {
        *sizes.entry(role.zone.clone()).or_default() += 1;
    }
    sizes
}

/// Most copies of one partition that an even spread puts into a zone.
pub fn even_spread(n: u8, zones: usize) -> usize {
    usize::from(n).div_ceil(zones)
}

/// Whether all copies find room under an even spread.
pub fn zones_suffice(roles: &[Role], n: u8) -> bool {
    let sizes = zone_sizes(roles);
    let most = even_spread(n, sizes.len());
    sizes.values().map(|&size| size.min(most)).sum::<usize>() >= usize::from(n)
}

/// The largest number of copies of any partition in one zone.
pub fn most_in_a_zone(owners: &OwnerTable, roles: &[Role]) -> usize {
    let mut sorted = roles.to_vec();
    sorted.sort_by_key(|role| role.node);
    let most = |owners: &[u16]| {
        let mut zones: BTreeMap<&Zone, usize> = BTreeMap::new();
        owners.iter().for_each(|&o| *zones.entry(&sorted[usize::from(o)].zone).or_default() += 1);
        zones.into_values().max().unwrap_or(0)
    };
    owners.iter().map(|(_, owners)| most(owners)).max().unwrap_or(0)
}

/// The exact fair share of every node, by a way of its own: pour small drops until the glass is full. In
/// floating point, so compare with tolerance.
pub fn fair_shares(roles: &[Role], n: u8, bits: PartitionBits) -> BTreeMap<NodeId, f64> {
    let partitions = f64::from(bits.count());
    let total = partitions * f64::from(n);
    let sizes = zone_sizes(roles);
    let most = even_spread(n, sizes.len());
    let at = |level: f64| -> BTreeMap<NodeId, f64> {
        let share = |role: &Role, level: f64| (f64::from(role.weight.units()) * level).min(partitions);
        let mut shares = BTreeMap::new();
        for (zone, &size) in &sizes {
            let room = partitions * size.min(most) as f64;
            let nodes = || roles.iter().filter(|role| role.zone == *zone);
            let volume = |level: f64| nodes().map(|role| share(role, level)).sum::<f64>();
            let level =
                if volume(level) <= room { level } else { bisect(level, |lower| volume(lower) <= room) };
            shares.extend(nodes().map(|role| (role.node, share(role, level))));
        }
        shares
    };
    at(bisect(2.0 * total, |level| at(level).values().sum::<f64>() <= total))
}

/// The largest x in 0..=high for which `fits` holds.
fn bisect(high: f64, fits: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, high);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if fits(middle) { low = middle } else { high = middle }
    }
    low
}

/// The members of a layout as roles.
pub fn members(layout: &Layout) -> Vec<Role> {
    layout.members().cloned().collect()
}

pub fn owner_set(layout: &Layout, partition: PartitionId) -> BTreeSet<NodeId> {
    layout.owners(partition).collect()
}

/// Copies that each member holds, and how many of them it leads.
pub fn loads(layout: &Layout) -> BTreeMap<NodeId, (u32, u32)> {
    let mut loads: BTreeMap<NodeId, (u32, u32)> = layout.members().map(|role| (role.node, (0, 0))).collect();
    for partition in layout.bits().partitions() {
        for (place, owner) in layout.owners(partition).enumerate() {
            let load = loads.get_mut(&owner).unwrap();
            load.0 += 1;
            load.1 += u32::from(place == 0);
        }
    }
    loads
}

/// New owners of `partition` in `new`.
pub fn newcomers(old: &Layout, new: &Layout, partition: PartitionId) -> usize {
    owner_set(new, partition).difference(&owner_set(old, partition)).count()
}

pub fn moved(old: &Layout, new: &Layout) -> usize {
    old.bits().partitions().map(|partition| newcomers(old, new, partition)).sum()
}

/// Every version on the way from `old` to `roles`.
pub fn all_plans(old: &Layout, roles: &[Role]) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    while plans.last().is_none_or(|plan| !plan.is_complete()) {
        let from = plans.last().map_or(old, |plan| &plan.layout);
        plans.push(plan(from, roles, ZoneRedundancy::Relaxed).unwrap());
        assert!(plans.len() < 16, "the change does not come to an end");
    }
    plans
}
