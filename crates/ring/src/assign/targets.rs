//! Targets: how many copies each node is to hold.
//!
//! Copies are poured like water: every node's level rises in proportion to its weight until it holds a copy of
//! every partition, or its zone holds all that a zone may. The level is a fraction, exact in integers; what a
//! node gets is its floor or ceiling.

use super::Ground;

/// The target of each node. They add up to N·Q; where the choice between floor and ceiling is free, it falls on
/// the value nearest to what the node holds now.
pub(super) fn targets(ground: &Ground, held: &[u32]) -> Vec<u32> {
    let levels = zone_levels(ground);
    let zones: Vec<ZoneShare> = levels
        .into_iter()
        .enumerate()
        .map(|(zone, level)| ZoneShare::new(ground, zone, level, held))
        .collect();
    let extra = total(ground) - zones.iter().map(|zone| zone.whole).sum::<u64>();
    let raised = most_deserving(extra, zones.iter().map(|zone| (zone.spare_holders, zone.fraction)));

    let mut targets = vec![0; ground.weights.len()];
    for (zone, raised) in zones.iter().zip(raised) {
        zone.round_nodes(ground, held, zone.whole + u64::from(raised), &mut targets);
    }
    targets
}

fn total(ground: &Ground) -> u64 {
    u64::from(ground.copies) * u64::from(ground.bits.count())
}

/// Copies per unit of weight, as a fraction.
#[derive(Debug, Clone, Copy)]
struct Level {
    copies: u128,
    weight: u128,
}

impl Level {
    /// A node's share in units of `1 / self.weight`, at most one copy of each of `partitions`.
    fn share(self, weight: u32, partitions: u64) -> u128 {
        (u128::from(weight) * self.copies).min(u128::from(partitions) * self.weight)
    }
}

/// The level at which `weights` hold `total` copies, no node more than `partitions` of them.
///
/// Needs `total <= weights.len() * partitions`; then the heaviest nodes that are full leave work for the rest.
fn level(total: u64, mut weights: Vec<u32>, partitions: u64) -> Level {
    weights.sort_unstable_by(|a, b| b.cmp(a));
    let mut level = Level { copies: total.into(), weight: weights.iter().map(|&w| u128::from(w)).sum() };
    for weight in weights {
        let weight = u128::from(weight);
        if weight * level.copies <= u128::from(partitions) * level.weight {
            break;
        }
        level.copies -= u128::from(partitions);
        level.weight -= weight;
    }
    level
}

/// The level in each zone: one for all, except in zones that are full.
///
/// Setting a full zone aside only raises the level of the others, so a zone once found full stays full.
fn zone_levels(ground: &Ground) -> Vec<Level> {
    let partitions = u64::from(ground.bits.count());
    let weights = |zone: usize| ground.zones[zone].iter().map(|&node| ground.weights[usize::from(node)]);
    let mut full: Vec<Option<Level>> = vec![None; ground.zones.len()];
    loop {
        let open: Vec<usize> = (0..full.len()).filter(|&zone| full[zone].is_none()).collect();
        let set_aside: u64 =
            (0..full.len()).filter(|&zone| full[zone].is_some()).map(|z| ground.room(z)).sum();
        let common = level(
            total(ground) - set_aside,
            open.iter().flat_map(|&zone| weights(zone)).collect(),
            partitions,
        );
        let overflows = |zone: usize| {
            let volume: u128 = weights(zone).map(|w| common.share(w, partitions)).sum();
            volume > u128::from(ground.room(zone)) * common.weight
        };
        let overflowing: Vec<usize> = open.into_iter().filter(|&zone| overflows(zone)).collect();
        if overflowing.is_empty() {
            return full.into_iter().map(|level| level.unwrap_or(common)).collect();
        }
        for zone in overflowing {
            full[zone] = Some(level(ground.room(zone), weights(zone).collect(), partitions));
        }
    }
}

/// The share of one zone's nodes together.
struct ZoneShare {
    zone: usize,
    level: Level,
    /// The whole copies of the zone's share.
    whole: u64,
    /// The rest of it, in units of `1 / level.weight`. Zones that are full have nothing left, and all others have one
    /// level, so fractions of zones compare.
    fraction: u128,
    /// Whether more nodes already hold their ceiling than `whole` lets them keep.
    spare_holders: bool,
}

impl ZoneShare {
    fn new(ground: &Ground, zone: usize, level: Level, held: &[u32]) -> Self {
        let mut share = Self { zone, level, whole: 0, fraction: 0, spare_holders: false };
        let volume: u128 =
            share.nodes(ground).map(|(_, floor, fraction)| floor * level.weight + fraction).sum();
        share.whole = (volume / level.weight) as u64;
        share.fraction = volume % level.weight;
        let floors: u128 = share.nodes(ground).map(|(_, floor, _)| floor).sum();
        let holders = share
            .nodes(ground)
            .filter(|&(node, floor, fraction)| fraction > 0 && u128::from(held[node]) > floor)
            .count();
        share.spare_holders = floors + holders as u128 > u128::from(share.whole);
        share
    }

    /// Each node of the zone with the floor and the fraction of its share.
    fn nodes(&self, ground: &Ground) -> impl Iterator<Item = (usize, u128, u128)> {
        let (level, partitions) = (self.level, u64::from(ground.bits.count()));
        ground.zones[self.zone].iter().map(move |&node| {
            let share = level.share(ground.weights[usize::from(node)], partitions);
            (usize::from(node), share / level.weight, share % level.weight)
        })
    }

    /// Gives the nodes `copies` in all.
    fn round_nodes(&self, ground: &Ground, held: &[u32], copies: u64, targets: &mut [u32]) {
        let floors: u128 = self.nodes(ground).map(|(_, floor, _)| floor).sum();
        let claims =
            self.nodes(ground).map(|(node, floor, fraction)| (u128::from(held[node]) > floor, fraction));
        let raised = most_deserving(copies - floors as u64, claims);
        for ((node, floor, _), raised) in self.nodes(ground).zip(raised) {
            targets[node] = floor as u32 + u32::from(raised);
        }
    }
}

/// Which `extra` of the claims `(holds it already, fraction)` get one copy more: only those with a fraction,
/// holders first, then the largest fraction, then the first.
fn most_deserving(extra: u64, claims: impl Iterator<Item = (bool, u128)>) -> Vec<bool> {
    let claims: Vec<(bool, u128)> = claims.collect();
    let mut order: Vec<usize> = (0..claims.len()).filter(|&i| claims[i].1 > 0).collect();
    order.sort_by(|&a, &b| claims[b].cmp(&claims[a]).then(a.cmp(&b)));
    let mut raised = vec![false; claims.len()];
    for &claim in order.iter().take(extra as usize) {
        raised[claim] = true;
    }
    raised
}
