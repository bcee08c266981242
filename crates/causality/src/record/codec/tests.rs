use proptest::prelude::*;
use proptest::sample::Index;
use starling_types::ActorId;

use super::*;
use crate::Hlc;
use crate::history::{History, steps};
use crate::record::Mint;

fn dot(actor: u64, time: u64) -> Dot {
    Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_bits(time) }
}

/// Three actors; an expired sibling, a large one (two bytes of length) with a rank, a tombstone, a value with an id, and
/// a request that is dead.
fn sample() -> Record {
    let blind = VersionVector::new();
    let seen = [dot(0xc, 2)].into_iter().collect();
    let id = |id| Some(RequestId::from_bits(id));
    let value = |bytes: Vec<u8>| Payload::Value(bytes.into());
    let expires_at = Some(WallTime::from_millis(77));
    Record::default()
        .write(Mint { expires_at, ..Mint::plain(&seen, dot(0xa, 3), value(b"soon".to_vec())) })
        .write(Mint {
            rank: Some(Hlc::from_bits(1)),
            ..Mint::plain(&blind, dot(0xb, 4), value(vec![b'x'; 130]))
        })
        .write(Mint::plain(&blind, dot(0xa, 5), Payload::Tombstone))
        .write(Mint { id: id(u128::MAX), ..Mint::plain(&blind, dot(0xc, 6), value(Vec::new())) })
        .supersede(id(3))
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
    let (id, rank) = (&[7; 16][..], &[9, 0, 0, 0, 0, 0, 0, 0][..]);
    let dead = &[id, rank].concat()[..];
    assert!(build(&[&[1, 1], one, &[1], one, value]).is_ok());
    assert!(build(&[&[2, 1], one, &[1], one, value, &[0]]).is_ok());
    assert!(build(&[&[2, 1], one, &[1], one, &[ID | RANK], id, rank, &[0, 1], dead]).is_ok());
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
        ("a flag that version 1 did not know", &[&[1, 1], one, &[1], one, &[ID], id, &[0]]),
        ("an unknown flag", &[&[2, 1], one, &[1], one, &[32, 0], &[0]]),
        ("a tombstone with an id", &[&[2, 1], one, &[1], one, &[TOMBSTONE | ID], id, &[0]]),
        ("half an id", &[&[2, 1], one, &[1], one, &[ID], rank]),
        ("half a rank", &[&[2, 1], one, &[1], one, &[RANK], &[9]]),
        ("a rank that is the dot's time", &[&[2, 1], one, &[1], one, &[RANK], &entry(1, 1)[8..], &[0, 0]]),
        ("version 2 without the dead", &[&[2, 1], one, &[1], one, value]),
        ("more dead than bytes", &[&[2, 1], one, &[0, 2], dead]),
        ("a dead one twice", &[&[2, 1], one, &[0, 2], dead, dead]),
        ("a sibling without flags", &[&[1, 1], one, &[1], one]),
        ("half an expiry", &[&[1, 1], one, &[1], one, &[EXPIRES | TOMBSTONE, 0, 0]]),
        ("bytes at the end", &[&[1, 1], one, &[1], one, value, &[0]]),
    ];
    for (what, parts) in bad {
        assert!(matches!(build(parts), Err(RecordError::Malformed(_))), "{what}: {:?}", build(parts));
    }
    assert_eq!(Record::decode(&Bytes::new()), Err(RecordError::Damaged { bytes: 0 }));
}

/// The stored form of version 2, field by field. If this fails, what released versions have stored can no longer be
/// read: raise the version and keep reading this one.
#[test]
fn golden_bytes() {
    let seen = [dot(0xc, 2)].into_iter().collect();
    let id = |id| Some(RequestId::from_bits(id));
    let first = Mint {
        expires_at: Some(WallTime::from_millis(77)),
        id: id(0x1d),
        rank: Some(Hlc::from_bits(6)),
        ..Mint::plain(&seen, dot(0xb, 3), Payload::Value("hi".into()))
    };
    let other = Mint { id: id(0x2d), ..Mint::plain(&seen, dot(0xc, 5), Payload::Value("".into())) };
    let record = Record::default()
        .write(first)
        .write(Mint::plain(&VersionVector::new(), dot(0xa, 4), Payload::Tombstone))
        .write(other);
    let mut record = record.supersede(id(0xdd));
    record.siblings[2].rescued = true;
    let golden = [
        "02 03",
        "0a00000000000000 0400000000000000",
        "0b00000000000000 0300000000000000",
        "0c00000000000000 0500000000000000",
        "03",
        "0b00000000000000 0300000000000000 0e 4d00000000000000",
        "1d000000000000000000000000000000 0600000000000000 02 6869",
        "0a00000000000000 0400000000000000 01",
        "0c00000000000000 0500000000000000 14 2d000000000000000000000000000000 00",
        "01 dd000000000000000000000000000000 0500000000000000",
        "d075961d84246d9f",
    ];
    assert_eq!(hex(&record.encode()), golden.concat().replace(' ', ""));
    assert_eq!(hex(&Record::default().encode()), "02000000c90ba2661d91f570");
}

/// Records stored by version 1 are read for ever.
#[test]
fn golden_bytes_of_version_1() {
    let bytes = bytes_of(&[
        "01 03",
        "0a00000000000000 0400000000000000",
        "0b00000000000000 0300000000000000",
        "0c00000000000000 0200000000000000",
        "02",
        "0b00000000000000 0300000000000000 02 4d00000000000000 02 6869",
        "0a00000000000000 0400000000000000 01",
        "391da4a6dc1113b7",
    ]);
    let seen = [dot(0xc, 2)].into_iter().collect();
    let expires_at = Some(WallTime::from_millis(77));
    let record = Record::default()
        .write(Mint { expires_at, ..Mint::plain(&seen, dot(0xb, 3), Payload::Value("hi".into())) })
        .write(Mint::plain(&VersionVector::new(), dot(0xa, 4), Payload::Tombstone));
    assert_eq!(Record::decode(&bytes), Ok(record));
    assert_eq!(Record::decode(&bytes_of(&["010000040e81159cc6c0ba"])), Ok(Record::default()));
}

fn bytes_of(hex: &[&str]) -> Bytes {
    let hex = hex.concat().replace(' ', "");
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}
