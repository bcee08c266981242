//! Range tombstones: the rows of [`Space::Data`] that are dead, even while tables still hold them.
//!
//! A data row's key begins `token u64 | generation u32`, big-endian. To drop a partition is to write one row into
//! [`Space::Meta`], a range tombstone, that says "tokens a to b are dead below generation g": from its commit on no
//! read shows those rows, and their bytes go when compaction or the sweeper gets to them. A partition that comes back
//! gets a higher generation, so nothing old can reappear.
//!
//! Nothing in production drops a range yet: the transfer of partitions, after a change of the layout, will.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use bytes::{BufMut, Bytes, BytesMut};

use crate::Space;
use crate::batch::{Batch, Op};
use starling_types::row::RowRange;

/// The keys of meta rows that are range tombstones begin with it.
const PREFIX: &[u8] = b"\0dropped\0";

/// The range tombstones of a store, laid over each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeTombstones {
    /// Disjoint ranges of tokens: first token to last token and generation.
    ranges: BTreeMap<u64, (u64, u32)>,
}

/// The drop of one range: rows of its tokens are dead whose generation is below another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeTombstone {
    pub(crate) tokens: RangeInclusive<u64>,
    pub(crate) below: u32,
}

impl RangeTombstone {
    /// The meta row that records it.
    pub(crate) fn row(&self) -> Op {
        let mut key = BytesMut::with_capacity(PREFIX.len() + 20);
        key.put_slice(PREFIX);
        key.put_u64(*self.tokens.start());
        key.put_u64(*self.tokens.end());
        key.put_u32(self.below);
        Op::Put { namespace: Space::Meta, key: key.freeze(), value: Bytes::new() }
    }

    /// The range tombstone that a meta row of this key is, if it is one.
    pub(crate) fn of_row(key: &[u8]) -> Option<Self> {
        let (tokens, below) = key.strip_prefix(PREFIX)?.split_at_checked(16)?;
        let (first, last) = tokens.split_first_chunk::<8>()?;
        let last = u64::from_be_bytes(last.try_into().ok()?);
        let below = u32::from_be_bytes(below.try_into().ok()?);
        Some(Self { tokens: u64::from_be_bytes(*first)..=last, below })
    }

    /// The rows that may be dead: keys of its tokens.
    pub(crate) fn keys(&self) -> RowRange {
        let start = Bytes::copy_from_slice(&self.tokens.start().to_be_bytes());
        let end = self.tokens.end().checked_add(1);
        RowRange::new(start, end.map(|end| Bytes::copy_from_slice(&end.to_be_bytes())))
    }
}

impl RangeTombstones {
    /// Where they are recorded.
    pub(crate) fn rows() -> RowRange {
        RowRange::prefix(PREFIX)
    }

    /// Takes note of an operation that is applied. Says whether it was a range tombstone.
    pub(crate) fn note(&mut self, op: &Op) -> bool {
        if op.namespace() != Space::Meta || op.value().is_none() {
            return false;
        }
        let tombstone = RangeTombstone::of_row(op.key());
        tombstone.is_some_and(|tombstone| {
            self.record(&tombstone);
            true
        })
    }

    /// Adds a range tombstone. Where ranges meet the higher generation counts.
    pub(crate) fn record(&mut self, tombstone: &RangeTombstone) {
        let (mut first, last) = (*tombstone.tokens.start(), *tombstone.tokens.end());
        let touching: Vec<(u64, (u64, u32))> =
            self.ranges.range(..=last).rev().map(|(&f, &r)| (f, r)).take_while(|r| r.1.0 >= first).collect();
        if first > last {
            return;
        }
        for (old_first, (old_last, old_below)) in touching.into_iter().rev() {
            self.ranges.remove(&old_first);
            if old_first < first {
                self.ranges.insert(old_first, (first - 1, old_below));
            }
            if old_first.max(first) > first {
                self.ranges.insert(first, (old_first - 1, tombstone.below));
            }
            let end = old_last.min(last);
            self.ranges.insert(old_first.max(first), (end, old_below.max(tombstone.below)));
            if old_last > last {
                self.ranges.insert(last + 1, (old_last, old_below));
            }
            match end.checked_add(1) {
                Some(next) if next <= last => first = next,
                _ => return,
            }
        }
        self.ranges.insert(first, (last, tombstone.below));
    }

    /// Whether a row is dead under them.
    pub(crate) fn cover(&self, namespace: Space, key: &[u8]) -> bool {
        if self.ranges.is_empty() || namespace != Space::Data {
            return false;
        }
        let Some((token, generation)) = place(key) else { return false };
        let range = self.ranges.range(..=token).next_back();
        range.is_some_and(|(_, &(last, below))| token <= last && generation < below)
    }
}

impl Batch {
    /// Drops the data rows whose key begins with one of `tokens` and a generation below `below` (both big-endian, 8
    /// and 4 bytes): from the commit on no read shows them, however many they are. Their space comes back later.
    pub fn drop_below(&mut self, tokens: RangeInclusive<u64>, below: u32) {
        self.push(RangeTombstone { tokens, below }.row());
    }
}

/// The token and generation that a data row's key begins with.
fn place(key: &[u8]) -> Option<(u64, u32)> {
    let (token, rest) = key.split_first_chunk::<8>()?;
    let generation = rest.first_chunk::<4>()?;
    Some((u64::from_be_bytes(*token), u32::from_be_bytes(*generation)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(token: u64, generation: u32) -> Vec<u8> {
        [&token.to_be_bytes()[..], &generation.to_be_bytes(), b"rest"].concat()
    }

    proptest! {
        #[test]
        fn the_highest_generation_dropped_at_a_token_counts(
            drops in prop::collection::vec((0u64..12, 0u64..12, 0u32..5), 0..12),
            at_the_end: bool,
        ) {
            let base = if at_the_end { u64::MAX - 11 } else { 0 };
            let drops: Vec<RangeTombstone> = drops.into_iter()
                .map(|(first, last, below)| RangeTombstone { tokens: base + first..=base + last, below }).collect();
            let mut tombstones = RangeTombstones::default();
            drops.iter().for_each(|tombstone| tombstones.record(tombstone));
            for token in base..=base + 11 {
                let below = drops.iter().filter(|g| g.tokens.contains(&token)).map(|g| g.below).max().unwrap_or(0);
                for generation in 0..6 {
                    let dead = tombstones.cover(Space::Data, &key(token, generation));
                    prop_assert_eq!(dead, generation < below, "token {} generation {}", token, generation);
                }
            }
        }
    }

    #[test]
    fn a_drop_is_found_again_in_its_row() {
        let tombstone = RangeTombstone { tokens: 7..=u64::MAX, below: 3 };
        let row = tombstone.row();
        assert_eq!(RangeTombstone::of_row(row.key()), Some(tombstone.clone()));
        assert!(RangeTombstones::rows().contains(row.key()));
        assert_eq!(tombstone.keys(), RowRange::new(7u64.to_be_bytes().to_vec(), None));
        assert_eq!(RangeTombstone::of_row(&row.key()[1..]), None);
    }

    #[test]
    fn only_data_rows_die() {
        let mut tombstones = RangeTombstones::default();
        tombstones.record(&RangeTombstone { tokens: 0..=u64::MAX, below: 9 });
        assert!(tombstones.cover(Space::Data, &key(1, 1)));
        assert!(!tombstones.cover(Space::Hints, &key(1, 1)));
        assert!(!tombstones.cover(Space::Data, b"short"));
    }
}
