//! Goal numbers of the design: how even placement is, and how little a change moves. Deterministic, so a change
//! of the algorithm shows here first.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "a test may fail, and shows its figures"
)]

mod common;

use common::*;
use starling_ring::{Layout, LayoutHash, Role, ZoneRedundancy, assign};
use starling_types::NodeId;

/// Largest load over fair load, of all copies and of primaries.
fn worst(layout: &Layout) -> (f64, f64) {
    let fair = fair_shares(&members(layout), layout.n(), layout.bits());
    let n = f64::from(layout.n());
    let over = |node: &NodeId, held: u32, part: f64| f64::from(held) / (fair[node] / part);
    loads(layout).iter().fold((0.0, 0.0), |(all, led), (node, load)| {
        (f64::max(all, over(node, load.0, 1.0)), f64::max(led, over(node, load.1, n)))
    })
}

fn check_even(nodes: u32, b: u8, weights: &[u32], zones: u32, most: f64, most_led: f64) {
    let roles = roles(0..nodes, weights, zones);
    let layout = Layout::first(CLUSTER, 3, bits(b), roles.clone()).unwrap();
    let (all, led) = worst(&layout);
    println!("{nodes} nodes, 2^{b}, {weights:?}, {zones} zones: all {all:.4}, primaries {led:.4}");
    assert!(all <= most, "max/mean of all copies is {all}");
    assert!(led <= most_led, "max/mean of primaries is {led}");
    assert!(most_in_a_zone(layout.owner_table(), &roles) <= even_spread(3, zones as usize));
}

#[test]
fn load_is_even() {
    check_even(100, 10, &[1], 1, 1.05, 1.08);
    check_even(100, 12, &[1], 3, 1.02, 1.06);
    check_even(100, 12, &[1, 2, 4], 1, 1.02, 1.06);
    check_even(100, 12, &[1, 2, 4], 3, 1.02, 1.06);
    check_even(10, 10, &[1, 2, 4], 3, 1.01, 1.02);
    check_even(3, 10, &[1], 1, 1.0, 1.01);
}

/// Copies moved over the fewest that could move, for a goal.
fn excess(old: &Layout, roles: &[Role]) -> f64 {
    let after = assign(Some(old.owned()), roles, 3, old.bits(), ZoneRedundancy::Strict).unwrap();
    assert!(after.violations.is_empty());
    after.moved as f64 / after.least as f64
}

#[test]
fn a_join_or_a_leave_moves_little_more_than_it_must() {
    for (nodes, b, weights, zones) in
        [(10, 10, &[1][..], 1), (10, 10, &[1, 2, 4], 3), (100, 12, &[1], 1), (100, 12, &[1, 2, 4], 3)]
    {
        let all = roles(0..nodes + 1, weights, zones);
        let old = Layout::first(CLUSTER, 3, bits(b), all[..nodes as usize].to_vec()).unwrap();
        let (join, leave) = (excess(&old, &all), excess(&old, &all[1..nodes as usize]));
        println!("{nodes} nodes, 2^{b}, {weights:?}, {zones} zones: join {join:.4}, leave {leave:.4}");
        assert!(join <= 1.02 && leave <= 1.02, "join {join}, leave {leave}");
    }
}

/// Growth node by node and shrinking again leaves no trace: placement stays even and changes stay small.
#[test]
fn history_does_not_spoil_placement() {
    let all = roles(0..24, &[1, 2, 4], 3);
    let mut layout = Layout::first(CLUSTER, 3, bits(9), all[..3].to_vec()).unwrap();
    let (mut moved, mut least) = (0, 0);
    let sizes = (4..=24).chain((8..24).rev());
    for size in sizes {
        let goal = assign(Some(layout.owned()), &all[..size], 3, bits(9), ZoneRedundancy::Strict).unwrap();
        least += goal.least;
        for plan in all_plans(&layout, &all[..size]) {
            assert!(plan.violations.is_empty());
            moved += plan.moved;
            layout = plan.layout;
        }
        let fair = fair_shares(&members(&layout), 3, bits(9));
        for (node, (held, _)) in loads(&layout) {
            assert!((f64::from(held) - fair[&node]).abs() < 1.0 + 1e-6, "{size} nodes: {node} holds {held}");
        }
    }
    println!("moved {moved}, least {least}");
    assert!(moved as f64 <= 1.02 * least as f64, "moved {moved}, least {least}");
}

/// Ten nodes join ten: no partition changes twice at once, and the detour costs nothing.
#[test]
fn doubling_the_nodes_moves_what_it_must() {
    let all = roles(0..20, &[1], 1);
    let old = Layout::first(CLUSTER, 3, bits(10), all[..10].to_vec()).unwrap();
    let goal = assign(Some(old.owned()), &all, 3, bits(10), ZoneRedundancy::Strict).unwrap();
    let plans = all_plans(&old, &all);
    let moved: usize = plans.iter().map(|plan| plan.moved).sum();
    println!("{} versions, moved {moved}, least {}", plans.len(), goal.least);
    assert_eq!(plans.len(), 2);
    assert!(moved as f64 <= 1.05 * goal.least as f64);
}

/// Pins algorithm and hash: if this changes, nodes of different builds plan different layouts. Then raise the
/// version in the hash's domain text and say so in the release notes.
#[test]
fn golden_layouts() {
    let golden = |layout: &Layout, expected: u128| assert_eq!(layout.hash(), LayoutHash(expected));
    let all = roles(0..13, &[1, 2, 4], 3);
    let first = Layout::first(CLUSTER, 3, bits(8), all[..11].to_vec()).unwrap();
    golden(&first, 0x600b_bb87_f7bd_089c_37c7_651c_1569_b081);
    let grown = all_plans(&first, &all[1..]).pop().unwrap().layout;
    golden(&grown, 0x2e29_9538_1d5d_6f8a_b3e6_e937_a472_4ba5);
    golden(&grown.split().unwrap(), 0xf2b9_2037_b856_18f5_70e0_453d_0b3c_12b7);
}
