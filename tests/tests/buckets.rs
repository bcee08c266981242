//! Buckets on whole nodes: created on one, used on all; rules that change while some do not hear of it.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use starling_node::Pace;
use starling_sim::World;
use starling_tests::calm::{calm, isolate, of, rule, value, values};
use starling_types::row::Space;
use starling_types::{BucketChanges, Conflict, Outcome};
use starling_wire::client::Seen;
use starling_wire::{FailureKind, KvOp, KvReply, QuorumChoice};

/// Three nodes that are one cluster, every one of which owns every key.
fn cluster() -> World {
    starling_tests::calm::cluster(calm(3), 3, Pace::OFF)
}

fn lww() -> BucketChanges {
    rule(Conflict::Lww)
}

/// Members that have it when the operator is answered.
fn set(world: &mut World, node: usize, changes: BucketChanges, create: bool) -> u32 {
    starling_tests::calm::set(world, node, "b", changes, create).0
}

fn ask(world: &mut World, node: usize, op: KvOp, quorum: QuorumChoice) -> KvReply {
    starling_tests::calm::ask(world, node, ("b", "k"), op, quorum)
}

/// A write that has seen nothing: it stands beside the present siblings, if the bucket lets it.
fn beside(text: &str) -> KvOp {
    value(text, Seen::Nothing)
}

fn put(world: &mut World, node: usize, text: &str, quorum: QuorumChoice) {
    let reply = ask(world, node, beside(text), quorum);
    assert!(matches!(reply, KvReply::Written(_)), "{text}: {reply:?}");
}

fn get(world: &mut World, node: usize, quorum: QuorumChoice) -> Vec<Bytes> {
    values(ask(world, node, KvOp::Get, quorum)).unwrap()
}

/// The values that every node has on disk for the one key.
fn stored(world: &World) -> Vec<Vec<Bytes>> {
    let of = |node| {
        let row = world.rows(node, Space::Data).remove(0);
        let record = world.stored(node, &row).unwrap();
        record.siblings().iter().filter_map(|s| s.value().cloned()).collect()
    };
    (0..world.len()).map(of).collect()
}

fn digest(world: &World, node: usize) -> u64 {
    world.node(node).unwrap().view().buckets().digest()
}

#[test]
fn a_bucket_created_on_one_node_is_at_once_there_on_all() {
    let mut world = cluster();
    let reply = ask(&mut world, 1, beside("early"), of(3));
    let KvReply::Failed(failure) = reply else { panic!("{reply:?}") };
    assert_eq!((failure.kind, failure.outcome), (FailureKind::NoSuchBucket, Outcome::NotApplied));
    assert!(failure.detail.contains("starling bucket create b"), "{failure}");
    assert_eq!(set(&mut world, 0, BucketChanges::default(), true), 3);
    put(&mut world, 1, "first", of(3));
    put(&mut world, 2, "second", of(3));
    assert_eq!(get(&mut world, 0, of(3)), ["first", "second"]);
}

#[test]
fn in_a_bucket_where_the_last_writer_wins_one_value_stays_everywhere() {
    let mut world = cluster();
    set(&mut world, 0, lww(), true);
    put(&mut world, 1, "first", of(3));
    put(&mut world, 2, "second", of(3));
    assert_eq!(stored(&world), vec![vec![Bytes::from_static(b"second")]; 3], "coordinated and merged");
    // Two that do not see each other, and hints and repairs that bring them together.
    isolate(&mut world, 0);
    world.run_for(Duration::from_secs(4));
    put(&mut world, 0, "apart", of(1));
    world.run_for(Duration::from_secs(1));
    put(&mut world, 1, "last", of(1));
    world.mend();
    world.run_for(Duration::from_secs(30));
    assert_eq!(stored(&world), vec![vec![Bytes::from_static(b"last")]; 3]);
    assert_eq!(get(&mut world, 0, of(3)), ["last"]);
}

#[test]
fn a_node_that_was_away_learns_of_a_bucket_when_it_is_back_and_keeps_it() {
    let mut world = cluster();
    world.crash(2);
    world.run_for(Duration::from_secs(4));
    assert_eq!(set(&mut world, 0, lww(), true), 2);
    put(&mut world, 1, "v", QuorumChoice::default());
    world.start(2);
    world.run_for(Duration::from_secs(30));
    assert_eq!(digest(&world, 2), digest(&world, 0));
    assert_eq!(stored(&world), vec![vec![Bytes::from_static(b"v")]; 3], "hints were not refused for ever");
    (0..3).for_each(|node| world.crash(node));
    (0..3).for_each(|node| world.start(node));
    world.run_for(Duration::from_secs(10));
    assert_eq!(get(&mut world, 2, of(3)), ["v"]);
}

#[test]
fn gossip_brings_a_change_that_was_lost_on_its_way() {
    let mut world = cluster();
    world.hold(0, 2);
    world.hold(1, 2);
    assert_eq!(set(&mut world, 0, lww(), true), 2);
    world.release(0, 2, true);
    world.release(1, 2, true);
    assert_eq!(digest(&world, 2), 0);
    world.run_for(Duration::from_secs(30));
    assert_eq!(digest(&world, 2), digest(&world, 0));
}

/// Node 2 hears nothing of node 0's change until a write of node 0 arrives: it refuses, learns, and takes it.
#[test]
fn a_replica_that_missed_a_change_learns_it_from_the_write() {
    let mut world = cluster();
    world.hold(0, 2);
    world.hold(1, 2);
    let before = world.now();
    assert_eq!(set(&mut world, 0, BucketChanges::default(), true), 2);
    assert!(world.now().since(before) >= Duration::from_secs(1), "it was waited for");
    assert_eq!(digest(&world, 2), 0);
    world.release(0, 2, true);
    world.release(1, 2, true);
    put(&mut world, 0, "v", of(3));
    assert_eq!(digest(&world, 2), digest(&world, 0));
    assert_eq!(stored(&world), vec![vec![Bytes::from_static(b"v")]; 3]);
}

/// Node 2 still believes in the last writer when the others keep siblings: nothing is dropped by its old rule.
#[test]
fn siblings_are_not_settled_by_a_replica_with_the_old_rule() {
    let mut world = cluster();
    set(&mut world, 0, lww(), true);
    world.hold(0, 2);
    world.hold(1, 2);
    let siblings = rule(Conflict::Siblings);
    set(&mut world, 0, siblings, false);
    put(&mut world, 0, "first", QuorumChoice::default());
    put(&mut world, 1, "second", QuorumChoice::default());
    world.release(0, 2, true);
    world.release(1, 2, true);
    put(&mut world, 0, "third", of(3));
    world.run_for(Duration::from_secs(30));
    let three = ["first", "second", "third"].map(|v| Bytes::from_static(v.as_bytes())).to_vec();
    assert_eq!(stored(&world), vec![three; 3]);
}

/// Node 2 would still ack what the bucket does not allow any more.
#[test]
fn a_coordinator_with_the_old_rules_does_not_ack_by_them() {
    let mut world = cluster();
    let loose = BucketChanges { durable: Some(false), ..BucketChanges::default() };
    set(&mut world, 0, loose, true);
    world.hold(0, 2);
    world.hold(1, 2);
    let strict = BucketChanges { durable: Some(true), strict: Some(true), ..BucketChanges::default() };
    assert_eq!(set(&mut world, 0, strict, false), 2);
    // Messages of the replicas to node 2 arrive from now on; earlier ones do not.
    world.release(0, 2, true);
    world.release(1, 2, true);
    let reply = ask(&mut world, 2, beside("loose"), QuorumChoice::default());
    let KvReply::Failed(failure) = reply else { panic!("{reply:?}") };
    assert_eq!(failure.outcome, Outcome::Unknown);
    assert!(failure.detail.contains("properties"), "{failure}");
    put(&mut world, 2, "again", QuorumChoice::default());
    let lowered = ask(&mut world, 1, beside("one"), of(1));
    let KvReply::Failed(failure) = lowered else { panic!("{lowered:?}") };
    assert_eq!((failure.kind, failure.outcome), (FailureKind::BadRequest, Outcome::NotApplied));
}
