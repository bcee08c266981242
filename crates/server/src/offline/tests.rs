//! Stores with every flaw that needs no broken disk, and backups old and new.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use starling_backup::{Origin, Utc, Writer};
use starling_causality::{Dot, Hlc, Mint, Payload, Record, VersionVector};
use starling_storage::{Batch, Durability, DurableEngine, Engine, Options, ScanLimit};
use starling_types::row::{Page, RowRange, Space};
use starling_types::{
    ActorId, BucketName, ClusterId, Generation, Key, LayoutVersion, Lineage, NodeId, QualifiedKey, WallTime,
};
use starling_vnode::CellKey;
use starling_vnode::rows::{META_CLEAN_STOP, META_HLC_CEILING};

use super::*;
use crate::daemon::{META_BIRTH, birth_row};
use crate::home::{FORMATS, Home, HomeError};

mod unreadable;

const NODE: NodeId = NodeId::from_bits(7);
const OTHER: NodeId = NodeId::from_bits(8);
const CLUSTER: ClusterId = ClusterId::from_bits(9);
const NOW: Utc = Utc(WallTime::from_millis(1_785_587_696_789));
const ALL: ScanLimit = ScanLimit { rows: usize::MAX, bytes: usize::MAX };

type Rows = BTreeMap<(Space, Bytes), Bytes>;

fn key(name: &str) -> QualifiedKey {
    QualifiedKey::new(CLUSTER.hash_seed(), BucketName::default_bucket(), Key::new(name.to_owned()).unwrap())
}

fn row(name: &str) -> Bytes {
    CellKey::data(key(name)).row().1
}

fn keep(lines: &mut Vec<serde_json::Value>, line: serde_json::Value) -> ControlFlow<()> {
    lines.push(line);
    ControlFlow::Continue(())
}

/// A key's record after these writes, each by a client that has seen the last: a value, or a delete.
fn record(writes: &[(u64, Option<&'static str>)]) -> Record {
    let mut record = Record::default();
    for (time, value) in writes {
        let dot = Dot { actor: ActorId::from_bits(1), hlc: Hlc::from_parts(*time, 0) };
        let payload =
            value.map_or(Payload::Tombstone, |value| Payload::Value(Bytes::from_static(value.as_bytes())));
        record = record.write(Mint::plain(&record.context().clone(), dot, payload));
    }
    record
}

/// Files of the log that are made at once.
fn small() -> Options {
    Options { log_segment_bytes: 1 << 16, ..Options::default() }
}

/// A data directory with these rows, as a node leaves it.
fn directory(dir: &Path, rows: &Rows) {
    let inhabitant = Inhabitant {
        format_version: FORMATS.newest,
        node_id: NODE,
        cluster_id: Some(CLUSTER),
        generation: Generation(3),
        lineage: Lineage::default(),
    };
    let engine = DurableEngine::open(dir, small()).unwrap();
    let home = Home::of(dir, inhabitant);
    let mut batch = Batch::new();
    batch.put(Space::Meta, META_BIRTH, birth_row(&home));
    rows.iter().for_each(|((namespace, key), value)| batch.put(*namespace, key.clone(), value.clone()));
    engine.commit(&[batch], Durability::Synced).unwrap();
    engine.close().unwrap();
    home.settle().unwrap();
}

/// All rows but those of meta.
fn records(dir: &Path) -> Rows {
    let engine = DurableEngine::open(dir, small()).unwrap();
    let mut rows = Rows::new();
    for namespace in [Space::Data, Space::Hints] {
        let page = engine.scan(namespace, &RowRange::all(), ALL).unwrap();
        rows.extend(page.rows.into_iter().map(|(key, value)| ((namespace, key), value)));
    }
    rows
}

fn meta(dir: &Path, name: &[u8]) -> Option<Bytes> {
    let engine = DurableEngine::open(dir, small()).unwrap();
    engine.get(Space::Meta, name).unwrap()
}

fn ceiling(ms: u64) -> Bytes {
    Bytes::copy_from_slice(&Hlc::from_parts(ms, 0).bits().to_be_bytes())
}

fn data(rows: &[(&str, Record)]) -> Rows {
    rows.iter().map(|(name, record)| ((Space::Data, row(name)), record.encode())).collect()
}

/// A backup of these rows, cut off before its end if `partial`.
fn backup(dir: &Path, node: NodeId, rows: &Rows, partial: bool) -> PathBuf {
    let dir = dir.join("backup");
    let origin = Origin {
        node_id: node,
        name: "n".into(),
        cluster_id: Some(CLUSTER),
        generation: Generation(2),
        layout_version: LayoutVersion(1),
        release: "0".into(),
    };
    let mut writer = Writer::begin(&dir, origin, None, NOW).unwrap().with_chunk_bytes(0);
    for namespace in Space::ALL {
        let of = rows.iter().filter(|((space, _), _)| *space == namespace);
        let rows = of.map(|((_, key), value)| (key.clone(), value.clone())).collect();
        writer.append(namespace, Page { rows, sequence: 1, ..Page::default() }).unwrap();
    }
    if !partial {
        writer.finish(NOW).unwrap();
    }
    dir
}

fn run(backup: &Path, data: &Path) -> Result<Restored, OfflineError> {
    restore(Restore { backup, data, incomplete: false }, |_| {})
}

/// Every file below `dir` but those that a look may touch.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => _ = found.insert(path.clone(), fs::read(path).unwrap()),
        }
    }
    found
}

#[test]
fn an_old_backup_takes_back_nothing_newer_and_brings_back_what_was_lost() {
    let dir = tempfile::tempdir().unwrap();
    let old = [
        ("lost", record(&[(1, Some("lost"))])),
        ("changed", record(&[(1, Some("old"))])),
        ("deleted", record(&[(1, Some("old"))])),
        ("beside", record(&[(1, Some("one side"))])),
        ("same", record(&[(1, Some("same"))])),
    ];
    let beside = {
        let dot = Dot { actor: ActorId::from_bits(2), hlc: Hlc::from_parts(9, 0) };
        Record::default().write(Mint::plain(&VersionVector::new(), dot, Payload::Value("other side".into())))
    };
    let new = [
        ("changed", record(&[(1, Some("old")), (2, Some("new"))])),
        ("deleted", record(&[(1, Some("old")), (2, None)])),
        ("beside", beside.clone()),
        ("same", record(&[(1, Some("same"))])),
        ("added", record(&[(3, Some("added"))])),
    ];
    let mut there = data(&new);
    there.insert((Space::Meta, META_HLC_CEILING.into()), ceiling(50));
    there.insert((Space::Meta, META_CLEAN_STOP.into()), Bytes::new());
    directory(&dir.path().join("data"), &there);
    let mut copied = data(&old);
    copied.insert((Space::Meta, META_HLC_CEILING.into()), ceiling(40));
    let backup = backup(dir.path(), NODE, &copied, false);
    let home = dir.path().join("data");
    let restored = run(&backup, &home).unwrap();
    assert_eq!(restored.data, Counters { new: 1, merged: 1, known: 3, healed: 0 });
    assert_eq!((restored.is_new, restored.inhabitant.node_id), (false, NODE));
    assert!(restored.inhabitant.generation.count() > 1_000, "more than others may have heard of");
    let mut expected = data(&new);
    expected.extend(data(&[old[0].clone(), ("beside", old[3].1.merge(&beside).record)]));
    assert_eq!(records(&home), expected);
    assert_eq!(meta(&home, META_HLC_CEILING), Some(ceiling(50)));
    assert_eq!(meta(&home, META_CLEAN_STOP), None, "others know what is in the store's past: new actors");
    let again = run(&backup, &home).unwrap();
    assert_eq!(again.data, Counters { new: 0, merged: 0, known: 5, healed: 0 });
    assert_eq!(records(&home), expected, "a second run changes nothing");
}

#[test]
fn an_empty_directory_becomes_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let hint = CellKey::hint(OTHER, key("hinted")).row().1;
    let mut rows = data(&[("a", record(&[(1, Some("a"))])), ("b", record(&[(1, None)]))]);
    rows.insert((Space::Hints, hint), record(&[(2, Some("hint"))]).encode());
    let kept = rows.clone();
    rows.insert((Space::Meta, META_HLC_CEILING.into()), ceiling(40));
    rows.insert((Space::Meta, META_CLEAN_STOP.into()), Bytes::new());
    rows.insert((Space::Meta, META_BIRTH.into()), Bytes::from_static(b"of another place"));
    let backup = backup(dir.path(), NODE, &rows, false);
    let home = dir.path().join("new");
    let restored = run(&backup, &home).unwrap();
    assert_eq!((restored.data.new, restored.hints.new, restored.is_new), (2, 1, true));
    assert_eq!(records(&home), kept);
    assert_eq!(meta(&home, META_HLC_CEILING), Some(ceiling(40)));
    assert_eq!(meta(&home, META_CLEAN_STOP), None);
    let inhabitant = Inhabitant::of(&home).unwrap().unwrap();
    assert_eq!((inhabitant.node_id, inhabitant.cluster_id), (NODE, Some(CLUSTER)));
    let here = Home::of(&home, inhabitant);
    assert_eq!(meta(&home, META_BIRTH), Some(birth_row(&here).into()), "no copy from elsewhere");
    let found = check(&home, None).unwrap();
    assert!(found.is_sound(), "{found:?}");
}

#[test]
fn what_must_not_be_restored_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rows = data(&[("a", record(&[(1, Some("a"))]))]);
    let home = dir.path().join("data");
    directory(&home, &rows);
    let before = contents(&home);
    let refused = |backup: &Path, words: &str| {
        let error = run(backup, &home).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert_eq!(contents(&home), before);
    };
    let [other, partial, good] = ["other", "partial", "good"].map(|name| dir.path().join(name));
    refused(&backup(&other, OTHER, &rows, false), "goes back to its own node");
    let partial = backup(&partial, NODE, &rows, true);
    refused(&partial, "cut off");
    let good = backup(&good, NODE, &rows, false);
    let chunk = good.join("chunk-000001.rows");
    let mut bytes = fs::read(&chunk).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&chunk, bytes).unwrap();
    refused(&good, "chunk-000001.rows");
    refused(&dir.path().join("nowhere"), "no backup");
    for backup in [&partial, &good] {
        restore(Restore { backup, data: &home, incomplete: true }, |_| {}).unwrap();
    }
    let engine = DurableEngine::open(&home, small()).unwrap();
    assert!(matches!(run(&partial, &home), Err(OfflineError::Incomplete { .. })));
    let locked = restore(Restore { backup: &partial, data: &home, incomplete: true }, |_| {});
    assert!(matches!(locked, Err(OfflineError::Storage(StorageError::Locked { .. }))), "{locked:?}");
    drop(engine);
}

#[test]
fn a_row_that_cannot_be_read_is_replaced_by_that_of_the_backup() {
    let dir = tempfile::tempdir().unwrap();
    let good = data(&[("a", record(&[(1, Some("a"))]))]);
    let bad = good.keys().map(|key| (key.clone(), Bytes::from_static(b"no record"))).collect();
    let home = dir.path().join("data");
    directory(&home, &bad);
    let restored = run(&backup(dir.path(), NODE, &good, false), &home).unwrap();
    assert_eq!((restored.data.healed, records(&home)), (1, good.clone()));
    // And the other way round.
    let worse = dir.path().join("worse");
    let restored = run(&backup(&worse, NODE, &bad, false), &home).unwrap();
    assert_eq!((restored.flawed.len(), records(&home)), (1, good));
}

/// A store with one row of each flaw among good ones.
fn flawed(dir: &Path) -> Rows {
    let good = record(&[(1, Some("a"))]);
    let mut rows = data(&[("a", good.clone()), ("b", record(&[(1, None)]))]);
    let kept = rows.clone();
    let astray = [&[0xff; 8][..], &row("c")[8..]].concat();
    rows.insert((Space::Data, astray.into()), good.encode());
    rows.insert((Space::Data, row("d")), Bytes::from_static(b"no record"));
    rows.insert((Space::Hints, Bytes::from_static(b"short")), good.encode());
    directory(dir, &rows);
    kept
}

#[test]
fn a_check_names_every_flaw_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("data");
    flawed(&home);
    let before = contents(&home);
    let found = check(&home, None).unwrap();
    assert!(!found.is_sound());
    let [data, hints, meta] = &found.spaces[..] else { panic!("{found:?}") };
    assert_eq!((data.rows, data.tombstones, data.flawed_rows), (4, 1, 2));
    assert!(matches!(data.flawed[0].flaw, Flaw::Record(_)) || matches!(data.flawed[1].flaw, Flaw::Record(_)));
    assert!(data.flawed.iter().any(|row| matches!(row.flaw, Flaw::Token { .. })), "{data:?}");
    assert!(matches!(hints.flawed[..], [FlawedRow { flaw: Flaw::Key, .. }]), "{hints:?}");
    assert_eq!((meta.rows, found.problems.len()), (1, 0));
    assert_eq!(contents(&home), before);
    let elsewhere = dir.path().join("scratch");
    fs::create_dir(&elsewhere).unwrap();
    assert_eq!(check(&home, Some(&elsewhere)).unwrap(), found);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "the shadow is gone");
    let mut lines = Vec::new();
    let whole = dump(&home, None, &Filter::default(), |line| keep(&mut lines, line)).unwrap();
    assert_eq!((whole, lines.len()), (false, 6));
    assert_eq!(contents(&home), before);
}

#[test]
fn a_dump_shows_what_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("data");
    let mut rows = data(&[("ab", record(&[(5, Some("value"))])), ("b", record(&[(1, None)]))]);
    rows.insert((Space::Hints, CellKey::hint(OTHER, key("ac")).row().1), record(&[(1, None)]).encode());
    directory(&home, &rows);
    let shown = |filter: Filter| {
        let mut lines = Vec::new();
        assert!(dump(&home, None, &filter, |line| keep(&mut lines, line)).unwrap());
        lines
    };
    let mut looks = 0;
    let mut once = |_| {
        looks += 1;
        ControlFlow::Break(())
    };
    assert!(dump(&home, None, &Filter::default(), &mut once).unwrap());
    assert_eq!(looks, 1, "who has seen enough is shown no more");
    let lines = shown(Filter { namespace: Some(Space::Data), prefix: b"a".to_vec(), bucket: None });
    assert_eq!(lines.len(), 1);
    let sibling = &lines[0]["siblings"][0];
    assert_eq!((&lines[0]["key_text"], &sibling["value"]), (&"ab".into(), &"dmFsdWU=".into()));
    assert_eq!((&sibling["time_ms"], &sibling["tombstone"]), (&5.into(), &false.into()));
    let hints = shown(Filter { namespace: Some(Space::Hints), ..Filter::default() });
    assert_eq!((hints.len(), &hints[0]["for"]), (1, &OTHER.to_string().into()));
    let other = BucketName::new("other").unwrap();
    assert_eq!(shown(Filter { bucket: Some(other), ..Filter::default() }).len(), 0);
    assert_eq!(shown(Filter::default()).len(), 4);
}

#[test]
fn a_repair_removes_what_is_no_record_and_keeps_it_beside_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("data");
    let kept = flawed(&home);
    let done = repair(&home, "damaged-1").unwrap();
    let mended = done.mended.unwrap();
    assert_eq!((mended.removed.len(), mended.gone.len(), records(&home)), (3, 0, kept));
    assert_eq!(records(&mended.originals).len(), 5, "the store as it was");
    assert!(check(&home, None).unwrap().is_sound());
    assert_eq!(repair(&home, "damaged-2").unwrap().mended, None);
    assert!(!home.join("damaged-2").exists());
}

#[test]
fn a_repair_leaves_records_of_a_later_version_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("data");
    let mut rows = flawed(&home);
    // The checksum stands at the end in every version.
    let later = ((Space::Data, row("e")), Bytes::from_static(b"\x03\0\0\0\x9d\xe9\x09\x66\xd8\xc1\xcf\xc8"));
    directory(&home, &[later.clone()].into());
    rows.extend([later]);
    let mended = repair(&home, "damaged-1").unwrap().mended.unwrap();
    assert_eq!((mended.removed.len(), records(&home)), (3, rows));
}

/// Has the tables alone hold what is in the store: the log is moved on until it has let go of it.
fn leave_to_tables(dir: &Path) {
    let engine = DurableEngine::open(dir, small()).unwrap();
    for _ in 0..4 {
        let mut filler = Batch::new();
        filler.put(Space::Meta, "filler", vec![0; small().log_segment_bytes as usize / 2]);
        engine.commit(&[filler], Durability::Synced).unwrap();
    }
    engine.flush().unwrap();
    engine.close().unwrap();
}

#[test]
fn what_a_damaged_table_lost_comes_back_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (home, rows) = (dir.path().join("data"), many());
    directory(&home, &rows);
    let engine = DurableEngine::open(&home, small()).unwrap();
    engine.flush().unwrap();
    engine.close().unwrap();
    drop(engine);
    damage_a_table(&home);
    assert!(
        check(&home, None).unwrap().spaces[0].rows < 600,
        "tables are looked at without the log behind them"
    );
    repair(&home, "damaged").unwrap().mended.unwrap();
    assert_eq!(records(&home), rows);
}

fn many() -> Rows {
    let record = |n: u64| record(&[(n + 1, Some("value"))]).encode();
    (0..600).map(|n| ((Space::Data, row(&format!("key-{n}"))), record(n))).collect()
}

/// Flips a bit in the middle of a table of data. Gives its path and what is in it now.
fn damage_a_table(home: &Path) -> (PathBuf, Vec<u8>) {
    let tables = home.join("tables").join("data").join("tables");
    let table = fs::read_dir(tables).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&table, &bytes).unwrap();
    (table, bytes)
}

#[test]
fn what_a_damaged_table_still_holds_outlives_its_repair() {
    let dir = tempfile::tempdir().unwrap();
    let (home, rows) = (dir.path().join("data"), many());
    directory(&home, &rows);
    leave_to_tables(&home);
    let (table, bytes) = damage_a_table(&home);

    let found = check(&home, None).unwrap();
    let data = &found.spaces[0];
    assert!(!found.is_sound() && data.rows < 600 && !data.damaged.is_empty(), "{found:?}");
    let mended = repair(&home, "damaged").unwrap().mended.unwrap();
    assert!(mended.gone.iter().all(|(space, _)| *space == Space::Data), "{mended:?}");
    let left = records(&home);
    assert!(left.len() >= data.rows as usize && left.len() < 600, "{} rows", left.len());
    assert!(left.iter().all(|(key, value)| rows.get(key) == Some(value)));
    let kept = mended.originals.join(table.strip_prefix(&home).unwrap());
    assert_eq!(fs::read(kept).unwrap(), bytes, "the damaged table is kept");
    let after = check(&home, None).unwrap();
    assert!(!after.is_sound() && after.needs_no_repair(), "until the node has started: {after:?}");
    assert_eq!(repair(&home, "again").unwrap().mended, None);
}

#[test]
fn what_is_no_store_or_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = check(dir.path(), None);
    assert!(matches!(refused, Err(OfflineError::NoStore { .. })), "{refused:?}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let home = dir.path().join("data");
    directory(&home, &Rows::new());
    let engine = DurableEngine::open(&home, small()).unwrap();
    let dumped = dump(&home, None, &Filter::default(), |_| ControlFlow::Continue(()));
    for refused in [check(&home, None).err(), dumped.err(), repair(&home, "x").err()] {
        assert!(matches!(refused, Some(OfflineError::InUse { .. })), "{refused:?}");
    }
    drop(engine);
    fs::write(home.join("tables").join("FORMAT"), "starling store 99\n").unwrap();
    let newer = check(&home, None);
    let Err(OfflineError::Storage(StorageError::OtherFormat { dir: named, .. })) = newer else {
        panic!("{newer:?}")
    };
    assert_eq!(named, home, "not the shadow");
    let newer = r#"{"format_version": 3, "node_id": 7}"#;
    fs::write(home.join("node.json"), newer).unwrap();
    for refused in [check(&home, None).err(), repair(&home, "x").err()] {
        assert!(matches!(refused, Some(OfflineError::Home(HomeError::OtherFormat { .. }))), "{refused:?}");
    }
}
