//! Ranges to scan: keys from a start, inclusive, to an end, exclusive or open.

use bytes::Bytes;

use starling_types::limits::MAX_ROW_KEY;

/// A range of row keys in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    start: Bytes,
    end: Option<Bytes>,
}

impl KeyRange {
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

    /// The rest of this range from `next`, the resume key of a [`crate::Page`].
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

    /// Whether `key` lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.as_ref().is_none_or(|end| *key < **end)
    }
}

/// The key directly after `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
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
            prop_assert_eq!(KeyRange::prefix(prefix.clone()).contains(&key), key.starts_with(&prefix));
        }

        #[test]
        fn nothing_lies_between_a_key_and_its_successor(key: Vec<u8>, other: Vec<u8>) {
            let next = successor(&key);
            prop_assert!(*next > *key);
            prop_assert!(*other <= *key || *other >= *next);
        }
    }

    #[test]
    fn long_bounds_divide_row_keys_as_before() {
        let longest = vec![7; MAX_ROW_KEY];
        let beyond = vec![7; MAX_ROW_KEY + 9];
        assert!(KeyRange::new(Bytes::new(), Some(beyond.clone().into())).contains(&longest));
        assert!(!KeyRange::new(beyond.clone(), None).contains(&longest));
        assert!(KeyRange::new(beyond, None).contains(&[8]));
        assert!(KeyRange::new(longest.clone(), None).contains(&longest));
    }

    #[test]
    fn a_range_that_ends_before_it_starts_is_empty() {
        assert!(KeyRange::new("b", Some("a".into())).is_empty());
        assert!(KeyRange::new("b", Some("b".into())).is_empty());
        assert!(!KeyRange::all().is_empty());
    }
}
