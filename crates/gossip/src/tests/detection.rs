//! How soon a death is known, and how seldom a living member is thought dead: the goals of `ring-and-layout`,
//! section 5, in virtual time.

use std::time::Duration;

use starling_types::Instant;

use super::world::World;
use crate::testing::node;
use crate::{Event, Notice, Status};

const SECOND: Duration = Duration::from_secs(1);

/// Milliseconds from a crash until the first and until the last member knew, for each seed.
fn detections(members: u64, loss: f64, seeds: std::ops::Range<u64>) -> (Vec<u64>, Vec<u64>) {
    let (mut first, mut last) = (Vec::new(), Vec::new());
    for seed in seeds {
        let settle = 5 * SECOND + Duration::from_millis(seed * 37 % 400);
        let mut world = World::cluster(seed, loss, members, settle);
        world.notices.clear();
        let (victim, crashed) = (1 + seed % members, world.now);
        world.crash(victim);
        let known =
            |world: &World| world.nodes.keys().all(|n| world.status(*n, victim) == Some(Status::Dead));
        assert!(world.run_for(20 * SECOND, known), "seed {seed}: not everybody knows");
        let told = world.told(Notice::Dead, victim);
        first.push(told.first().unwrap().0 - millis(crashed));
        last.push(told.last().unwrap().0 - millis(crashed));
    }
    first.sort_unstable();
    last.sort_unstable();
    (first, last)
}

fn millis(at: Instant) -> u64 {
    at.nanos() / 1_000_000
}

fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

fn assert_goal(members: u64, loss: f64, seeds: u64, goal_ms: u64) {
    let (first, last) = detections(members, loss, 0..seeds);
    let show =
        |name: &str, ms: &[u64]| format!("{name} p50 {} p99 {}", percentile(ms, 50), percentile(ms, 99));
    println!("{members} members, loss {loss}: {}, {}", show("first", &first), show("all know", &last));
    assert!(percentile(&first, 99) < goal_ms, "first p99 {} ms", percentile(&first, 99));
    assert!(percentile(&last, 99) < goal_ms + 500, "all know p99 {} ms", percentile(&last, 99));
}

#[test]
fn two_members_detect_a_death() {
    assert_goal(2, 0.05, 100, 3_000);
}

#[test]
fn three_members_detect_a_death() {
    assert_goal(3, 0.05, 100, 3_000);
}

#[test]
fn ten_members_detect_a_death() {
    assert_goal(10, 0.05, 60, 3_000);
}

#[test]
fn a_hundred_members_detect_a_death() {
    assert_goal(100, 0.05, 2, 5_000);
}

fn false_positives(members: u64, loss: f64, span: Duration) -> usize {
    let mut world = World::cluster(42, loss, members, 5 * SECOND);
    world.notices.clear();
    world.run(span);
    assert!(world.agrees() || loss > 0.05);
    world.convictions()
}

#[test]
fn nobody_alive_is_convicted_at_five_percent_loss() {
    for members in [2, 3, 10] {
        assert_eq!(false_positives(members, 0.05, 15 * 60 * SECOND), 0, "{members} members");
    }
}

#[test]
fn a_closed_connection_is_doubted_within_half_a_second() {
    let mut world = World::cluster(9, 0.0, 3, 5 * SECOND);
    world.notices.clear();
    let crashed = world.now;
    world.crash(3);
    world.tell(1, Event::Disconnected(node(3)));
    world.run(2 * SECOND);
    let doubted = world.told(Notice::Suspect, 3)[0].0 - millis(crashed);
    assert!(doubted <= 500, "{doubted} ms");
}

#[test]
fn a_closed_connection_to_a_living_member_is_no_reason_to_suspect_it() {
    let mut world = World::cluster(9, 0.0, 3, 5 * SECOND);
    world.notices.clear();
    world.tell(1, Event::Disconnected(node(3)));
    world.run(5 * SECOND);
    assert_eq!(world.notices, []);
}

#[test]
fn a_node_that_was_stopped_convicts_nobody() {
    let mut world = World::cluster(4, 0.0, 5, 5 * SECOND);
    world.notices.clear();
    world.pause(3, 20 * SECOND);
    world.run(60 * SECOND);
    let accused: Vec<_> = world.notices.iter().filter(|(_, who, _)| *who == 3).collect();
    assert_eq!(accused, Vec::<&(Instant, u64, Notice)>::new());
    assert!(world.agrees(), "the others do not have it back");
}

#[test]
fn a_partition_of_two_and_one_heals() {
    for seed in 0..10 {
        let mut world = World::cluster(seed, 0.05, 3, 5 * SECOND);
        world.cut(&[1, 2], &[3]);
        world.run(30 * SECOND);
        assert_eq!(world.status(1, 3), Some(Status::Dead));
        assert_eq!(world.status(3, 1), Some(Status::Dead));
        assert_eq!(world.status(1, 2), Some(Status::Alive));
        world.heal();
        assert!(world.run_for(15 * SECOND, World::agrees), "seed {seed}");
        world.notices.clear();
        world.run(30 * SECOND);
        assert_eq!(world.convictions(), 0, "seed {seed}: the old verdicts came back");
    }
}

#[test]
fn a_connection_heals_a_partition_at_once() {
    let mut world = World::cluster(1, 0.0, 3, 5 * SECOND);
    world.cut(&[1, 2], &[3]);
    world.run(30 * SECOND);
    world.heal();
    world.tell(1, Event::Connected(node(3)));
    world.run(Duration::from_millis(20));
    assert_eq!(world.status(1, 3), Some(Status::Alive));
    assert_eq!(world.status(3, 1), Some(Status::Alive), "the one who was asked knows it is not alone");
}

#[test]
fn halves_of_twenty_heal() {
    let mut world = World::cluster(2, 0.05, 20, 5 * SECOND);
    let (left, right): (Vec<u64>, Vec<u64>) = (1..=20).partition(|bits| *bits <= 10);
    world.cut(&left, &right);
    world.run(60 * SECOND);
    world.heal();
    assert!(world.run_for(60 * SECOND, World::agrees));
}

#[test]
fn idle_traffic_is_within_the_goal() {
    let (members, seconds) = (100, 20);
    let mut world = World::cluster(1, 0.0, members, 10 * SECOND);
    (world.bytes, world.datagrams) = (0, 0);
    world.run(seconds * SECOND);
    let per_node = |total: u64| total as f64 / members as f64 / f64::from(seconds);
    let (messages, bytes) = (per_node(world.datagrams), per_node(world.bytes + world.datagrams * 63));
    println!("{messages:.1} messages, {bytes:.0} bytes a second and node");
    assert!(bytes < 1_000.0, "{bytes} bytes a second and node");
}
