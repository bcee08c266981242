//! The losses that are possible on this node: ranges of tokens whose records it held, or may have held, and may hold no
//! more.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::Serialize;
use starling_types::row::{RowWrite, Space};
use starling_types::{BucketName, Token};

use crate::tokens::touch;

/// The tokens of what may be lost, durable until it was pulled from other owners.
pub const META_SUSPECT: &[u8] = b"suspect";

/// Format of the row.
const FORMAT: u8 = 2;
/// The one before, of a store that knew one kind of loss.
const FIRST_FORMAT: u8 = 1;

/// Ranges of tokens, ascending and apart from each other once they are normal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Where records may be lost that were synced: in all buckets. Both ends included.
    pub tokens: Ranges,
    /// Where only records may be lost that were never synced.
    pub unsynced: Ranges,
    /// The buckets whose records were not; all if it names none.
    pub buckets: BTreeSet<BucketName>,
}

type Ranges = Vec<RangeInclusive<Token>>;
type Ends = Vec<(u64, u64)>;

impl Losses {
    /// Nothing is lost.
    pub const NONE: Self = Self { tokens: Vec::new(), unsynced: Vec::new(), buckets: BTreeSet::new() };

    /// All that the node held may be gone.
    pub fn everything() -> Self {
        Self { tokens: vec![all_tokens()], ..Self::NONE }
    }

    /// All that was not synced may be gone: of these buckets, or of all if none is named.
    pub fn of_unsynced(buckets: BTreeSet<BucketName>) -> Self {
        Self { unsynced: vec![all_tokens()], buckets, ..Self::NONE }
    }

    /// Whether nothing is lost.
    pub const fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.unsynced.is_empty()
    }

    /// Whether anything synced between two tokens, both included, may be lost.
    pub fn touch(&self, tokens: &RangeInclusive<Token>) -> bool {
        any_touch(&self.tokens, tokens)
    }

    /// Whether anything between two tokens may be, that was never synced.
    pub fn touch_unsynced(&self, tokens: &RangeInclusive<Token>) -> bool {
        any_touch(&self.unsynced, tokens)
    }

    /// Both.
    #[must_use]
    pub fn join(self, other: &Self) -> Self {
        let buckets = match (self.unsynced.is_empty(), other.unsynced.is_empty()) {
            (true, _) => other.buckets.clone(),
            (_, true) => self.buckets,
            _ if self.buckets.is_empty() || other.buckets.is_empty() => BTreeSet::new(),
            _ => self.buckets.union(&other.buckets).cloned().collect(),
        };
        Self {
            tokens: joined(self.tokens, &other.tokens),
            unsynced: joined(self.unsynced, &other.unsynced),
            buckets,
        }
    }

    /// The row that keeps it; none is kept of nothing.
    pub fn row(&self) -> RowWrite {
        let row = (FORMAT, ends(&self.tokens), ends(&self.unsynced), &self.buckets);
        let value = (!self.is_empty()).then(|| encode(&row));
        RowWrite { space: Space::Meta, key: Bytes::from_static(META_SUSPECT), value }
    }

    /// Reads the row. One that cannot be understood stands for everything: too much is pulled, and nothing is missed.
    pub fn of_row(value: &[u8]) -> Self {
        if let Ok((FORMAT, tokens, unsynced, buckets)) = rmp_serde::from_slice::<(u8, Ends, Ends, _)>(value) {
            return Self { tokens: ranges(&tokens), unsynced: ranges(&unsynced), buckets };
        }
        match rmp_serde::from_slice::<(u8, Ends)>(value) {
            Ok((FIRST_FORMAT, tokens)) => Self { tokens: ranges(&tokens), ..Self::NONE },
            _ => Self::everything(),
        }
    }
}

fn encode<T: Serialize>(row: &T) -> Bytes {
    #[expect(clippy::expect_used, reason = "MessagePack has a form for all plain data")]
    rmp_serde::to_vec(row).expect("plain data encodes").into()
}

const fn all_tokens() -> RangeInclusive<Token> {
    Token::from_bits(0)..=Token::from_bits(u64::MAX)
}

fn any_touch(ranges: &Ranges, tokens: &RangeInclusive<Token>) -> bool {
    ranges.iter().any(|lost| touch(lost, tokens))
}

fn joined(mut ranges: Ranges, others: &Ranges) -> Ranges {
    ranges.extend(others.iter().cloned());
    ranges.sort_by_key(|range| *range.start());
    let mut normal = Ranges::new();
    for range in ranges {
        match normal.last_mut() {
            Some(last) if range.start().bits() <= last.end().bits().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => normal.push(range),
        }
    }
    normal
}

fn ends(ranges: &Ranges) -> Ends {
    ranges.iter().map(|r| (r.start().bits(), r.end().bits())).collect()
}

fn ranges(ends: &Ends) -> Ranges {
    ends.iter().map(|&(a, b)| Token::from_bits(a)..=Token::from_bits(b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses(ranges: &[(u64, u64)]) -> Losses {
        let range = |&(a, b): &(u64, u64)| Token::from_bits(a)..=Token::from_bits(b);
        Losses { tokens: ranges.iter().map(range).collect(), ..Losses::NONE }
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
        let first = encode(&(FIRST_FORMAT, vec![(1u64, 2u64)]));
        assert_eq!(Losses::of_row(&first), losses(&[(1, 2)]), "of a store from before");
        let unsynced = Losses::of_unsynced([bucket("m")].into()).join(&some);
        assert_eq!(Losses::of_row(&unsynced.row().value.unwrap()), unsynced);
        for strange in [&b""[..], b"nonsense", &encode(&(2u8, vec![(1u64, 2u64)]))] {
            assert_eq!(Losses::of_row(strange), Losses::everything());
        }
    }

    fn bucket(name: &str) -> BucketName {
        BucketName::new(name).unwrap()
    }

    #[test]
    fn what_was_never_synced_is_lost_in_the_buckets_that_either_names_or_in_all() {
        let of = |names: &[&str]| Losses::of_unsynced(names.iter().map(|name| bucket(name)).collect());
        assert_eq!(of(&["a"]).join(&of(&["b"])), of(&["a", "b"]));
        assert_eq!(of(&["a"]).join(&of(&[])), of(&[]));
        assert_eq!(of(&["a"]).join(&Losses::NONE), of(&["a"]));
        assert_eq!(Losses::NONE.join(&of(&["a"])), of(&["a"]));
        let all = Token::from_bits(0)..=Token::from_bits(9);
        assert!(!of(&["a"]).touch(&all) && of(&["a"]).touch_unsynced(&all));
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
