//! A failed read is no damage, and damaged files stay as evidence.

use std::collections::BTreeMap;

use super::*;

/// Files by name.
fn disk(files: &FaultyFiles) -> BTreeMap<String, Vec<u8>> {
    files.list().unwrap().into_iter().map(|name| (name.clone(), files.contents(&name).unwrap())).collect()
}

/// Where a segment has its second frame, about.
const WITHIN: usize = 4096 + 100;
const GROUPS: [u64; 4] = [5, 20, 20, 30];
const LAST: u64 = 75;

#[test]
fn a_read_that_fails_for_a_moment_is_tried_again() {
    for reads in 1..=3 {
        let files = FaultyFiles::new(1);
        drop(written(&files, &GROUPS));
        files.fail_next_reads(reads);
        let opened = try_open(&files, known(0, LAST)).unwrap();
        assert_whole(&opened, 1..=LAST);
        assert_eq!(ranges(&opened.findings), []);
    }
}

#[test]
fn an_open_that_cannot_read_changes_nothing_and_all_is_there_when_the_disk_heals() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let names = segments(&files);
    let places = names.iter().flat_map(|name| [(name, 0), (name, WITHIN)]);
    for (name, at) in places {
        let before = disk(&files);
        files.spoil(name, at);
        let refused = try_open(&files, known(0, LAST)).err();
        assert!(matches!(&refused, Some(LogError::Unread { file, .. }) if file == name), "{refused:?}");
        assert_eq!(disk(&files), before, "{name} at {at}");
        files.heal();
    }
    files.fail_next_reads(1_000);
    let before = disk(&files);
    assert!(try_open(&files, known(0, LAST)).is_err());
    assert_eq!(disk(&files), before);
    files.heal();
    let opened = open(&files, known(0, LAST));
    assert_whole(&opened, 1..=LAST);
    assert_eq!(ranges(&opened.findings), []);
}

#[test]
fn the_small_files_are_read_or_refused_too() {
    let files = FaultyFiles::new(1);
    drop(Watermark::open(Arc::new(files.clone()), STORE, &reading(&[])).unwrap());
    files.spoil("watermark", 0);
    let before = disk(&files);
    let reopen = |given_up: &[&str]| Watermark::open(Arc::new(files.clone()), STORE, &reading(given_up));
    assert!(matches!(reopen(&[]), Err(LogError::Unread { .. })));
    assert!(matches!(Watermark::inspect(&files, STORE), Err(LogError::Unread { .. })));
    assert_eq!(disk(&files), before);
    assert_eq!(reopen(&["watermark"]).unwrap().1, None, "it is not known any more");
    assert_eq!(disk(&files)["watermark.ruin-1"], before["watermark"]);

    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let mut opened = try_open(&files, known(0, LAST + 1)).unwrap();
    opened.log.acknowledge_findings().unwrap();
    files.spoil("known-losses", 0);
    assert!(matches!(try_open(&files, known(0, LAST)), Err(LogError::Unread { .. })));
    files.heal();
    assert_eq!(ranges(&open(&files, known(0, LAST + 1)).findings), []);
}

#[test]
fn what_a_person_gives_up_is_lost_and_kept_aside_as_it_was() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let name = segments(&files).remove(1);
    let whole = files.contents(&name).unwrap();
    files.spoil(&name, WITHIN);
    let opened = open_giving_up(&files, known(0, LAST), &[&name]).unwrap();
    let lost = ranges(&opened.findings);
    assert!(!lost.is_empty() && opened.sequences().len() < LAST as usize, "{lost:?}");
    let lost: u64 = lost.iter().map(|(first, last)| last + 1 - first).sum();
    assert_eq!(opened.sequences().len() as u64 + lost, LAST);
    // It can still not be read, and need not be.
    assert_eq!(files.contents(&format!("{name}.ruin-1")), Some(whole));
    assert!(try_open(&files, known(0, LAST)).is_ok());
}

/// Cut off between its steps, it is finished by the next open that gives up the same.
#[test]
fn giving_up_may_be_cut_off() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let name = segments(&files).remove(1);
    files.rename(&name, &format!("{name}.replacement")).unwrap();
    let opened = open_giving_up(&files, known(0, LAST), &[&name]).unwrap();
    assert_whole(&opened, 1..=LAST);
    files.put(&format!("{name}.replacement"), b"half");
    let opened = open_giving_up(&files, known(0, LAST), &[&name]).unwrap();
    assert_whole(&opened, 1..=LAST);
    assert_eq!(files.contents(&format!("{name}.replacement")), None);
}

#[test]
fn a_segment_in_which_something_was_lost_is_never_used_again() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let damaged = segments(&files).remove(1);
    files.flip(&damaged, WITHIN, 1);
    let evidence = files.contents(&damaged).unwrap();
    let mut opened = open(&files, known(0, LAST));
    assert_eq!(ranges(&opened.findings).len(), 1);
    opened.log.acknowledge_findings().unwrap();
    append(&mut opened.log, 60).unwrap();
    opened.log.sync().unwrap();
    opened.log.release(Sequence(LAST + 60)).unwrap();
    assert_eq!(files.contents(&damaged), None);
    assert_eq!(files.contents(&format!("{damaged}.ruin-1")), Some(evidence));
    for _ in 0..2 {
        let opened = open(&files, known(LAST + 60, LAST + 60));
        assert_eq!(ranges(&opened.findings), []);
        assert!(files.contents(&format!("{damaged}.ruin-1")).is_some());
    }
}

/// The end of what was acknowledged is damaged, and a torn group follows.
#[test]
fn what_is_cut_off_behind_something_lost_is_copied_first() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &[3, 3]));
    let name = segments(&files).remove(0);
    let bytes = files.contents(&name).unwrap();
    let frames: Vec<usize> =
        (4096..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"SLfr")).collect();
    // Batch 4 was acknowledged and is damaged; 5, damaged too, was not, and 6 stands behind it.
    files.flip(&name, frames[3] + 50, 1);
    files.flip(&name, frames[4] + 50, 1);
    let evidence = files.contents(&name).unwrap();
    let opened = try_open(&files, known(0, 4)).unwrap();
    assert_eq!(ranges(&opened.findings), [(4, 4)]);
    assert_eq!(opened.sequences(), [1, 2, 3]);
    assert_eq!(files.contents(&format!("{name}.ruin-1")), Some(evidence));
}

#[test]
fn strange_files_are_left_alone() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let strange =
        ["spare-parts.txt", "spare-77.new~", "0000000001.log~", "000000099.log", "core.1234", "a b.log"];
    strange.iter().for_each(|name| files.put(name, b"not ours"));
    // Ours by its name alone.
    files.put("0000000099.log", &[7; 300]);
    for _ in 0..2 {
        let opened = try_open(&files, known(0, LAST)).unwrap();
        assert_whole(&opened, 1..=LAST);
        assert!(strange.iter().all(|name| files.contents(name).unwrap() == b"not ours"));
    }
    assert_eq!(files.contents("0000000099.log.ruin-1"), Some(vec![7; 300]));
}

#[test]
fn want_of_descriptors_stops_nothing_for_good() {
    for code in [23, 24, 12, 11] {
        let files = FaultyFiles::new(1);
        let mut log = written(&files, &[2]);
        files.fail_next_open(code);
        let refused = log.spare_maker().prepare();
        assert!(matches!(refused, Err(LogError::Scarce { .. })), "{refused:?}");
        log.spare_maker().prepare().unwrap();
        let names = files.list().unwrap();
        files.fail_next_open(code);
        let refused = append(&mut log, 30);
        assert!(matches!(refused, Err(LogError::Scarce { .. })), "{refused:?}");
        assert_eq!(files.list().unwrap(), names, "the spare is still there");
        append(&mut log, 30).unwrap();
        log.sync().unwrap();
        assert_whole(&open(&files, known(0, 32)), 1..=32);
    }
}

/// It is the log's to find out whether it can go on: what was made ahead holds nothing.
#[test]
fn a_segment_that_cannot_be_made_ahead_is_no_failure_of_the_log() {
    for code in [5, 27] {
        let files = FaultyFiles::new(1);
        let mut log = written(&files, &[2]);
        files.fail_next_open(code);
        assert!(matches!(log.spare_maker().prepare(), Err(LogError::Scarce { .. })));
        append(&mut log, 30).unwrap();
        log.sync().unwrap();
    }
}
