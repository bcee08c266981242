//! Stories told step by step: each is a bug that a leaderless store once had, or that this one nearly had.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use starling_sim::world::Weather;
use starling_sim::{Notice, Sabotage, Seed, World, WorldOptions};
use starling_storage::CrashMode;
use starling_types::row::Space;
use starling_types::{BucketName, Key, RequestId};
use starling_wire::client::{AdminReply, AdminRequest, Seen};
use starling_wire::{KvOp, KvReply, KvRequest, QuorumChoice};

const QUICK: (Duration, Duration) = (Duration::from_micros(200), Duration::from_millis(1));

/// Three empty nodes on a calm network become a cluster.
fn cluster(sabotage: Sabotage) -> World {
    let options = WorldOptions {
        nodes: 3,
        weather: Weather::CALM,
        fsync: QUICK,
        laggard: None,
        clock_skew_ms: 0,
        inline_loads: 1.0,
        slow_loads: 0.0,
        sabotage,
    };
    let mut world = World::new(Seed(1), options);
    world.run_for(Duration::from_secs(1));
    let nodes = world.addresses();
    world.admin(0, AdminRequest::Init { nodes, copies: 3, bits: 2 });
    let notices = world.run_for(Duration::from_secs(3));
    let done = |n: &Notice| matches!(n, Notice::Admin(_, AdminReply::Initialised(_)));
    assert!(notices.iter().any(done), "{notices:?}");
    world
}

fn ask(world: &mut World, node: usize, op: KvOp, quorum: u8) -> KvReply {
    let number = world.now().nanos();
    let request = KvRequest {
        id: RequestId::from_bits(u128::from(number)),
        attempt: 0,
        issued: world.now_at(node).wall,
        began: world.now_at(node).wall,
        timeout_ms: 0,
        patience_ms: 0,
        bucket: BucketName::default_bucket(),
        key: Key::new("k").unwrap(),
        op,
        quorum: QuorumChoice { r: Some(quorum), w: Some(quorum), strict: None },
        forwarded: false,
    };
    let handle = world.request(node, request);
    let until = world.now() + Duration::from_secs(3);
    while let Some(notice) = world.next(until) {
        match notice {
            Notice::Reply(h, reply) if h == handle => return reply,
            _ => {}
        }
    }
    panic!("no answer");
}

/// A blind write.
fn put(world: &mut World, node: usize, value: &'static str, w: u8) {
    let op = KvOp::Put { value: Bytes::from_static(value.as_bytes()), seen: Seen::Local, ttl_ms: None };
    let reply = ask(world, node, op, w);
    assert!(matches!(reply, KvReply::Written(_)), "{value}: {reply:?}");
}

fn get(world: &mut World, node: usize, r: u8) -> Vec<Bytes> {
    match ask(world, node, KvOp::Get, r) {
        KvReply::Read(read) => read.siblings.into_iter().map(|s| s.value).collect(),
        other => panic!("{other:?}"),
    }
}

fn isolate(world: &mut World, node: usize) {
    for peer in (0..world.len()).filter(|&p| p != node) {
        world.cut(node, peer, true);
        world.cut(peer, node, true);
    }
}

/// The coordinator's peers ack before its own disk does; it loses power, comes back alone, and writes the same
/// key blindly [riak_kv#679].
fn amnesia(sabotage: Sabotage) -> Vec<Bytes> {
    let mut world = cluster(sabotage);
    put(&mut world, 0, "before", 3);
    world.set_fsync(0, Duration::from_secs(60), Duration::from_secs(60));
    put(&mut world, 0, "first", 2);
    world.crash_as(0, CrashMode::KeepSynced);
    world.run_for(Duration::from_secs(4));
    world.set_fsync(0, QUICK.0, QUICK.1);
    world.start(0);
    // Its peers know it, and no later life of it.
    world.run_for(Duration::from_secs(3));
    isolate(&mut world, 0);
    put(&mut world, 0, "second", 1);
    world.mend();
    world.run_for(Duration::from_secs(30));
    get(&mut world, 1, 3)
}

#[test]
fn a_coordinator_that_forgot_its_acked_write_does_not_bury_it() {
    assert_eq!(amnesia(Sabotage::None), ["first", "second"]);
}

/// The same story with the old actor kept shows what new actors are for.
#[test]
fn under_its_old_actor_it_would() {
    assert_eq!(amnesia(Sabotage::ForgeCleanMark), ["second"]);
}

/// A hint's delivery is acked so late that the row has grown and is under way again: the old ack must not drop
/// the new row.
#[test]
fn a_late_ack_does_not_drop_a_hint_that_has_grown() {
    let mut world = cluster(Sabotage::None);
    put(&mut world, 0, "before", 3);
    world.hold(0, 2);
    put(&mut world, 0, "first", 2);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.rows(0, Space::Hints).len(), 1, "patience ran out");
    // The hint arrives, its ack does not.
    world.hold(2, 0);
    world.release(0, 2, true);
    world.run_for(Duration::from_secs(4));
    assert_eq!(get(&mut world, 2, 1), ["first"]);
    // The row grows, and its delivery is on its way when the old ack arrives.
    world.hold(0, 2);
    put(&mut world, 0, "second", 2);
    world.run_for(Duration::from_secs(8));
    world.release(2, 0, false);
    world.run_for(Duration::from_millis(100));
    world.release(0, 2, true);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.rows(0, Space::Hints).len(), 0, "delivered");
    let row = world.rows(2, Space::Data).remove(0);
    assert_eq!(world.stored(2, &row), world.stored(0, &row));
}
