//! Ranges of row keys, as damage is told in them.

use std::ops::RangeInclusive;

use bytes::Bytes;
use starling_causality::Record;
use starling_types::{QualifiedKey, Token};
use starling_vnode::rows::{FIRST_GENERATION, parse_data};

use crate::event::RowPage;

/// A range of row keys, to before its end, or to the end of all keys.
pub(crate) type RowRange = (Bytes, Option<Bytes>);

/// What of a page cannot be read: what the engine could not, and rows that are no records.
pub(super) fn unreadable(page: &RowPage) -> Vec<RowRange> {
    let odd = page.rows.iter().filter(|(_, value)| Record::decode(value).is_err());
    page.damaged.iter().cloned().chain(odd.map(|(key, _)| row_range(key))).collect()
}

/// The range of one row.
pub(super) fn row_range(row: &Bytes) -> RowRange {
    (row.clone(), Some([row, &[0][..]].concat().into()))
}

pub(super) fn covers(known: &RowRange, range: &RowRange) -> bool {
    let ends = match (&known.1, &range.1) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(known), Some(end)) => end <= known,
    };
    known.0 <= range.0 && ends
}

pub(super) fn touch(a: &RangeInclusive<Token>, b: &RangeInclusive<Token>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

/// The tokens whose rows may lie in the range; none if it is empty.
pub(super) fn tokens_of((first, end): &RowRange) -> Option<RangeInclusive<Token>> {
    let first = token_of(first);
    let last = end.as_ref().map_or(Token::from_bits(u64::MAX), |end| token_of(end));
    (first <= last).then_some(first..=last)
}

/// The token that a row key begins with, or the first one that follows it.
pub(super) fn token_of(row: &[u8]) -> Token {
    let mut token = [0; 8];
    let len = row.len().min(8);
    token[..len].copy_from_slice(&row[..len]);
    Token::from_bits(u64::from_be_bytes(token))
}

/// The key of a data row, if it is one of this cluster's.
pub(super) fn data_key(seed: u64, row: &[u8]) -> Option<QualifiedKey> {
    let (token, generation, bucket, key) = parse_data(row)?;
    let key = QualifiedKey::new(seed, bucket, key);
    (generation == FIRST_GENERATION && key.token() == token).then_some(key)
}

/// The key of the row, if the range has room for one only.
pub(super) fn single_row((start, end): &RowRange) -> Option<&Bytes> {
    let is_single = end.as_deref().and_then(|end| end.strip_suffix(&[0])).is_some_and(|key| key == start);
    is_single.then_some(start)
}
