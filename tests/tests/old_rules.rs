//! A node that has not heard of a bucket's new rules yet: what it settles by the old ones stays with the old ones.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use starling_node::{Losses, Pace};
use starling_sim::World;
use starling_tests::calm::{SECOND, calm, isolate, of, rule, send, value, values};
use starling_types::{Conflict, Outcome};
use starling_wire::client::Seen;
use starling_wire::{KvOp, KvReply, KvRequest};

/// Three nodes with a bucket in which the last writer wins.
fn cluster(sweep: Pace) -> World {
    let mut world = starling_tests::calm::cluster(calm(3), 3, sweep);
    set(&mut world, Conflict::Lww, true);
    world.run_for(SECOND);
    world
}

/// The node that is behind: the one that walks with both others when replicas are compared.
fn late(world: &World) -> usize {
    (0..3).min_by_key(|&node| world.id(node)).unwrap()
}

fn others(world: &World) -> [usize; 2] {
    let late = late(world);
    [(late + 1) % 3, (late + 2) % 3]
}

fn set(world: &mut World, conflict: Conflict, create: bool) {
    starling_tests::calm::set(world, others(world)[0], "b", rule(conflict), create);
}

fn ask(world: &mut World, node: usize, key: &str, op: KvOp, quorum: u8, timeout_ms: u32) -> KvReply {
    let request = request(world, node, key, op, quorum, timeout_ms);
    send(world, node, request)
}

fn request(world: &World, node: usize, key: &str, op: KvOp, quorum: u8, timeout_ms: u32) -> KvRequest {
    let request = starling_tests::calm::request(world, node, ("b", key), op, of(quorum));
    KvRequest { timeout_ms, ..request }
}

/// A write that has seen nothing.
fn put(world: &mut World, node: usize, text: &str, w: u8) {
    let reply = ask(world, node, "k", value(text, Seen::Nothing), w, 0);
    assert!(matches!(reply, KvReply::Written(_)), "{text}: {reply:?}");
}

fn get(world: &mut World, node: usize, r: u8) -> Vec<Bytes> {
    values(ask(world, node, "k", KvOp::Get, r, 0)).unwrap()
}

fn knows_the_new_rules(world: &World) -> bool {
    let digest = |node| world.node(node).unwrap().view().buckets().digest();
    digest(late(world)) == digest(others(world)[0])
}

/// The rule has become `siblings` while one node was cut off, and two writes side by side were acked since. The node is
/// reachable again, and what the others say of themselves is still on its way.
fn behind(sweep: Pace) -> World {
    let mut world = cluster(sweep);
    let (late, [first, second]) = (late(&world), others(&world));
    isolate(&mut world, late);
    world.run_for(5 * SECOND);
    set(&mut world, Conflict::Siblings, false);
    put(&mut world, first, "one", 2);
    put(&mut world, second, "two", 2);
    assert_eq!(get(&mut world, first, 2).len(), 2, "both acked, both there");
    // From now on it mints without waiting for its disk.
    write_late(&mut world, "another");
    world.mend();
    world
}

/// Asks the node that is behind until it answers.
fn first_read(world: &mut World) -> Vec<Bytes> {
    let late = late(world);
    for _ in 0..3_000 {
        if let reply @ KvReply::Read(_) = ask(world, late, "k", KvOp::Get, 2, 5) {
            return values(reply).unwrap();
        }
    }
    panic!("no read was answered")
}

/// The longest that a table may be on its way to the disk.
fn slow_disk(world: &mut World) {
    world.set_fsync(late(world), SECOND, SECOND);
}

fn both() -> Vec<Bytes> {
    ["one", "two"].map(|v| Bytes::from_static(v.as_bytes())).to_vec()
}

#[test]
fn a_read_under_the_old_rule_repairs_nobody_by_it() {
    let mut world = behind(Pace::OFF);
    slow_disk(&mut world);
    let shown = first_read(&mut world);
    assert!(!knows_the_new_rules(&world), "the story is about this moment");
    assert_eq!(shown, both(), "under rules that it does not know it hides nothing");
    world.run_for(30 * SECOND);
    (0..3).for_each(|node| assert_eq!(get(&mut world, node, 3), both()));
}

#[test]
fn without_that_read_both_siblings_stay_too() {
    let mut world = behind(Pace::OFF);
    world.run_for(30 * SECOND);
    (0..3).for_each(|node| assert_eq!(get(&mut world, node, 3), both()));
}

/// A write at the node that is behind, with any result.
fn write_late(world: &mut World, key: &str) {
    ask(world, late(world), key, value("three", Seen::Nothing), 1, 0);
}

fn assert_both_are_there(mut world: World) {
    world.run_for(30 * SECOND);
    for node in 0..3 {
        let left = get(&mut world, node, 3);
        assert!(both().iter().all(|value| left.contains(value)), "{left:?} at {node}");
    }
}

#[test]
fn a_write_under_the_old_rule_after_such_a_read_replaces_nothing() {
    let mut world = behind(Pace::OFF);
    slow_disk(&mut world);
    first_read(&mut world);
    assert!(!knows_the_new_rules(&world));
    write_late(&mut world, "k");
    assert_both_are_there(world);
}

/// The lost rows are pulled from the others before it has heard of the new rule.
#[test]
fn a_refill_brings_nothing_that_the_old_rule_settles() {
    let mut world = behind(Pace::OFF);
    let late = late(&world);
    world.find_lost(late, &Losses::everything());
    slow_disk(&mut world);
    world.start(late);
    let mut was_behind = 0;
    for _ in 0..100 {
        world.run_for(Duration::from_millis(50));
        let pulls = world.node(late).unwrap().counters().sweep.pages;
        was_behind += usize::from(pulls > 0 && !knows_the_new_rules(&world));
    }
    assert!(was_behind > 0, "the story is about this moment");
    assert_both_are_there(world);
}

/// A retry of a write that was acked under the new rule comes to the node that has not heard of it.
#[test]
fn a_retry_under_the_old_rule_takes_nothing_over_that_it_cannot_keep() {
    let mut world = behind(Pace::OFF);
    slow_disk(&mut world);
    let ([first, _], late) = (others(&world), late(&world));
    let write = request(&world, first, "k", value("three", Seen::Nothing), 2, 20_000);
    assert!(matches!(send(&mut world, first, write.clone()), KvReply::Written(_)));
    // As soon as it can be reached.
    first_read(&mut world);
    assert!(!knows_the_new_rules(&world), "the story is about this moment");
    let retry = KvRequest { attempt: 1, began: world.now_at(late).wall, ..write };
    let KvReply::Failed(failure) = send(&mut world, late, retry.clone()) else { panic!("it cannot") };
    assert_eq!(failure.outcome, Outcome::Unknown, "{failure}");
    world.run_for(5 * SECOND);
    let retry = KvRequest { attempt: 2, began: world.now_at(late).wall, ..retry };
    let reply = send(&mut world, late, retry);
    assert!(matches!(reply, KvReply::Written(_)), "{reply:?}");
    world.run_for(30 * SECOND);
    (0..3).for_each(|node| assert_eq!(get(&mut world, node, 3).len(), 3, "once, beside the others"));
}
