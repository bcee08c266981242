//! Ranges of row keys, as damage is told in them.

use std::ops::RangeInclusive;

use starling_causality::Record;
use starling_types::row::{Page, RowRange};
use starling_types::{QualifiedKey, Token};
use starling_vnode::rows::{FIRST_GENERATION, parse_data};

/// What of a page cannot be read: what the engine could not, and rows that are no records.
pub(super) fn unreadable(page: &Page) -> Vec<RowRange> {
    let odd = page.rows.iter().filter(|(_, value)| Record::decode(value).is_err());
    page.damaged.iter().cloned().chain(odd.map(|(key, _)| RowRange::row(key))).collect()
}

pub(super) fn touch(a: &RangeInclusive<Token>, b: &RangeInclusive<Token>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

/// The tokens whose rows may lie in the range; none if it is empty.
pub(super) fn tokens_of(range: &RowRange) -> Option<RangeInclusive<Token>> {
    let first = token_of(range.start());
    let last = range.end().map_or(Token::from_bits(u64::MAX), |end| token_of(end));
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
