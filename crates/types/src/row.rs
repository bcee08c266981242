//! Rows: what a machine asks of a store, and what a store answers.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::limits::MAX_ROW_KEY;

/// A keyspace of the store. The set is fixed: every one costs memory and pins log segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// Records of the partitions this node holds.
    Data,
    /// Copies kept for absent owners.
    Hints,
    /// The node's knowledge of itself: layouts, generations, leases, marks.
    Meta,
}

impl Space {
    /// Every keyspace, in [`Space::code`] order.
    pub const ALL: [Self; 3] = [Self::Data, Self::Hints, Self::Meta];

    /// Its number in row checksums, and its index in [`Space::ALL`]. Never changes.
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Hints => 1,
            Self::Meta => 2,
        }
    }

    /// The keyspace of a code; none if there is none.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its name on disk and in messages. Never changes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Hints => "hints",
            Self::Meta => "meta",
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowWrite {
    /// Its keyspace.
    pub space: Space,
    /// Its key.
    pub key: Bytes,
    /// Its value; `None` deletes it.
    pub value: Option<Bytes>,
}

/// Rows in key order, and where the next page starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys and values in key order.
    pub rows: Vec<(Bytes, Bytes)>,
    /// Where to go on ([`RowRange::resume`]) when a limit ended the page; none at the end of the range. The page after a
    /// full one may turn out empty.
    pub next: Option<Bytes>,
    /// Ranges within the page whose bytes are not those that were written: there may be rows in them, or none. In key
    /// order.
    pub damaged: Vec<RowRange>,
    /// Ranges within the page that the disk did not give: nothing is known of what is in them, and another scan may
    /// have it. In key order.
    pub unread: Vec<RowRange>,
    /// All commits up to this one are in it; 0 where it was not asked for.
    pub sequence: u64,
}

/// Why a row could not be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadFailure {
    /// Its bytes are not those that were written. It stays so until the row is written again.
    #[error("damaged: {0}")]
    Damaged(String),
    /// The disk did not answer; the row may be whole.
    #[error("{0}")]
    Failed(String),
    /// Too much waits for the disk already: it was not asked.
    #[error("too much waits for this node's disk")]
    Busy,
    /// Nothing waits for the row any more: the disk was not asked.
    #[error("nothing waits for it any more")]
    Unwanted,
}

/// Why rows were not committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitFailure {
    /// Refused for want of space, or of descriptors or memory, before anything was written; the store goes on.
    #[error("refused before anything was written: {0}")]
    NoSpace(String),
    /// The store is poisoned: only the next start shows what of them is there.
    #[error("{0}")]
    Failed(String),
}

/// A range of row keys in byte order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RowRange {
    start: Bytes,
    end: Option<Bytes>,
}

impl RowRange {
    /// Keys from `start`, inclusive, to `end`, exclusive, or to the last one. Nothing if `end` is not above
    /// `start`.
    pub fn new(start: impl Into<Bytes>, end: Option<Bytes>) -> Self {
        Self { start: shorten(start.into()), end: end.map(shorten) }
    }

    /// Every key.
    pub fn all() -> Self {
        Self::new(Bytes::new(), None)
    }

    /// Keys that begin with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let prefix = prefix.into();
        let end = after_prefix(&prefix);
        Self::new(prefix, end)
    }

    /// The rest of this range from `next`, the resume key of a [`Page`].
    pub fn resume(&self, next: Bytes) -> Self {
        let end = self.end.clone();
        Self::new(next.max(self.start.clone()), end)
    }

    /// The first key it may hold.
    pub const fn start(&self) -> &Bytes {
        &self.start
    }

    /// The first key beyond it; none when it is open.
    pub const fn end(&self) -> Option<&Bytes> {
        self.end.as_ref()
    }

    /// Whether no key can lie in it.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The range of one row.
    pub fn row(key: &Bytes) -> Self {
        Self { start: key.clone(), end: Some(successor(key)) }
    }

    /// The key of the row, if the range has room for one only.
    pub fn single(&self) -> Option<&Bytes> {
        let before = self.end.as_deref().and_then(|end| end.strip_suffix(&[0]));
        before.is_some_and(|key| *key == *self.start).then_some(&self.start)
    }

    /// Whether all of `other` lies in it.
    pub fn covers(&self, other: &Self) -> bool {
        let ends = match (&self.end, &other.end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(other)) => other <= end,
        };
        self.start <= other.start && ends
    }

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }
}

/// The row key directly after `key`.
pub fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// The first key beyond every key that begins with `prefix`; none if there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let kept = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=kept].to_vec();
    end[kept] += 1;
    Some(end.into())
}

/// A bound that divides row keys as `bound` does, and is short enough for every engine: no row key lies
/// strictly between `bound` and its first [`MAX_ROW_KEY`] bytes, because it would have to be longer than those.
fn shorten(bound: Bytes) -> Bytes {
    match bound.get(..MAX_ROW_KEY) {
        Some(longest_key) if bound.len() > MAX_ROW_KEY => successor(longest_key),
        _ => bound,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_prefix_range_holds_what_begins_so(
            prefix in prop::collection::vec(prop_oneof![Just(0u8), Just(254), Just(255)], 0..4),
            key in prop::collection::vec(prop_oneof![Just(0u8), Just(254), Just(255)], 0..6),
        ) {
            prop_assert_eq!(RowRange::prefix(prefix.clone()).contains(&key), key.starts_with(&prefix));
        }

        #[test]
        fn nothing_lies_between_a_key_and_its_successor(key: Vec<u8>, other: Vec<u8>) {
            let next = successor(&key);
            prop_assert!(*next > *key);
            prop_assert!(*other <= *key || *other >= *next);
        }
    }

    #[test]
    fn codes_are_the_places_in_all() {
        for (index, space) in Space::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(space.code()), index);
        }
    }

    #[test]
    fn long_bounds_divide_row_keys_as_before() {
        let longest = vec![7; MAX_ROW_KEY];
        let beyond = vec![7; MAX_ROW_KEY + 9];
        assert!(RowRange::new(Bytes::new(), Some(beyond.clone().into())).contains(&longest));
        assert!(!RowRange::new(beyond.clone(), None).contains(&longest));
        assert!(RowRange::new(beyond, None).contains(&[8]));
        assert!(RowRange::new(longest.clone(), None).contains(&longest));
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_empty() {
        assert!(RowRange::new("b", Some("a".into())).is_empty());
        assert!(RowRange::new("b", Some("b".into())).is_empty());
        assert!(!RowRange::all().is_empty());
    }
}
