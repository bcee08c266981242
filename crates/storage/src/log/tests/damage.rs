//! After any damage what is left comes back as it was, and what is gone is named.

use super::super::frame::{FRAME_HEADER, FrameHeader};
use super::super::segment::SEGMENT_HEADER;
use super::*;

/// Groups of the logs that are damaged here: batches 1 to 40, the last group is 37 to 40.
const GROUPS: [u64; 10] = [1, 3, 5, 7, 2, 6, 4, 4, 4, 4];
const LAST: u64 = 40;
const LAST_GROUP: u64 = 37;

/// The batches that were replayed or reported, each once and in order; those replayed are as they were written.
fn told(opened: &Opened) -> Vec<u64> {
    let mut told = opened.sequences();
    opened.replayed.iter().for_each(|(sequence, found)| assert_eq!(*found, payload(*sequence)));
    told.extend(ranges(&opened.findings).into_iter().flat_map(|(first, last)| first..=last));
    told.sort_unstable();
    told
}

/// The losses of a damaged log are reported until they are acknowledged, also across crashes in between; then it goes
/// on as if nothing had been.
fn assert_goes_on(files: &FaultyFiles, known: Known, first: Opened) {
    let lost = ranges(&first.findings);
    let left = first.sequences();
    drop(first);
    files.crash(Unsynced::Torn);
    let mut again = open(files, known);
    assert_eq!((ranges(&again.findings), again.sequences()), (lost, left.clone()), "after a power cut");
    let next = again.log.last().0 + 1;
    append(&mut again.log, 2).unwrap();
    again.log.sync().unwrap();
    again.log.acknowledge_findings().unwrap();
    files.crash(Unsynced::Lost);
    let opened = open(files, known);
    assert_eq!(ranges(&opened.findings), [], "noted losses are reported no more");
    assert_eq!(opened.findings.torn_bytes, None);
    assert_whole(&opened, left.into_iter().chain(next..next + 2));
}

/// Where the frames of a segment are.
fn frames(bytes: &[u8]) -> Vec<(u64, Range<usize>)> {
    let mut frames = Vec::new();
    let mut at = SEGMENT_HEADER;
    while let Some(header) = bytes.get(at..).and_then(|bytes| FrameHeader::decode(STORE, bytes)) {
        frames.push((header.sequence.0, at..at + FRAME_HEADER + header.length as usize));
        at += header.frame_bytes();
    }
    frames
}

/// Every used byte, and some of the others.
fn offsets(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let end = frames(bytes).last().map_or(SEGMENT_HEADER, |(_, frame)| frame.end) + 2 * FRAME_HEADER;
    let length = bytes.len();
    (0..length).filter(move |at| *at < 80 || (SEGMENT_HEADER..end).contains(at) || at % 211 == 0)
}

#[test]
fn any_flipped_byte_costs_the_batch_it_is_in() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &[3, 5, 4, 6, 2]));
    assert_eq!(segments(&files).len(), 2);
    let mut costs = 0;
    for name in segments(&files) {
        let bytes = files.contents(&name).unwrap();
        let frames = frames(&bytes);
        for at in offsets(&bytes) {
            let damaged = copy(&files);
            damaged.flip(&name, at, 1 << (at % 8));
            let opened = try_open(&damaged, known(0, 20)).unwrap();
            assert_eq!(told(&opened), (1..=20).collect::<Vec<_>>(), "{name} at {at}: {}", opened.findings);
            let hit = frames
                .iter()
                .find(|(_, frame)| frame.contains(&at))
                .map(|(sequence, _)| (*sequence, *sequence));
            assert_eq!(ranges(&opened.findings), Vec::from_iter(hit), "{name} at {at}");
            costs += u64::from(hit.is_some());
            if at % 97 == 0 {
                assert_goes_on(&damaged, known(0, 20), opened);
            }
        }
    }
    assert!(costs > 8000, "{costs}");
}

#[test]
fn where_the_watermark_lags_only_the_last_group_is_in_doubt() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    for name in segments(&files) {
        for (sequence, frame) in frames(&files.contents(&name).unwrap()) {
            for at in [frame.start, frame.start + 20, frame.end - 1] {
                let damaged = copy(&files);
                damaged.flip(&name, at, 0x10);
                let opened = open(&damaged, known(0, 5));
                let end = if sequence < LAST_GROUP { LAST } else { sequence - 1 };
                assert_eq!(
                    told(&opened),
                    (1..=end).collect::<Vec<_>>(),
                    "batch {sequence}: {}",
                    opened.findings
                );
                assert_eq!(opened.findings.torn_bytes.is_some(), sequence >= LAST_GROUP);
                assert_eq!(opened.findings.dropped, LAST - sequence.max(end));
                assert_goes_on(&damaged, known(0, 5), opened);
            }
        }
    }
}

#[test]
fn without_a_watermark_all_that_is_there_counts_as_promised() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let unknown = Known { acknowledged: None, ..Known::default() };
    for name in segments(&files) {
        for (sequence, frame) in frames(&files.contents(&name).unwrap()) {
            let damaged = copy(&files);
            damaged.flip(&name, frame.end - 1, 0x10);
            let opened = open(&damaged, unknown);
            // That there was a last batch nothing tells any more.
            let end = if sequence == LAST { LAST - 1 } else { LAST };
            assert_eq!(told(&opened), (1..=end).collect::<Vec<_>>(), "batch {sequence}: {}", opened.findings);
            // A new watermark has been begun.
            assert_goes_on(&damaged, known(0, 0), opened);
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_costs_what_was_in_the_rest() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    for name in segments(&files) {
        let bytes = files.contents(&name).unwrap();
        for length in (0..bytes.len()).filter(|length| *length < 70 || length % 89 == 0) {
            let damaged = copy(&files);
            damaged.truncate(&name, length);
            let opened = open(&damaged, known(0, LAST));
            let gone = frames(&bytes)
                .into_iter()
                .filter(|(_, frame)| frame.end > length)
                .map(|(sequence, _)| sequence);
            let gone: Vec<u64> = gone.collect();
            let expected = gone.first().map(|first| (*first, gone[gone.len() - 1]));
            assert_eq!(ranges(&opened.findings), Vec::from_iter(expected), "{name} cut at {length}");
            assert_eq!(told(&opened), (1..=LAST).collect::<Vec<_>>());
            assert_goes_on(&damaged, known(0, LAST), opened);
        }
    }
}

#[test]
fn a_missing_segment_is_a_loss_unless_tables_have_it() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let names = segments(&files);
    assert!(names.len() > 2);
    for name in &names {
        let held = frames(&files.contents(name).unwrap());
        let (first, last) = (held[0].0, held[held.len() - 1].0);
        let damaged = copy(&files);
        damaged.lose(name);
        for flushed in [0, first - 1, first, last - 1] {
            let opened = open(&copy(&damaged), known(flushed, LAST));
            assert_eq!(ranges(&opened.findings), [(first.max(flushed + 1), last)]);
            assert_eq!(told(&opened), (flushed + 1..=LAST).collect::<Vec<_>>());
        }
        let opened = open(&copy(&damaged), known(last, LAST));
        assert_whole(&opened, last + 1..=LAST);
        assert_eq!(ranges(&opened.findings), []);
        let opened = open(&damaged, known(0, LAST));
        assert_goes_on(&damaged, known(0, LAST), opened);
    }
}

#[test]
fn without_any_log_all_that_was_promised_is_lost() {
    for (known, lost) in [
        (known(0, 9), vec![(1, 9)]),
        (known(4, 9), vec![(5, 9)]),
        (known(9, 9), vec![]),
        (Known { flushed: Sequence(4), persisted: Sequence(12), acknowledged: None }, vec![(5, 12)]),
    ] {
        let files = FaultyFiles::new(1);
        let opened = open(&files, known);
        assert_eq!(ranges(&opened.findings), lost);
        assert_eq!(
            opened.log.last(),
            known.flushed.max(known.persisted).max(known.acknowledged.unwrap_or_default())
        );
        assert_eq!(opened.findings.last, Sequence(0));
        if !lost.is_empty() {
            let again = open(&files, known);
            assert_eq!((again.findings.last, again.log.segments()), (opened.log.last(), 1));
            assert_eq!(segments(&files), ["0000000001.log"], "the next open makes no other");
        }
        assert_goes_on(&files, known, opened);
    }
}

#[test]
fn what_is_left_of_a_lost_end_stays_until_it_is_released() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let Some(name) = segments(&files).pop() else { panic!("no segments") };
    files.truncate(&name, 64);
    let mut opened = open(&files, known(0, LAST));
    assert_eq!(told(&opened), (1..=LAST).collect::<Vec<_>>());
    assert_eq!(files.contents(&name).map(|bytes| bytes.len()), Some(64));
    opened.log.release(Sequence(LAST)).unwrap();
    assert_eq!(files.contents(&name), None);
}

#[test]
fn a_watermark_above_the_end_is_a_loss() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let opened = open(&files, known(0, LAST + 3));
    assert_eq!(ranges(&opened.findings), [(LAST + 1, LAST + 3)]);
    assert_eq!((opened.findings.last, opened.log.last()), (Sequence(LAST), Sequence(LAST + 3)));
    let told = opened.findings.to_string();
    assert!(told.contains("batches 41 to 43 were durable and are gone"), "{told}");
    assert_goes_on(&files, known(0, LAST + 3), opened);
}

/// Evidence may stand in what is cut off: it must not be forgotten with it.
#[test]
fn a_loss_is_not_forgotten_with_the_torn_group_that_told_of_it() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[3, 3]);
    append(&mut log, 4).unwrap();
    drop(log);
    let name = segments(&files).remove(0);
    let frames = frames(&files.contents(&name).unwrap());
    // Batch 6 was synced, as batch 8 to 10 say; batch 7 was torn.
    files.flip(&name, frames[5].1.end - 1, 1);
    files.flip(&name, frames[6].1.start, 1);
    let opened = open(&files, known(0, 0));
    assert_eq!((opened.sequences(), ranges(&opened.findings)), (vec![1, 2, 3, 4, 5], vec![(6, 6)]));
    assert_eq!((opened.findings.dropped, opened.log.last()), (3, Sequence(6)));
    assert_goes_on(&files, known(0, 0), opened);
}

/// The same, where batches stay behind what was lost: without evidence they would be cut off next time.
#[test]
fn what_stays_behind_a_loss_stays() {
    let files = FaultyFiles::new(1);
    let mut log = written(&files, &[1, 3]);
    append(&mut log, 2).unwrap();
    drop(log);
    let name = segments(&files).remove(0);
    let frames = frames(&files.contents(&name).unwrap());
    // Batches 2 to 4 were synced together, as batch 6 says; batch 5 was torn.
    files.flip(&name, frames[1].1.start, 1);
    files.flip(&name, frames[4].1.start, 1);
    let opened = open(&files, known(0, 0));
    assert_eq!((opened.sequences(), ranges(&opened.findings)), (vec![1, 3, 4], vec![(2, 2)]));
    assert_goes_on(&files, known(0, 0), opened);
}

/// A log of batches that hold nothing but `mark`, in groups.
fn marked(groups: &[(u64, u8)]) -> FaultyFiles {
    let files = FaultyFiles::new(1);
    let mut log = open(&files, known(0, 0)).log;
    for (batches, mark) in groups {
        let mut group = log.group();
        for _ in 0..*batches {
            group.push(0, |out| out.put_bytes(*mark, 1000));
        }
        log.append(&group.freeze()).unwrap();
        log.sync().unwrap();
    }
    files
}

fn marks(files: &FaultyFiles) -> Vec<(u64, u8)> {
    let opened = try_open(files, known(0, 2)).unwrap();
    opened.replayed.iter().map(|(sequence, payload)| (*sequence, payload[0])).collect()
}

/// A disk may forget that it was told to erase something.
#[test]
fn a_batch_of_a_past_that_was_cut_off_does_not_come_back() {
    let (past, present) = (marked(&[(2, 1), (1, 1), (1, 9)]), marked(&[(2, 1), (1, 2)]));
    let name = segments(&past).remove(0);
    let mut bytes = past.contents(&name).unwrap();
    let end = frames(&bytes)[3].1.start;
    bytes[..end].copy_from_slice(&present.contents(&name).unwrap()[..end]);
    assert_eq!(frames(&bytes).len(), 4, "the past follows the present without a gap");
    present.put(&name, &bytes);
    assert_eq!(marks(&present), [(1, 1), (2, 1), (3, 2)]);
}

#[test]
fn a_batch_that_a_later_segment_begins_with_is_taken_from_there() {
    let (past, present) = (marked(&[(2, 1), (2, 9)]), marked(&[(2, 1), (9, 2)]));
    let [name, later] = segments(&present).try_into().unwrap();
    assert_eq!(frames(&present.contents(&later).unwrap())[0].0, 3);
    present.put(&name, &past.contents(&name).unwrap());
    let expected = [(1, 1), (2, 1)].into_iter().chain((3..=11).map(|sequence| (sequence, 2)));
    assert_eq!(marks(&present), expected.collect::<Vec<_>>());
}

#[test]
fn damage_within_damage_is_told_apart_from_what_is_known() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let name = segments(&files).remove(0);
    let frames = frames(&files.contents(&name).unwrap());
    files.flip(&name, frames[3].1.start, 1);
    let mut opened = open(&files, known(0, LAST));
    assert_eq!(ranges(&opened.findings), [(4, 4)]);
    opened.log.acknowledge_findings().unwrap();
    files.flip(&name, frames[4].1.start, 1);
    let mut opened = open(&files, known(0, LAST));
    assert_eq!(ranges(&opened.findings), [(5, 5)]);
    opened.log.acknowledge_findings().unwrap();
    assert_eq!(ranges(&open(&files, known(0, LAST)).findings), []);
    // Without the note everything is told again.
    files.lose("known-losses");
    assert_eq!(ranges(&open(&files, known(0, LAST)).findings), [(4, 5)]);
}

#[test]
fn the_log_of_another_store_is_not_replayed() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let mut replay = |_, _| panic!("replayed");
    let known = known(0, 7);
    let (_, findings) =
        Log::open::<LogError>(Arc::new(files), STORE + 1, SETTINGS, known, &reading(&[]), &mut replay)
            .unwrap();
    assert_eq!(ranges(&findings), [(1, 7)]);
}

#[test]
fn a_newer_format_is_left_alone() {
    let files = FaultyFiles::new(1);
    drop(written(&files, &GROUPS));
    let name = segments(&files).remove(2);
    let mut bytes = files.contents(&name).unwrap();
    bytes[8] = 2;
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes[..56]);
    bytes[56..64].copy_from_slice(&sum.to_le_bytes());
    files.put(&name, &bytes);
    let before = files.list().unwrap();
    let error = try_open(&files, known(0, LAST)).err();
    let opens = starling_types::Formats { oldest: 1, newest: 1 };
    assert_eq!(error, opens.check(2).err().map(LogError::OtherFormat));
    assert_eq!(files.list().unwrap(), before);
    assert_eq!(files.contents(&name).unwrap(), bytes);
}
