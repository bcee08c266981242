//! The clock's ceiling, and keys that are far ahead of it.

use std::time::Duration;

use starling_types::limits;

use super::restart::{after_stop, seal};
use super::*;

const YEAR: u64 = 365 * 24 * 3_600_000;

/// A record that a clock a year ahead brought about is on this node.
fn with_outlier() -> Bench {
    let mut bench = Bench::warm();
    bench.merge(data("far"), foreign(9, YEAR, "from the future"), None, true);
    bench.settle();
    bench
}

fn overwrite(bench: &mut Bench, key: &str) -> Dot {
    let op = bench.put(key, "sane", None);
    bench.settle();
    assert!(bench.is_committed(op));
    bench.dot(op)
}

#[test]
fn a_write_above_a_far_future_record_drags_no_other_key_along() {
    let mut bench = with_outlier();
    let far = overwrite(&mut bench, "far");
    assert!(far.hlc.millis() >= NOON + YEAR, "above the record, whatever the clocks say");
    assert_eq!(values(&bench.look("far")), ["sane"]);
    let other = overwrite(&mut bench, "other");
    assert_eq!(other.hlc.millis(), NOON);
    assert_eq!(bench.vnodes.clock_lead(bench.now), Duration::ZERO);
    assert!(after_stop(&bench, 0).ceiling.millis() < NOON + 500, "nor is the ceiling");
    assert_eq!(bench.vnodes.counters().outlying_mints, 1);
    let (_, lead) = bench.vnodes.outlying().expect("somebody should look at the clocks");
    assert_eq!(lead, Duration::from_millis(YEAR));
}

#[test]
fn a_context_that_names_our_own_outlying_dot_is_no_forgery_and_never_too_far_ahead() {
    let mut bench = with_outlier();
    let first = bench.put("far", "a", None);
    // Staged, not yet committed: others may have it already, and so may the client.
    let context = bench.staged.get(&first).map(|staged| staged.context.clone());
    let second = bench.put("far", "b", context.expect("the record is in the cache"));
    bench.settle();
    assert!(bench.is_committed(first) && bench.is_committed(second));
    assert_eq!(values(&bench.look("far")), ["b"]);
    let mut forged = VersionVector::new();
    forged.raise(Dot { actor: bench.dot(second).actor, hlc: bench.dot(second).hlc.next() });
    let refused = bench.put("far", "c", Some(forged));
    assert_eq!(bench.refusal(refused), &Refused::ForgedContext);
}

/// Two outlying dots of one key, with something between them: the second is after the first, under the same actor.
fn rises_over(between: impl FnOnce(Bench) -> Bench) -> (Dot, Dot, Bench) {
    let mut bench = with_outlier();
    let first = overwrite(&mut bench, "far");
    let mut bench = between(bench);
    let second = overwrite(&mut bench, "far");
    (first, second, bench)
}

#[test]
fn an_outlying_dot_is_unique_after_its_key_was_evicted() {
    let (first, second, _) = rises_over(|bench| {
        let next_op = bench.next_op;
        // The cache is as good as gone: every key is loaded again.
        let mut bench = bench;
        bench.vnodes.cache = crate::cache::RecordCache::new(0);
        assert_eq!(bench.next_op, next_op);
        bench
    });
    assert_eq!(second.actor, first.actor);
    assert!(second.hlc > first.hlc);
}

#[test]
fn an_outlying_dot_is_unique_after_a_clean_stop_which_keeps_the_actor() {
    let (first, second, mut bench) = rises_over(|mut bench| {
        seal(&mut bench);
        let mut after = Bench::over(bench.synced.clone(), after_stop(&bench, 2));
        after.vnodes.inherit_actors();
        after.next_op = bench.next_op;
        after
    });
    assert_eq!(second.actor, first.actor);
    assert!(second.hlc > first.hlc);
    let other = overwrite(&mut bench, "other");
    assert!(other.hlc.millis() <= NOON + 1, "the ceiling was not dragged along: {:?}", other.hlc);
}

#[test]
fn an_outlying_dot_that_was_refused_is_never_made_again() {
    let mut bench = with_outlier();
    let refused = bench.put("far", "refused", None);
    let sent = Record::decode(&bench.staged[&refused].record).unwrap();
    bench.refuse_commit();
    let next = overwrite(&mut bench, "far");
    // Had it been the same dot, one of two values would pass for the other.
    assert_ne!(next.actor, bench.dot(refused).actor, "its actor is retired");
    bench.merge(data("far"), sent, None, true);
    bench.settle();
    assert_eq!(values(&bench.look("far")), ["refused", "sane"], "concurrent, and both are kept");
}

#[test]
fn an_outlying_dot_that_no_disk_remembers_is_never_made_again() {
    let mut bench = with_outlier();
    let lost = bench.put("far", "lost", None);
    let sent = Record::decode(&bench.staged[&lost].record).unwrap();
    let mut after = Bench::over(bench.synced.clone(), after_stop(&bench, 2));
    let next = overwrite(&mut after, "far");
    assert_ne!(next.actor, bench.dot(lost).actor, "actors live until the next stop that is not clean");
    after.merge(data("far"), sent, None, true);
    after.settle();
    assert_eq!(values(&after.look("far")), ["lost", "sane"]);
}

#[test]
fn an_outlying_dot_whose_row_rots_is_never_made_again() {
    let mut bench = with_outlier();
    let first = overwrite(&mut bench, "far");
    bench.vnodes.cache = crate::cache::RecordCache::new(0);
    bench.written.insert(data("far").row(), Bytes::from_static(b"nonsense"));
    let refused = bench.put("far", "b", None);
    bench.settle();
    assert!(matches!(bench.refusal(refused), Refused::Damaged(_)));
    bench.merge(data("far"), foreign(9, YEAR, "from the future"), None, true);
    bench.settle();
    let second = overwrite(&mut bench, "far");
    assert_ne!(second.actor, first.actor);
}

#[test]
fn a_write_on_an_idle_node_waits_for_the_disk_once() {
    let mut bench = Bench::warm();
    bench.look("k");
    bench.now.wall = bench.now.wall.after(10 * limits::HLC_LEASE);
    let op = bench.put("k", "v", None);
    assert_eq!(bench.commits.len(), 1);
    assert!(bench.commits[0].has_ceiling() && bench.commits[0].durable);
    bench.commit();
    assert!(bench.is_committed(op));
    assert!(bench.dot(op).hlc <= after_stop(&bench, 0).ceiling, "what is acked lies below the ceiling");
}

/// An ack without an fsync is of the record only: the clock's promise is fsynced first.
#[test]
fn a_bucket_without_fsyncs_does_not_ack_above_the_durable_ceiling() {
    let mut bench = Bench::warm();
    bench.look("k");
    bench.now.wall = bench.now.wall.after(10 * limits::HLC_LEASE);
    let write = |id, text| {
        let mut write = client_write(RequestId::from_bits(id), "k", text, nothing());
        write.durable = false;
        write
    };
    bench.write(write(1_000, "a"));
    assert!(bench.commits[0].has_ceiling() && bench.commits[0].durable);
    bench.commit();
    bench.write(write(1_001, "b"));
    assert_eq!(bench.commits.len(), 1);
    assert!(!bench.commits[0].has_ceiling() && !bench.commits[0].durable, "the next one rests on it");
    bench.commit();
    // Before it is used up it is renewed, in a commit that no operation waits for.
    bench.now.wall = bench.now.wall.after(2 * limits::HLC_LEASE / 3);
    bench.write(write(1_002, "c"));
    let durable: Vec<(bool, bool)> = bench.commits.iter().map(|c| (c.has_ceiling(), c.durable)).collect();
    assert_eq!(durable, [(false, false), (true, true)]);
}

/// The first ceiling is refused for want of room, the second write is not: it has its own.
#[test]
fn an_ack_never_rests_on_a_ceiling_that_was_refused() {
    let mut bench = Bench::new();
    let (first, second) = (bench.put("a", "v", None), bench.put("b", "v", None));
    bench.load();
    bench.load();
    bench.refuse_commit();
    bench.commit();
    assert!(!bench.is_committed(first) && bench.is_committed(second));
    assert!(bench.dot(second).hlc <= after_stop(&bench, 0).ceiling);
}

#[test]
fn what_is_acked_lies_below_the_durable_ceiling_and_few_commits_carry_one() {
    let mut bench = Bench::new();
    for step in 0..200u64 {
        bench.now.wall = WallTime::from_millis(NOON + step * 7);
        let op = bench.put("k", "v", None);
        bench.settle();
        assert!(bench.dot(op).hlc <= after_stop(&bench, 0).ceiling);
    }
    let leases = bench.vnodes.counters().leases;
    assert!((6..9).contains(&leases), "{leases} in 1.4 s");
}

#[test]
fn after_a_wall_that_was_set_back_the_clock_and_its_ceiling_follow() {
    let mut bench = Bench::warm();
    bench.now.wall = WallTime::from_millis(NOON + YEAR);
    let ahead = overwrite(&mut bench, "k");
    assert!(after_stop(&bench, 0).ceiling.millis() > NOON + YEAR);
    bench.now.wall = WallTime::from_millis(NOON + 5_000);
    let other = overwrite(&mut bench, "other");
    assert_eq!(other.hlc.millis(), NOON + 5_000);
    assert!(after_stop(&bench, 0).ceiling.millis() < NOON + 6_000);
    let same = overwrite(&mut bench, "k");
    assert!(same.hlc > ahead.hlc && same.actor == ahead.actor);
}
