use std::collections::BTreeMap;

use super::*;

/// A directory's files with their bytes.
#[derive(PartialEq, Eq)]
pub(super) struct Files(BTreeMap<PathBuf, Vec<u8>>);

impl Files {
    pub(super) fn of(dir: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut todo = vec![dir.to_path_buf()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => todo.push(path),
                    false => drop(files.insert(path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        Self(files)
    }

    /// Makes the directory hold just these files again.
    pub(super) fn restore(&self, dir: &Path) {
        fs::remove_dir_all(dir).unwrap();
        for (path, bytes) in &self.0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// The files below a directory of the store.
    fn within<'a>(&'a self, home: &Directory, part: &str) -> Vec<&'a PathBuf> {
        let part = home.path().join(part);
        self.0.keys().filter(|path| path.starts_with(&part)).collect()
    }
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn key(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn value(n: u32) -> String {
    format!("the value of row {n:04}").repeat(3)
}

const ROWS: u32 = 300;

/// A closed store of [`ROWS`] rows, in tables or in the log.
fn filled(in_tables: bool) -> (Directory, Files) {
    let mut home = Directory::new();
    let engine = home.open();
    for n in 0..ROWS {
        engine.commit(&[put(key(n), value(n))], Durability::Buffered).unwrap();
    }
    if in_tables {
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    let files = Files::of(&home.path());
    (home, files)
}

const LIMIT: ScanLimit = ScanLimit { rows: 9_999, bytes: 1 << 20 };

/// The oracle: a row is what was written, or is known to be unreadable or lost.
fn check_honest(engine: &DurableEngine, what: &str) {
    let lossy = engine.report().has_losses();
    let page = engine.scan(Space::Data, &RowRange::all(), LIMIT).unwrap();
    for n in 0..ROWS {
        let expected = Bytes::from(value(n));
        match engine.get(Space::Data, &key(n)) {
            Ok(Some(found)) => assert_eq!(found, expected, "{what}: row {n}"),
            Ok(None) => assert!(lossy, "{what}: row {n} is silently gone"),
            Err(error) => assert!(matches!(error, StorageError::Corrupt { .. }), "{what}: {error}"),
        }
        let scanned = page.rows.iter().find(|(found, _)| *found == key(n));
        let damaged = page.damaged.iter().any(|range| range.contains(&key(n)));
        assert!(scanned.is_none_or(|(_, found)| *found == expected), "{what}: row {n}");
        assert!(scanned.is_some() || damaged || lossy, "{what}: a scan silently leaves out row {n}");
    }
}

/// Opens a store of which something was changed behind its back, and asks for everything in it.
fn check_opened(home: &Directory, what: &str) {
    match open(&home.path()) {
        Ok(engine) => check_honest(&engine, what),
        Err(error) => assert!(
            matches!(error, StorageError::Foreign { .. } | StorageError::OtherFormat { .. }),
            "{what}: {error}"
        ),
    }
}

#[test]
fn damage_in_a_table_is_named_and_stepped_over() {
    let (mut home, files) = filled(true);
    let table = files.within(&home, "tables/data/tables")[0].clone();
    let third = files.0[&table].len() / 3;
    flip(&table, third);
    let engine = home.open();
    check_honest(&engine, "a third in");
    let page = engine.scan(Space::Data, &RowRange::all(), LIMIT).unwrap();
    assert_eq!(page.damaged.len(), 1, "{:?}", page.damaged);
    let read = page.rows.len();
    assert!(read > 20 && read < ROWS as usize, "some rows lie in other blocks: {read}");
    let unreadable = |n: &u32| matches!(engine.get(Space::Data, &key(*n)), Err(StorageError::Corrupt { .. }));
    let gone: Vec<_> = (0..ROWS).filter(unreadable).map(key).collect();
    assert!(!gone.is_empty() && gone.iter().all(|key| page.damaged[0].contains(key)), "{gone:?}");
    // A scan looks a little ahead: it gives up two rows that can still be read by themselves.
    let named = (0..ROWS).filter(|n| page.damaged[0].contains(&key(*n))).count();
    assert!(named <= gone.len() + 2, "{named} named, {} gone", gone.len());
    let gone = &gone[0];
    engine.commit(&[put(gone.clone(), "written again")], Durability::Synced).unwrap();
    assert_eq!(engine.get(Space::Data, gone).unwrap(), Some("written again".into()));
}

/// Damage to any part of any file shows at open or at read; a row never comes back changed or silently missing.
#[test]
fn no_flipped_byte_changes_or_hides_a_row() {
    for in_tables in [true, false] {
        let (home, files) = filled(in_tables);
        for (path, bytes) in &files.0 {
            // The log is mostly zeros that were written ahead.
            let used =
                bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 9).min(bytes.len()));
            for at in (0..used).step_by(used / 12 + 1) {
                files.restore(&home.path());
                flip(path, at);
                check_opened(&home, &format!("{} flipped at {at}", path.display()));
            }
        }
    }
}

#[test]
fn no_missing_file_hides_a_row() {
    for in_tables in [true, false] {
        let (home, files) = filled(in_tables);
        for path in files.0.keys() {
            files.restore(&home.path());
            fs::remove_file(path).unwrap();
            check_opened(&home, &format!("{} removed", path.display()));
        }
    }
}

#[test]
fn a_look_at_the_log_changes_nothing_and_says_what_an_open_would() {
    let (mut home, files) = filled(false);
    let untouched = inspect_log(&home.path()).unwrap();
    assert_eq!((untouched.replayed, untouched.lost.len()), (u64::from(ROWS), 0));
    let log = files.within(&home, "log").into_iter().find(|path| path.extension().unwrap() == "log").unwrap();
    flip(log, 9_000);
    let before = Files::of(&home.path());
    let found = inspect_log(&home.path()).unwrap();
    assert_eq!(found.lost.len(), 1, "{found}");
    assert!(before == Files::of(&home.path()));
    assert_eq!(home.open().report().log, found);
    assert!(matches!(inspect_log(&home.path().join("nothing")), Err(StorageError::Foreign { .. })));
}

fn scrub_once(engine: &DurableEngine) {
    let store = engine.with_store(|store| Ok(store.clone())).unwrap();
    scrub::once(&store);
}

#[test]
fn scrubbing_finds_rot_that_nobody_reads_and_nothing_else() {
    let (home, files) = filled(true);
    let is_table = |path: &&&PathBuf| path.parent().is_some_and(|dir| dir.ends_with("data/tables"));
    let table = files.within(&home, "tables/data").into_iter().find(|path| is_table(&path)).unwrap();
    for at in [None, Some(fs::metadata(table).unwrap().len() as usize / 2)] {
        files.restore(&home.path());
        if let Some(at) = at {
            flip(table, at);
        }
        let engine = open(&home.path()).unwrap();
        scrub_once(&engine);
        let sizes = engine.sizes();
        let damaged: Vec<u32> = (0..ROWS).filter(|n| engine.get(Space::Data, &key(*n)).is_err()).collect();
        let ranges = engine.take_damage();
        assert_eq!(
            (sizes.damaged_tables == 1, ranges.is_empty()),
            (at.is_some(), at.is_none()),
            "{ranges:?}"
        );
        assert!(
            damaged.iter().all(|n| ranges.iter().any(|range| range.contains(&key(*n)))),
            "{damaged:?} {ranges:?}"
        );
        assert_eq!(damaged.is_empty(), at.is_none());
        assert!(sizes.scrubbed_bytes > fs::metadata(table).unwrap().len() / 2);
        assert_eq!(engine.take_damage(), [], "once");
    }
}

#[test]
fn tables_of_every_age_are_what_their_checksums_say() {
    let mut home = Directory::new();
    let engine = home.open();
    for round in 0..6 {
        for n in 0..ROWS {
            engine.commit(&[put(key(n), value(n + round))], Durability::Buffered).unwrap();
        }
        engine.flush().unwrap();
    }
    scrub_once(&engine);
    engine.compact().unwrap();
    scrub_once(&engine);
    assert_eq!((engine.sizes().damaged_tables, engine.take_damage()), (0, vec![]));
}

/// Below the library's own checksums: ours are the last guard.
#[test]
fn a_row_whose_checksum_does_not_match_is_corrupt() {
    let mut home = Directory::new();
    let engine = home.open();
    let mut batch = bytes::BytesMut::new();
    crate::payload::encode(&put("k", "value"), &mut batch);
    *batch.last_mut().unwrap() ^= 1;
    engine
        .with_store(|store| {
            store.trees.buffers().apply(Sequence(1), batch.freeze(), |_| true);
            Ok(())
        })
        .unwrap();
    let error = engine.get(Space::Data, b"k").unwrap_err();
    let detail = "checksum mismatch".into();
    let key = Bytes::from("k");
    let namespace = Space::Data;
    assert_eq!(error, StorageError::Corrupt { namespace, key, detail });
    engine.commit(&[put("other", "1"), put("k", "again")], Durability::Synced).unwrap();
    assert_eq!(engine.get(Space::Data, b"k").unwrap(), Some("again".into()), "damage does not poison");
}
