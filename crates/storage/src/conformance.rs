//! One suite for every engine: random work against an ordered map, and the edges by name.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::durable::tests::Directory;
use crate::{Batch, CrashMode, Durability, Engine, MemoryEngine, Op, Page, ScanLimit, Space, StorageError};
use starling_types::limits::{MAX_ROW_KEY, MAX_ROW_VALUE};
use starling_types::row::RowRange;

/// The place of an engine from one opening to the next.
pub(crate) trait Home {
    type Engine: Engine;

    /// An empty place.
    fn new() -> Self;

    /// The engine, opened again after it was closed or dropped.
    fn open(&mut self) -> Self::Engine;

    /// The end of an engine that was not closed.
    fn abandon(&mut self, engine: Self::Engine);

    /// Moves what lies in write buffers to where it rests.
    fn settle(_engine: &Self::Engine) {}
}

struct Memory(MemoryEngine);

impl Home for Memory {
    type Engine = MemoryEngine;

    fn new() -> Self {
        Self(MemoryEngine::new())
    }

    fn open(&mut self) -> MemoryEngine {
        self.0.crash(CrashMode::KeepAll)
    }

    fn abandon(&mut self, engine: MemoryEngine) {
        self.0 = engine;
    }
}

/// The state that every read must agree with.
#[derive(Default)]
struct Model([BTreeMap<Bytes, Bytes>; Space::ALL.len()]);

impl Model {
    fn rows(&mut self, namespace: Space) -> &mut BTreeMap<Bytes, Bytes> {
        &mut self.0[usize::from(namespace.code())]
    }

    fn apply(&mut self, op: &Op) {
        let rows = self.rows(op.namespace());
        match op.value() {
            Some(value) => rows.insert(op.key().clone(), value.clone()),
            None => rows.remove(op.key()),
        };
    }

    fn within(&mut self, namespace: Space, range: &RowRange) -> Vec<(Bytes, Bytes)> {
        let rows = self.rows(namespace).iter();
        let within = rows.filter(|(key, _)| range.contains(key));
        within.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Batch>, Durability),
    Get(Space, Bytes),
    Scan(Space, RowRange, ScanLimit),
    Settle,
    Close,
    Abandon,
}

fn namespace() -> impl Strategy<Value = Space> {
    prop::sample::select(Space::ALL.to_vec())
}

/// Few enough that rows meet, with the bytes at which prefixes end.
fn key() -> impl Strategy<Value = Bytes> {
    let byte = prop::sample::select(vec![0u8, 1, 254, 255]);
    prop::collection::vec(byte, 1..4).prop_map(Bytes::from)
}

fn value() -> impl Strategy<Value = Bytes> {
    let length = prop_oneof![2 => Just(0), 6 => 1..40usize, 1 => 4_000..9_000usize];
    (any::<u8>(), length).prop_map(|(byte, length)| vec![byte; length].into())
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (namespace(), key(), value()).prop_map(|(namespace, key, value)| Op::Put { namespace, key, value }),
        1 => (namespace(), key()).prop_map(|(namespace, key)| Op::Delete { namespace, key }),
    ]
}

fn range() -> impl Strategy<Value = RowRange> {
    prop_oneof![
        Just(RowRange::all()),
        key().prop_map(RowRange::prefix),
        (key(), key()).prop_map(|(start, end)| RowRange::new(start, Some(end))),
        key().prop_map(|start| RowRange::new(start, None)),
    ]
}

fn limit() -> impl Strategy<Value = ScanLimit> {
    (0..12usize, 0..200usize).prop_map(|(rows, bytes)| ScanLimit { rows, bytes })
}

fn step() -> impl Strategy<Value = Step> {
    let batch = prop::collection::vec(op(), 0..12).prop_map(Batch::from_iter);
    let durability = prop::sample::select(vec![Durability::Synced, Durability::Buffered]);
    prop_oneof![
        8 => (prop::collection::vec(batch, 0..4), durability).prop_map(|(batches, how)| Step::Commit(batches, how)),
        6 => (namespace(), key()).prop_map(|(namespace, key)| Step::Get(namespace, key)),
        6 => (namespace(), range(), limit()).prop_map(|(namespace, range, limit)| Step::Scan(namespace, range, limit)),
        1 => Just(Step::Settle),
        1 => Just(Step::Close),
        1 => Just(Step::Abandon),
    ]
}

/// All of a range, page by page; every page within its limit.
fn walk(engine: &impl Engine, namespace: Space, range: &RowRange, limit: ScanLimit) -> Vec<(Bytes, Bytes)> {
    let mut rows = Vec::new();
    let mut rest = range.clone();
    loop {
        let page = engine.scan(namespace, &rest, limit).unwrap();
        check_page(&page, limit);
        rows.extend(page.rows);
        match page.next {
            Some(next) => rest = range.resume(next),
            None => return rows,
        }
    }
}

fn check_page(page: &Page, limit: ScanLimit) {
    let bytes: usize = page.rows.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert!(page.rows.len() <= limit.rows.max(1));
    assert!(bytes <= limit.bytes || page.rows.len() == 1);
    if let (Some(next), Some((last, _))) = (&page.next, page.rows.last()) {
        assert!(next > last, "a walk goes forward");
    }
}

fn run<H: Home>(steps: &[Step]) {
    let mut home = H::new();
    let mut engine = home.open();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Commit(batches, durability) => {
                engine.commit(batches, *durability).unwrap();
                batches.iter().flat_map(Batch::ops).for_each(|op| model.apply(op));
            }
            Step::Get(namespace, key) => {
                let found = engine.get(*namespace, key).unwrap();
                assert_eq!(found.as_ref(), model.rows(*namespace).get(key));
                let peeked = engine.peek(*namespace, key).transpose().unwrap();
                assert!(peeked.is_none_or(|peeked| peeked == found));
            }
            Step::Scan(namespace, range, limit) => {
                let found = walk(&engine, *namespace, range, *limit);
                assert_eq!(found, model.within(*namespace, range));
            }
            Step::Settle => H::settle(&engine),
            Step::Close => {
                engine.close().unwrap();
                home.abandon(engine);
                engine = home.open();
            }
            Step::Abandon => {
                home.abandon(engine);
                engine = home.open();
            }
        }
    }
    let limit = ScanLimit { rows: 7, bytes: 9_999 };
    for namespace in Space::ALL {
        let found = walk(&engine, namespace, &RowRange::all(), limit);
        assert_eq!(found, model.within(namespace, &RowRange::all()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
    #[test]
    fn memory_behaves_like_an_ordered_map(steps in prop::collection::vec(step(), 1..60)) {
        run::<Memory>(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]
    #[test]
    fn durable_behaves_like_an_ordered_map(steps in prop::collection::vec(step(), 1..60)) {
        run::<Directory>(&steps);
    }
}

/// Writes an edge test once and runs it on every engine.
macro_rules! on_every_engine {
    ($($name:ident)*) => {
        mod memory {
            $(#[test] fn $name() { super::$name::<super::Memory>(); })*
        }
        mod durable {
            $(#[test] fn $name() { super::$name::<super::Directory>(); })*
        }
    };
}

on_every_engine! {
    the_last_write_of_a_row_wins
    a_group_is_applied_in_order
    rows_are_kept_apart_by_namespace
    the_longest_rows_fit
    rows_beyond_the_limits_are_refused_and_harm_nothing
    odd_ranges_and_keys_find_nothing
    a_large_row_gets_a_page_of_its_own
    a_closed_engine_says_so
    submissions_are_answered_in_their_order
    several_rows_can_be_read_at_once
    a_snapshot_shows_what_was_there
    a_dropped_range_is_gone_at_once_and_for_good
    a_dropped_partition_may_come_back_under_a_higher_generation
    sizes_grow_with_what_is_written
}

const LIMIT: ScanLimit = ScanLimit { rows: 1_000, bytes: 1 << 20 };

fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Batch {
    let mut batch = Batch::new();
    batch.put(Space::Data, key, value);
    batch
}

fn the_last_write_of_a_row_wins<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    let mut batch = put("kept", "1");
    batch.delete(Space::Data, "kept");
    batch.put(Space::Data, "kept", "2");
    batch.put(Space::Data, "gone", "3");
    batch.delete(Space::Data, "gone");
    engine.commit(&[batch], Durability::Synced).unwrap();
    let check = |engine: &H::Engine| {
        assert_eq!(engine.get(Space::Data, b"kept").unwrap(), Some("2".into()));
        assert_eq!(engine.get(Space::Data, b"gone").unwrap(), None);
    };
    check(&engine);
    H::settle(&engine);
    check(&engine);
    home.abandon(engine);
    check(&home.open());
}

fn a_group_is_applied_in_order<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    let group: Vec<_> = (0..50u8).map(|n| put("k", vec![n])).collect();
    engine.commit(&group, Durability::Synced).unwrap();
    assert_eq!(engine.get(Space::Data, b"k").unwrap(), Some(vec![49].into()));
}

fn rows_are_kept_apart_by_namespace<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    let mut batch = Batch::new();
    for namespace in Space::ALL {
        batch.put(namespace, "k", namespace.name());
    }
    engine.commit(&[batch], Durability::Synced).unwrap();
    for namespace in Space::ALL {
        let row = (Bytes::from("k"), Bytes::from(namespace.name()));
        assert_eq!(engine.get(namespace, b"k").unwrap(), Some(row.1.clone()));
        assert_eq!(walk(&engine, namespace, &RowRange::all(), LIMIT), [row]);
    }
}

fn the_longest_rows_fit<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    let key = vec![255; MAX_ROW_KEY];
    let value: Bytes = (0..starling_types::limits::MAX_VALUE).map(|at| (at / 7) as u8).collect();
    let check = |engine: &H::Engine| {
        assert_eq!(engine.get(Space::Data, &key).unwrap().as_ref(), Some(&value));
        let found = walk(engine, Space::Data, &RowRange::all(), LIMIT);
        assert!(found == [(Bytes::from(key.clone()), value.clone())]);
    };
    engine.commit(&[put(key.clone(), value.clone())], Durability::Synced).unwrap();
    check(&engine);
    H::settle(&engine);
    check(&engine);
    engine.close().unwrap();
    home.abandon(engine);
    check(&home.open());
}

fn rows_beyond_the_limits_are_refused_and_harm_nothing<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    let refused = |batch| engine.commit(&[put("first", "1"), batch], Durability::Synced).unwrap_err();
    assert_eq!(refused(put("", "v")), StorageError::KeyLength { bytes: 0 });
    let bytes = MAX_ROW_KEY + 1;
    assert_eq!(refused(put(vec![1; bytes], "v")), StorageError::KeyLength { bytes });
    let bytes = MAX_ROW_VALUE + 1;
    assert_eq!(refused(put("k", vec![0; bytes])), StorageError::ValueLength { bytes });
    assert_eq!(engine.get(Space::Data, b"first").unwrap(), None, "none of the group was written");
    engine.commit(&[put("k", "v")], Durability::Synced).unwrap();
}

fn odd_ranges_and_keys_find_nothing<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    engine.commit(&[put("k", "v")], Durability::Synced).unwrap();
    let reversed = RowRange::new("z", Some("a".into()));
    assert_eq!(walk(&engine, Space::Data, &reversed, LIMIT), []);
    assert_eq!(walk(&engine, Space::Data, &RowRange::prefix(vec![255; 99_999]), LIMIT), []);
    assert_eq!(engine.get(Space::Data, b"").unwrap(), None);
    assert_eq!(engine.get(Space::Data, &vec![1; 99_999]).unwrap(), None);
}

fn a_large_row_gets_a_page_of_its_own<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    let group = [put("a", "1"), put("b", vec![7; 500]), put("c", "3")];
    engine.commit(&group, Durability::Synced).unwrap();
    let limit = ScanLimit { rows: 10, bytes: 100 };
    let keys = |page: &Page| page.rows.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let mut rest = RowRange::all();
    for (key, next) in [("a", Some("b")), ("b", Some("c")), ("c", None)] {
        let page = engine.scan(Space::Data, &rest, limit).unwrap();
        assert_eq!((keys(&page), page.next.clone()), (vec![key.into()], next.map(Bytes::from)));
        rest = page.next.map_or(rest.clone(), |next| rest.resume(next));
    }
}

fn a_closed_engine_says_so<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    engine.close().unwrap();
    assert_eq!(engine.commit(&[put("k", "v")], Durability::Synced), Err(StorageError::Closed));
    assert_eq!(engine.get(Space::Data, b"k"), Err(StorageError::Closed));
    assert_eq!(engine.scan(Space::Data, &RowRange::all(), LIMIT), Err(StorageError::Closed));
    assert_eq!(engine.sizes(), crate::Sizes::default());
    engine.close().unwrap();
}

fn submissions_are_answered_in_their_order<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    let (answers, answered) = std::sync::mpsc::channel();
    for n in 0..200u8 {
        let durability = if n % 3 == 0 { Durability::Synced } else { Durability::Buffered };
        let answers = answers.clone();
        let tell = Box::new(move |result: Result<(), StorageError>| answers.send((n, result)).unwrap());
        engine.submit(vec![put("k", vec![n])], durability, tell);
    }
    for n in 0..200u8 {
        assert_eq!(answered.recv().unwrap(), (n, Ok(())));
    }
    assert_eq!(engine.get(Space::Data, b"k").unwrap(), Some(vec![199].into()));
}

fn several_rows_can_be_read_at_once<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    engine.commit(&[put("a", "1"), put("c", "3")], Durability::Synced).unwrap();
    let found = engine.multi_get(Space::Data, &["c".into(), "b".into(), "a".into()]);
    assert_eq!(found, [Ok(Some("3".into())), Ok(None), Ok(Some("1".into()))]);
}

fn a_snapshot_shows_what_was_there<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    engine.commit(&[put("kept", "1"), put("gone", "1")], Durability::Synced).unwrap();
    let snapshot = engine.snapshot().unwrap();
    let mut later = put("new", "2");
    later.delete(Space::Data, "gone");
    later.put(Space::Data, "kept", "2");
    engine.commit(&[later], Durability::Synced).unwrap();
    let check = || {
        assert_eq!(snapshot.get(Space::Data, b"kept").unwrap(), Some("1".into()));
        assert_eq!(snapshot.get(Space::Data, b"new").unwrap(), None);
        let rows = snapshot.scan(Space::Data, &RowRange::all(), LIMIT).unwrap().rows;
        assert_eq!(rows, [("gone".into(), "1".into()), ("kept".into(), "1".into())]);
    };
    check();
    H::settle(&engine);
    engine.commit(&[put("kept", "3")], Durability::Synced).unwrap();
    H::settle(&engine);
    check();
    assert_eq!(snapshot.sequence(), 2);
    assert_eq!((engine.snapshot().unwrap().sequence(), engine.sequence()), (4, 4));
    assert_eq!(engine.get(Space::Data, b"kept").unwrap(), Some("3".into()));
}

fn data_row(token: u64, generation: u32) -> Bytes {
    [&token.to_be_bytes()[..], &generation.to_be_bytes(), b"bucket\0key"].concat().into()
}

fn a_dropped_range_is_gone_at_once_and_for_good<H: Home>() {
    let mut home = H::new();
    let mut engine = home.open();
    let rows: Vec<Bytes> = (0..40).map(|token| data_row(token, 1)).collect();
    let write: Batch = rows
        .iter()
        .map(|key| Op::Put { namespace: Space::Data, key: key.clone(), value: "v".into() })
        .collect();
    engine.commit(&[write], Durability::Synced).unwrap();
    H::settle(&engine);
    let before = engine.snapshot().unwrap();
    let mut drop_some = put(data_row(100, 1), "beside");
    drop_some.drop_below(10..=29, 2);
    engine.commit(&[drop_some], Durability::Synced).unwrap();
    let check = |engine: &H::Engine| {
        let alive = rows.iter().filter(|key| engine.get(Space::Data, key).unwrap().is_some()).count();
        assert_eq!(alive, 20);
        let found = walk(engine, Space::Data, &RowRange::all(), ScanLimit { rows: 3, bytes: 99_999 });
        let left = rows[..10].iter().chain(&rows[30..]).cloned().chain([data_row(100, 1)]);
        assert_eq!(found.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), left.collect::<Vec<_>>());
    };
    check(&engine);
    assert!(before.get(Space::Data, &rows[15]).unwrap().is_some(), "a snapshot from before still sees it");
    drop(before);
    for _ in 0..2 {
        H::settle(&engine);
        home.abandon(engine);
        engine = home.open();
        check(&engine);
    }
}

fn a_dropped_partition_may_come_back_under_a_higher_generation<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    engine.commit(&[put(data_row(7, 1), "old")], Durability::Synced).unwrap();
    let mut come_back = Batch::new();
    come_back.drop_below(0..=u64::MAX, 2);
    come_back.put(Space::Data, data_row(7, 2), "new");
    engine.commit(&[come_back], Durability::Synced).unwrap();
    H::settle(&engine);
    assert_eq!(engine.get(Space::Data, &data_row(7, 1)).unwrap(), None);
    assert_eq!(walk(&engine, Space::Data, &RowRange::all(), LIMIT), [(data_row(7, 2), "new".into())]);
}

fn sizes_grow_with_what_is_written<H: Home>() {
    let mut home = H::new();
    let engine = home.open();
    let before = engine.sizes();
    engine.commit(&[put("k", vec![7; 100_000])], Durability::Synced).unwrap();
    H::settle(&engine);
    assert!(engine.sizes().disk_bytes > before.disk_bytes);
}
