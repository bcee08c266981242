//! Replicas become equal by themselves: nobody reads, nobody types a command, and what hints would have done is taken
//! away. Each test has a twin that switches sweeps off and sees the difference stay.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use starling_node::Pace;
use starling_sim::world::Weather;
use starling_sim::{Faults, Notice, Options, Report, Sabotage, Seed, World, WorldOptions, run};
use starling_types::row::Space;
use starling_types::{BucketName, Key, RequestId};
use starling_wire::client::{AdminReply, AdminRequest, Seen};
use starling_wire::{KvOp, KvReply, KvRequest, QuorumChoice};

/// Virtual time is cheap, but not free.
const QUICK: Pace =
    Pace { period: Duration::from_secs(2), soon: Duration::from_millis(500), gap: Duration::from_millis(5) };

/// Three nodes that keep no hints become a cluster.
fn cluster(sweep: Pace) -> World {
    let options = WorldOptions {
        nodes: 3,
        weather: Weather::CALM,
        fsync: (Duration::from_micros(200), Duration::from_millis(1)),
        laggard: None,
        clock_skew_ms: 0,
        inline_loads: 1.0,
        slow_loads: 0.0,
        sabotage: Sabotage::DropHints,
    };
    let mut world = World::sweeping(Seed(1), options, sweep);
    world.run_for(Duration::from_secs(1));
    let nodes = world.addresses();
    world.admin(0, AdminRequest::Init { nodes, copies: 3, bits: 2 });
    let notices = world.run_for(Duration::from_secs(3));
    let done = |n: &Notice| matches!(n, Notice::Admin(_, AdminReply::Initialised(_)));
    assert!(notices.iter().any(done), "{notices:?}");
    world
}

fn write(world: &mut World, node: usize, key: usize, value: Option<&str>) {
    let op = match value {
        Some(value) => KvOp::Put { value: Bytes::from(value.to_owned()), seen: Seen::Local, ttl_ms: None },
        None => KvOp::Delete { seen: Seen::Local },
    };
    let request = KvRequest {
        id: RequestId::from_bits(u128::from(world.now().nanos())),
        attempt: 0,
        issued: world.now_at(node).wall,
        began: world.now_at(node).wall,
        timeout_ms: 0,
        patience_ms: 0,
        bucket: BucketName::default_bucket(),
        key: Key::new(format!("key-{key}")).unwrap(),
        op,
        quorum: QuorumChoice { r: None, w: Some(2), strict: None },
        forwarded: false,
    };
    let handle = world.request(node, request);
    let until = world.now() + Duration::from_secs(3);
    while let Some(notice) = world.next(until) {
        if let Notice::Reply(h, reply) = notice
            && h == handle
        {
            assert!(matches!(reply, KvReply::Written(_)), "{reply:?}");
            return;
        }
    }
    panic!("no answer");
}

fn cut(world: &mut World, node: usize, cut: bool) {
    for peer in (0..world.len()).filter(|&p| p != node) {
        world.cut(node, peer, cut);
        world.cut(peer, node, cut);
    }
}

/// How many of a node's records are not as those of node 0, missing ones included.
fn differing(world: &World, node: usize) -> usize {
    let rows = world.rows(0, Space::Data);
    assert!(world.rows(node, Space::Data).len() <= rows.len());
    rows.iter().filter(|row| world.stored(node, row) != world.stored(0, row)).count()
}

/// A node is away while keys are written, replaced and deleted, and comes back; nobody kept a hint for it.
fn node_that_missed_writes(sweep: Pace) -> World {
    let mut world = cluster(sweep);
    (0..30).for_each(|key| write(&mut world, 0, key, Some("before")));
    cut(&mut world, 2, true);
    world.run_for(Duration::from_secs(10));
    (20..40).for_each(|key| write(&mut world, key % 2, key, Some("meanwhile")));
    (0..5).for_each(|key| write(&mut world, 0, key, None));
    assert_eq!(differing(&world, 1), 0);
    assert_eq!(differing(&world, 2), 25);
    cut(&mut world, 2, false);
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

/// Crashes included: a write whose coordinator died has no hint, and here nobody reads.
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
