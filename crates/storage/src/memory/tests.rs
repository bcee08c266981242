use super::*;

const NS: Space = Space::Data;

fn put(key: &'static str, value: &'static str) -> Batch {
    let mut batch = Batch::new();
    batch.put(NS, key, value);
    batch
}

fn value(engine: &MemoryEngine, key: &str) -> Option<Bytes> {
    engine.get(NS, key.as_bytes()).unwrap()
}

/// `a` synced; then, only buffered, `b`, a new `a`, and the end of `b`.
fn half_synced() -> MemoryEngine {
    let engine = MemoryEngine::new();
    engine.commit(&[put("a", "synced")], Durability::Synced).unwrap();
    let mut gone = put("b", "written twice");
    gone.delete(NS, "b");
    engine.commit(&[put("b", "1"), put("a", "2"), gone], Durability::Buffered).unwrap();
    assert_eq!(engine.unsynced(), 3);
    engine
}

fn after(mode: CrashMode) -> (Option<Bytes>, Option<Bytes>) {
    let engine = half_synced().crash(mode);
    assert_eq!(engine.unsynced(), 0);
    (value(&engine, "a"), value(&engine, "b"))
}

#[test]
fn each_crash_keeps_what_it_says() {
    let row = |value: &'static str| Some(Bytes::from(value));
    assert_eq!(after(CrashMode::KeepSynced), (row("synced"), None));
    assert_eq!(after(CrashMode::KeepAll), (row("2"), None));
    assert_eq!(after(CrashMode::KeepPrefix(0)), (row("synced"), None));
    assert_eq!(after(CrashMode::KeepPrefix(1)), (row("synced"), row("1")));
    assert_eq!(after(CrashMode::KeepPrefix(2)), (row("2"), row("1")));
    assert_eq!(after(CrashMode::KeepPrefix(9)), (row("2"), None));
    assert_eq!(after(CrashMode::TornLast), (row("2"), row("1")));
}

#[test]
fn a_synced_commit_syncs_what_came_before() {
    let engine = half_synced();
    engine.commit(&[], Durability::Synced).unwrap();
    let engine = engine.crash(CrashMode::KeepSynced);
    assert_eq!(value(&engine, "a"), Some("2".into()));
}

#[test]
fn a_crashed_engine_is_closed_and_a_taken_back_row_weighs_nothing() {
    let engine = half_synced();
    let restarted = engine.crash(CrashMode::KeepSynced);
    assert_eq!(engine.get(NS, b"a"), Err(StorageError::Closed));
    assert_eq!(restarted.sizes().disk_bytes, "asynced".len() as u64);
}

#[test]
fn a_failed_fsync_poisons_with_its_cause_and_a_restart_cures() {
    for (mode, kept) in [(CrashMode::KeepSynced, None), (CrashMode::KeepAll, Some("new".into()))] {
        let engine = MemoryEngine::new();
        engine.fail_next_commit();
        let first = engine.commit(&[put("k", "new")], Durability::Synced).unwrap_err();
        let later = engine.commit(&[put("k", "newer")], Durability::Synced).unwrap_err();
        assert_eq!(later, StorageError::Poisoned { cause: first.to_string() });
        assert_eq!(engine.get(NS, b"k"), Err(later.clone()));
        let limit = ScanLimit { rows: 1, bytes: 1 };
        assert_eq!(engine.scan(NS, &RowRange::all(), limit), Err(later.clone()));
        assert_eq!(engine.close(), Err(later));

        let engine = engine.crash(mode);
        assert_eq!(value(&engine, "k"), kept);
        engine.fail_next_commit();
        let engine = engine.crash(mode);
        engine.commit(&[put("k", "newest")], Durability::Synced).unwrap();
    }
}

#[test]
fn a_full_disk_takes_nothing_until_there_is_room() {
    let engine = MemoryEngine::new();
    engine.set_no_space(true);
    let refused = engine.commit(&[put("k", "v")], Durability::Synced);
    assert!(matches!(refused, Err(StorageError::NoSpace { .. })), "{refused:?}");

    assert_eq!(value(&engine, "k"), None);

    let engine = engine.crash(CrashMode::KeepAll);
    assert!(engine.commit(&[put("k", "v")], Durability::Synced).is_err(), "still full");

    engine.set_no_space(false);
    engine.commit(&[put("k", "v")], Durability::Synced).unwrap();
}

#[test]
fn a_row_that_the_disk_does_not_give_is_whole() {
    let engine = MemoryEngine::new();
    let mut batch = Batch::new();
    batch.put(Space::Data, "k", "v");
    engine.commit(&[batch], Durability::Synced).unwrap();
    assert!(engine.hide(Space::Data, b"k") && !engine.hide(Space::Data, b"none"));
    assert!(matches!(engine.get(Space::Data, b"k"), Err(StorageError::Unread { .. })));
    let limit = ScanLimit { rows: 9, bytes: 1 << 10 };
    let page = engine.scan(Space::Data, &RowRange::all(), limit).unwrap();
    assert!(page.rows.is_empty() && page.damaged.is_empty() && page.unread[0].contains(b"k"));
    engine.heal();
    assert_eq!(engine.get(Space::Data, b"k").unwrap(), Some("v".into()));
}

#[test]
fn a_damaged_row_errs_in_get_and_scan_until_it_is_written_again() {
    let engine = MemoryEngine::new();
    engine.commit(&[put("a", "1"), put("b", "2"), put("c", "3")], Durability::Synced).unwrap();
    assert!(engine.corrupt(NS, b"b"));
    assert!(!engine.corrupt(NS, b"absent"));

    let engine = engine.crash(CrashMode::KeepAll);
    let limit = ScanLimit { rows: 9, bytes: 999 };
    let corrupt = |error: StorageError| matches!(error, StorageError::Corrupt { key, .. } if key == "b");
    assert!(corrupt(engine.get(NS, b"b").unwrap_err()));
    let page = engine.scan(NS, &RowRange::all(), limit).unwrap();
    assert_eq!((page.rows.len(), page.damaged), (2, vec![RowRange::new("b", Some("b\0".into()))]));
    assert_eq!(value(&engine, "c"), Some("3".into()), "others still answer");

    engine.commit(&[put("b", "4")], Durability::Buffered).unwrap();
    assert_eq!(engine.scan(NS, &RowRange::all(), limit).unwrap().rows.len(), 3);
    let engine = engine.crash(CrashMode::KeepSynced);
    assert!(corrupt(engine.get(NS, b"b").unwrap_err()), "the cure was not synced");
}

#[test]
fn a_disk_that_lied_takes_back_what_was_synced_and_says_so() {
    let engine = MemoryEngine::new();
    for text in ["1", "2", "3"] {
        engine.commit(&[put("a", text)], Durability::Synced).unwrap();
    }
    engine.commit(&[put("a", "4")], Durability::Buffered).unwrap();
    let engine = engine.crash(CrashMode::LoseSynced(2));
    assert_eq!((value(&engine, "a"), engine.lost()), (Some("1".into()), 2));
    let engine = engine.crash(CrashMode::LoseSynced(2));
    assert_eq!((value(&engine, "a"), engine.lost()), (Some("1".into()), 0), "from before the last crash");
}

#[test]
fn a_copy_has_what_is_synced_and_goes_its_own_way() {
    let engine = half_synced();
    let copy = engine.copy();
    engine.commit(&[put("c", "later")], Durability::Synced).unwrap();
    assert_eq!((value(&copy, "a"), value(&copy, "c")), (Some("synced".into()), None));
    assert!(engine.corrupt(NS, b"c"));
    assert_eq!((engine.damaged(NS), copy.damaged(NS)), (1, 0));
}
