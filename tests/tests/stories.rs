//! Stories told step by step: each is a bug that a leaderless store once had, or that this one nearly had.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use starling_node::Pace;
use starling_sim::{Sabotage, World, WorldOptions};
use starling_storage::CrashMode;
use starling_tests::calm::{ask, calm, isolate, of, value, values};
use starling_types::row::Space;
use starling_wire::client::Seen;
use starling_wire::{KvOp, KvReply};

const KEY: (&str, &str) = ("default", "k");

fn cluster(sabotage: Sabotage) -> World {
    starling_tests::calm::cluster(WorldOptions { sabotage, ..calm(3) }, 3, Pace::OFF)
}

/// A blind write.
fn put(world: &mut World, node: usize, text: &str, w: u8) {
    let reply = ask(world, node, KEY, value(text, Seen::Local), of(w));
    assert!(matches!(reply, KvReply::Written(_)), "{text}: {reply:?}");
}

fn get(world: &mut World, node: usize, r: u8) -> Vec<Bytes> {
    values(ask(world, node, KEY, KvOp::Get, of(r))).unwrap()
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
    let (least, most) = calm(3).fsync;
    world.set_fsync(0, least, most);
    world.start(0);
    // Its peers know it, and no later generation of it.
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
