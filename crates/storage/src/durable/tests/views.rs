//! An open view goes on seeing the same while tables change under it.

use lsm_tree::AbstractTree;
use starling_sys::{MemoryVolume, or_skip};

use super::faults::open_on;
use super::headroom::Volume;
use super::tree::TOO_MANY_RUNS;
use super::*;
use crate::engine::{ScanLimit, Snapshot};
use crate::files::{FaultyFiles, Unsynced};

fn row(token: u64) -> Bytes {
    [&token.to_be_bytes()[..], &1u32.to_be_bytes(), b"bucket\0key"].concat().into()
}

fn rows(value: u8) -> Batch {
    let put = |token| Op::Put { namespace: Space::Data, key: row(token), value: vec![value; 9].into() };
    (0..40).map(put).collect()
}

/// The store, and enough runs of tables that there is something to compact; nothing does it by itself.
fn ready_to_compact(engine: &DurableEngine) -> Arc<Store> {
    let store = engine.with_store(|store| Ok(store.clone())).unwrap();
    store.trees.of(Space::Data).health.note_unmergeable();
    for round in 0..6 {
        engine.commit(&[rows(round)], Durability::Synced).unwrap();
        engine.flush().unwrap();
    }
    store
}

#[test]
fn a_range_dropped_while_compaction_begins_stays_in_an_older_snapshot() {
    let mut home = Directory::new();
    let engine = home.open();
    let store = ready_to_compact(&engine);
    // As compaction does: it looks at what was applied, then is overtaken.
    let below = view_after(store.last_applied());
    let snapshot = engine.snapshot().unwrap();
    let mut dropping = Batch::new();
    dropping.drop_below(10..=29, 2);
    engine.commit(&[dropping], Durability::Synced).unwrap();
    store.apply_tombstones().unwrap();
    assert!(store.trees.of(Space::Data).compact(below).unwrap());
    let seen = (0..40).filter(|token| snapshot.get(Space::Data, &row(*token)).unwrap().is_some()).count();
    assert_eq!(seen, 40);
    assert_eq!(engine.get(Space::Data, &row(15)).unwrap(), None);
}

/// A drop that was acknowledged before it was durable, and a power cut.
#[test]
fn compaction_throws_nothing_away_that_a_power_cut_could_bring_back() {
    let (home, disk) = (Directory::new(), FaultyFiles::new(9));
    let engine = open_on(&home, &disk).unwrap();
    let store = ready_to_compact(&engine);
    let mut dropping = Batch::new();
    dropping.drop_below(0..=u64::MAX, 2);
    engine.commit(&[dropping], Durability::Buffered).unwrap();
    store.apply_tombstones().unwrap();
    assert!(store.trees.of(Space::Data).compact(view_after(store.last_applied())).unwrap());
    disk.crash(Unsynced::Lost);
    drop((store, engine));
    let engine = open_on(&home, &disk).unwrap();
    let limit = ScanLimit { rows: 10, bytes: 1 << 20 };
    assert_eq!(engine.scan(Space::Data, &RowRange::all(), limit).unwrap().rows, []);
    let recorded = engine.scan(Space::Meta, &RangeTombstones::rows(), limit).unwrap().rows;
    assert_eq!(recorded.len(), 1, "or the rows would have had to be there");
}

#[test]
fn more_runs_than_can_be_told_apart_are_not_made_and_no_more_is_taken_in() {
    let mut home = Directory::new();
    let engine = home.open();
    let store = ready_to_compact(&engine);
    let runs = || store.trees.of(Space::Data).published().l0_runs();
    let refused = (0..200u8)
        .find_map(|n| engine.commit(&[rows(n)], Durability::Synced).err().or_else(|| engine.flush().err()));
    let cause = TOO_MANY_RUNS.into();
    assert_eq!(refused, Some(StorageError::NoSpace { cause }));
    // One or the other commit may come before the count is looked at.
    assert!((112..120).contains(&runs()), "{}", runs());
    assert_eq!(engine.sizes().l0_runs, runs());
    // Batches taken in before still become tables, as long as they can be counted.
    let tree = store.trees.of(Space::Data);
    let full = (10_000..).find_map(|n: u64| {
        let mut batch = bytes::BytesMut::new();
        crate::payload::encode(&rows(1), &mut batch);
        store.trees.buffers().apply(Sequence(n), batch.freeze(), |_| true);
        tree.seal().unwrap();
        tree.flush(view_after(Sequence(n))).err()
    });
    assert!(is_no_space(&full.unwrap()));
    assert_eq!(runs(), 240);
    engine.close().unwrap();
    drop(store);
    let shared = Shared::new(small());
    let again = Tree::open(&home.path().join("tables/data"), Space::Data, &shared);
    assert_eq!(again.unwrap().published().l0_runs(), 240);
}

#[test]
fn clearing_up_spares_a_table_that_was_replaced_and_is_still_read() {
    let mut home = Directory::new();
    let engine = home.open();
    let store = engine.with_store(|store| Ok(store.clone())).unwrap();
    let tree = store.trees.of(Space::Data);
    let mut snapshot = None;
    // Of this maker's, while others make whole ones.
    let unfinished = tree.table_path(tree.next_table() + 1_000);
    let failed = tree.clearing_up::<()>(|| {
        fs::write(&unfinished, "half a table").unwrap();
        for round in 0..6 {
            engine.commit(&[rows(round)], Durability::Synced).unwrap();
            engine.flush().unwrap();
            snapshot.get_or_insert_with(|| engine.snapshot().unwrap());
        }
        engine.compact().unwrap();
        Err(lsm_tree::Error::Io(io::ErrorKind::StorageFull.into()))
    });
    assert!(failed.is_err());
    assert_eq!(snapshot.unwrap().get(Space::Data, &row(3)).unwrap(), Some(vec![0; 9].into()));
    assert!(!unfinished.exists());
}

#[test]
fn compaction_leaves_the_last_room_to_commits() {
    let Some(volume) = or_skip(MemoryVolume::create(64 << 20)) else {
        return;
    };
    let engine = open(&volume.root().join("data")).unwrap();
    let store = ready_to_compact(&engine);
    let compact = || store.trees.of(Space::Data).compact(view_after(store.last_applied()));
    let ballast = volume.root().join("ballast");
    let free = Volume::of(volume.root()).unwrap().free;
    fs::write(&ballast, vec![1; free as usize - (2 << 20) + 1]).unwrap();
    let refused = compact().unwrap_err();
    assert!(is_no_space(&refused), "{refused}");
    engine.commit(&[rows(7)], Durability::Synced).unwrap();
    engine.flush().unwrap();
    fs::remove_file(ballast).unwrap();
    assert!(compact().unwrap());
}

#[test]
fn a_table_that_was_not_finished_is_removed_when_another_try_makes_it_again() {
    let mut home = Directory::new();
    let engine = home.open();
    let store = ready_to_compact(&engine);
    let tree = store.trees.of(Space::Data);
    let unfinished = tree.table_path(tree.next_table());
    let [enospc, emfile, eio] =
        [28, 24, 5].map(|code| lsm_tree::Error::Io(io::Error::from_raw_os_error(code)));
    let damage = lsm_tree::Error::InvalidTrailer;
    for (error, is_left) in [(enospc, false), (emfile, false), (eio, false), (damage, true)] {
        let words = error.to_string();
        let failed = tree.clearing_up::<()>(|| {
            fs::write(&unfinished, "half a table").unwrap();
            Err(error)
        });
        assert!(failed.is_err());
        assert_eq!(unfinished.exists(), is_left, "{words}");
    }
}

#[test]
fn nothing_is_removed_while_the_disk_may_know_more_than_memory_and_it_is_caught_up_with() {
    let mut home = Directory::new();
    let engine = home.open();
    let store = ready_to_compact(&engine);
    let tree = store.trees.of(Space::Data);
    let manifest = home.path().join("tables/data/current");
    let fail = |meanwhile: &dyn Fn()| {
        let failed = tree.clearing_up::<()>(|| {
            meanwhile();
            Err(lsm_tree::Error::Io(io::ErrorKind::StorageFull.into()))
        });
        assert!(failed.is_err());
    };
    let ours = fs::read(&manifest).unwrap();
    let mut later = ours.clone();
    later[0] ^= 1;
    fs::write(&manifest, later).unwrap();
    let unfinished = tree.table_path(tree.next_table());
    fail(&|| {
        assert_eq!(tree.table_path(tree.tree.get_next_table_id()), unfinished);
        fs::write(&unfinished, "perhaps a table").unwrap();
    });
    assert!(unfinished.exists());
    fs::write(&manifest, ours).unwrap();
    engine.commit(&[rows(7)], Durability::Synced).unwrap();
    engine.flush().unwrap();
    fail(&|| ());
    assert!(!unfinished.exists(), "although it is from before");
}

fn table_files(home: &Directory) -> usize {
    fs::read_dir(home.path().join("tables/data/tables")).unwrap().count()
}

/// When it goes, nothing of it is left that could remove files of the next open.
#[test]
fn a_snapshot_answers_no_more_and_keeps_no_tables_when_the_store_is_closed() {
    let mut home = Directory::new();
    let engine = home.open();
    let store = ready_to_compact(&engine);
    let snapshot = engine.snapshot().unwrap();
    let before = table_files(&home);
    assert!(store.trees.of(Space::Data).compact(view_after(store.last_applied())).unwrap());
    assert_eq!(table_files(&home), before + 1, "the snapshot has what was replaced");
    drop(store);
    engine.close().unwrap();
    assert_eq!(table_files(&home), 1);
    assert_eq!(snapshot.get(Space::Data, &row(3)), Err(StorageError::Closed));
}

/// Where a row can lie: in tables, in two sealed buffers, in the active one.
const PLACES: u32 = 4;
/// Keys, one for every mixture of what the places say of it.
const MIXTURES: u64 = 3u64.pow(PLACES);

/// The write of a key to a place: nothing, a deletion, or the place's number.
fn written(key: u64, place: u32) -> Option<Option<Bytes>> {
    match key / 3u64.pow(place) % 3 {
        0 => None,
        1 => Some(None),
        _ => Some(Some(place.to_string().into())),
    }
}

fn batch_of(place: u32) -> Batch {
    let namespace = Space::Data;
    let op = |key: u64| match (row(key), written(key, place)?) {
        (key, Some(value)) => Some(Op::Put { namespace, key, value }),
        (key, None) => Some(Op::Delete { namespace, key }),
    };
    (0..MIXTURES).filter_map(op).collect()
}

/// `reader` must see what the first `places` say.
fn check(reader: &dyn Snapshot, places: u32) {
    let newest = |key| (0..places).rev().find_map(|place| written(key, place)).flatten();
    let expected: Vec<_> = (0..MIXTURES).filter_map(|key| Some((row(key), newest(key)?))).collect();
    let limit = ScanLimit { rows: 1_000, bytes: 1 << 20 };
    let page = reader.scan(Space::Data, &RowRange::all(), limit).unwrap();
    assert_eq!(page.rows, expected, "after {places}");
    for key in 0..MIXTURES {
        let found = reader.get(Space::Data, &row(key)).unwrap();
        assert_eq!(found, newest(key), "{key} after {places}");
    }
}

#[test]
fn the_newest_of_buffers_and_tables_holds_and_a_snapshot_stays_what_it_was() {
    let mut home = Directory::new();
    let engine = home.open();
    let store = engine.with_store(|store| Ok(store.clone())).unwrap();
    let mut snapshots = Vec::new();
    for place in 0..PLACES {
        engine.commit(&[batch_of(place)], Durability::Synced).unwrap();
        snapshots.push((engine.snapshot().unwrap(), place + 1));
        match place {
            0 => engine.flush().unwrap(),
            1 | 2 => store.trees.of(Space::Data).seal().unwrap(),
            _ => {}
        }
        snapshots.push((engine.snapshot().unwrap(), place + 1));
        snapshots.iter().for_each(|(snapshot, places)| check(&**snapshot, *places));
    }
    engine.flush().unwrap();
    engine.compact().unwrap();
    snapshots.push((engine.snapshot().unwrap(), PLACES));
    snapshots.iter().for_each(|(snapshot, places)| check(&**snapshot, *places));
}

fn is_no_space(error: &lsm_tree::Error) -> bool {
    matches!(failure::of_write(error), StorageError::NoSpace { .. })
}
