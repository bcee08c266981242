use proptest::prelude::*;
use proptest::sample::Index;
use starling_types::ActorId;

use super::*;
use crate::Hlc;
use crate::history::{History, steps};

fn dot(actor: u64, time: u64) -> Dot {
    Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_bits(time) }
}

/// Three actors; an expired sibling, a large one (two bytes of length) and a tombstone.
fn sample() -> Record {
    let blind = VersionVector::new();
    let seen = [dot(0xc, 2)].into_iter().collect();
    Record::default()
        .write(&seen, dot(0xa, 3), Payload::Value("soon".into()), Some(WallTime::from_millis(77)))
        .write(&blind, dot(0xb, 4), Payload::Value(vec![b'x'; 130].into()), None)
        .write(&blind, dot(0xa, 5), Payload::Tombstone, None)
}

fn sealed(mut body: Vec<u8>) -> Bytes {
    body.extend_from_slice(&xxh3_64(&body).to_le_bytes());
    body.into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

proptest! {
    #[test]
    fn every_state_of_every_history_round_trips(steps in steps(1..60)) {
        for replica in History::replay(&steps).states {
            let bytes = replica.record.encode();
            prop_assert_eq!(bytes.len(), replica.record.encoded_len());
            prop_assert_eq!(Record::decode(&bytes), Ok(replica.record));
        }
    }

    /// With the checksum made good, so that the fields themselves are tried: never a panic, and what is accepted is
    /// what encode would have written.
    #[test]
    fn only_canonical_bytes_decode(steps in steps(1..30), at: Index, change in prop::collection::vec(any::<u8>(), 0..4)) {
        let history = History::replay(&steps);
        let record = &at.get(&history.states).record;
        let mut body = record.encode().to_vec();
        body.truncate(body.len() - CHECKSUM_BYTES);
        let from = at.index(body.len());
        body.splice(from..(from + 1).min(body.len()), change);
        let bytes = sealed(body);
        if let Ok(read) = Record::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
        }
    }

    #[test]
    fn counts_take_their_shortest_form(count: usize, shift in 0..usize::BITS) {
        let count = count >> shift;
        let mut out = Vec::new();
        put_count(&mut out, count);
        prop_assert_eq!(out.len(), count_len(count));
        let mut body = Bytes::from(out);
        prop_assert_eq!(take_count(&mut body), Ok(count));
        prop_assert!(body.is_empty());
    }
}

#[test]
fn values_are_slices_of_the_encoded_record() {
    let bytes = sample().encode();
    let record = Record::decode(&bytes).unwrap();
    let within = bytes.as_ptr_range();
    for value in record.siblings().iter().filter_map(Sibling::value) {
        assert!(within.contains(&value.as_ptr()), "a value was copied");
    }
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let bytes = sample().encode();
    for at in 0..bytes.len() {
        for flip in 1..=u8::MAX {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= flip;
            assert!(matches!(Record::decode(&damaged.into()), Err(RecordError::Damaged { .. })), "byte {at}");
        }
        assert!(Record::decode(&bytes.slice(..at)).is_err(), "cut at {at}");
    }
}

#[test]
fn a_later_version_is_told_from_damage() {
    let mut body = sample().encode().to_vec();
    body.truncate(body.len() - CHECKSUM_BYTES);
    body[0] = VERSION + 1;
    assert_eq!(Record::decode(&sealed(body)), Err(RecordError::Newer { version: VERSION + 1 }));
}

#[test]
fn intact_bytes_that_no_release_writes_are_refused() {
    let entry = |actor, time| entry_bytes(ActorId::from_bits(actor), Hlc::from_bits(time));
    let build = |parts: &[&[u8]]| Record::decode(&sealed(parts.concat()));
    let (one, two) = (&entry(1, 1)[..], &entry(2, 2)[..]);
    let huge = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..];
    let value = &[0, 1, b'v'][..];
    assert!(build(&[&[1, 1], one, &[1], one, value]).is_ok());
    let bad: &[(&str, &[&[u8]])] = &[
        ("nothing", &[]),
        ("version 0", &[&[0, 0, 0]]),
        ("no counts", &[&[1]]),
        ("absurd context", &[&[1], huge, &[0]]),
        ("absurd siblings", &[&[1, 1], one, huge]),
        ("absurd value", &[&[1, 1], one, &[1], one, &[0], huge]),
        ("overlong count", &[&[1, 0x80, 0, 0]]),
        ("a count of 2^64 + 1", &[&[1], &[0x81], &[0x80; 8], &[2], one, &[0]]),
        ("endless count", &[&[1], &[0xff; 12]]),
        ("context out of order", &[&[1, 2], two, one, &[0]]),
        ("an actor twice", &[&[1, 2], one, one, &[0]]),
        ("time zero in the context", &[&[1, 1], &entry(1, 0), &[0]]),
        ("siblings out of order", &[&[1, 2], one, two, &[2], two, value, one, value]),
        ("a dot twice", &[&[1, 1], one, &[2], one, value, one, value]),
        ("a dot outside the context", &[&[1, 1], one, &[1], two, value]),
        ("a tombstone below a value", &[&[1, 2], one, two, &[2], one, &[TOMBSTONE], two, value]),
        ("an unknown flag", &[&[1, 1], one, &[1], one, &[4, 0]]),
        ("a sibling without flags", &[&[1, 1], one, &[1], one]),
        ("half an expiry", &[&[1, 1], one, &[1], one, &[EXPIRES | TOMBSTONE, 0, 0]]),
        ("bytes at the end", &[&[1, 1], one, &[1], one, value, &[0]]),
    ];
    for (what, parts) in bad {
        assert!(matches!(build(parts), Err(RecordError::Malformed(_))), "{what}: {:?}", build(parts));
    }
    assert_eq!(Record::decode(&Bytes::new()), Err(RecordError::Damaged { bytes: 0 }));
}

/// The stored form of version 1, field by field. If this fails, what released versions have stored can no longer be
/// read: raise the version and keep reading this one.
#[test]
fn golden_bytes() {
    let seen = [dot(0xc, 2)].into_iter().collect();
    let record = Record::default()
        .write(&seen, dot(0xb, 3), Payload::Value("hi".into()), Some(WallTime::from_millis(77)))
        .write(&VersionVector::new(), dot(0xa, 4), Payload::Tombstone, None);
    let golden = [
        "01 03",
        "0a00000000000000 0400000000000000",
        "0b00000000000000 0300000000000000",
        "0c00000000000000 0200000000000000",
        "02",
        "0b00000000000000 0300000000000000 02 4d00000000000000 02 6869",
        "0a00000000000000 0400000000000000 01",
        "391da4a6dc1113b7",
    ];
    assert_eq!(hex(&record.encode()), golden.concat().replace(' ', ""));
    assert_eq!(hex(&Record::default().encode()), "010000040e81159cc6c0ba");
}
