//! Files that cannot be read, given up, and taken back.

use super::*;

/// A table of the store that cannot be opened, although it is there, and where it is kept as it was.
#[cfg(unix)]
fn hide_a_table(home: &Path) -> (PathBuf, PathBuf) {
    let tables = home.join("tables/data/tables");
    let table = fs::read_dir(tables).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    let whole = home.with_extension("whole");
    fs::rename(&table, &whole).unwrap();
    // A link to itself.
    std::os::unix::fs::symlink(table.file_name().unwrap(), &table).unwrap();
    (table, whole)
}

#[cfg(unix)]
#[test]
fn what_was_given_up_comes_back_as_writes_when_it_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let (home, rows) = (dir.path().join("data"), many());
    directory(&home, &rows);
    leave_to_tables(&home);
    let (table, whole) = hide_a_table(&home);
    let given_up = give_up(&home, "kept", std::slice::from_ref(&table)).unwrap();
    assert!(given_up.opened.has_losses && given_up.originals.join("tables/FORMAT").exists());
    assert!(meta(&home, starling_node::losses::META_SUSPECT).is_some());
    assert_eq!(records(&home), Rows::new(), "there was one table");

    // One key is written anew, another one deleted, before the disk heals.
    let newer = record(&[(1, Some("value")), (9_000, Some("newer"))]);
    let deleted = record(&[(2, Some("value")), (9_000, None)]);
    let engine = DurableEngine::open(&home, small()).unwrap();
    let mut batch = Batch::new();
    batch.put(Space::Data, row("key-0"), newer.encode());
    batch.put(Space::Data, row("key-1"), deleted.encode());
    engine.commit(&[batch], Durability::Synced).unwrap();
    engine.close().unwrap();
    drop(engine);

    let ruin = home.join("tables/data.ruin-1");
    let hidden = ruin.join("tables").join(table.file_name().unwrap());
    let unread = take_back(&home, &ruin);
    assert!(matches!(unread, Err(OfflineError::Storage(StorageError::ReadFailed { .. }))), "{unread:?}");
    fs::rename(&whole, &hidden).unwrap();
    let back = take_back(&home, &ruin).unwrap();
    assert_eq!((back.found.rows, back.found.damaged), (600, 0));
    assert_eq!((back.data.new, back.data.known, back.flawed.len()), (598, 2, 0));
    let mut expected = rows;
    expected.insert((Space::Data, row("key-0")), newer.encode());
    expected.insert((Space::Data, row("key-1")), deleted.encode());
    assert_eq!(records(&home), expected);
    let again = take_back(&home, &ruin).unwrap();
    assert_eq!((again.data.new, again.data.merged, again.data.known), (0, 0, 600));
    assert!(hidden.exists(), "a ruin is not touched");
}

#[test]
fn a_segment_of_the_log_gives_back_what_is_whole_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let (home, rows) = (dir.path().join("data"), many());
    directory(&home, &rows);
    let segment = home.join("log/0000000001.log");
    let ruin = home.join("log/0000000001.log.ruin-1");
    fs::copy(segment, &ruin).unwrap();
    let back = take_back(&home, &ruin).unwrap();
    // The birth row is one of them.
    assert_eq!((back.found.rows, back.data.known), (601, 600));
    for (stranger, is_ours) in [(home.join("node.json"), false), (dir.path().join("nothing.log"), true)] {
        let refused = take_back(&home, &stranger).unwrap_err();
        let is_foreign = matches!(&refused, OfflineError::Storage(StorageError::Foreign { .. }));
        assert_eq!(is_foreign, !is_ours, "{refused}");
    }
}

#[test]
fn nothing_is_given_up_that_can_be_read_or_is_no_part_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("data");
    directory(&home, &many());
    let before = contents(&home);
    let segment = home.join("log/0000000001.log");
    assert!(matches!(give_up(&home, "kept", &[segment]), Err(OfflineError::Readable { .. })));
    for stranger in [home.join("node.json"), home.join("log/missing.log"), dir.path().join("data")] {
        let refused = give_up(&home, "kept", std::slice::from_ref(&stranger));
        assert!(matches!(refused, Err(OfflineError::NoPart { .. })), "{refused:?}");
    }
    assert_eq!(contents(&home), before);
}
