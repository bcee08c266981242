//! The form of the log is a promise to every store already written.

use proptest::prelude::*;

use super::super::frame::{FRAME_HEADER, FrameHeader, FramePosition};
use super::super::segment::{HEADER_BYTES, SegmentHeader, name, number};
use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn place() -> FramePosition {
    FramePosition {
        store: STORE,
        sequence: Sequence(0x0102),
        synced: Sequence(0x0101),
        previous: 0xa1a2_a3a4_a5a6_a7a8,
    }
}

#[test]
fn a_frame_is_golden() {
    let mut group = Group::new(place());
    group.push(0, |out| out.put_slice(b"payload"));
    let bytes = group.freeze().into_bytes();
    assert_eq!(
        hex(&bytes[..FRAME_HEADER + 8]),
        concat!(
            "534c6672",
            "07000000",
            "0201000000000000",
            "0101000000000000",
            "a8a7a6a5a4a3a2a1",
            "c8dda537bfcb3a4b",
            "c66f10853a01ea6f",
            "7061796c6f616400"
        )
    );
    assert!(bytes[FRAME_HEADER + 8..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_segment_header_is_golden() {
    let header = SegmentHeader { store: STORE, number: 3, first: Sequence(9), synced: Sequence(8), chain: 7 };
    let page = header.encode();
    assert_eq!(
        hex(&page[..HEADER_BYTES]),
        concat!(
            "534c7365670d0a00",
            "01000000",
            "00000000",
            "570b570b570b4757",
            "0300000000000000",
            "0900000000000000",
            "0800000000000000",
            "0700000000000000",
            "a7662723c7285e04"
        )
    );
    let decode = |number| SegmentHeader::decode(STORE, number, page.first_chunk().unwrap()).unwrap();
    assert_eq!(decode(3), Some(header));
    assert_eq!(decode(4), None, "under another name");
}

#[test]
fn the_watermark_is_golden() {
    let files = FaultyFiles::new(1);
    let (mut watermark, _) = Watermark::open(Arc::new(files.clone()), STORE, &reading(&[])).unwrap();
    watermark.record(Sequence(0x0102)).unwrap();
    assert_eq!(
        hex(&files.contents("watermark").unwrap()[4096..4096 + 32]),
        concat!("534c6d61726b3100", "570b570b570b4757", "0201000000000000", "b8f4f00b60b59839")
    );
}

#[test]
fn names_are_numbers_that_grow() {
    assert_eq!(name(7), "0000000007.log");
    for known in [0, 7, 9_999_999_999, 10_000_000_000, u64::MAX] {
        assert_eq!(number(&name(known)), Some(known));
    }
    for foreign in ["7.log", "0000000007", "000000007x.log", "+000000007.log", "spare-1"] {
        assert_eq!(number(foreign), None, "{foreign}");
    }
}

proptest! {
    #[test]
    fn a_flipped_bit_shows(payload: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
        let (header, sum) = FrameHeader::encode(place(), payload.len() as u32, &payload);
        let frame = [&header[..], &payload].concat();
        let whole = |frame: &[u8]| {
            let header = FrameHeader::decode(STORE, frame)?;
            header.payload(STORE, frame).map(|payload| (header, payload.to_vec()))
        };
        let (found, found_payload) = whole(&frame).unwrap();
        prop_assert_eq!((found.sequence, found.synced, found.previous), (place().sequence, place().synced, place().previous));
        prop_assert_eq!((found.sum, found_payload), (sum, payload));
        let mut damaged = frame.clone();
        let at = at.index(damaged.len());
        damaged[at] ^= 1 << bit;
        prop_assert_eq!(whole(&damaged), None);
        prop_assert_eq!(whole(&frame[..at]), None);
        prop_assert_eq!(FrameHeader::decode(STORE + 1, &frame), None);
    }

    /// Nothing that stands in the files makes an open panic, and nothing of it is replayed. Pieces of real frames are
    /// among it, so that the walk gets past the checksums.
    #[test]
    fn garbage_is_nothing(
        pieces in prop::collection::vec(piece(), 0..40),
        losses: Vec<u8>,
        watermark: Vec<u8>,
        start in prop_oneof![Just(0usize), Just(64), Just(4096)],
    ) {
        let mut bytes = vec![0; start];
        pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
        let (files, meta) = (FaultyFiles::new(1), FaultyFiles::new(2));
        files.put("0000000004.log", &bytes);
        files.put("0000000009.log", &bytes[..bytes.len() / 2]);
        files.put("spare-1", &bytes);
        files.put("spare-x", &bytes);
        files.put("known-losses", &losses);
        meta.put("watermark", &watermark);
        let (_, acknowledged) = Watermark::open(Arc::new(meta), STORE, &reading(&[])).unwrap();
        prop_assert_eq!(acknowledged, None);
        let mut opened = open(&files, Known { flushed: Sequence(1000), persisted: Sequence(0), acknowledged });
        prop_assert_eq!(opened.sequences(), []);
        append(&mut opened.log, 3).unwrap();
        opened.log.sync().unwrap();
        assert_whole(&open(&files, known(1000, 1003)), 1001..=1003);
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let frame = (any::<u64>(), 0u32..200, prop::collection::vec(any::<u8>(), 0..40)).prop_map(
        |(sequence, length, payload)| {
            let place = FramePosition { sequence: Sequence(sequence % 900), ..place() };
            [&FrameHeader::encode(place, length, &payload).0[..], &payload].concat()
        },
    );
    prop_oneof![
        frame,
        prop::collection::vec(any::<u8>(), 0..40),
        (0usize..100).prop_map(|zeros| vec![0; zeros])
    ]
}
