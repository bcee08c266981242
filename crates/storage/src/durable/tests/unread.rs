//! A failed read is no damage: the file is left as it is, tried again, and whole when it can be read.

use std::sync::atomic::Ordering;

use super::damage::Files;
use super::published::faults as reads;
use super::*;
use crate::files::FaultyFiles;

const EIO: i32 = 5;
const EMFILE: i32 = 24;
const ROWS: u32 = 500;

fn row(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

fn value(n: u32) -> Bytes {
    format!("the value of row {n}").repeat(20).into()
}

fn fill(engine: &DurableEngine, rows: std::ops::Range<u32>) {
    for n in rows {
        engine.commit(&[put(row(n), value(n))], Durability::Synced).unwrap();
    }
}

fn assert_all(engine: &DurableEngine) {
    assert!(!engine.report().has_losses(), "{}", engine.report());
    assert_rows(engine, 0..ROWS);
}

fn assert_rows(engine: &DurableEngine, rows: std::ops::Range<u32>) {
    for n in rows {
        assert_eq!(engine.get(Space::Data, &row(n)).unwrap(), Some(value(n)), "row {n}");
    }
}

fn impatient() -> Surroundings {
    Surroundings { patience: Patience::new(2, Duration::ZERO), ..Surroundings::default() }
}

/// Writes that are in the log alone, an open in which the log cannot be read, and one in which it can.
#[test]
fn a_log_that_cannot_be_read_refuses_the_open_and_all_that_was_acknowledged_is_there_later() {
    let (home, disk) = (Directory::new(), FaultyFiles::new(1));
    let surroundings = |patience| {
        let disk = disk.clone();
        let log_files: OpenFiles =
            Arc::new(move |_: &Path| Ok(Arc::new(disk.clone()) as Arc<dyn crate::files::Files>));
        Surroundings { log_files, patience, ..Surroundings::default() }
    };
    let open = |tries| {
        DurableEngine::open_in(&home.path(), small(), surroundings(Patience::new(tries, Duration::ZERO)))
    };
    fill(&open(0).unwrap(), 0..ROWS);
    let names = || disk.list().unwrap().into_iter();
    use crate::files::Files as _;
    let contents = || names().map(|name| (disk.contents(&name), name)).collect::<Vec<_>>();
    let (before, log) = (Files::of(&home.path()), contents());
    for _ in 0..3 {
        disk.fail_next_reads(9);
        let refused = open(5).err().unwrap();
        assert!(matches!(refused, StorageError::ReadFailed { .. }), "{refused}");
        let words = refused.to_string();
        assert!(words.contains("nothing was changed") && words.contains("0000000001.log"), "{words}");
        assert!(before == Files::of(&home.path()) && log == contents());
    }
    disk.fail_next_reads(9);
    assert_all(&open(40).unwrap());
}

/// A file that cannot be opened, although it is there: a link to itself.
fn make_unreadable(path: &Path) -> PathBuf {
    let aside = path.with_extension("whole");
    let aside = path.ancestors().nth(4).unwrap().join(aside.file_name().unwrap());
    fs::rename(path, &aside).unwrap();
    std::os::unix::fs::symlink(path.file_name().unwrap(), path).unwrap();
    aside
}

fn first_table(home: &Directory) -> PathBuf {
    let tables = fs::read_dir(home.path().join("tables/data/tables")).unwrap();
    tables.map(|entry| entry.unwrap().path()).min().unwrap()
}

/// A closed store of two tables.
fn in_tables() -> Directory {
    let mut home = Directory::new();
    let engine = home.open();
    for half in [0..ROWS / 2, ROWS / 2..ROWS] {
        fill(&engine, half);
        engine.flush().unwrap();
    }
    engine.close().unwrap();
    home
}

#[cfg(unix)]
#[test]
fn tables_that_cannot_be_read_refuse_the_open_and_are_left_as_they_are() {
    let home = in_tables();
    for path in [first_table(&home), home.path().join("tables/data/current")] {
        let whole = make_unreadable(&path);
        let listed = |dir: &str| {
            let entries = fs::read_dir(home.path().join(dir)).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let parts = ["tables", "tables/data", "tables/data/tables", "meta", "log"];
        let before = (parts.map(listed), fs::read(home.path().join("meta/marks")).ok());
        let refused = DurableEngine::open_in(&home.path(), small(), impatient()).err().unwrap();
        assert!(
            matches!(&refused, StorageError::ReadFailed { path: named, .. } if *named == path),
            "{refused}"
        );
        let after = (parts.map(listed), fs::read(home.path().join("meta/marks")).ok());
        assert_eq!(before, after);
        fs::rename(&whole, &path).unwrap();
    }
    assert_all(&open(&home.path()).unwrap());
}

#[cfg(unix)]
#[test]
fn a_rebuild_that_cannot_read_changes_nothing() {
    let mut home = in_tables();
    let engine = home.open();
    engine.rebuild_at_next_open(Space::Data).unwrap();
    drop(engine);
    let path = first_table(&home);
    let whole = make_unreadable(&path);
    let marks = fs::read(home.path().join("meta/marks")).ok();
    let refused = DurableEngine::open_in(&home.path(), small(), impatient()).err().unwrap();
    assert!(matches!(&refused, StorageError::ReadFailed { path: named, .. } if *named == path), "{refused}");
    assert_eq!(fs::read(home.path().join("meta/marks")).ok(), marks);
    let names = fs::read_dir(home.path().join("tables")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains('.')));
    fs::rename(whole, &path).unwrap();
    assert_rows(&home.open(), 0..ROWS);
}

#[cfg(unix)]
#[test]
fn tables_that_a_person_gives_up_are_made_anew_and_every_ruin_is_kept() {
    let home = in_tables();
    for ruins in 1..=2 {
        let path = first_table(&home);
        let whole = make_unreadable(&path);
        let surroundings = Surroundings { given_up: [path.clone()].into(), ..impatient() };
        let engine = DurableEngine::open_in(&home.path(), small(), surroundings).unwrap();
        assert!(engine.report().has_losses());
        assert_eq!(engine.sizes().ruins, ruins);
        let ruin = home.path().join(format!("tables/data.ruin-{ruins}/tables"));
        assert!(ruin.join(path.file_name().unwrap()).symlink_metadata().is_ok());
        // Rows that the log still has are not lost, but it cannot be told what else there was.
        assert_rows(&engine, 0..ROWS);
        engine.flush().unwrap();
        engine.close().unwrap();
        // Its replacement is whole: nothing is given up any more.
        drop(open(&home.path()).unwrap());
        fs::remove_file(whole).unwrap();
    }
}

const ALL: ScanLimit = ScanLimit { rows: 9_999, bytes: 1 << 20 };

#[test]
fn a_range_that_the_disk_does_not_give_is_unread_not_damaged_and_is_back_when_it_does() {
    let mut home = in_tables();
    let engine = home.open();
    reads::fail(RowRange::new(row(100), Some(row(110).into())), EIO);
    let error = engine.get(Space::Data, &row(105)).unwrap_err();
    assert!(matches!(error, StorageError::Unread { .. }), "{error}");
    assert_rows(&engine, 0..100);
    assert_rows(&engine, 110..ROWS);
    let page = engine.scan(Space::Data, &RowRange::all(), ALL).unwrap();
    assert_eq!(page.damaged, []);
    assert!(page.unread.iter().any(|range| range.contains(&row(105))), "{page:?}");
    let is_told = |key: &[u8]| page.unread.iter().any(|range| range.contains(key));
    assert!((0..ROWS).all(|n| is_told(&row(n)) || page.rows.iter().any(|(key, _)| **key == *row(n))));
    assert!(page.rows.len() as u32 > ROWS - 15);
    assert_eq!(engine.sizes().read_failures, 2);
    // A lack of descriptors says nothing of any range.
    reads::fail(RowRange::new(row(100), Some(row(110).into())), EMFILE);
    assert!(matches!(engine.get(Space::Data, &row(105)), Err(StorageError::Scarce { .. })));
    assert!(matches!(engine.scan(Space::Data, &RowRange::all(), ALL), Err(StorageError::Scarce { .. })));
    reads::heal();
    assert_all(&engine);
    drop(engine);
    assert_all(&home.open());
}

#[test]
fn compaction_that_fails_for_now_marks_no_damage_and_is_done_later() {
    for code in [EIO, EMFILE, 23, 12, 11, 4] {
        let mut home = Directory::new();
        let engine = home.open();
        let store = engine.store().unwrap();
        store.trees.iter().for_each(|tree| tree.pace.fails_with.store(code, Ordering::Relaxed));
        for n in 0..6 {
            fill(&engine, n * 10..n * 10 + 20);
            engine.flush().unwrap();
        }
        let failed = engine.compact().unwrap_err();
        assert!(matches!(failed, StorageError::ReadFailed { .. } | StorageError::Scarce { .. }), "{failed}");
        assert_eq!(engine.failure(), None, "code {code}");
        let sizes = engine.sizes();
        assert_eq!((sizes.damaged_tables, sizes.is_short_of_space), (0, false));
        fill(&engine, 70..80);
        store.trees.iter().for_each(|tree| tree.pace.fails_with.store(0, Ordering::Relaxed));
        engine.compact().unwrap();
        assert!(engine.sizes().l0_runs < 4);
        drop((store, engine));
        let engine = home.open();
        assert!(!engine.report().has_losses(), "{}", engine.report());
        assert_rows(&engine, 0..80);
    }
}

#[test]
fn strange_files_among_tables_are_no_damage_and_stay() {
    let home = in_tables();
    let places =
        ["tables/9999.tmp", "tables/.nfs0001", "tables/17.bak", "tables/012", "v99.bak", "vmcore", "x.tmp"];
    for place in places {
        fs::write(home.path().join("tables/data").join(place), "not ours").unwrap();
    }
    fs::create_dir(home.path().join("tables/data/tables/lost+found")).unwrap();
    for _ in 0..2 {
        assert_all(&open(&home.path()).unwrap());
        let aside = home.path().join("tables/data.strange");
        for place in places {
            let (there, moved) = (
                home.path().join("tables/data").join(place),
                aside.join(Path::new(place).file_name().unwrap()),
            );
            let found = fs::read_to_string(there).or_else(|_| fs::read_to_string(&moved));
            assert_eq!(found.unwrap(), "not ours", "{place}");
        }
        assert!(aside.join("lost+found").is_dir());
        fs::write(home.path().join("tables/data/tables/17.bak"), "another").unwrap();
    }
    let aside = |name: &str| fs::read_to_string(home.path().join("tables/data.strange").join(name)).unwrap();
    assert_all(&open(&home.path()).unwrap());
    assert_eq!([aside("17.bak"), aside("17.bak.1")], ["not ours", "another"]);
}
