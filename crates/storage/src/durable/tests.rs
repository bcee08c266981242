use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use tempfile::TempDir;

use super::*;
use crate::batch::Op;
use crate::conformance::Home;
use crate::files::Patience;
use crate::range_tombstones::RangeTombstones;
use starling_types::row::RowRange;

mod damage;
mod faults;
mod garbage;
mod mending;
mod unread;
mod views;
mod waiting;

/// A temporary data directory, gone with its value.
pub(crate) struct Directory(TempDir);

impl Home for Directory {
    type Engine = DurableEngine;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&mut self) -> DurableEngine {
        open(&self.path()).unwrap()
    }

    fn abandon(&mut self, engine: DurableEngine) {
        drop(engine);
    }

    fn settle(engine: &DurableEngine) {
        engine.flush().unwrap();
    }
}

impl Directory {
    /// Two levels that the engine has to make.
    fn path(&self) -> PathBuf {
        self.0.path().join("node/data")
    }
}

/// Files that are quickly made.
fn small() -> Options {
    Options {
        cache_bytes: 1 << 20,
        write_buffer_bytes: 8 << 20,
        log_segment_bytes: 1 << 20,
        ..Options::default()
    }
}

#[test]
fn memory_tells_what_no_table_has_to_be_asked_for() {
    let mut home = Directory::new();
    let engine = home.open();
    let peek = |key: &[u8]| engine.peek(Space::Data, key).transpose().unwrap();
    assert_eq!(peek(b"k"), Some(None), "there are no tables");
    let mut batch = Batch::new();
    batch.put(Space::Data, "k", "v");
    engine.commit(&[batch], Durability::Synced).unwrap();
    assert_eq!(peek(b"k"), Some(Some("v".into())));
    engine.flush().unwrap();
    assert_eq!([peek(b"k"), peek(b"other")], [None, None]);
    let mut batch = Batch::new();
    batch.delete(Space::Data, "k");
    engine.commit(&[batch], Durability::Synced).unwrap();
    assert_eq!(peek(b"k"), Some(None));
    engine.close().unwrap();
    assert_eq!(engine.peek(Space::Data, b"k"), Some(Err(StorageError::Closed)));
}

fn open(dir: &Path) -> Result<DurableEngine, StorageError> {
    DurableEngine::open(dir, small())
}

/// The error of an open that must not succeed.
fn refusal(dir: &Path) -> StorageError {
    open(dir).err().expect("the open is refused")
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(Space::Data, key, value);
    batch
}

#[test]
fn a_second_open_is_refused_and_names_the_directory_and_the_holder() {
    let mut home = Directory::new();
    let engine = home.open();
    let message = refusal(&home.path()).to_string();
    let holder = format!("process {}", std::process::id());
    assert!(message.contains(home.path().to_str().unwrap()), "{message}");
    assert!(message.contains(&holder), "{message}");

    engine.close().unwrap();
    home.open();
}

#[test]
fn the_statement_of_a_store_is_golden() {
    assert_eq!(crate::directory::identity(2, 7), "starling store 2 0000000000000007 14ea5b212b078fc4");
}

#[test]
fn a_newer_format_is_refused_and_left_untouched() {
    let mut home = Directory::new();
    home.open().commit(&[put("k", "v")], Durability::Synced).unwrap();
    fs::remove_file(home.path().join("LOCK")).unwrap();
    fs::write(home.path().join("tables/FORMAT"), "starling store 3 0\n").unwrap();
    let before = damage::Files::of(&home.path());

    let format = starling_types::Formats { oldest: 2, newest: 2 }.check(3).unwrap_err();
    assert_eq!(refusal(&home.path()), StorageError::OtherFormat { dir: home.path(), format });
    assert!(before == damage::Files::of(&home.path()), "not even a lock file");
}

#[test]
fn what_is_no_store_of_ours_is_refused_and_left_untouched() {
    for (file, text) in [("tables/FORMAT", "something else"), ("tables/photo.jpg", ""), ("tables", "")] {
        let home = Directory::new();
        let path = home.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        let before = damage::Files::of(&home.path());
        assert!(matches!(refusal(&home.path()), StorageError::Foreign { .. }), "{file}");
        assert!(before == damage::Files::of(&home.path()), "{file}");
    }
}

#[test]
fn a_store_left_half_made_is_made_anew() {
    let mut home = Directory::new();
    let site = home.path().join("tables.new");
    fs::create_dir_all(site.join("data")).unwrap();
    fs::write(site.join("data/current"), "half").unwrap();
    home.open().commit(&[put("k", "v")], Durability::Synced).unwrap();
    assert!(!site.exists());
    assert_eq!(home.open().get(Space::Data, b"k").unwrap(), Some("v".into()));
}

#[test]
fn small_bytes_do_not_keep_larger_ones_alive() {
    let frame = Bytes::from(vec![7; 1 << 20]);
    let mut home = Directory::new();
    let engine = home.open();
    engine.commit(&[put(frame.slice(..9), frame.slice(9..99))], Durability::Synced).unwrap();
    assert!(frame.is_unique(), "the write buffer has copies");

    engine.flush().unwrap();
    let value = engine.get(Space::Data, &[7; 9]).unwrap().unwrap();
    let again = engine.get(Space::Data, &[7; 9]).unwrap().unwrap();
    assert!(value.is_unique() && again.is_unique(), "the block cache has the block");
}

/// More than the write buffers take.
#[test]
fn commits_wait_for_room_and_then_go_on() {
    let mut home = Directory::new();
    let engine = home.open();
    let value = Bytes::from(vec![1; 4 << 20]);
    for n in 0..60u8 {
        engine.commit(&[put(vec![n], value.clone())], Durability::Buffered).unwrap();
        let sizes = engine.sizes();
        assert!(sizes.unflushed_bytes < 80 << 20, "{sizes:?}");
    }
    home.abandon(engine);
    let engine = home.open();
    for n in 0..60u8 {
        assert_eq!(engine.get(Space::Data, &[n]).unwrap().map(|value| value.len()), Some(4 << 20));
    }
}

#[test]
fn the_log_is_given_back_when_tables_hold_what_was_in_it() {
    let mut home = Directory::new();
    let options = Options { log_bytes: 1, ..small() };
    let engine = DurableEngine::open(&home.path(), options).unwrap();
    let value = Bytes::from(vec![1; 1 << 20]);
    for n in 0..150u8 {
        engine.commit(&[put(vec![n % 8], value.clone())], Durability::Buffered).unwrap();
    }
    engine.flush().unwrap();
    engine.commit(&[put("idle", "namespaces hold no log back")], Durability::Synced).unwrap();
    engine.flush().unwrap();
    let sizes = engine.sizes();
    assert!(sizes.log_bytes < 16 << 20, "{sizes:?}");
    drop(engine);
    let engine = home.open();
    assert!(!engine.report().has_losses(), "{}", engine.report());
    assert_eq!(engine.get(Space::Data, &[7]).unwrap(), Some(value));
}

#[test]
fn a_synced_commit_and_an_unsynced_one_are_both_there_after_the_process_is_gone() {
    for sync in [SyncMode::Always, SyncMode::Interval(Duration::from_millis(5)), SyncMode::Os] {
        let mut home = Directory::new();
        let engine = DurableEngine::open(&home.path(), Options { sync, ..small() }).unwrap();
        engine.commit(&[put("a", "1")], Durability::Synced).unwrap();
        engine.commit(&[put("b", "2")], Durability::Buffered).unwrap();
        drop(engine);
        let engine = home.open();
        assert_eq!(engine.get(Space::Data, b"a").unwrap(), Some("1".into()), "{sync:?}");
        assert_eq!(engine.get(Space::Data, b"b").unwrap(), Some("2".into()), "{sync:?}");
    }
}

#[test]
fn rows_of_dropped_ranges_are_swept_out() {
    let mut home = Directory::new();
    let engine = home.open();
    let row = |token: u64| [&token.to_be_bytes()[..], &[0, 0, 0, 1], b"k"].concat();
    let rows =
        (0..2_000).map(|token| Op::Put { namespace: Space::Data, key: row(token).into(), value: "v".into() });
    engine.commit(&[rows.collect()], Durability::Synced).unwrap();
    let mut dropped = Batch::new();
    dropped.drop_below(0..=1_499, 2);
    engine.commit(&[dropped], Durability::Synced).unwrap();
    let held = |store: &Arc<Store>| {
        let data = store.trees.of(Space::Data);
        data.published().stored(&RowRange::all(), view_after(store.last_applied())).count()
    };
    engine
        .with_store(|store| {
            store.chores.wait_until(|| held(store) == 500);
            Ok(())
        })
        .unwrap();
}

/// Here because its directory is gone.
#[test]
fn a_failure_in_the_background_poisons_instead_of_stalling() {
    let mut home = Directory::new();
    let engine = home.open();
    fs::remove_dir_all(home.path()).unwrap();
    let value = Bytes::from(vec![1; 4 << 20]);
    let mut commits = (0..).map(|n: u64| {
        let batch = put(n.to_be_bytes().to_vec(), value.clone());
        engine.commit(&[batch], Durability::Buffered)
    });
    commits.find_map(Result::err).unwrap();
    assert!(matches!(commits.next(), Some(Err(StorageError::Poisoned { .. }))));
}
