//! Where rows lie: the key of a data row begins with its token, big-endian.

use std::ops::RangeInclusive;

use bytes::Bytes;
use starling_types::Token;
use starling_types::row::RowRange;

/// Whether two ranges have a token in common.
pub fn touch(a: &RangeInclusive<Token>, b: &RangeInclusive<Token>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

/// The tokens whose rows may lie in the range; none if it is empty.
pub fn tokens_of(range: &RowRange) -> Option<RangeInclusive<Token>> {
    let first = token_of(range.start());
    let last = range.end().map_or(Token::from_bits(u64::MAX), |end| token_of(end));
    (first <= last).then_some(first..=last)
}

/// The token that a row key begins with, or the first one that follows it.
pub fn token_of(row: &[u8]) -> Token {
    let mut token = [0; 8];
    let len = row.len().min(8);
    token[..len].copy_from_slice(&row[..len]);
    Token::from_bits(u64::from_be_bytes(token))
}

/// The first key that a row of the token can have.
pub fn first_row(token: Token) -> Bytes {
    Bytes::copy_from_slice(&token.bits().to_be_bytes())
}
