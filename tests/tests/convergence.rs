//! Replicas become equal by themselves: no client reads, no operator types a command, and the effect of hints is taken
//! away. Each test has a twin that switches sweeps off and sees the difference stay.

use std::time::Duration;

use starling_node::Pace;
use starling_sim::{Faults, Options, Report, Sabotage, World, WorldOptions, run};
use starling_tests::calm::{QUICK, ask, calm, isolate, of, value};
use starling_types::row::Space;
use starling_wire::client::Seen;
use starling_wire::{KvOp, KvReply};

/// Three nodes that keep no hints become a cluster.
fn cluster(sweep: Pace) -> World {
    let options = WorldOptions { sabotage: Sabotage::DropHints, ..calm(3) };
    starling_tests::calm::cluster(options, 3, sweep)
}

fn write(world: &mut World, node: usize, key: usize, text: Option<&str>) {
    let op = text.map_or(KvOp::Delete { seen: Seen::Local }, |text| value(text, Seen::Local));
    let reply = ask(world, node, ("default", &format!("key-{key}")), op, of(2));
    assert!(matches!(reply, KvReply::Written(_)), "{reply:?}");
}

/// How many of a node's records are not as those of node 0, missing ones included.
fn differing(world: &World, node: usize) -> usize {
    let rows = world.rows(0, Space::Data);
    assert!(world.rows(node, Space::Data).len() <= rows.len());
    rows.iter().filter(|row| world.stored(node, row) != world.stored(0, row)).count()
}

/// A node is away while keys are written, replaced and deleted, and comes back; no node kept a hint for it.
fn node_that_missed_writes(sweep: Pace) -> World {
    let mut world = cluster(sweep);
    (0..30).for_each(|key| write(&mut world, 0, key, Some("before")));
    isolate(&mut world, 2);
    world.run_for(Duration::from_secs(10));
    (20..40).for_each(|key| write(&mut world, key % 2, key, Some("meanwhile")));
    (0..5).for_each(|key| write(&mut world, 0, key, None));
    assert_eq!(differing(&world, 1), 0);
    assert_eq!(differing(&world, 2), 25);
    world.mend();
    world.run_for(Duration::from_secs(30));
    world
}

#[test]
fn a_node_that_missed_writes_is_equal_again_without_a_command() {
    let world = node_that_missed_writes(QUICK);
    for node in 1..3 {
        assert_eq!(differing(&world, node), 0, "node {node}");
    }
    for node in 0..3 {
        let status = world.node(node).unwrap().status(world.now_at(node));
        assert_eq!(status.repair.behind_partitions, Some(0), "node {node}");
        let now = world.now_at(node).wall.millis();
        let through = status.repair.repaired_through_ms.unwrap();
        assert!(now - through <= 10_000, "compared {} ms ago", now - through);
    }
    let sweeps = (0..3).map(|node| world.node(node).unwrap().counters().sweep);
    let repaired: u64 = sweeps.map(|sweep| sweep.repaired).sum();
    assert!(repaired >= 25, "{repaired} repaired");
}

#[test]
fn without_sweeps_it_would_stay_behind() {
    let world = node_that_missed_writes(Pace::OFF);
    assert_eq!(differing(&world, 2), 25);
}

/// Crashes included: a write whose coordinator died has no hint, and here no client reads.
fn unread_storm(sweep: Pace) -> Options {
    let faults = Faults { crashes: true, cuts: true, drains: true, ..Faults::NONE };
    Options { faults, final_reads: false, sweep, ..Options::stormy(3) }
}

fn bad(options: &Options, seeds: std::ops::Range<u64>) -> Vec<Report> {
    seeds.map(|seed| run(seed, options)).filter(|report| !report.is_clean()).collect()
}

#[test]
fn owners_agree_after_any_storm_without_a_read() {
    let mut five = unread_storm(QUICK);
    five.world.nodes = 5;
    let bad: Vec<Report> = bad(&unread_storm(QUICK), 0..20).into_iter().chain(bad(&five, 100..105)).collect();
    bad.iter().for_each(|report| println!("{}", report.explain()));
    assert!(bad.is_empty(), "{} bad seeds", bad.len());
}

#[test]
fn without_sweeps_some_storm_leaves_owners_apart() {
    assert!(!bad(&unread_storm(Pace::OFF), 0..20).is_empty());
}

#[test]
fn an_idle_pass_compares_every_page_once() {
    let mut world = cluster(QUICK);
    (0..90).for_each(|key| write(&mut world, 0, key, Some("value")));
    world.run_for(Duration::from_secs(20));
    let pages = |world: &World| {
        (0..3)
            .map(|n| world.node(n).unwrap().counters().sweep)
            .fold((0, 0), |sum, sweep| (sum.0 + sweep.pages, sum.1 + sweep.passes))
    };
    let before = pages(&world);
    world.run_for(Duration::from_secs(60));
    let after = pages(&world);
    let (pages, passes) = (after.0 - before.0, after.1 - before.1);
    // Pages here hold four rows, of which the last one's token begins the next page.
    assert!(passes >= 3 * 15 && pages <= passes * 31, "{pages} pages in {passes} passes");
}
