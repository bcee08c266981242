//! Backups there and back, cut off anywhere, damaged anywhere, and bytes as an enemy writes them.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use starling_types::row::{Page, RowRange, Space};
use starling_types::{BucketName, ClusterId, Generation, LayoutVersion, NodeId, WallTime};

use crate::manifest::Base64;
use crate::{BackupError, Chunk, Cursor, Flaw, Gap, Manifest, Origin, Reader, Row, State, Utc, Writer};

const NOW: Utc = Utc(WallTime::from_millis(1_785_587_696_789));
/// Every chunk holds a few pages.
const SMALL: u64 = 2_000;

fn origin(node: u64) -> Origin {
    Origin {
        node_id: NodeId::from_bits(node),
        name: "n1".into(),
        cluster_id: Some(ClusterId::from_bits(9)),
        generation: Generation(3),
        layout_version: LayoutVersion(1),
        release: "0.1.0".into(),
    }
}

fn begin(dir: &Path) -> Result<Writer, BackupError> {
    Ok(Writer::begin(dir, origin(7), None, NOW)?.with_chunk_bytes(SMALL))
}

/// Page `number` of 20, in every namespace.
fn page(number: usize) -> Page {
    let rows = (0..5).map(|k| {
        let key = Bytes::from(format!("key-{number:02}-{k}"));
        (key, Bytes::from(vec![number as u8; 10 * k]))
    });
    let next = (number < 19).then(|| Bytes::from(format!("key-{:02}", number + 1)));
    Page { rows: rows.collect(), next, sequence: 100 + number as u64, ..Page::default() }
}

fn wanted(cursor: &Cursor) -> Page {
    let digits = cursor.from.get(4..6).map_or("0", |digits| std::str::from_utf8(digits).unwrap());
    page(digits.parse().unwrap())
}

/// Adds pages until there are none, or `pages` were added.
fn fill(writer: &mut Writer, mut pages: usize) {
    while let Some(cursor) = writer.cursor().cloned().filter(|_| pages > 0) {
        writer.append(cursor.namespace, wanted(&cursor)).unwrap();
        pages -= 1;
    }
}

fn whole(dir: &Path) -> Manifest {
    let mut writer = begin(dir).unwrap();
    fill(&mut writer, usize::MAX);
    writer.finish(NOW).unwrap()
}

fn rows_of(dir: &Path) -> Vec<Row> {
    Reader::open(dir).unwrap().rows().map(Result::unwrap).collect()
}

fn expected() -> Vec<Row> {
    let pages = Space::ALL.into_iter().flat_map(|namespace| (0..20).map(move |n| (namespace, page(n))));
    pages
        .flat_map(|(namespace, page)| {
            page.rows.into_iter().map(move |(key, value)| Row { namespace, key, value })
        })
        .collect()
}

#[test]
fn what_was_written_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = whole(dir.path());
    assert!(manifest.chunks.len() > 3, "{manifest:?}");
    assert_eq!(rows_of(dir.path()), expected());
    let reader = Reader::open(dir.path()).unwrap();
    assert_eq!(reader.manifest(), &manifest);
    assert_eq!(
        (manifest.state, manifest.cursor.as_ref(), manifest.ended_at),
        (State::Complete, None, Some(NOW))
    );
    assert_eq!((manifest.first_sequence, manifest.last_sequence, manifest.runs), (100, 119, 1));
    assert_eq!((manifest.totals.data.rows, manifest.totals.all().rows), (100, 300));
    let verdict = reader.verify(|_| {});
    assert!(verdict.is_whole() && verdict.totals == manifest.totals, "{verdict:?}");
}

#[test]
fn a_run_that_was_cut_off_goes_on_behind_its_last_whole_chunk() {
    let all = Space::ALL.len() * 20;
    for cut in (0..=all).step_by(3) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = begin(dir.path()).unwrap();
        fill(&mut writer, cut);
        let safe = writer.manifest().totals.all().rows;
        drop(writer);
        // How much the system had of the chunk that was open is not known.
        let chunks = Manifest::load(dir.path()).unwrap().unwrap().chunks.len();
        fs::write(dir.path().join(Chunk::name(chunks as u32 + 1)), "anything").unwrap();
        assert_eq!(Reader::open(dir.path()).unwrap().verify(|_| {}).totals.all().rows, safe);
        let from = Writer::cursor_in(dir.path()).unwrap();
        let mut writer = begin(dir.path()).unwrap();
        assert_eq!(writer.cursor(), Some(&from));
        fill(&mut writer, usize::MAX);
        let manifest = writer.finish(NOW).unwrap();
        assert_eq!(manifest.runs, 2);
        assert_eq!(rows_of(dir.path()), expected(), "cut after {cut} pages");
        assert!(Reader::open(dir.path()).unwrap().verify(|_| {}).is_whole());
    }
}

#[test]
fn one_flipped_bit_anywhere_is_found_and_costs_no_other_row_it_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let (manifest, expected) = (whole(dir.path()), expected());
    for chunk in &manifest.chunks {
        let path = dir.path().join(&chunk.file);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(29) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let mut rows = Vec::new();
            let verdict = Reader::open(dir.path()).unwrap().verify(|row| rows.push(row.clone()));
            assert!(!verdict.is_whole(), "byte {at} of {}", chunk.file);
            assert!(verdict.damage.iter().all(|d| d.chunk == chunk.file), "{verdict:?}");
            assert!(rows.iter().all(|row| expected.contains(row)), "nothing else is read instead");
            let lost = 300 - rows.len();
            let is_body = matches!(verdict.damage[0].flaw, Flaw::Frame { rest: false, .. });
            assert!(
                if is_body { lost == 1 } else { lost <= chunk.rows as usize },
                "{lost} lost: {verdict:?}"
            );
        }
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn missing_short_and_swapped_chunks_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = whole(dir.path());
    let path = |k: usize| dir.path().join(&manifest.chunks[k].file);
    let good = fs::read(path(1)).unwrap();
    let named = |what: &str| {
        let verdict = Reader::open(dir.path()).unwrap().verify(|_| {});
        let names: Vec<_> = verdict.damage.iter().map(|d| d.chunk.as_str()).collect();
        assert_eq!(names[0], manifest.chunks[1].file, "{what}: {verdict:?}");
    };
    fs::remove_file(path(1)).unwrap();
    named("missing");
    for length in [0, 15, 16, 17, good.len() / 2, good.len() - 1] {
        fs::write(path(1), &good[..length]).unwrap();
        named(&format!("cut at {length}"));
    }
    fs::write(path(1), [&good[..], b"more"].concat()).unwrap();
    named("longer");
    fs::copy(path(0), path(1)).unwrap();
    named("another chunk");
    let newer = [b"starling rows 2\n", &good[16..]].concat();
    fs::write(path(1), newer).unwrap();
    let verdict = Reader::open(dir.path()).unwrap().verify(|_| {});
    assert!(verdict.damage[0].to_string().contains("format 2"), "{verdict:?}");
}

#[test]
fn what_is_in_the_way_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |dir: &Path, words: &str| {
        let error = begin(dir).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    };
    let foreign = dir.path().join("foreign");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("cat.jpg"), "meow").unwrap();
    refused(&foreign, "no backup");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);

    let done = dir.path().join("done");
    whole(&done);
    refused(&done, "complete backup");

    let other = dir.path().join("other");
    drop(Writer::begin(&other, origin(8), None, NOW).unwrap());
    refused(&other, "this is node");
    let buckets = Some(vec![BucketName::default_bucket()]);
    let error = Writer::begin(&other, origin(8), buckets, NOW).unwrap_err();
    assert!(error.to_string().contains("other buckets"), "{error}");

    let busy = dir.path().join("busy");
    let held = begin(&busy).unwrap();
    refused(&busy, "another process");
    drop(held);
    begin(&busy).unwrap();

    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(matches!(Reader::open(&empty), Err(BackupError::NoBackup { .. })));
    assert!(matches!(Reader::open(&dir.path().join("nowhere")), Err(BackupError::NoBackup { .. })));
}

#[test]
fn a_manifest_that_was_changed_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    whole(dir.path());
    let path = dir.path().join(crate::manifest::FILE);
    let good = fs::read_to_string(&path).unwrap();
    for (from, to) in [("\"complete\"", "\"partial\""), ("\"rows\": 100", "\"rows\": 101"), ("{", "")] {
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = Reader::open(dir.path()).unwrap_err();
        assert!(matches!(error, BackupError::Manifest { .. }), "{error}");
    }
    fs::write(&path, "{\"format_version\": 2, \"new\": 1}").unwrap();
    let error = Reader::open(dir.path()).unwrap_err();
    assert!(matches!(error, BackupError::OtherFormat { .. }), "{error}");
    assert!(matches!(begin(dir.path()), Err(BackupError::OtherFormat { .. })), "nor is it overwritten");
}

#[test]
fn what_the_node_could_not_read_is_in_the_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = begin(dir.path()).unwrap();
    let damaged = vec![RowRange::new("a", Some("b".into())), RowRange::new("y", None)];
    let page = Page { damaged, next: None, ..page(0) };
    writer.append(Space::Hints, page).unwrap();
    let unreadable = writer.finish(NOW).unwrap().unreadable;
    let gap = |start: &'static str, end: Option<&'static str>| Gap {
        namespace: Space::Hints,
        start: start.into(),
        end: end.map(|end| Base64(end.into())),
    };
    assert_eq!(unreadable, [gap("a", Some("b")), gap("y", None)]);
    assert_eq!(Reader::open(dir.path()).unwrap().manifest().unreadable, unreadable);
}

/// One backup, for tests that damage it in memory.
fn sample() -> (Manifest, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = whole(dir.path());
    let chunks = manifest.chunks.iter().map(|c| fs::read(dir.path().join(&c.file)).unwrap()).collect();
    (manifest, chunks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_reader_panic_or_pass_for_rows(
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
        keep in 0..2_000usize,
    ) {
        let (manifest, chunks) = sample();
        let dir = tempfile::tempdir().unwrap();
        manifest.store(dir.path()).unwrap();
        let head = &chunks[0][..keep.min(chunks[0].len())];
        fs::write(dir.path().join(&manifest.chunks[0].file), [head, &bytes].concat()).unwrap();
        let mut rows = Vec::new();
        let verdict = Reader::open(dir.path()).unwrap().verify(|row| rows.push(row.clone()));
        prop_assert!(!verdict.is_whole());
        let expected = expected();
        prop_assert!(rows.iter().all(|row| expected.contains(row)));
    }

    #[test]
    fn no_bytes_make_the_manifest_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Manifest::decode(Path::new("manifest.json"), &bytes).is_err());
    }

    #[test]
    fn rows_of_any_bytes_come_back(
        rows in prop::collection::vec((prop::collection::vec(any::<u8>(), 1..50), any::<Vec<u8>>()), 0..50),
    ) {
        let rows: Vec<(Bytes, Bytes)> = rows.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut writer = begin(dir.path()).unwrap();
        let page = Page { rows: rows.clone(), ..Page::default() };
        writer.append(Space::Data, page).unwrap();
        writer.finish(NOW).unwrap();
        let read: Vec<_> = rows_of(dir.path()).into_iter().map(|row| (row.key, row.value)).collect();
        prop_assert_eq!(read, rows);
    }
}
