//! One stored row: `format (1 byte) | xxh3-64 of value, seeded with that of the key, seeded with the namespace
//! (8 bytes, little endian) | value`.
//!
//! The checksum covers the key and the namespace, so that a row found in the wrong place is damage too.

use bytes::{BufMut, Bytes};
use starling_types::limits::{MAX_ROW_KEY, MAX_ROW_VALUE};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::Space;
use crate::batch::Batch;
use crate::error::StorageError;

const FORMAT: u8 = 2;
pub(crate) const HEADER: usize = 1 + size_of::<u64>();

/// Refuses batches with a row that no engine can store.
pub(crate) fn check(batches: &[Batch]) -> Result<(), StorageError> {
    for op in batches.iter().flat_map(Batch::ops) {
        let bytes = op.key().len();
        if !(1..=MAX_ROW_KEY).contains(&bytes) {
            return Err(StorageError::KeyLength { bytes });
        }
        let bytes = op.value().map_or(0, Bytes::len);
        if bytes > MAX_ROW_VALUE {
            return Err(StorageError::ValueLength { bytes });
        }
    }
    Ok(())
}

/// Whether a row can have this key.
pub(crate) const fn is_key(key: &[u8]) -> bool {
    !key.is_empty() && key.len() <= MAX_ROW_KEY
}

/// Appends the stored form of a row.
pub(crate) fn encode_into(namespace: Space, key: &[u8], value: &[u8], out: &mut impl BufMut) {
    out.put_u8(FORMAT);
    out.put_u64_le(checksum(namespace, key, value));
    out.put_slice(value);
}

/// The value within a row's stored form.
pub(crate) fn decode(namespace: Space, key: &[u8], stored: Bytes) -> Result<Bytes, StorageError> {
    let corrupt =
        |detail: String| StorageError::Corrupt { namespace, key: Bytes::copy_from_slice(key), detail };
    let Some((header, value)) = stored.split_first_chunk::<HEADER>() else {
        return Err(corrupt(format!("{} bytes are no row", stored.len())));
    };
    let [format, sum @ ..] = *header;
    if format != FORMAT {
        return Err(corrupt(format!("unknown row format {format}")));
    }
    if u64::from_le_bytes(sum) != checksum(namespace, key, value) {
        return Err(corrupt("checksum mismatch".into()));
    }
    Ok(stored.slice(HEADER..))
}

/// Each part seeds the next, so that none can be moved to another's place.
fn checksum(namespace: Space, key: &[u8], value: &[u8]) -> u64 {
    xxh3_64_with_seed(value, xxh3_64_with_seed(key, u64::from(namespace.code())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(namespace: Space, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut stored = Vec::new();
        encode_into(namespace, key, value, &mut stored);
        stored
    }

    proptest! {
        #[test]
        fn any_flipped_bit_shows(key: Vec<u8>, value: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let stored = encode(Space::Data, &key, &value);
            let decoded = decode(Space::Data, &key, stored.clone().into());
            prop_assert_eq!(decoded, Ok(Bytes::from(value)));

            let mut damaged = stored;
            let at = at.index(damaged.len());
            damaged[at] ^= 1 << bit;
            prop_assert!(decode(Space::Data, &key, damaged.into()).is_err());
        }

        #[test]
        fn any_cut_shows(value: Vec<u8>, kept: prop::sample::Index) {
            let stored = Bytes::from(encode(Space::Data, b"key", &value));
            let cut = stored.slice(..kept.index(stored.len()));
            prop_assert!(decode(Space::Data, b"key", cut).is_err());
        }
    }

    #[test]
    fn a_row_in_the_wrong_place_is_damage() {
        let stored = Bytes::from(encode(Space::Data, b"key", b"value"));
        for (namespace, key) in [(Space::Hints, &b"key"[..]), (Space::Data, b"kez"), (Space::Data, b"keyv")] {
            assert!(decode(namespace, key, stored.clone()).is_err());
        }
        let shifted = Bytes::from(encode(Space::Data, b"ke", b"yvalue"));
        assert_ne!(stored.slice(1..9), shifted.slice(1..9));
    }

    /// The stored form is a promise to every store already written.
    #[test]
    fn the_stored_form_is_golden() {
        let stored = encode(Space::Hints, b"key", b"value");
        let hex: String = stored.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "023a998f97b21e6b1776616c7565");
    }
}
