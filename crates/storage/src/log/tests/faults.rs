//! A log under a system that refuses, and the segments it gives back.

use super::*;

/// Every call of a log that failed answers the same.
fn assert_failed(log: &mut Log) {
    for result in [append(log, 1), log.sync(), log.release(Sequence(0))] {
        assert!(matches!(result, Err(LogError::Failed { .. })), "{result:?}");
    }
}

#[test]
fn a_failed_sync_ends_it() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[2]);
    append(&mut log, 1).unwrap();
    files.fail_next_sync();
    assert!(matches!(log.sync(), Err(LogError::Io { .. })));
    assert_failed(&mut log);
    // A batch that is read after a restart would be gone after a power cut, had it not been written again.
    files.crash(Unsynced::Kept);
    assert_whole(&open(&files, known(0, 2)), 1..=3);
    files.crash(Unsynced::Lost);
    assert_whole(&open(&files, known(0, 2)), 1..=3);
}

#[test]
fn a_segment_whose_first_sync_failed_is_whole_again_after_an_open() {
    let files = FaultyFiles::new(1);
    let mut log = open(&files, known(0, 0)).log;
    append(&mut log, 2).unwrap();
    files.sync_directory().unwrap();
    files.fail_next_sync();
    log.sync().unwrap_err();
    files.crash(Unsynced::Kept);
    drop(open(&files, known(0, 0)));
    files.crash(Unsynced::Lost);
    let mut opened = open(&files, known(0, 0));
    assert_whole(&opened, 1..=2);
    append(&mut opened.log, 1).unwrap();
    assert_eq!(opened.log.segments(), 1, "its header was written again too");
}

#[test]
fn a_failed_sync_of_the_directory_ends_it() {
    let files = FaultyFiles::new(1);
    let mut log = open(&files, known(0, 0)).log;
    append(&mut log, 1).unwrap();
    files.fail_next_directory_sync();
    assert!(matches!(log.sync(), Err(LogError::Io { .. })));
    assert_failed(&mut log);
}

#[test]
fn a_failed_write_ends_it_whatever_the_reason() {
    for fault in [WriteFault::NoSpace, WriteFault::Short, WriteFault::Io] {
        let files = FaultyFiles::new(1);
        let mut log = written(&files, &[2]);
        files.fail_next_write(fault);
        let result = append(&mut log, 3);
        assert!(matches!(result, Err(LogError::Io { .. })), "{result:?}");
        assert_failed(&mut log);
        assert_whole(&open(&files, known(0, 2)), 1..=if fault == WriteFault::Short { 3 } else { 2 });
    }
}

#[test]
fn no_room_for_a_segment_is_no_failure() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[2]);
    files.set_full(true);
    let (before, listed) = (files.contents("0000000001.log"), files.list().unwrap());
    for _ in 0..3 {
        let result = append(&mut log, 30);
        assert!(matches!(result, Err(LogError::NoSpace { .. })), "{result:?}");
        assert_eq!(
            (files.contents("0000000001.log"), files.list().unwrap()),
            (before.clone(), listed.clone())
        );
    }
    // A small one still finds room.
    append(&mut log, 1).unwrap();
    log.sync().unwrap();
    assert!(matches!(log.spare_maker().prepare(), Err(LogError::Scarce { .. })));
    files.set_full(false);
    append(&mut log, 30).unwrap();
    log.sync().unwrap();
    assert_whole(&open(&files, known(0, 33)), 1..=33);
}

#[test]
fn no_room_to_begin_a_segment_is_no_failure() {
    for fault in [WriteFault::NoSpace, WriteFault::Short] {
        let files = FaultyFiles::new(1);
        let mut log = written(&files, &[2]);
        log.spare_maker().prepare().unwrap();
        files.fail_next_write(fault);
        let result = append(&mut log, 30);
        assert!(matches!(result, Err(LogError::NoSpace { .. })), "{result:?}");
        append(&mut log, 30).unwrap();
        log.sync().unwrap();
        assert_whole(&open(&files, known(0, 32)), 1..=32);
    }
}

#[test]
fn a_prepared_segment_needs_no_room() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[9]);
    log.spare_maker().prepare().unwrap();
    files.set_full(true);
    while log.segments() == 1 {
        append(&mut log, 1).unwrap();
    }
    log.sync().unwrap();
    let last = log.last().0;
    assert_whole(&open(&files, known(0, last)), 1..=last);
}

#[test]
fn a_group_larger_than_a_segment_gets_one_of_its_own() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[1, 60]);
    assert_eq!(log.segments(), 2);
    assert!(log.bytes() > 2 * SETTINGS.segment_bytes);
    append(&mut log, 1).unwrap();
    log.sync().unwrap();
    assert_whole(&open(&files, known(0, 62)), 1..=62);
    // It is not kept as a spare.
    log.release(Sequence(62)).unwrap();
    assert!(files.list().unwrap().iter().all(|name| files.contents(name).unwrap().len() <= 3 * 4096));
}

#[test]
fn a_segment_goes_when_all_of_it_is_in_tables() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[10; 12]);
    let held = log.segments();
    assert!(held > 5);
    assert!(!log.can_release(Sequence(9)));
    assert!(log.can_release(Sequence(40)));
    log.release(Sequence(40)).unwrap();
    assert!(!log.can_release(Sequence(40)));
    assert!((2..held).contains(&log.segments()));
    assert_whole(&open(&copy(&files), known(40, 120)), 41..=120);
    log.release(Sequence(120)).unwrap();
    assert_eq!(log.segments(), 1, "the last one says where the log goes on");
    let spares = files.list().unwrap().into_iter().filter(|name| name.starts_with("spare-")).count();
    assert_eq!(spares, 2);
    let opened = open(&files, known(120, 120));
    assert!(files.list().unwrap().iter().all(|name| !name.starts_with("spare-")), "an open trusts none");
    assert_eq!((opened.findings.last, opened.sequences().len()), (Sequence(120), 0));
}

#[test]
fn the_only_segment_stays_though_nothing_more_goes_into_it() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &[5]));
    files.flip("0000000001.log", 30, 1);
    let mut opened = open(&files, known(0, 5));
    assert_whole(&opened, 1..=5);
    opened.log.release(Sequence(5)).unwrap();
    assert_eq!(open(&files, known(5, 5)).findings.last, Sequence(5));
}

#[test]
fn old_frames_in_a_recycled_segment_do_not_come_back() {
    let files = FaultyFiles::new(1);
    let mut log = open(&files, known(0, 0)).log;
    for round in 1..40 {
        append(&mut log, 1 + round % 7).unwrap();
        log.sync().unwrap();
        let last = log.last().0;
        let flushed = last.saturating_sub(11);
        log.release(Sequence(flushed)).unwrap();
        let opened = open(&copy(&files), known(flushed, last));
        assert_whole(&opened, flushed + 1..=last);
        assert_eq!(opened.findings.torn_bytes, None, "{}", opened.findings);
    }
    let recycled = segments(&files).iter().any(|name| {
        let bytes = files.contents(name).unwrap();
        bytes[4096..].chunks(8).filter(|word| word.starts_with(b"SLfr")).count() > 20
    });
    assert!(recycled || log.number > 5);
}

#[test]
fn a_group_that_was_overtaken_is_refused() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[2]);
    let stale = group_of(&log, 1);
    append(&mut log, 1).unwrap();
    assert_eq!(log.append(&stale), Err(LogError::Stale { begins: Sequence(3), last: Sequence(3) }));
    append(&mut log, 1).unwrap();
    log.append(&log.group().freeze()).unwrap();
    assert_eq!(log.last(), Sequence(4));
}

#[test]
fn a_note_of_losses_that_fails_changes_nothing() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &[5]));
    let mut opened = open(&files, known(0, 7));
    files.fail_next_sync();
    assert!(opened.log.acknowledge_findings().is_err());
    assert_eq!(ranges(&open(&files, known(0, 7)).findings), [(6, 7)]);
    opened.log.acknowledge_findings().unwrap();
    assert_eq!(ranges(&open(&files, known(0, 7)).findings), []);
}

#[test]
fn the_watermark_is_the_highest_that_can_be_read() {
    let files = FaultyFiles::new(1);
    let reopened =
        |files: &FaultyFiles| Watermark::open(Arc::new(files.clone()), STORE, &reading(&[])).unwrap();
    let (mut watermark, found) = reopened(&files);
    assert_eq!(found, None, "a new one");
    assert_eq!(reopened(&files).1, Some(Sequence(0)));
    for sequence in [3, 5, 4, 9] {
        watermark.record(Sequence(sequence)).unwrap();
    }
    assert_eq!(reopened(&files).1, Some(Sequence(9)));
    assert_eq!(Watermark::inspect(&files, STORE), Ok(Some(Sequence(9))));
    let damaged = |slots: &[usize]| {
        let copy = copy(&files);
        slots.iter().for_each(|slot| copy.flip("watermark", *slot, 1));
        reopened(&copy).1
    };
    let either = || [damaged(&[0]), damaged(&[4096])].map(|found| found.unwrap().0);
    let sorted = |mut found: [u64; 2]| {
        found.sort_unstable();
        found
    };
    assert_eq!(sorted(either()), [5, 9], "a torn write leaves the one before");
    let (mut watermark, _) = reopened(&files);
    watermark.record(Sequence(10)).unwrap();
    assert_eq!(sorted(either()), [9, 10], "nor does an open forget whose turn it is");
    assert_eq!(damaged(&[0, 4096]), None);
    assert_eq!(Watermark::inspect(&files, STORE + 1), Ok(None), "of another store");
}
