//! Threads that do not wait for each other.

use std::sync::mpsc::channel;
use std::thread;

use lsm_tree::AbstractTree;

use super::*;
use crate::engine::ScanLimit;

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(300);

/// The answer of `work` while the library's locks are held, as they are while a manifest is synced; none if it waits.
fn beside_the_library<T: Send>(engine: &DurableEngine, work: impl FnOnce() -> T + Send) -> Option<T> {
    thread::scope(|scope| {
        let (answer, answered) = channel();
        let store = engine.with_store(|store| Ok(store.clone())).unwrap();
        let held: Vec<_> = store.trees.iter().map(|tree| tree.tree.get_version_history_lock()).collect();
        scope.spawn(move || answer.send(work()));
        let answer = answered.recv_timeout(PATIENCE).ok();
        drop(held);
        answer
    })
}

#[test]
fn commits_reads_and_sizes_do_not_wait_for_a_manifest() {
    let mut home = Directory::new();
    let engine = home.open();
    engine.commit(&[put("in a table", "1")], Durability::Synced).unwrap();
    engine.flush().unwrap();
    let seen = beside_the_library(&engine, || {
        engine.commit(&[put("in the buffer", "2")], Durability::Synced).unwrap();
        let read =
            ["in a table", "in the buffer", "nowhere"].map(|key| engine.get(Space::Data, key.as_bytes()));
        let limit = ScanLimit { rows: 9, bytes: 1 << 20 };
        let rows = engine.scan(Space::Data, &RowRange::all(), limit).unwrap().rows;
        (read.map(Result::unwrap), rows.len(), engine.sizes().unflushed_bytes > 0)
    });
    assert_eq!(seen, Some(([Some("1".into()), Some("2".into()), None], 2, true)));
}

#[test]
fn writes_go_on_in_new_buffers_while_no_table_can_be_made() {
    let mut home = Directory::new();
    let engine =
        DurableEngine::open(&home.path(), Options { write_buffer_bytes: 64 << 10, ..small() }).unwrap();
    let row = |n: u32| put(n.to_be_bytes().to_vec(), vec![7; 1 << 10]);
    let full = beside_the_library(&engine, || {
        (0..200).for_each(|n| engine.commit(&[row(n)], Durability::Synced).unwrap());
        engine.sizes().unflushed_bytes
    });
    assert!(full > Some(3 * (64 << 10)), "{full:?}");
    engine.flush().unwrap();
    assert_eq!(engine.sizes().unflushed_bytes, 0);
    drop(engine);
    let engine = home.open();
    assert!(!engine.report().has_losses());
    assert!((0..200u32).all(|n| engine.get(Space::Data, &n.to_be_bytes()).unwrap().is_some()));
}

/// Small buffers are sealed all the time between writers' groups: no batch is in a table by half, and none is passed over
/// by the next open because a table has a part of it.
#[test]
fn batches_are_whole_whenever_buffers_are_sealed() {
    let mut home = Directory::new();
    let tiny = Options { write_buffer_bytes: 8 << 10, ..small() };
    let (writers, batches) = (4, 60u32);
    let engine = DurableEngine::open(&home.path(), tiny).unwrap();
    thread::scope(|scope| {
        for writer in 0..writers {
            let engine = &engine;
            scope.spawn(move || {
                for n in 0..batches {
                    engine.commit(&[wide(writer, n)], Durability::Synced).unwrap();
                }
            });
        }
    });
    // As a killed process leaves it: nothing is sealed or flushed at the end.
    drop(engine);
    let engine = home.open();
    for (writer, n) in (0..writers).flat_map(|writer| (0..batches).map(move |n| (writer, n))) {
        let missing = wide(writer, n)
            .ops()
            .filter(|op| engine.get(op.namespace(), op.key()).unwrap().is_none())
            .count();
        assert_eq!(missing, 0, "of batch {n} of writer {writer}");
    }
}

/// The same rows are written over and over, and only their newest versions become tables.
#[test]
fn a_snapshot_has_the_rows_of_its_moment_whenever_buffers_are_sealed() {
    let home = Directory::new();
    let tiny = Options { write_buffer_bytes: 8 << 10, ..small() };
    let engine = DurableEngine::open(&home.path(), tiny).unwrap();
    let store = engine.store().unwrap();
    let overwrite = |n: u64| {
        let rows = wide(0, 0);
        let put = |op: &Op| Op::Put {
            namespace: op.namespace(),
            key: op.key().clone(),
            value: vec![n as u8; 100].into(),
        };
        engine.commit(&[rows.ops().map(put).collect()], Durability::Buffered).unwrap();
    };
    thread::scope(|scope| {
        let writer = scope.spawn(|| (1..=2_000).for_each(overwrite));
        while !writer.is_finished() {
            // As a snapshot does, with time for others to come between.
            let (Sequence(now), view) = store.trees.frozen(|| {
                let last = store.last_applied();
                (0..5_000).for_each(|_| thread::yield_now());
                last
            });
            for space in Space::ALL {
                let limit = ScanLimit { rows: 100, bytes: 1 << 20 };
                let rows = view.scan(space, &RowRange::all(), limit).unwrap().rows;
                let is_of_now = |(_, value): &(Bytes, Bytes)| value[0] == now as u8;
                assert!(
                    rows.len() == if now == 0 { 0 } else { 8 },
                    "{} rows of {space} after {now}",
                    rows.len()
                );
                assert!(rows.iter().all(is_of_now), "another version in {space} after {now}");
            }
        }
    });
}

/// A batch whose rows lie in all trees, and far apart.
fn wide(writer: u8, n: u32) -> Batch {
    let mut batch = Batch::new();
    for space in Space::ALL {
        for row in 0..8u8 {
            let key = [&[row, writer][..], &n.to_be_bytes()].concat();
            batch.put(space, key, vec![writer; 100]);
        }
    }
    batch
}
