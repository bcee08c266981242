//! Disks that are full.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use starling_storage::{Batch, Durability, DurableEngine, Engine, StorageError, Supply};
use starling_sys::MemoryVolume;
use starling_types::row::Space;

use crate::common::{data_dir, open, or_skip};

/// Room for an empty store with its log, and some write buffers.
const VOLUME: u64 = 128 << 20;
/// So often a test looks for what another thread is to do, with a pause between.
const LOOKS: u32 = 400;
const VALUE: usize = 32 << 10;
/// More commits than fit on the volume.
const TOO_MANY: u32 = (VOLUME / VALUE as u64) as u32;

#[test]
fn a_store_that_filled_its_disk_goes_on_when_there_is_more_room() {
    let Some(volume) = or_skip(MemoryVolume::create(VOLUME)) else {
        return;
    };
    let mut story = Story::begin(data_dir(volume.root()));
    story.fill();
    story.check();
    story.delete_while_full();
    volume.resize(2 * VOLUME).unwrap();
    story.go_on();
    story.reopen_and_check();
}

#[test]
fn a_disk_filled_by_others_stops_writes_until_they_make_room() {
    let Some(volume) = or_skip(MemoryVolume::create(VOLUME)) else {
        return;
    };
    let mut story = Story::begin(data_dir(volume.root()));
    (0..100).for_each(|_| story.put().unwrap());
    let ballast = volume.root().join("ballast");
    fill(&ballast);
    story.fill();
    story.check();
    let refused = story.engine.flush().unwrap_err();
    story.check_refusal(&refused);
    assert!(story.engine.sizes().is_short_of_space);
    fs::remove_file(&ballast).unwrap();
    story.go_on();
    story.engine.flush().unwrap();
    story.engine.compact().unwrap();
    assert!(!story.engine.sizes().is_short_of_space);
    story.reopen_and_check();
}

/// Deletes on a full disk make room there, without another byte for the store.
#[test]
fn deletes_on_a_full_disk_give_its_space_back() {
    let Some(volume) = or_skip(MemoryVolume::create(VOLUME)) else {
        return;
    };
    let mut story = Story::begin(data_dir(volume.root()));
    story.engine.note_supply(Supply::Ample);
    // As a node does, which refuses values when its reserve is reached.
    let free = || rustix::fs::statvfs(volume.root()).map(|volume| volume.f_bavail * volume.f_frsize).unwrap();
    while free() > VOLUME / 8 {
        story.put().unwrap();
    }
    let there: Vec<_> = story.rows.iter().filter(|(_, there)| **there).map(|(&row, _)| row).collect();
    for row in &there {
        let mut batch = Batch::new();
        batch.put(Space::Data, key(*row), "deleted");
        story.engine.commit(&[batch], Durability::Synced).expect("deletes go on");
    }
    // The store's own thread gives the space back, once it is told; a node tells it again and again.
    let (_nobody, pause) = std::sync::mpsc::channel::<()>();
    let is_given_back = || story.engine.sizes().disk_bytes < VOLUME / 3;
    for _ in 0..LOOKS {
        story.engine.note_supply(Supply::Short);
        // There may be no room to merge tables, and need not be.
        let _ = story.engine.compact();
        if is_given_back() {
            break;
        }
        let _ = pause.recv_timeout(Duration::from_millis(50));
    }
    assert!(is_given_back(), "{:?}", story.engine.sizes());
    story.rows.clear();
    story.engine.note_supply(Supply::Ample);
    story.go_on();
    for row in there {
        assert_eq!(story.engine.get(Space::Data, &key(row)).unwrap(), Some("deleted".into()));
    }
    story.reopen_and_check();
}

/// Filled by others to the last byte: the store opens, is read, and takes deletes.
#[test]
fn a_store_opens_and_takes_deletes_on_a_volume_without_a_free_byte() {
    let Some(volume) = or_skip(MemoryVolume::create(VOLUME)) else {
        return;
    };
    let mut story = Story::begin(data_dir(volume.root()));
    (0..600).for_each(|_| story.put().unwrap());
    story.engine.note_supply(Supply::Ample);
    // The ballast is taken in by a thread that was asked to.
    while !story.dir.join("ballast").exists() {
        std::thread::yield_now();
    }
    story.engine.close().unwrap();
    fill(&volume.root().join("litter"));
    story.engine = open(&story.dir).unwrap();
    story.check();
    assert!(!story.dir.join("ballast").exists());
    let there: Vec<_> = story.rows.keys().copied().take(300).collect();
    for row in there {
        let mut batch = Batch::new();
        batch.delete(Space::Data, key(row));
        story.engine.commit(&[batch], Durability::Synced).expect("deletes go on");
        story.rows.insert(row, false);
    }
    story.check();
    fs::remove_file(volume.root().join("litter")).unwrap();
    story.go_on();
    story.reopen_and_check();
}

/// A node that is started anew on the full disk: it may refuse, but it loses nothing.
#[test]
fn a_store_on_a_full_disk_opens_again_at_the_latest_when_there_is_room() {
    let Some(volume) = or_skip(MemoryVolume::create(VOLUME)) else {
        return;
    };
    let mut story = Story::begin(data_dir(volume.root()));
    story.fill();
    // There may be no room for the writes of a close.
    let _ = story.engine.close();
    match open(&story.dir) {
        Ok(engine) => {
            story.engine = engine;
            story.check();
            let _ = story.engine.close();
        }
        Err(StorageError::NoSpace { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    volume.resize(2 * VOLUME).unwrap();
    story.engine = open(&story.dir).unwrap();
    story.check();
    story.go_on();
    story.reopen_and_check();
}

/// A store, and what it answered.
struct Story {
    engine: DurableEngine,
    dir: PathBuf,
    /// The next row.
    next: u32,
    /// Whether each row is there.
    rows: BTreeMap<u32, bool>,
}

impl Story {
    fn begin(dir: PathBuf) -> Self {
        Self { engine: open(&dir).unwrap(), dir, next: 0, rows: BTreeMap::new() }
    }

    /// Writes the next row. One that was refused is not there.
    fn put(&mut self) -> Result<(), StorageError> {
        let row = self.next;
        self.next += 1;
        let mut batch = Batch::new();
        batch.put(Space::Data, key(row), value(row));
        let written = self.engine.commit(&[batch], Durability::Synced);
        self.rows.insert(row, written.is_ok());
        written
    }

    /// Writes until the disk is full.
    fn fill(&mut self) {
        let refused = (0..TOO_MANY).find_map(|_| self.put().err()).expect("the disk is too small for all");
        self.check_refusal(&refused);
        // And so is every other write, in the same words.
        for _ in 0..20 {
            if let Err(refused) = self.put() {
                self.check_refusal(&refused);
            }
        }
    }

    #[track_caller]
    fn check_refusal(&self, refused: &StorageError) {
        assert!(matches!(refused, StorageError::NoSpace { .. }), "{refused}");
    }

    /// A delete makes room: it goes on for as long as any room is left for it.
    fn delete_while_full(&mut self) {
        let there: Vec<_> =
            self.rows.iter().filter(|(_, there)| **there).map(|(&row, _)| row).take(50).collect();
        for row in there {
            let mut batch = Batch::new();
            batch.delete(Space::Data, key(row));
            match self.engine.commit(&[batch], Durability::Synced) {
                Ok(()) => drop(self.rows.insert(row, false)),
                Err(refused) => self.check_refusal(&refused),
            }
        }
        self.check();
    }

    /// Commits are answered again, without a new open.
    fn go_on(&mut self) {
        for n in 0..50 {
            let written = self.put();
            assert_eq!(written, Ok(()), "write {n} after there was room again");
        }
        self.check();
    }

    fn reopen_and_check(mut self) {
        self.engine.close().unwrap();
        self.engine = open(&self.dir).unwrap();
        self.check();
        self.engine.close().unwrap();
    }

    #[track_caller]
    fn check(&self) {
        for (&row, &there) in &self.rows {
            let found = self.engine.get(Space::Data, &key(row)).unwrap();
            assert!(
                found == there.then(|| value(row)),
                "row {row}: there {there}, found {}",
                found.is_some()
            );
        }
    }
}

/// Takes all the room there is.
fn fill(path: &PathBuf) {
    let mut file = File::create_new(path).unwrap();
    for size in [1 << 20, 4 << 10] {
        let piece = vec![1; size];
        let full = (0..).find_map(|_: u64| file.write_all(&piece).err()).unwrap();
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }
}

fn key(row: u32) -> Vec<u8> {
    let token = u64::from(row.wrapping_mul(0x9e37_79b9)) << 32;
    [&token.to_be_bytes()[..], &1u32.to_be_bytes(), &row.to_be_bytes()].concat()
}

/// Bytes that no compression makes smaller.
fn value(row: u32) -> Bytes {
    let mut value = vec![0; VALUE];
    SmallRng::seed_from_u64(row.into()).fill_bytes(&mut value);
    value.into()
}
