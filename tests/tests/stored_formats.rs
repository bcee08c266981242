//! Files that earlier versions have left behind, as fixtures: this one opens them and finds exactly what was written. And
//! files of other formats: they are refused, with words that say what to do, and left alone.
//!
//! Fixtures come in sets, one for each commit that changed a format: docs/design/versions.md.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the way to fail")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use starling_backup::{Origin, Reader, Row, Utc, Writer};
use starling_causality::{ContextToken, Dot, Hlc, Mint, Payload, Record, VersionVector};
use starling_node::{Boot, Losses};
use starling_storage::{Batch, Durability, DurableEngine, Engine, Options, ScanLimit, StorageError};
use starling_types::row::{Page, RowRange, Space};
use starling_types::{
    ActorId, BucketName, ClusterId, Generation, Key, LayoutVersion, NodeId, QualifiedKey, RequestId, WallTime,
};
use starling_vnode::CellKey;
use starling_vnode::rows::{self, FIRST_GENERATION, META_HLC_CEILING};
use tempfile::TempDir;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

type Rows = BTreeMap<(Space, Bytes), Bytes>;

#[path = "../fixtures/sets.rs"]
mod sets;

const CLUSTER: ClusterId = ClusterId::from_bits(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
const MADE: Utc = Utc(WallTime::from_millis(1_785_587_696_789));

/// Small files: most of a log is zeros.
fn options() -> Options {
    Options { log_segment_bytes: 1 << 14, ..Options::default() }
}

fn key(name: &str) -> QualifiedKey {
    QualifiedKey::new(CLUSTER.hash_seed(), BucketName::default_bucket(), Key::new(name.to_owned()).unwrap())
}

fn dot(actor: u64, hlc: u64) -> Dot {
    Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_bits(hlc) }
}

/// A record of writes by these actors, each by a writer that has seen nothing.
fn siblings(writes: &[(u64, Payload)]) -> Bytes {
    let write = |record: Record, (actor, payload): &(u64, Payload)| {
        let dot = dot(*actor, Hlc::from_parts(1_700_000_000_000 + actor, 3).bits());
        record.write(Mint::plain(&VersionVector::new(), dot, payload.clone()))
    };
    writes.iter().fold(Record::default(), write).encode()
}

fn value(text: &'static str) -> Bytes {
    siblings(&[(1, Payload::Value(text.into()))])
}

/// The rows that are written first, and become tables.
fn first() -> Rows {
    let both = [(1, Payload::Value("one".into())), (2, Payload::Value("other".into()))];
    [
        (CellKey::data(key("replaced")), value("before")),
        (CellKey::data(key("removed")), value("removed")),
        (CellKey::data(key("dropped")), value("dropped")),
        (CellKey::data(key("kept")), value("kept")),
        (CellKey::data(key("deleted")), siblings(&[(3, Payload::Tombstone)])),
        (CellKey::data(key("siblings")), siblings(&both)),
        (CellKey::hint(NodeId::from_bits(5), key("kept")), value("for another")),
        (CellKey::hint(NodeId::from_bits(5), key("delivered")), value("delivered")),
    ]
    .map(|(cell, value)| (cell.row(), value))
    .into()
}

/// The writes that follow, and stay in the log.
fn then() -> Batch {
    let mut batch = Batch::new();
    let (data, replaced) = CellKey::data(key("replaced")).row();
    batch.put(data, replaced, value("after"));
    batch.delete(data, CellKey::data(key("removed")).row().1);
    batch.delete(Space::Hints, CellKey::hint(NodeId::from_bits(5), key("delivered")).row().1);
    batch.put(Space::Hints, CellKey::hint(NodeId::from_bits(6), key("new")).row().1, value("new"));
    batch.put(Space::Meta, META_HLC_CEILING, Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]));
    let token = key("dropped").token().bits();
    batch.drop_below(token..=token, FIRST_GENERATION + 1);
    batch
}

/// The rows at the end, those about the store itself left out.
fn at_last() -> Rows {
    let mut rows = first();
    let gone = [CellKey::data(key("removed")), CellKey::data(key("dropped"))];
    let delivered = CellKey::hint(NodeId::from_bits(5), key("delivered"));
    gone.iter().chain([&delivered]).for_each(|cell| drop(rows.remove(&cell.row())));
    rows.insert(CellKey::data(key("replaced")).row(), value("after"));
    rows.insert(CellKey::hint(NodeId::from_bits(6), key("new")).row(), value("new"));
    rows.insert((Space::Meta, META_HLC_CEILING.into()), Bytes::from_static(&[1, 2, 3, 4, 5, 6, 7, 8]));
    rows
}

fn write_store(dir: &Path) {
    let engine = DurableEngine::open(dir, options()).unwrap();
    // So much that the log goes on in a second file, and the first is given back: that is noted in the marks.
    for size in [12 << 10, 8 << 10] {
        let mut filler = Batch::new();
        filler.put(Space::Meta, "filler", vec![0; size]);
        engine.commit(&[filler], Durability::Synced).unwrap();
    }
    let mut batch = Batch::new();
    batch.delete(Space::Meta, "filler");
    sets::newest("meta.txt").into_iter().for_each(|(key, value)| batch.put(Space::Meta, key, value));
    first().into_iter().for_each(|((namespace, key), value)| batch.put(namespace, key, value));
    engine.commit(&[batch], Durability::Synced).unwrap();
    engine.flush().unwrap();
    engine.commit(&[then()], Durability::Synced).unwrap();
    engine.close().unwrap();
    drop(engine);
    fs::remove_file(dir.join("LOCK")).unwrap();
    for entry in fs::read_dir(dir.join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("spare-") {
            fs::remove_file(path).unwrap();
        }
    }
}

fn origin() -> Origin {
    Origin {
        node_id: NodeId::from_bits(5),
        name: "n1".into(),
        cluster_id: Some(CLUSTER),
        generation: Generation(2),
        layout_version: LayoutVersion(1),
        release: "0.1.0".into(),
    }
}

fn write_backup(dir: &Path) {
    let mut writer = Writer::begin(dir, origin(), None, MADE).unwrap();
    for namespace in Space::ALL {
        let rows = at_last().into_iter().filter(|((space, _), _)| *space == namespace);
        let rows = rows.map(|((_, key), value)| (key, value)).collect();
        writer.append(namespace, Page { rows, sequence: 7, ..Page::default() }).unwrap();
    }
    writer.finish(MADE).unwrap();
    fs::remove_file(dir.join("LOCK")).unwrap();
}

/// Of each set that has one: its number, and a copy to be opened.
fn copies_of(part: &str) -> Vec<(String, TempDir)> {
    let sets = sets::sets().into_iter().filter(|set| set.join(part).is_dir());
    let copy = |set: PathBuf| {
        let dir = TempDir::new().unwrap();
        copy(&set.join(part), dir.path());
        (set.file_name().unwrap().to_str().unwrap().to_owned(), dir)
    };
    sets.map(copy).collect()
}

fn newest(part: &str) -> TempDir {
    copies_of(part).pop().unwrap().1
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type().unwrap().is_dir() {
            true => copy(&from, &to),
            false => _ = fs::copy(from, to).unwrap(),
        }
    }
    // A table of no rows is a directory of no files, which a checkout does not have.
    if from.ends_with("tables/hints") || from.ends_with("tables/meta") || from.ends_with("tables/data") {
        fs::create_dir_all(to.join("tables")).unwrap();
    }
}

fn rows_of(engine: &DurableEngine) -> Rows {
    let limit = ScanLimit { rows: usize::MAX, bytes: usize::MAX };
    let mut rows = Rows::new();
    for namespace in Space::ALL {
        let page = engine.scan(namespace, &RowRange::all(), limit).unwrap();
        assert!(page.damaged.is_empty(), "{page:?}");
        rows.extend(page.rows.into_iter().map(|(key, value)| ((namespace, key), value)));
    }
    rows
}

/// Rows as this version would write them: what earlier ones wrote of records is read, and written anew.
fn as_written_today(mut rows: Rows) -> Rows {
    // Of what a node knows of itself, sets hold more and more.
    rows.retain(|(namespace, key), _| *namespace != Space::Meta || key == META_HLC_CEILING);
    let records = rows.iter_mut().filter(|((namespace, _), _)| *namespace != Space::Meta);
    records.for_each(|(_, value)| *value = Record::decode(value).unwrap().encode());
    rows
}

#[test]
fn every_store_holds_what_was_written() {
    for (set, dir) in copies_of(STORE) {
        for open in ["the first", "the second"] {
            let engine = DurableEngine::open(dir.path(), options()).unwrap();
            assert!(!engine.report().has_losses(), "{set}, {open} open: {}", engine.report());
            let rows = rows_of(&engine);
            let meta = rows.iter().filter(|((space, key), _)| *space == Space::Meta && key[0] != 0);
            let meta: Vec<_> = meta.map(|((_, key), value)| (key.clone(), value.clone())).collect();
            Boot::read(&meta, &Losses::NONE).unwrap();
            assert_eq!(as_written_today(rows), at_last(), "{set}, {open} open");
            let (data, dropped) = CellKey::data(key("dropped")).row();
            assert_eq!(engine.get(data, &dropped), Ok(None), "{set}, {open} open");
            engine.flush().unwrap();
            engine.close().unwrap();
        }
    }
}

#[test]
fn every_backup_holds_what_was_written() {
    for (set, dir) in copies_of(BACKUP) {
        let reader = Reader::open(dir.path()).unwrap();
        assert!(reader.verify(|_| {}).is_whole(), "{set}");
        let rows = reader.rows().map(Result::unwrap);
        let rows: Rows = rows.map(|Row { namespace, key, value }| ((namespace, key), value)).collect();
        assert_eq!(as_written_today(rows), at_last(), "{set}");
        let manifest = reader.manifest();
        assert_eq!((manifest.begun_at, manifest.origin.cluster_id), (MADE, Some(CLUSTER)), "{set}");
    }
}

/// The bytes of every file, by its path.
fn files_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(at) = dirs.pop() {
        for path in fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => dirs.push(path),
                false => _ = files.insert(path.strip_prefix(dir).unwrap().into(), fs::read(&path).unwrap()),
            }
        }
    }
    files
}

/// Holds what is written today against the newest fixture: of each file the first bytes, as many as `head` says. Or makes
/// it one, if a set is to be written.
fn hold(part: &str, write: fn(&Path), head: fn(&Path) -> usize) {
    let dir = TempDir::new().unwrap();
    write(dir.path());
    if let Some(set) = sets::wanted() {
        return copy(dir.path(), &set.join(part));
    }
    let (today, fixture) = (files_of(dir.path()), files_of(newest(part).path()));
    assert!(today.keys().eq(fixture.keys()), "{:?} {:?}", today.keys(), fixture.keys());
    for (path, bytes) in &today {
        let head = head(path).min(bytes.len());
        let is_same = fixture[path].get(..head) == Some(&bytes[..head]);
        assert!(is_same, "{} has another format: see docs/design/versions.md", path.display());
    }
}

#[test]
fn backups_are_written_as_they_always_were() {
    hold(BACKUP, write_backup, |_| usize::MAX);
}

/// The rest bears the number of the store, or times. Of our own files every byte is held by tests beside their code.
#[test]
fn stores_are_written_as_they_always_were() {
    hold(STORE, write_store, |path| match path.file_name().unwrap().to_str().unwrap() {
        "FORMAT" => "starling store 2 ".len(),
        "marks" => usize::MAX,
        "watermark" | "current" => 8,
        log if log.ends_with(".log") => 16,
        manifest if manifest.starts_with('v') => 24,
        _ => 64,
    });
}

#[test]
fn values_are_written_as_they_always_were() {
    let seen = [dot(0xc, 2)].into_iter().collect();
    let full = Mint {
        expires_at: Some(WallTime::from_millis(77)),
        id: Some(RequestId::from_bits(0x1d)),
        rank: Some(Hlc::from_bits(6)),
        ..Mint::plain(&seen, dot(0xb, 3), Payload::Value("hi".into()))
    };
    let record = Record::default().write(full);
    let record = record.write(Mint::plain(&VersionVector::new(), dot(0xa, 4), Payload::Tombstone));
    let replaced = record.write(Mint::plain(record.context(), dot(0xa, 9), Payload::Value("new".into())));
    let token = ContextToken::seal(CLUSTER, 1, &key("k"), record.context());
    let rows =
        [("row.data", CellKey::data(key("k"))), ("row.hint", CellKey::hint(NodeId::from_bits(5), key("k")))];
    let values = [
        ("record", record.encode()),
        ("record.replaced", replaced.encode()),
        ("token", token.as_bytes().clone()),
    ];
    let rows = rows.into_iter().map(|(name, cell)| (name, cell.row().1));
    let today =
        values.into_iter().chain(rows).map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect();
    sets::hold("values.txt", today, |name, bytes| {
        let bytes = Bytes::copy_from_slice(bytes);
        match name {
            "record" => assert_eq!(Record::decode(&bytes), Ok(record.clone())),
            "record.replaced" => assert_eq!(Record::decode(&bytes), Ok(replaced.clone())),
            "token" => {
                let seen = ContextToken::open(&bytes, CLUSTER, 1, &key("k"));
                assert_eq!(seen.as_ref(), Ok(record.context()));
            }
            "row.data" => assert_eq!(rows::parse_data(&bytes).unwrap().3, *key("k").key()),
            "row.hint" => {
                let (_, token, _, name) = rows::hint_parts(&bytes).unwrap();
                assert_eq!((token, &name), (key("k").token(), key("k").key()));
            }
            _ => panic!("{name}"),
        }
    });
}

/// Bytes of a file of the store in their place, as versions of other formats would have them.
type Forgery = fn(&Path, u8);

fn forge(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn forge_store(dir: &Path, format: u8) {
    forge(&dir.join("tables/FORMAT"), |text| {
        let at = "starling store ".len();
        text[at] = b'0' + format;
        let sum = format!("{:016x}", xxh3_64(&text[..33]));
        text[34..50].copy_from_slice(sum.as_bytes());
    });
}

fn forge_log(dir: &Path, format: u8) {
    let segments = fs::read_dir(dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
    forge(&segments.max().unwrap(), |bytes| {
        bytes[8..12].copy_from_slice(&u32::from(format).to_le_bytes());
        let sum = xxh3_64(&bytes[..56]);
        bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    });
}

/// Each table's manifest begins with its format, and a checksum of it lies beside.
fn forge_tables(dir: &Path, format: u8) {
    for tree in Space::ALL.map(|space| dir.join("tables").join(space.name())) {
        let current = fs::read(tree.join("current")).unwrap();
        let manifest = tree.join(format!("v{}", current[0]));
        forge(&manifest, |bytes| bytes[0] = format);
        let sum = xxh3_128(&fs::read(manifest).unwrap()).to_le_bytes();
        forge(&tree.join("current"), |bytes| bytes[8..24].copy_from_slice(&sum));
    }
}

#[test]
fn a_store_of_another_format_is_refused_and_left_alone() {
    let forgeries: [(Forgery, u8, &str); 6] = [
        (forge_store, 3, "a newer version wrote it: use the version that wrote it, or a later one"),
        (forge_store, 1, "an older version wrote it: use the version that wrote it, or one in between"),
        (forge_log, 2, "a newer version wrote it"),
        (forge_log, 0, "an older version wrote it"),
        (forge_tables, 4, "a newer version wrote it"),
        (forge_tables, 2, "an older version wrote it"),
    ];
    for (forge, format, words) in forgeries {
        let dir = newest(STORE);
        forge(dir.path(), format);
        // Even what an open would clear away stays.
        fs::write(dir.path().join("log/spare-7.new"), "half").unwrap();
        let before = files_of(dir.path());
        let Err(error) = DurableEngine::open(dir.path(), options()) else { panic!("{format}: {words}") };
        let StorageError::OtherFormat { dir: named, format: found } = &error else { panic!("{error}") };
        assert!(found.found == u32::from(format) && named.starts_with(dir.path()), "{error}");
        let said = error.to_string();
        assert!(said.contains(words) && said.contains("nothing was changed"), "{said}");
        let mut after = files_of(dir.path());
        // The format of tables is seen late: under the lock.
        let is_locked = after.remove(Path::new("LOCK")).is_some();
        assert!(after == before && is_locked == named.starts_with(dir.path().join("tables")), "{error}");
    }
}

/// Side files only say more than the store itself: what cannot be understood of them is taken for the worse.
#[test]
fn side_files_of_a_later_format_cost_no_row() {
    for (file, from, to) in [("meta/marks", "marks 1", "marks 2"), ("meta/watermark", "SLmark1", "SLmark2")] {
        let dir = newest(STORE);
        let path = dir.path().join(file);
        let bytes = fs::read(&path).unwrap();
        let at = bytes.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let bytes = [&bytes[..at], to.as_bytes(), &bytes[at + to.len()..]].concat();
        fs::write(&path, bytes).unwrap();
        let engine = DurableEngine::open(dir.path(), options()).unwrap();
        assert_eq!(as_written_today(rows_of(&engine)), at_last(), "{file}");
        assert_eq!(engine.report().has_losses(), file == "meta/marks", "{file}: {}", engine.report());
    }
}

#[test]
fn a_backup_of_another_format_is_refused_and_left_alone() {
    let words = [
        ("2", "a newer version wrote it: use the version that wrote it"),
        ("0", "an older version wrote it"),
    ];
    for (format, words) in words {
        let dir = newest(BACKUP);
        let path = dir.path().join("manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        let version = format!("\"format_version\": {format}");
        fs::write(&path, text.replace("\"format_version\": 1", &version)).unwrap();
        let before = files_of(dir.path());
        let error = Reader::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(Writer::begin(dir.path(), origin(), None, MADE).is_err());
        assert!(files_of(dir.path()) == before, "{error}");
    }
}

const STORE: &str = "store";
const BACKUP: &str = "backup";
