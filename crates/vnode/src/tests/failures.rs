//! A disk that refuses.

use super::*;

#[test]
fn a_failed_commit_retires_the_actor_and_forgets_what_rested_on_it() {
    let mut bench = Bench::warm();
    let request = RequestId::from_bits(77);
    let lost = bench.write(client_write(request, "k", "lost", nothing()));
    bench.load();
    let waiter = bench.merge(data("k"), Record::default(), None, true);
    bench.fail_commit();
    for op in [lost, waiter] {
        assert!(matches!(bench.refusal(op), Refused::Commit(_)));
        assert!(!bench.refusal(op).nothing_staged(), "others may hold it");
    }
    assert_eq!(bench.vnodes.recall(request, data("k").key.token()), None);
    assert!(bench.vnodes.is_quiet());

    let retry = bench.write(client_write(request, "k", "again", nothing()));
    assert_eq!(bench.loads.len(), 1, "the disk is asked, not the cache");
    bench.settle();
    assert!(bench.is_committed(retry) && !bench.staged[&retry].repeated);
    assert_ne!(bench.dot(retry).actor, bench.dot(lost).actor);
    assert_eq!(values(&bench.look("k")), ["again"]);
}

#[test]
fn writes_on_top_of_a_failed_commit_fail_with_it() {
    let mut bench = Bench::warm();
    let first = bench.put("k", "a", nothing());
    let second = bench.put("k", "b", nothing());
    bench.load();
    bench.fail_commit();
    assert!(matches!(bench.refusal(first), Refused::Commit(_)));
    assert!(matches!(bench.refusal(second), Refused::Commit(_)));
    bench.fail_commit();
    assert!(bench.vnodes.is_quiet());
}

#[test]
fn the_late_end_of_an_old_commit_does_not_wake_a_key_that_is_being_loaded() {
    let mut bench = Bench::warm();
    bench.put("k", "kept", None);
    bench.settle();
    bench.put("k", "a", nothing());
    bench.put("k", "b", nothing());
    bench.fail_commit();
    let read = bench.read(data("k"));
    bench.commit();
    assert!(!bench.done.contains_key(&read), "its record is not known before the load");
    bench.load();
    assert!(values(&bench.shown(read)).contains(&"kept".to_owned()));
}

#[test]
fn the_answer_to_an_old_load_does_not_undo_what_came_after() {
    let mut bench = Bench::warm();
    let first = bench.put("k", "a", nothing());
    bench.put("k", "b", nothing());
    bench.load();
    bench.fail_commit();
    assert!(matches!(bench.refusal(first), Refused::Commit(_)));
    bench.read(data("k"));
    bench.handle(Event::Loaded(data("k"), Ok(None)));
    bench.fail_commit();
    let write = bench.put("k", "c", nothing());
    bench.load();
    bench.commit();
    assert!(bench.is_committed(write));
    let late = bench.put("k", "d", nothing());
    bench.handle(Event::Loaded(data("k"), Ok(None)));
    assert_eq!(values(&bench.look("k")), ["c"]);
    bench.settle();
    assert!(bench.is_committed(late));
    assert_eq!(values(&bench.look("k")), ["c", "d"]);
}

#[test]
fn a_remembered_request_whose_record_was_lost_is_made_anew() {
    let mut bench = Bench::warm();
    let record = foreign(9, 0, "v");
    let request = RequestId::from_bits(77);
    let origin = Origin { request, dot: record.siblings()[0].dot };
    bench.merge(data("k"), record.clone(), None, true);
    bench.load();
    // The same again, now with the request: it rests on the commit that is about to fail.
    bench.merge(data("k"), record, Some(origin), true);
    bench.fail_commit();
    let mut write = client_write(request, "k", "v", nothing());
    let unasked = bench.write(write.clone());
    bench.load();
    assert_eq!(bench.refusal(unasked), &Refused::Late, "others may have it");
    write.tries.is_new = true;
    let retry = bench.write(write);
    bench.settle();
    assert!(bench.is_committed(retry));
    assert_eq!(values(&bench.look("k")), ["v"], "acked, so it is there");
}

#[test]
fn a_row_that_cannot_be_read_refuses_and_does_not_wedge_the_key() {
    let mut bench = Bench::warm();
    let (read, write) = (bench.read(data("k")), bench.put("k", "v", None));
    let cell = bench.loads.pop_front().unwrap();
    bench.handle(Event::Loaded(cell, Err(LoadFailure::Failed("bad sector".into()))));
    assert_eq!(bench.refusal(read), &Refused::Load("bad sector".into()));
    assert!(bench.refusal(write).nothing_staged());
    assert!(bench.vnodes.is_quiet());
    let again = bench.put("k", "v", None);
    bench.settle();
    assert!(bench.is_committed(again));
    assert_eq!(bench.vnodes.counters().load_errors, 1);
}

#[test]
fn a_row_that_was_not_asked_for_is_no_row_that_cannot_be_read() {
    let mut bench = Bench::warm();
    for (failure, refused) in [(LoadFailure::Busy, Refused::Busy), (LoadFailure::Unwanted, Refused::Unwanted)]
    {
        let (read, write) = (bench.read(data("k")), bench.put("k", "v", None));
        assert!(bench.vnodes.waiting(&data("k")).eq([read, write]));
        let cell = bench.loads.pop_front().unwrap();
        bench.handle(Event::Loaded(cell, Err(failure)));
        assert_eq!([bench.refusal(read), bench.refusal(write)], [&refused, &refused]);
        assert!(refused.nothing_staged() && bench.vnodes.is_quiet());
    }
    assert_eq!(bench.vnodes.counters().load_errors, 0);
}

#[test]
fn a_key_is_loaded_once_at_a_time_and_not_written_meanwhile() {
    let mut bench = Bench::warm();
    bench.read(data("k"));
    bench.put("k", "a", nothing());
    bench.merge(data("k"), foreign(9, 0, "b"), None, true);
    assert_eq!(
        (bench.loads.len(), bench.commits.len()),
        (1, 0),
        "an answer that comes late is not out of date"
    );
    bench.load();
    assert_eq!((bench.loads.len(), bench.commits.len()), (0, 2));
}

#[test]
fn bytes_that_are_no_record_are_damage_and_stay_as_they_are() {
    let mut bench = Bench::warm();
    let mut row = foreign(9, 0, "v").encode().to_vec();
    row[3] ^= 1;
    bench.written.insert(data("k").row(), row.clone().into());
    let op = bench.put("k", "w", None);
    bench.load();
    assert!(matches!(bench.refusal(op), Refused::Damaged(_)));
    assert!(bench.refusal(op).nothing_staged());
    assert_eq!(bench.damaged, [data("k")]);
    assert_eq!(bench.written[&data("k").row()], row);
    assert!(bench.vnodes.is_quiet());
}

#[test]
fn a_damaged_row_is_never_shown_and_a_merge_writes_it_anew() {
    let mut bench = Bench::warm();
    let before = bench.put("k", "a", None);
    bench.settle();
    let mut bench =
        Bench { vnodes: Vnodes::new(boot(BTreeMap::new(), Hlc::ZERO, 3), PartitionBits::DEFAULT), ..bench };
    let (early, write) = (bench.read(data("k")), bench.put("k", "b", None));
    let merge = bench.merge(data("k"), foreign(9, 0, "c"), None, true);
    let late = bench.read(data("k"));
    bench.find_damage();
    for op in [early, late, write] {
        assert!(matches!(bench.refusal(op), Refused::Damaged(_)), "{op:?}: not found would be a lie");
    }
    assert!(!bench.is_committed(merge));
    bench.commit();
    assert!(bench.is_committed(merge));
    assert_eq!(values(&bench.look("k")), ["c"]);
    let after = bench.put("k", "d", None);
    bench.settle();
    assert_ne!(bench.dot(after).actor, bench.dot(before).actor, "what it had acked is forgotten");
}

#[test]
fn a_row_is_given_up_only_while_it_cannot_be_read() {
    let mut bench = Bench::warm();
    bench.written.insert(data("k").row(), Bytes::from_static(b"nonsense"));
    let gone = bench.op();
    bench.handle(Event::Discard(gone, data("k")));
    bench.load();
    assert!(!bench.done.contains_key(&gone), "not before the deletion is durable");
    bench.settle();
    assert!(matches!(bench.done[&gone], Ok(Done::Discarded(true))));
    assert!(!bench.synced.contains_key(&data("k").row()));
    assert!(bench.look("k").is_empty());

    bench.put("k", "v", None);
    let kept = bench.op();
    bench.handle(Event::Discard(kept, data("k")));
    bench.settle();
    assert!(matches!(bench.done[&kept], Ok(Done::Discarded(false))));
    assert_eq!(values(&bench.look("k")), ["v"]);
}

#[test]
fn a_full_disk_refuses_a_write_that_is_on_its_way_and_later_ones_go_on() {
    let mut bench = Bench::warm();
    let first = bench.put("k", "a", nothing());
    let second = bench.put("k", "b", nothing());
    bench.load();
    bench.refuse_commit();
    for op in [first, second] {
        assert!(matches!(bench.refusal(op), Refused::NoSpace(_)));
        assert!(!bench.refusal(op).nothing_staged(), "their dots are on their way");
    }
    // There was room again in time for the second, which holds the first as well. Until it is on disk no read sees it,
    // and no client is told that it is there.
    let (read, again) = (bench.read(data("k")), bench.merge(data("k"), Record::default(), None, true));
    assert!(bench.loads.is_empty());
    bench.commit();
    assert!(!bench.is_committed(again));
    bench.load();
    assert!(bench.is_committed(again));
    assert_eq!(values(&bench.shown(read)), ["a", "b"], "what the disk holds");
    let third = bench.put("k", "c", nothing());
    bench.settle();
    assert!(bench.is_committed(third));
    assert_ne!(bench.dot(third).actor, bench.dot(first).actor);
    assert_eq!(bench.vnodes.counters().no_space, 1);
}

#[test]
fn a_commit_that_is_refused_before_an_earlier_one_has_ended_hides_nothing_of_that() {
    let mut bench = Bench::warm();
    let first = bench.put("k", "a", nothing());
    let second = bench.put("k", "b", nothing());
    bench.load();
    let earlier = bench.commits.pop_front().unwrap();
    bench.refuse_commit();
    for op in [first, second] {
        assert!(!bench.refusal(op).nothing_staged(), "the first may yet be there");
    }
    let read = bench.read(data("k"));
    assert!(bench.loads.is_empty(), "the disk does not show the first yet");
    bench.commits.push_front(earlier);
    bench.commit();
    bench.load();
    assert_eq!(values(&bench.shown(read)), ["a"]);
    assert_eq!(values(&bench.look("k")), ["a"]);
}

#[test]
fn hints_are_counted_by_what_the_disk_holds_after_a_commit_has_failed() {
    for fails in [false, true] {
        let mut bench = Bench::warm();
        let cell = hint(7, "k");
        bench.merge(cell.clone(), foreign(9, 0, "a"), None, true);
        bench.merge(cell, foreign(8, 0, "b"), None, true);
        bench.load();
        bench.refuse_commit();
        match fails {
            true => bench.refuse_commit(),
            false => bench.commit(),
        }
        let rows: u64 = bench.vnodes.hints().values().map(|tally| tally.rows).sum();
        assert_eq!(rows, u64::from(!fails));
        assert!(bench.vnodes.is_quiet());
    }
}

#[test]
fn a_damaged_row_is_written_again_from_memory() {
    let mut bench = Bench::warm();
    bench.put("k", "v", None);
    bench.settle();
    let row = bench.written[&data("k").row()].clone();
    bench.written.insert(data("k").row(), Bytes::from_static(b"nonsense"));
    let mended = bench.op();
    bench.handle(Event::Mend(mended, data("k")));
    bench.settle();
    assert!(bench.is_committed(mended));
    assert_eq!(bench.synced[&data("k").row()], row);
    assert!(bench.damaged.is_empty());
}
