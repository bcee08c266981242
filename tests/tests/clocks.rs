//! Wall clocks that are wrong, for a moment or from the start, in clusters whose other clocks are right.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use starling_node::Pace;
use starling_node::node::ClockStatus;
use starling_sim::World;
use starling_tests::calm::{SECOND, calm, isolate, order, rule, send, set, value, values};
use starling_types::Conflict;
use starling_wire::client::{AdminReply, AdminRequest, Seen};
use starling_wire::{KvOp, KvReply, KvRequest, QuorumChoice};

const YEAR: i64 = 365 * 24 * 3_600_000;
/// A node whose clock is never touched.
const RIGHT: usize = 1;

/// A cluster whose clocks are all right.
fn cluster(nodes: usize) -> World {
    let mut world = starling_tests::calm::cluster(calm(nodes), 3, Pace::OFF);
    set(&mut world, RIGHT, "lww", rule(Conflict::Lww), true);
    world.run_for(SECOND);
    world
}

fn request(world: &World, node: usize, name: &str, key: &str, op: KvOp, quorum: Option<u8>) -> KvRequest {
    let quorum = QuorumChoice { r: quorum, w: quorum, strict: None };
    starling_tests::calm::request(world, node, (name, key), op, quorum)
}

fn ask(world: &mut World, node: usize, name: &str, key: &str, op: KvOp, quorum: Option<u8>) -> KvReply {
    let request = request(world, node, name, key, op, quorum);
    send(world, node, request)
}

/// Milliseconds by which the write's time is ahead of the true one.
fn put(world: &mut World, node: usize, name: &str, key: &str, text: &str, w: u8) -> i64 {
    let before = world.now_at(RIGHT).wall.millis();
    match ask(world, node, name, key, value(text, Seen::Local), Some(w)) {
        KvReply::Written(written) => {
            written.receipt.dot.unwrap().hlc.millis().cast_signed() - before.cast_signed()
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn get(world: &mut World, node: usize, name: &str, key: &str, r: u8) -> Vec<Bytes> {
    values(ask(world, node, name, key, KvOp::Get, Some(r))).unwrap()
}

fn clock(world: &World, node: usize) -> ClockStatus {
    world.node(node).unwrap().clock_status(world.now_at(node))
}

fn alarms(world: &World, node: usize) -> Vec<String> {
    world.node(node).unwrap().status(world.now_at(node)).alarms
}

/// Node 0 stops cleanly, and starts while its clock is off: it has no other to tell by.
fn start_wrong(world: &mut World, offset_ms: i64, alone: bool) {
    world.drain(0);
    world.run_for(2 * SECOND);
    world.set_clock(0, offset_ms);
    if alone {
        isolate(world, 0);
    }
    world.start(0);
}

/// A key of bucket `name` that a clock a year ahead has written, while all clocks are right again.
fn after_a_wrong_start(name: &str) -> World {
    let mut world = cluster(3);
    start_wrong(&mut world, YEAR, true);
    world.run_for(2 * SECOND);
    assert!(put(&mut world, 0, name, "far", "from the future", 1) >= YEAR);
    world.set_clock(0, 0);
    world.mend();
    world.run_for(60 * SECOND);
    world
}

#[test]
fn a_clock_that_jumps_for_three_seconds_leaves_no_trace() {
    for jump in [YEAR, -YEAR] {
        let mut world = cluster(3);
        world.set_clock(0, jump);
        for second in 0..3 {
            let ahead = put(&mut world, 0, "lww", "k", "early", 3);
            assert!(ahead.abs() < 100, "{ahead} ms ahead in second {second}");
            world.run_for(SECOND);
        }
        assert_eq!(clock(&world, 0).jump_ms, Some(jump));
        assert!(
            alarms(&world, 0).iter().any(|alarm| alarm.contains("clock jumped")),
            "{:?}",
            alarms(&world, 0)
        );
        world.set_clock(0, 0);
        world.run_for(SECOND);
        assert_eq!((clock(&world, 0).jump_ms, alarms(&world, 0)), (None, vec![]));
        put(&mut world, RIGHT, "lww", "k", "late", 3);
        assert_eq!(get(&mut world, 2, "lww", "k", 3), ["late"]);
    }
}

#[test]
fn a_key_from_the_future_drags_no_other_key_along() {
    let mut world = after_a_wrong_start("default");
    for node in 0..3 {
        let far = put(&mut world, node, "default", "far", "sane", 3);
        assert!(far > YEAR / 2, "above what is there: {far}");
        assert_eq!(get(&mut world, node, "default", "far", 3), ["sane"]);
        let other = put(&mut world, node, "default", "other", "sane", 3);
        assert!(other.abs() < 100, "node {node} writes another key {other} ms ahead");
        assert!(clock(&world, node).lead_ms < 100);
    }
    assert!(alarms(&world, RIGHT).iter().any(|alarm| alarm.contains("stays ahead")));
    // Nor does what is stored: neither a start that follows a clean stop nor one that does not.
    world.drain(0);
    world.crash(2);
    world.run_for(2 * SECOND);
    world.start(0);
    world.start(2);
    world.run_for(5 * SECOND);
    for node in [0, 2] {
        let other = put(&mut world, node, "default", "other", "sane", 3);
        assert!(other.abs() < 100, "after its restart node {node} writes {other} ms ahead");
    }
}

#[test]
fn of_two_writes_in_turn_the_last_wins_though_a_node_has_met_the_future() {
    let mut world = after_a_wrong_start("lww");
    put(&mut world, RIGHT, "lww", "far", "sane", 3);
    isolate(&mut world, 2);
    world.run_for(5 * SECOND);
    put(&mut world, RIGHT, "lww", "k", "early", 2);
    world.run_for(2 * SECOND);
    put(&mut world, 2, "lww", "k", "late", 1);
    world.mend();
    world.run_for(30 * SECOND);
    assert_eq!(get(&mut world, 0, "lww", "k", 3), ["late"]);
}

/// The context names a key that was never near the wrong clock; the owner that is asked lags by a frame.
#[test]
fn contexts_of_a_node_that_has_met_the_future_are_taken_everywhere() {
    let mut world = after_a_wrong_start("default");
    put(&mut world, RIGHT, "default", "far", "sane", 3);
    world.hold(RIGHT, 2);
    let reply = ask(&mut world, RIGHT, "default", "other", value("a", Seen::Local), None);
    let KvReply::Written(written) = reply else { panic!("{reply:?}") };
    let seen = Seen::Context(written.context.unwrap());
    let reply = ask(&mut world, 2, "default", "other", value("b", seen), None);
    assert!(matches!(reply, KvReply::Written(_)), "{reply:?}");
}

/// The nodes that are right own some keys and pass others on, to the wrong node too.
#[test]
fn no_request_through_a_right_node_fails_because_of_a_wrong_one() {
    for offset in [120_000, -120_000, YEAR, -YEAR] {
        for at_start in [true, false] {
            let mut world = cluster(5);
            if at_start {
                start_wrong(&mut world, offset, false);
            } else {
                world.set_clock(0, offset);
            }
            world.run_for(10 * SECOND);
            assert_eq!(world.node(0).unwrap().view().may_coordinate(), !at_start, "{offset} {at_start}");
            for n in 0..12 {
                let key = format!("k{n}");
                for node in 0..5 {
                    put(&mut world, node, "default", &key, "v", 2);
                    assert_eq!(get(&mut world, node, "default", &key, 2), ["v"], "{key} at {node}");
                }
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_right_is_followed_as_soon_as_the_peers_say_so() {
    let mut world = cluster(3);
    start_wrong(&mut world, -YEAR, false);
    world.run_for(10 * SECOND);
    assert!(!world.node(0).unwrap().view().may_coordinate());
    assert!(clock(&world, 0).offset_ms.is_some_and(|ms| ms < -YEAR / 2));
    world.set_clock(0, 0);
    world.run_for(SECOND);
    assert_eq!(clock(&world, 0).jump_ms, None);
    assert!(world.node(0).unwrap().view().may_coordinate());
    assert!(put(&mut world, 0, "default", "k", "v", 3).abs() < 100);
}

#[test]
fn a_node_alone_goes_by_the_old_time_until_somebody_says_that_the_new_one_is_right() {
    let mut world = cluster(3);
    isolate(&mut world, 0);
    // The clocks of its peers that it has seen are too old to decide by.
    world.run_for(70 * SECOND);
    world.set_clock(0, YEAR);
    assert!(put(&mut world, 0, "default", "k", "v", 1).abs() < 100);
    world.run_for(60 * SECOND);
    assert!(put(&mut world, 0, "default", "k", "v", 1).abs() < 100);
    let reply = order(&mut world, 0, AdminRequest::ClockAccept);
    assert!(
        matches!(reply, AdminReply::ClockAccepted { moved_ms } if (moved_ms - YEAR).abs() < 100),
        "{reply:?}"
    );
    assert!(put(&mut world, 0, "default", "k", "v", 1) >= YEAR);
    let again = order(&mut world, 0, AdminRequest::ClockAccept);
    assert_eq!(again, AdminReply::ClockAccepted { moved_ms: 0 });
}

/// A restart believes the clock it finds.
#[test]
fn a_restart_accepts_the_clock_that_it_finds() {
    let mut world = cluster(3);
    isolate(&mut world, 0);
    world.run_for(70 * SECOND);
    world.set_clock(0, YEAR);
    put(&mut world, 0, "default", "k", "v", 1);
    assert_eq!(clock(&world, 0).jump_ms, Some(YEAR));
    world.crash(0);
    world.start(0);
    world.run_for(2 * SECOND);
    assert_eq!(clock(&world, 0).jump_ms, None);
}

#[test]
fn one_wrong_clock_of_three_stops_nobody_else() {
    let mut world = cluster(3);
    start_wrong(&mut world, 5_000, false);
    world.run_for(30 * SECOND);
    for node in 0..3 {
        assert_eq!(world.node(node).unwrap().view().may_coordinate(), node != 0);
        put(&mut world, node, "default", "k", "v", 3);
    }
}

#[test]
fn a_node_shows_no_time_before_it_has_heard_the_others() {
    for offset in [-YEAR, -20_000, 20_000] {
        let mut world = cluster(3);
        start_wrong(&mut world, offset, false);
        for _ in 0..1_000 {
            world.run_for(Duration::from_millis(5));
            let shown = world.node(0).unwrap().shown_time(world.now_at(0));
            let off = shown.map_or(0, |shown| shown.millis().abs_diff(world.true_wall(0).millis()));
            assert!(off < 500, "{off} ms off");
        }
        assert!(world.node(0).unwrap().shown_time(world.now_at(0)).is_some());
    }
}

/// The writes after it are so many that the record does not tell of it any more.
#[test]
fn a_retry_whose_clock_is_ahead_is_not_made_again_after_restarts() {
    for ahead in [5_000, 20_000, 60_000].map(Duration::from_millis) {
        let mut world = cluster(3);
        let mut first = request(&world, 0, "default", "k", value("v", Seen::Local), Some(2));
        first.issued = first.issued.after(ahead);
        first.began = first.issued;
        assert!(matches!(send(&mut world, 0, first.clone()), KvReply::Written(_)));
        for n in 0..20 {
            let op = if n == 19 { KvOp::Delete { seen: Seen::Quorum } } else { value("x", Seen::Quorum) };
            assert!(matches!(ask(&mut world, n % 3, "default", "k", op, Some(3)), KvReply::Written(_)));
        }
        for node in 0..3 {
            world.drain(node);
            world.run_for(2 * SECOND);
            world.start(node);
            world.run_for(3 * SECOND);
        }
        let again = KvRequest { attempt: 1, began: world.true_wall(0).after(ahead), ..first };
        assert!(!matches!(send(&mut world, 0, again), KvReply::Written(_)), "{ahead:?} ahead");
        assert!(get(&mut world, RIGHT, "default", "k", 3).is_empty());
    }
}

#[test]
fn a_node_that_had_nothing_to_do_knows_that_it_has_forgotten_nothing() {
    let mut world = cluster(3);
    world.run_for(30 * SECOND);
    let first = request(&world, 0, "default", "k", value("v", Seen::Quorum), Some(2));
    let again = KvRequest { attempt: 1, ..first };
    assert!(matches!(send(&mut world, 2, again), KvReply::Written(_)));
}
