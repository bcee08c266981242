use std::collections::BTreeSet;
use std::thread;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Keys that differ in their first bytes, or only behind the first eight, or by an end of zeros.
fn a_key() -> impl Strategy<Value = Vec<u8>> {
    let first = vec(prop_oneof![Just(0u8), Just(1), Just(0xff), any::<u8>()], 0..3);
    let rest = prop_oneof![Just(vec![]), vec(Just(0u8), 0..9), vec(prop_oneof![Just(0u8), Just(7)], 6..12)];
    (first, rest).prop_map(|(first, rest)| [first, rest].concat())
}

fn a_range() -> impl Strategy<Value = RowRange> {
    (a_key(), proptest::option::of(a_key()))
        .prop_map(|(start, end)| RowRange::new(start, end.map(Bytes::from)))
}

fn entry(number: u64, is_there: bool) -> Entry {
    is_there.then(|| Slice::from(number.to_be_bytes()))
}

proptest! {
    #[test]
    fn it_finds_what_a_list_of_all_versions_has(
        written in vec((a_key(), any::<bool>()), 0..200),
        looks in vec((a_range(), a_key(), 0u64..220), 1..20),
    ) {
        let buffer = Arc::new(Buffer::default());
        let mut versions = Vec::new();
        for (number, (key, is_there)) in (1..).zip(written) {
            buffer.insert(key[..].into(), number, entry(number, is_there));
            versions.push((key, number, entry(number, is_there)));
        }
        prop_assert_eq!(buffer.is_empty(), versions.is_empty());
        for (range, key, below) in looks {
            let newest = |key: &[u8]| versions.iter().rev().find(|(k, number, _)| k == key && *number < below);
            let keys: BTreeSet<_> = versions.iter().map(|(key, ..)| key).filter(|key| range.contains(key)).collect();
            let expected: Vec<Row> = keys
                .into_iter()
                .filter_map(|key| newest(key))
                .map(|(key, number, entry)| Row { key: key[..].into(), number: *number, entry: entry.clone() })
                .collect();
            prop_assert_eq!(buffer.rows(&range, below).collect::<Vec<_>>(), expected);
            prop_assert_eq!(buffer.get(&key, below), newest(&key).map(|(.., entry)| entry.clone()));
        }
    }
}

/// In one part and in all, before and behind the reader.
#[test]
fn who_reads_while_it_is_written_sees_every_row_that_was_there_once_and_in_order() {
    let spread = |n: u32| n.wrapping_mul(0x9e37_79b9).to_be_bytes();
    let close = |n: u32| [[0; 4], spread(n)].concat();
    let buffer = Arc::new(Buffer::default());
    let add = |n: u32, number: u64| {
        buffer.insert(Slice::from(&spread(n)[..]), number, entry(number, true));
        buffer.insert(Slice::from(close(n)), number, entry(number, true));
    };
    let there = 5_000;
    (0..there).for_each(|n| add(n, 1));
    thread::scope(|scope| {
        scope.spawn(|| (0..2 * there).for_each(|n| add(n, 2)));
        for _ in 0..5 {
            let rows: Vec<Slice> = buffer.rows(&RowRange::all(), u64::MAX).map(|row| row.key).collect();
            assert!(rows.is_sorted_by(|a, b| a < b));
            let seen: BTreeSet<&[u8]> = rows.iter().map(|key| &key[..]).collect();
            assert!((0..there).all(|n| seen.contains(&spread(n)[..]) && seen.contains(&close(n)[..])));
            let before = buffer.rows(&RowRange::all(), 2);
            assert_eq!(before.filter(|row| row.number == 1).count(), 2 * there as usize);
        }
    });
}
