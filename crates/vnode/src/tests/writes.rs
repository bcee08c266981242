//! Writes, merges and reads on a disk that works.

use super::*;
use starling_types::limits;

#[test]
fn a_write_is_loaded_then_staged_then_committed() {
    let mut bench = Bench::new();
    let op = bench.put("k", "v", None);
    assert!(bench.commits.is_empty(), "nothing is decided before the record is known");
    bench.load();
    assert!(bench.staged.contains_key(&op) && !bench.is_committed(op));
    assert_eq!(bench.commits.len(), 1, "one wait for the disk, that of the record");
    bench.commit();
    assert!(bench.is_committed(op));
    assert!(bench.vnodes.is_quiet());
    assert_eq!(values(&bench.look("k")), ["v"]);
}

#[test]
fn writes_to_one_key_start_from_the_newest_staged_record_and_are_acked_in_order() {
    let mut bench = Bench::warm();
    let first = bench.put("k", "a", nothing());
    let second = bench.put("k", "b", nothing());
    bench.load();
    assert_eq!(bench.commits.len(), 2, "the second does not wait for the first");
    assert_eq!(bench.staged[&second].siblings, 2);
    assert!(bench.dot(first).hlc < bench.dot(second).hlc);
    bench.commit();
    assert!(bench.is_committed(first) && !bench.is_committed(second));
    bench.commit();
    assert!(bench.is_committed(second));
    assert_eq!(values(&bench.look("k")), ["a", "b"]);
}

#[test]
fn commits_answered_out_of_order_are_shown_in_order() {
    let mut bench = Bench::warm();
    let first = bench.put("k", "a", nothing());
    let second = bench.put("k", "b", nothing());
    bench.load();
    bench.commits.swap(0, 1);
    bench.commit();
    assert!(!bench.is_committed(second), "it contains what may still be lost with the first");
    bench.commit();
    assert!(bench.is_committed(first) && bench.is_committed(second));
}

#[test]
fn a_read_sees_only_what_is_committed() {
    let mut bench = Bench::warm();
    bench.put("k", "old", None);
    bench.settle();
    bench.put("k", "new", None);
    assert_eq!(values(&bench.look("k")), ["old"]);
    bench.commit();
    assert_eq!(values(&bench.look("k")), ["new"]);
    assert!(bench.loads.is_empty(), "both from memory");
}

#[test]
fn a_read_of_a_key_that_waits_for_its_first_commit_sees_nothing() {
    let mut bench = Bench::warm();
    bench.put("k", "v", None);
    bench.load();
    assert!(bench.look("k").is_empty());
}

#[test]
fn a_blind_write_replaces_and_a_write_that_saw_nothing_stands_beside() {
    let mut bench = Bench::warm();
    let first = bench.put("k", "a", None);
    bench.settle();
    assert!(bench.staged[&first].context.is_some() && !bench.staged[&first].existed);
    let beside = bench.put("k", "b", nothing());
    bench.settle();
    assert_eq!(bench.staged[&beside].context, None, "its writer has not seen the other");
    assert!(bench.staged[&beside].existed);
    let blind = bench.put("k", "c", None);
    bench.settle();
    assert_eq!(bench.staged[&blind].siblings, 1);
    assert_eq!(values(&bench.look("k")), ["c"]);
}

#[test]
fn a_mint_lies_above_all_that_the_record_and_the_context_have_seen() {
    let mut bench = Bench::warm();
    bench.merge(data("k"), foreign(9, 40_000, "ahead"), None, true);
    bench.settle();
    let above_record = bench.put("k", "v", nothing());
    bench.settle();
    assert!(bench.dot(above_record).hlc > Hlc::from_parts(NOON + 40_000, 0));
    let mut seen = VersionVector::new();
    seen.raise(Dot { actor: ActorId::from_bits(8), hlc: Hlc::from_parts(NOON + 50_000, 3) });
    let above_context = bench.put("other", "v", Some(seen));
    bench.settle();
    assert!(bench.dot(above_context).hlc > Hlc::from_parts(NOON + 50_000, 3));
}

#[test]
fn nothing_new_is_acked_only_when_what_it_rests_on_is_durable() {
    let mut bench = Bench::warm();
    let record = foreign(9, 0, "v");
    let first = bench.merge(data("k"), record.clone(), None, true);
    bench.load();
    let again = bench.merge(data("k"), record.clone(), None, true);
    assert_eq!(bench.commits.len(), 1, "nothing is written twice");
    assert!(!bench.is_committed(again));
    bench.commit();
    assert!(bench.is_committed(first) && bench.is_committed(again));
    let later = bench.merge(data("k"), record, None, true);
    assert!(bench.is_committed(later) && bench.commits.is_empty(), "at once: it is on disk");
    assert_eq!(bench.vnodes.counters().merged_nothing_new, 2);
}

#[test]
fn a_durable_merge_of_a_record_that_is_only_in_memory_is_fsynced_first() {
    let mut bench = Bench::warm();
    let record = foreign(9, 0, "v");
    let lax = bench.merge(data("k"), record.clone(), None, false);
    bench.settle();
    assert!(bench.is_committed(lax));
    let strict = bench.merge(data("k"), record.clone(), None, true);
    assert!(!bench.is_committed(strict));
    assert!(bench.commits[0].durable);
    bench.commit();
    assert!(bench.is_committed(strict));
    assert!(bench.synced.contains_key(&data("k").row()));
    let again = bench.merge(data("k"), record, None, true);
    assert!(bench.is_committed(again), "now it is known to be durable");
}

#[test]
fn an_fsync_that_is_only_under_way_makes_nothing_durable_yet() {
    let mut bench = Bench::warm();
    let record = foreign(9, 0, "v");
    bench.merge(data("k"), record.clone(), None, false);
    bench.settle();
    bench.put("other", "v", None);
    bench.load();
    assert!(bench.commits[0].durable, "another key's, not answered");
    let strict = bench.merge(data("k"), record, None, true);
    assert!(!bench.is_committed(strict));
    bench.settle();
    assert!(bench.is_committed(strict));
}

#[test]
fn a_durable_merge_does_not_rest_on_a_lax_commit_under_way() {
    let mut bench = Bench::warm();
    let record = foreign(9, 0, "v");
    bench.merge(data("k"), record.clone(), None, false);
    bench.load();
    let strict = bench.merge(data("k"), record, None, true);
    assert_eq!(bench.commits.len(), 2);
    bench.commit();
    assert!(!bench.is_committed(strict));
    bench.commit();
    assert!(bench.is_committed(strict));
}

#[test]
fn a_later_fsync_makes_durable_but_not_yet_visible() {
    let mut bench = Bench::warm();
    let record = foreign(9, 0, "v");
    bench.merge(data("k"), record.clone(), None, false);
    bench.load();
    bench.put("other", "v", None);
    bench.load();
    bench.commits.swap(0, 1);
    bench.commit();
    let strict = bench.merge(data("k"), record, None, true);
    assert!(!bench.is_committed(strict), "readers would not see it yet");
    bench.settle();
    assert!(bench.is_committed(strict));
}

#[test]
fn a_retry_writes_nothing_again_and_is_acked_only_when_durable() {
    let mut bench = Bench::warm();
    let write = client_write(RequestId::from_bits(77), "k", "v", nothing());
    let first = bench.write(write.clone());
    bench.load();
    let retry = bench.write(write.clone());
    assert_eq!(bench.dot(first), bench.dot(retry));
    assert!(bench.staged[&retry].repeated && !bench.staged[&first].repeated);
    assert_eq!(bench.commits.len(), 1);
    assert!(!bench.is_committed(retry));
    bench.commit();
    assert!(bench.is_committed(first) && bench.is_committed(retry));
    let late = bench.write(write);
    assert!(bench.is_committed(late) && bench.commits.is_empty());
    assert_eq!(values(&bench.look("k")), ["v"]);
    assert_eq!(bench.vnodes.counters().repeats, 2);
}

#[test]
fn a_merge_teaches_the_request_behind_its_dot() {
    let mut bench = Bench::warm();
    let record = foreign(9, 0, "v");
    let dot = record.siblings()[0].dot;
    let request = RequestId::from_bits(77);
    bench.merge(data("k"), record, Some(Origin { request, dot }), true);
    bench.settle();
    assert_eq!(bench.vnodes.recall(request, data("k").key.token()), Some(dot));
    let retry = bench.write(client_write(request, "k", "v", nothing()));
    assert_eq!(bench.dot(retry), dot);
    assert_eq!(values(&bench.look("k")), ["v"]);
}

#[test]
fn requests_are_forgotten_with_age() {
    let mut bench = Bench::warm();
    let request = RequestId::from_bits(77);
    bench.write(client_write(request, "k", "v", None));
    bench.settle();
    bench.now.instant = bench.now.instant + limits::REQUEST_MEMORY + 2 * limits::REQUEST_MAX_LEAD;
    bench.put("other", "v", None);
    bench.settle();
    assert_eq!(bench.vnodes.recall(request, data("k").key.token()), None);
}

#[test]
fn too_many_siblings_refuse_what_adds_but_not_what_replaces_deletes_or_merges() {
    let mut bench = Bench::warm();
    for n in 0..limits::SIBLINGS_CAP {
        bench.put("k", &n.to_string(), nothing());
    }
    bench.settle();
    let one_more = bench.put("k", "more", nothing());
    assert_eq!(bench.refusal(one_more), &Refused::TooManySiblings(limits::SIBLINGS_CAP));
    assert!(!bench.staged.contains_key(&one_more));

    let merged = bench.merge(data("k"), foreign(9, 0, "merged"), None, true);
    let mut delete = client_write(RequestId::from_bits(1_000), "k", "", nothing());
    delete.payload = Payload::Tombstone;
    let deleted = bench.write(delete);
    let mut seen = VersionVector::new();
    seen.raise(bench.look("k").siblings()[0].dot);
    let replaces = bench.put("k", "replaced", Some(seen));
    let blind = bench.put("k", "last", None);
    bench.settle();
    assert!([merged, deleted, replaces, blind].iter().all(|&op| bench.is_committed(op)));
    assert_eq!(values(&bench.look("k")), ["last"]);
}

#[test]
fn siblings_that_weigh_too_much_are_capped_too() {
    let mut bench = Bench::warm();
    let heavy = "x".repeat(1 << 10);
    bench.put("k", &heavy, nothing());
    bench.put("k", &heavy, nothing());
    bench.settle();
    let third = bench.put("k", "y", nothing());
    assert_eq!(bench.refusal(third), &Refused::TooManySiblings(2));
}

#[test]
fn a_context_that_claims_more_of_this_actor_than_it_minted_is_refused() {
    let mut bench = Bench::warm();
    let first = bench.put("k", "v", None);
    bench.settle();
    let honest = bench.staged[&first].context.clone();
    let mut forged = VersionVector::new();
    forged.raise(Dot { actor: bench.dot(first).actor, hlc: bench.vnodes.mint.clock().last().next() });
    let refused = bench.put("k", "w", Some(forged));
    assert_eq!(bench.refusal(refused), &Refused::ForgedContext);
    let taken = bench.put("k", "w", honest);
    bench.settle();
    assert!(bench.is_committed(taken));
    assert_eq!(values(&bench.look("k")), ["w"]);
}

#[test]
fn a_context_from_the_far_future_is_refused_unless_the_record_is_there_already() {
    let mut bench = Bench::warm();
    let hour = foreign(9, 3_600_000, "ahead");
    let seen = hour.context().clone();
    let refused = bench.put("k", "v", Some(seen.clone()));
    bench.load();
    assert_eq!(bench.refusal(refused), &Refused::FutureContext(3_600_000));
    bench.merge(data("k"), hour, None, true);
    let taken = bench.put("k", "v", Some(seen));
    bench.settle();
    assert!(bench.is_committed(taken), "data is never refused for its time");
}

#[test]
fn at_the_end_of_time_a_write_is_refused_instead_of_waiting_for_ever() {
    let mut bench = Bench::warm();
    let dot = Dot { actor: ActorId::from_bits(9), hlc: Hlc::from_bits(u64::MAX) };
    let last = Record::default().write(Mint::plain(&VersionVector::new(), dot, value("omega")));
    bench.merge(data("k"), last, None, true);
    bench.settle();
    let op = bench.put("k", "v", None);
    assert!(matches!(bench.refusal(op), Refused::FutureContext(_)));
    assert!(bench.commits.is_empty() && bench.vnodes.is_quiet());
}

#[test]
fn the_last_writer_wins_where_the_bucket_says_so() {
    let mut bench = Bench::warm();
    let mut write = client_write(RequestId::from_bits(500), "k", "mine", nothing());
    write.lww = true;
    bench.merge(data("k"), foreign(9, 0, "theirs"), None, true);
    bench.write(write);
    bench.settle();
    assert_eq!(values(&bench.look("k")), ["mine"]);
    assert_eq!(bench.look("k").context().len(), 2, "the loser counts as superseded");
}

#[test]
fn the_cache_stays_within_its_bytes_and_serves_what_it_kept() {
    let mut limits = boot(BTreeMap::new(), Hlc::ZERO, 1);
    limits.cache_bytes = 4_096;
    let mut bench = Bench::over(Rows::new(), limits);
    for n in 0..64 {
        bench.put(&n.to_string(), &"v".repeat(n * 8), None);
        bench.settle();
        assert!(bench.vnodes.cached_bytes() <= 4_096);
    }
    assert!(bench.vnodes.cached_bytes() > 1_024);
    bench.look("63");
    assert_eq!(bench.vnodes.counters().cache_hits, 1);
    bench.look("0");
    assert_eq!(bench.vnodes.counters().cache_misses, 1, "pushed out, loaded again");
}

#[test]
fn a_write_whose_time_ran_out_is_never_made() {
    let mut bench = Bench::warm();
    let mut write = client_write(RequestId::from_bits(77), "k", "late", nothing());
    write.deadline = bench.now.instant;
    bench.now.instant = bench.now.instant + std::time::Duration::from_millis(1);
    let op = bench.write(write);
    bench.load();
    assert_eq!(bench.refusal(op), &Refused::TooLate);
    assert!(bench.refusal(op).nothing_staged() && bench.commits.is_empty());
    assert!(bench.look("k").is_empty());
}

#[test]
fn what_waits_for_the_disk_is_counted_until_it_is_answered() {
    let mut bench = Bench::warm();
    assert_eq!(bench.vnodes.staged_bytes(), 0);
    bench.put("k", "v", None);
    bench.load();
    assert!(bench.vnodes.staged_bytes() > 0);
    bench.settle();
    assert_eq!(bench.vnodes.staged_bytes(), 0);
    bench.put("k", "w", None);
    bench.fail_commit();
    assert_eq!(bench.vnodes.staged_bytes(), 0);
}
