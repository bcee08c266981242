//! Disks that damage, lose or have no room for what they were given, story by story.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use starling_node::Pace;
use starling_sim::{Notice, World};
use starling_tests::calm::{QUICK, SECOND, alarms, calm, of, suspects, value, values};
use starling_types::Outcome;
use starling_types::row::Space;
use starling_wire::client::Seen;
use starling_wire::{Failure, FailureKind, KvOp, KvReply};

fn cluster(sweep: Pace) -> World {
    starling_tests::calm::cluster(calm(3), 3, sweep)
}

fn ask(world: &mut World, node: usize, key: &str, op: KvOp, quorum: u8) -> KvReply {
    starling_tests::calm::ask(world, node, ("default", key), op, of(quorum))
}

fn put(world: &mut World, node: usize, key: &str, text: &str, w: u8) -> Result<(), Failure> {
    match ask(world, node, key, value(text, Seen::Local), w) {
        KvReply::Written(_) => Ok(()),
        KvReply::Failed(failure) => Err(failure),
        other => panic!("{other:?}"),
    }
}

fn delete(world: &mut World, node: usize, key: &str, w: u8) {
    let reply = ask(world, node, key, KvOp::Delete { seen: Seen::Local }, w);
    assert!(matches!(reply, KvReply::Written(_)), "{reply:?}");
}

fn get(world: &mut World, node: usize, key: &str, r: u8) -> Result<Vec<Bytes>, Failure> {
    values(ask(world, node, key, KvOp::Get, r))
}

fn isolate(world: &mut World, node: usize) {
    starling_tests::calm::isolate(world, node);
    // Long enough for every node to notice.
    world.run_for(4 * SECOND);
}

/// Whether the node holds what node 0 does.
fn is_equal(world: &World, node: usize) -> bool {
    let rows = world.rows(0, Space::Data);
    rows == world.rows(node, Space::Data)
        && rows
            .iter()
            .all(|row| world.stored(0, row).is_some() && world.stored(node, row) == world.stored(0, row))
}

/// Node 1 has a damaged row that is in no node's memory.
fn with_a_damaged_row(pace: Pace) -> World {
    let mut world = cluster(pace);
    put(&mut world, 0, "k", "v", 3).unwrap();
    world.crash(1);
    world.start(1);
    world.run_for(2 * SECOND);
    let row = world.rows(1, Space::Data).remove(0);
    world.damage(1, Space::Data, &row);
    world
}

#[test]
fn a_damaged_row_is_never_absent_and_comes_back_from_other_owners() {
    let mut world = with_a_damaged_row(Pace::OFF);
    assert_eq!(get(&mut world, 1, "k", 1).unwrap(), ["v"], "somebody else was asked");
    world.run_for(2 * SECOND);
    assert_eq!((world.damaged(1), suspects(&world, 1)), (0, 0));
    assert!(is_equal(&world, 1));
    assert_eq!(alarms(&world, 1, "a stored record is damaged"), 1);
    let counters = world.node(1).unwrap().counters();
    assert_eq!(
        (counters.custody.doubted, counters.custody.refilled, counters.custody.refilled_short),
        (1, 1, 0)
    );
}

#[test]
fn damage_that_nobody_reads_is_found_by_a_sweep() {
    let mut world = with_a_damaged_row(QUICK);
    world.run_for(15 * SECOND);
    assert_eq!((world.damaged(1), suspects(&world, 1)), (0, 0));
    assert!(is_equal(&world, 1));
}

#[test]
fn damage_that_nobody_reads_is_found_by_scrubbing() {
    let mut world = with_a_damaged_row(Pace::OFF);
    world.scrub(1);
    world.run_for(2 * SECOND);
    assert_eq!((world.damaged(1), suspects(&world, 1)), (0, 0));
    assert!(is_equal(&world, 1));
    assert_eq!(world.node(1).unwrap().counters().custody.doubted, 1);
}

/// Node 1 alone has acknowledged a write, and its disk does not give the row for a while: in this time nothing takes its
/// place, and no node calls it absent.
#[test]
fn a_row_that_the_disk_does_not_give_is_neither_lost_nor_replaced() {
    for pace in [Pace::OFF, QUICK] {
        let mut world = cluster(pace);
        put(&mut world, 0, "k", "old", 3).unwrap();
        isolate(&mut world, 1);
        put(&mut world, 1, "k", "mine", 1).unwrap();
        world.crash(1);
        world.start(1);
        let row = world.rows(1, Space::Data).remove(0);
        world.hide(1, Space::Data, &row);
        // Neither a suspicion of everything nor sweeps give it up.
        world.scrub(1);
        // The hints that it kept are not asked for: they would tell the others.
        world.rows(1, Space::Hints).iter().for_each(|row| world.damage(1, Space::Hints, row));
        world.mend();
        world.run_for(20 * SECOND);
        let shown = get(&mut world, 1, "k", 1).unwrap();
        assert_eq!(shown, ["old"], "somebody else was asked");
        let counters = world.node(1).unwrap().counters();
        assert_eq!(
            (counters.custody.doubted, counters.vnodes.discarded),
            (0, 2),
            "the hints alone were discarded"
        );
        world.heal_disk(1);
        world.run_for(2 * SECOND);
        let mut shown = get(&mut world, 1, "k", 3).unwrap();
        shown.sort();
        assert!(shown.contains(&Bytes::from_static(b"mine")), "{shown:?}");
        world.run_for(20 * SECOND);
        assert_eq!(suspects(&world, 1), 0);
    }
}

/// The same in a partition of which the node may have lost something: it stays unsure until all of it could be read.
#[test]
fn what_cannot_be_read_keeps_a_suspected_partition_unsure() {
    let mut world = cluster(Pace::OFF);
    put(&mut world, 0, "k", "v", 3).unwrap();
    put(&mut world, 0, "lost", "v", 3).unwrap();
    let row = world.rows(1, Space::Data).remove(0);
    world.lose_commits(1, 1);
    world.hide(1, Space::Data, &row);
    world.start(1);
    world.run_for(30 * SECOND);
    assert_eq!(suspects(&world, 1), 1, "the partition of the row that is not given");
    world.heal_disk(1);
    world.run_for(40 * SECOND);
    assert_eq!(suspects(&world, 1), 0);
    assert!(is_equal(&world, 1));
}

/// Two owners acked a write. One loses its disk, and the disk of the other does not give the row: a third owner, which
/// never had it, and this one are not enough to say that it is absent.
#[test]
fn an_owner_that_cannot_read_a_row_is_no_source_of_what_another_lost() {
    let mut world = cluster(Pace::OFF);
    isolate(&mut world, 2);
    put(&mut world, 0, "k", "v", 2).unwrap();
    world.run_for(SECOND);
    world.crash(1);
    world.start(1);
    let row = world.rows(1, Space::Data).remove(0);
    world.hide(1, Space::Data, &row);
    world.lose_commits(0, 6);
    assert!(world.rows(0, Space::Data).is_empty() && world.rows(0, Space::Hints).is_empty());
    world.start(0);
    world.mend();
    world.run_for(20 * SECOND);
    assert_eq!(suspects(&world, 0), 1);
    isolate(&mut world, 1);
    let shown = get(&mut world, 0, "k", 2);
    assert!(shown.as_ref().is_err_and(|failure| failure.kind == FailureKind::QuorumNotReached), "{shown:?}");
    world.heal_disk(1);
    world.mend();
    world.run_for(20 * SECOND);
    assert_eq!(suspects(&world, 0), 0);
    assert_eq!(get(&mut world, 0, "k", 2).unwrap(), ["v"]);
}

#[test]
fn a_row_that_nobody_else_has_is_given_up() {
    let mut world = cluster(Pace::OFF);
    isolate(&mut world, 1);
    put(&mut world, 1, "k", "mine", 1).unwrap();
    world.run_for(SECOND);
    world.crash(1);
    world.start(1);
    world.run_for(2 * SECOND);
    let row = world.rows(1, Space::Data).remove(0);
    world.damage(1, Space::Data, &row);
    let failure = get(&mut world, 1, "k", 1).unwrap_err();
    assert_eq!(failure.kind, FailureKind::QuorumNotReached, "not found would be a lie: {failure}");
    assert_eq!(suspects(&world, 1), 1);
    // The hints that it kept go with the partition of the network.
    world.rows(1, Space::Hints).iter().for_each(|row| world.damage(1, Space::Hints, row));
    world.mend();
    world.run_for(20 * SECOND);
    assert_eq!((suspects(&world, 1), world.damaged(1)), (0, 0));
    assert_eq!(get(&mut world, 1, "k", 1).unwrap(), Vec::<Bytes>::new());
    let counters = world.node(1).unwrap().counters();
    assert!(counters.vnodes.discarded >= 1 && counters.shard.hints_damaged == 2, "{counters:?}");
    assert!(world.rows(1, Space::Hints).is_empty());
}

/// Node 1 loses commits that it had acked, and is alone when it comes back.
fn after_lost_commits() -> World {
    let mut world = cluster(Pace::OFF);
    put(&mut world, 0, "k", "old", 3).unwrap();
    put(&mut world, 0, "k", "new", 3).unwrap();
    world.lose_commits(1, 2);
    isolate(&mut world, 1);
    world.start(1);
    world.run_for(2 * SECOND);
    assert!(!is_equal(&world, 1));
    world
}

#[test]
fn what_may_be_lost_is_unknown_until_it_was_pulled_and_is_served_then() {
    let mut world = after_lost_commits();
    assert_eq!(suspects(&world, 1), 4);
    let failure = get(&mut world, 1, "k", 1).unwrap_err();
    assert_eq!(failure.kind, FailureKind::QuorumNotReached, "{failure}");
    let failure = put(&mut world, 1, "k", "newer", 1).unwrap_err();
    assert_eq!(failure.outcome, Outcome::NotApplied, "who may have forgotten does not coordinate: {failure}");

    // A crash on the way changes nothing, though the disk tells of its losses once only.
    world.crash(1);
    world.start(1);
    world.run_for(2 * SECOND);
    assert!(get(&mut world, 1, "k", 1).is_err());

    world.mend();
    world.run_for(10 * SECOND);
    assert_eq!(suspects(&world, 1), 0);
    assert!(is_equal(&world, 1));
    isolate(&mut world, 1);
    assert_eq!(get(&mut world, 1, "k", 1).unwrap(), ["new"]);
    put(&mut world, 1, "k", "newer", 1).unwrap();
    assert_eq!(alarms(&world, 1, "is served again though"), 0);
}

#[test]
fn a_read_elsewhere_counts_nobody_who_may_have_forgotten() {
    let mut world = after_lost_commits();
    world.mend();
    // It may take part again before it has all: two others must vouch.
    let mut answered = 0;
    for _ in 0..20 {
        world.run_for(Duration::from_millis(100));
        for node in 0..3 {
            if let Ok(values) = get(&mut world, node, "k", 2) {
                assert_eq!(values, ["new"], "at {node}");
                answered += 1;
            }
        }
    }
    assert!(answered >= 40, "{answered} answers");
}

#[test]
fn all_owners_that_may_have_forgotten_exchange_and_then_serve() {
    let mut world = cluster(Pace::OFF);
    put(&mut world, 0, "k", "v", 3).unwrap();
    put(&mut world, 1, "l", "w", 3).unwrap();
    (0..3).for_each(|node| world.lose_commits(node, 1));
    (0..3).for_each(|node| world.start(node));
    world.run_for(20 * SECOND);
    assert!(is_equal(&world, 1) && is_equal(&world, 2), "they have exchanged what they have");
    assert!((0..3).all(|node| alarms(&world, node, "whole copies are left") == 4));
    assert_eq!(get(&mut world, 2, "k", 2).unwrap(), ["v"]);
    put(&mut world, 2, "k", "v2", 3).unwrap();
}

#[test]
fn an_old_disk_put_back_is_found_out_and_filled_up() {
    let mut world = cluster(Pace::OFF);
    put(&mut world, 0, "k", "first", 3).unwrap();
    world.back_up(0);
    put(&mut world, 0, "k", "second", 3).unwrap();
    for _ in 0..2 {
        world.crash(0);
        world.start(0);
        world.run_for(3 * SECOND);
    }
    put(&mut world, 0, "k", "third", 3).unwrap();
    world.put_back(0, false);
    world.start(0);
    // Neither now nor later does any node trust its claims.
    for _ in 0..100 {
        world.run_for(Duration::from_millis(20));
        let node = usize::from(world.now().nanos().is_multiple_of(3));
        if let Ok(values) = get(&mut world, node, "k", 2) {
            assert_eq!(values, ["third"]);
        }
    }
    world.run_for(20 * SECOND);
    assert_eq!(alarms(&world, 0, "which it does not remember"), 1);
    assert_eq!(suspects(&world, 0), 0);
    assert!(is_equal(&world, 1) && is_equal(&world, 2));
    put(&mut world, 0, "k", "fourth", 3).unwrap();
    assert_eq!(get(&mut world, 1, "k", 3).unwrap(), ["fourth"]);
}

/// All three have stopped, and node 0's disk is one from two generations ago: of a write that nodes 0 and 1 had acked,
/// node 1's copy is left.
fn after_all_forgot(clean_stops: bool, starts: u32) -> World {
    let mut world = cluster(Pace::OFF);
    put(&mut world, 0, "k", "first", 3).unwrap();
    world.back_up(0);
    for _ in 0..starts {
        world.crash(0);
        world.start(0);
        world.run_for(3 * SECOND);
    }
    // Node 2 was away: it knows node 0's last generation, and not what was written in it.
    isolate(&mut world, 2);
    put(&mut world, 0, "k", "second", 2).unwrap();
    for node in 0..3 {
        match clean_stops {
            true => world.drain(node),
            false => world.crash(node),
        }
    }
    world.run_for(3 * SECOND);
    assert!((0..3).all(|node| !world.serves(node)));
    world.replace_disk(0);
    world.mend();
    world
}

#[test]
fn an_old_disk_is_found_out_by_nodes_that_have_all_started_since() {
    // After one start, the old disk counts just as far as the others know; after none they could not tell.
    for (clean_stops, starts) in [(false, 2), (true, 2), (false, 1), (true, 1)] {
        let mut world = after_all_forgot(clean_stops, starts);
        // Node 1 alone has the write and is not there yet: the other two must not agree on less.
        world.start(0);
        world.start(2);
        for _ in 0..50 {
            world.run_for(Duration::from_millis(20));
            for node in [0, 2] {
                let answer = get(&mut world, node, "k", 2);
                assert!(answer.is_err(), "an acked write is forgotten: {answer:?} at {node}");
            }
        }
        assert_eq!(alarms(&world, 0, "which it does not remember"), 1);
        assert_eq!(suspects(&world, 0), 4);
        world.start(1);
        world.run_for(20 * SECOND);
        assert_eq!(suspects(&world, 0), 0);
        assert!((0..3).all(|node| get(&mut world, node, "k", 2).unwrap() == ["second"]));
        put(&mut world, 0, "k", "third", 3).unwrap();
    }
}

#[test]
fn nobody_who_starts_as_usual_is_taken_for_an_old_disk() {
    let mut world = cluster(Pace::OFF);
    put(&mut world, 0, "k", "v", 3).unwrap();
    for round in 0..6 {
        for node in (0..3).filter(|node| round % 3 == 0 || *node == round % 3) {
            match round % 2 {
                0 => world.drain(node),
                _ => world.crash(node),
            }
        }
        world.run_for(3 * SECOND);
        (0..3).for_each(|node| world.start(node));
        world.run_for(3 * SECOND);
        put(&mut world, round % 3, "k", "v", 3).unwrap();
    }
    for node in 0..3 {
        assert_eq!(alarms(&world, node, "generation"), 0);
        assert_eq!(suspects(&world, node), 0);
    }
}

#[test]
fn a_full_disk_takes_deletes_and_no_values_until_there_is_room() {
    let mut world = cluster(QUICK);
    put(&mut world, 0, "k", "before", 3).unwrap();
    world.fill(0, true, false);
    put(&mut world, 0, "k", "passed on to an owner with room", 2).unwrap();
    assert_eq!(world.node(0).unwrap().counters().shard.refused_disk_full, 1, "its own copy");
    (1..3).for_each(|node| world.fill(node, true, false));
    let failure = put(&mut world, 0, "k", "no", 1).unwrap_err();
    assert_eq!((failure.kind, failure.outcome), (FailureKind::DiskFull, Outcome::NotApplied));
    assert!(
        failure.detail.contains("nearly full") && failure.detail.contains("nothing was changed"),
        "{failure}"
    );
    let status = world.node(0).unwrap().status(world.now_at(0));
    assert!(status.storage.disk_full && status.alarms.iter().any(|alarm| alarm.contains("nearly full")));

    (1..3).for_each(|node| world.fill(node, false, false));
    put(&mut world, 1, "k", "two others", 2).unwrap();
    delete(&mut world, 0, "k", 3);
    assert_eq!(get(&mut world, 0, "k", 1).unwrap(), Vec::<Bytes>::new());
    assert!(world.node(0).unwrap().counters().shard.refused_disk_full >= 2);

    // Not even that: what is on its way is refused, and the node goes on.
    world.fill(0, true, true);
    put(&mut world, 1, "l", "two others", 2).unwrap();
    world.run_for(5 * SECOND);
    assert!(world.serves(0) && !is_equal(&world, 1));

    world.fill(0, false, false);
    world.run_for(20 * SECOND);
    put(&mut world, 0, "k", "after", 3).unwrap();
    world.run_for(2 * SECOND);
    assert!(is_equal(&world, 1) && is_equal(&world, 2));
    let status = world.node(0).unwrap().status(world.now_at(0));
    assert!(!status.storage.disk_full && status.alarms.is_empty(), "{:?}", status.alarms);
    assert_eq!(world.node(0).unwrap().counters().vnodes.conflicts, 0);
}

#[test]
fn a_node_whose_disk_hangs_says_so_and_has_writes_done_by_others() {
    let mut world = cluster(QUICK);
    put(&mut world, 0, "k", "before", 3).unwrap();
    world.stall(0, true);
    put(&mut world, 0, "k", "by another", 2).unwrap();
    delete(&mut world, 0, "l", 2);
    assert_eq!(get(&mut world, 0, "k", 2).unwrap(), ["by another"]);
    let node = world.node(0).unwrap();
    assert!(node.unready().is_none() && node.unfit().unwrap().contains("does not answer"));
    let status = node.status(world.now_at(0));
    assert!(
        status.storage.disk_stalled && status.alarms.iter().any(|alarm| alarm.contains("does not answer"))
    );
    (1..3).for_each(|node| world.stall(node, true));
    let failure = put(&mut world, 0, "k", "no", 1).unwrap_err();
    assert_eq!((failure.kind, failure.outcome), (FailureKind::NotReady, Outcome::NotApplied));
    (0..3).for_each(|node| world.stall(node, false));
    put(&mut world, 0, "k", "after", 3).unwrap();
    let node = world.node(0).unwrap();
    assert!(node.unfit().is_none() && node.status(world.now_at(0)).alarms.is_empty());
}

#[test]
fn a_node_starts_and_stops_on_a_full_disk_as_soon_as_there_is_room() {
    let mut world = cluster(Pace::OFF);
    world.fill(0, true, true);
    world.drain(0);
    let stopped = |notices: &[Notice]| notices.iter().any(|n| matches!(n, Notice::Stopped(0)));
    assert!(!stopped(&world.run_for(5 * SECOND)), "its mark has no room");
    world.fill(0, false, false);
    assert!(stopped(&world.run_for(3 * SECOND)));
    world.fill(0, true, true);
    world.start(0);
    world.run_for(3 * SECOND);
    assert!(!world.serves(0), "the mark of its clean stop is still there");
    world.fill(0, false, false);
    world.run_for(3 * SECOND);
    assert!(world.serves(0));
}
