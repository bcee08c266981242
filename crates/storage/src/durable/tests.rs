use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::conformance::Home;

mod crash;
mod damage;

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
        engine.flush();
    }
}

impl Directory {
    /// Two levels that the engine has to make.
    fn path(&self) -> PathBuf {
        self.0.path().join("node/data")
    }
}

impl DurableEngine {
    /// Turns the write buffers into tables.
    fn flush(&self) {
        let flushed = self.with_tables(|tables| {
            let mut keyspaces = tables.keyspaces.iter();
            keyspaces.try_for_each(Keyspace::rotate_memtable_and_wait).map_err(failure::of_commit)
        });
        flushed.unwrap();
    }
}

fn open(dir: &Path) -> Result<DurableEngine, StorageError> {
    let options = Options { cache_bytes: 1 << 20 };
    DurableEngine::open(dir, options)
}

/// The error of an open that must not succeed.
fn refusal(dir: &Path) -> StorageError {
    open(dir).err().expect("the open is refused")
}

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(Namespace::Data, key, value);
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
fn a_newer_format_is_refused_and_left_untouched() {
    let mut home = Directory::new();
    home.open().commit(&[put("k", "v")], Durability::Synced).unwrap();
    fs::remove_file(home.path().join("LOCK")).unwrap();
    fs::write(home.path().join("tables/FORMAT"), "starling store 2\n").unwrap();
    let before = damage::Files::of(&home.path());

    let refused = StorageError::FormatTooNew { dir: home.path(), found: 2, supported: 1 };
    assert_eq!(refusal(&home.path()), refused);
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
    fs::create_dir_all(site.join("keyspaces")).unwrap();
    fs::write(site.join("0.jnl"), "half").unwrap();
    home.open().commit(&[put("k", "v")], Durability::Synced).unwrap();
    assert!(!site.exists());
    assert_eq!(home.open().get(Namespace::Data, b"k").unwrap(), Some("v".into()));
}

#[test]
fn small_bytes_do_not_keep_larger_ones_alive() {
    let frame = Bytes::from(vec![7; 1 << 20]);
    let mut home = Directory::new();
    let engine = home.open();
    engine.commit(&[put(frame.slice(..9), frame.slice(9..99))], Durability::Synced).unwrap();
    assert!(frame.is_unique(), "the write buffer has copies");

    engine.flush();
    let value = engine.get(Namespace::Data, &[7; 9]).unwrap().unwrap();
    let again = engine.get(Namespace::Data, &[7; 9]).unwrap().unwrap();
    assert!(value.is_unique() && again.is_unique(), "the block cache has the block");
}

/// More than the library's own limits would take before it stalls.
#[test]
fn commits_wait_for_room_and_then_go_on() {
    let mut home = Directory::new();
    let engine = home.open();
    let value = Bytes::from(vec![1; 4 << 20]);
    for n in 0..60u8 {
        engine.commit(&[put(vec![n], value.clone())], Durability::Buffered).unwrap();
        let sizes = engine.sizes();
        assert!(sizes.unflushed_bytes < 150 << 20, "{sizes:?}");
    }
    home.abandon(engine);
    let engine = home.open();
    for n in 0..60u8 {
        assert_eq!(engine.get(Namespace::Data, &[n]).unwrap().map(|value| value.len()), Some(4 << 20));
    }
}

/// Here because its directory is gone; a full disk shows in the same way.
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
    let first = commits.find_map(Result::err).unwrap();
    assert!(matches!(first, StorageError::Io { .. }), "{first}");
    let cause = first.to_string();
    assert_eq!(commits.next(), Some(Err(StorageError::Poisoned { cause })));
}
