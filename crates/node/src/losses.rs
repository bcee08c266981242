//! What this node may have lost: ranges of tokens whose records it held, or may have held, and may hold no more.

use std::ops::RangeInclusive;

use bytes::Bytes;
use starling_types::Token;
use starling_vnode::{RowSpace, RowWrite};

use crate::boot::encode;

/// The tokens of what may be lost, durable until it was pulled from other owners.
pub const META_SUSPECT: &[u8] = b"suspect";

/// Format of the row.
const FORMAT: u8 = 1;

/// Ranges of tokens, ascending and apart from each other once they are normal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Both ends included.
    pub tokens: Vec<RangeInclusive<Token>>,
}

impl Losses {
    /// Nothing is lost.
    pub const NONE: Self = Self { tokens: Vec::new() };

    /// All that the node held may be gone.
    pub fn everything() -> Self {
        Self { tokens: vec![Token::from_bits(0)..=Token::from_bits(u64::MAX)] }
    }

    /// Whether nothing is lost.
    pub const fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Whether anything between two tokens, both included, may be lost.
    pub fn touch(&self, tokens: &RangeInclusive<Token>) -> bool {
        self.tokens.iter().any(|lost| lost.start() <= tokens.end() && tokens.start() <= lost.end())
    }

    /// Both.
    #[must_use]
    pub fn join(mut self, other: &Self) -> Self {
        self.tokens.extend(other.tokens.iter().cloned());
        self.tokens.sort_by_key(|range| *range.start());
        let mut normal: Vec<RangeInclusive<Token>> = Vec::new();
        for range in self.tokens {
            match normal.last_mut() {
                Some(last) if range.start().bits() <= last.end().bits().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => normal.push(range),
            }
        }
        Self { tokens: normal }
    }

    /// The row that keeps it; none is kept of nothing.
    pub fn row(&self) -> RowWrite {
        let ends: Vec<(u64, u64)> = self.tokens.iter().map(|r| (r.start().bits(), r.end().bits())).collect();
        let value = (!ends.is_empty()).then(|| Bytes::from(encode(&(FORMAT, ends))));
        RowWrite { space: RowSpace::Meta, key: Bytes::from_static(META_SUSPECT), value }
    }

    /// Reads the row. One that cannot be understood stands for everything: too much is pulled, and nothing is missed.
    pub(crate) fn of_row(value: &[u8]) -> Self {
        match rmp_serde::from_slice::<(u8, Vec<(u64, u64)>)>(value) {
            Ok((FORMAT, ends)) => Self {
                tokens: ends.iter().map(|&(a, b)| Token::from_bits(a)..=Token::from_bits(b)).collect(),
            },
            _ => Self::everything(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(ranges: &[(u64, u64)]) -> Losses {
        let range = |&(a, b): &(u64, u64)| Token::from_bits(a)..=Token::from_bits(b);
        Losses { tokens: ranges.iter().map(range).collect() }
    }

    #[test]
    fn ranges_that_meet_become_one() {
        let joined = losses(&[(10, 19), (40, 49)]).join(&losses(&[(20, 25), (0, 3), (42, 44)]));
        assert_eq!(joined, losses(&[(0, 3), (10, 25), (40, 49)]));
        assert_eq!(joined.join(&Losses::everything()), Losses::everything());
    }

    #[test]
    fn the_row_tells_what_is_lost_and_a_strange_one_tells_everything() {
        let some = losses(&[(1, 2), (9, u64::MAX)]);
        assert_eq!(Losses::of_row(&some.row().value.unwrap()), some);
        assert_eq!(Losses::NONE.row().value, None);
        for strange in [&b""[..], b"nonsense", &encode(&(2u8, vec![(1u64, 2u64)]))] {
            assert_eq!(Losses::of_row(strange), Losses::everything());
        }
    }

    #[test]
    fn what_lies_apart_is_not_touched() {
        let some = losses(&[(10, 19)]);
        for (first, last, touched) in
            [(0, 9, false), (0, 10, true), (12, 13, true), (19, 30, true), (20, 30, false)]
        {
            assert_eq!(some.touch(&(Token::from_bits(first)..=Token::from_bits(last))), touched);
        }
    }
}
