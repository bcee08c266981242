//! Damage that was given up: what could not be read, and no owner had, counts as absent.
//!
//! That holds for the bytes that were found. A row in such a range that was written later, or that turned out to be
//! whole, is no part of it: should it be damaged one day, that is a loss like any other.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;

/// Rows remembered one by one. With more, all is forgotten: then the damage is found once more, and given up again.
const MOST_WHOLE: usize = 1 << 16;

/// Ranges of row keys, and what in them is not meant.
#[derive(Debug, Default)]
pub(crate) struct Amnesty {
    ranges: Vec<(Bytes, Option<Bytes>)>,
    /// Rows that were whole, or written, since their range was given up.
    whole: BTreeSet<Bytes>,
}

impl Amnesty {
    /// Damage in a range counts as absent from now on.
    pub(crate) fn grant(&mut self, first: Bytes, end: Option<Bytes>) {
        let range = (first, end);
        self.whole.retain(|row| !contains(&range, row));
        if !self.covers(&range) {
            self.ranges.push(range);
        }
    }

    /// Whether nothing was given up.
    pub(crate) const fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// A row is whole, or about to be.
    pub(crate) fn note_whole(&mut self, row: &Bytes) {
        if !self.ranges.iter().any(|range| contains(range, row)) {
            return;
        }
        self.whole.insert(row.clone());
        if self.whole.len() > MOST_WHOLE {
            *self = Self::default();
        }
    }

    pub(crate) fn holds_for(&self, row: &[u8]) -> bool {
        !self.whole.contains(row) && self.ranges.iter().any(|range| contains(range, row))
    }

    pub(crate) fn covers(&self, (first, end): &(Bytes, Option<Bytes>)) -> bool {
        self.ranges.iter().any(|range| {
            let ends = match (&range.1, end) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(given_up), Some(end)) => end <= given_up,
            };
            contains(range, first) && ends
        })
    }

    pub(crate) fn whole_in<'a>(
        &'a self,
        (first, end): &'a (Bytes, Option<Bytes>),
    ) -> impl Iterator<Item = &'a Bytes> {
        let end: Bound<&[u8]> = end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end));
        let is_empty = matches!(end, Bound::Excluded(end) if *end <= **first);
        let bounds = (Bound::Included(&first[..]), if is_empty { Bound::Included(&first[..]) } else { end });
        self.whole.range::<[u8], _>(bounds).filter(move |_| !is_empty)
    }
}

fn contains((first, end): &(Bytes, Option<Bytes>), row: &[u8]) -> bool {
    row >= &**first && end.as_ref().is_none_or(|end| row < &**end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &'static str, end: &'static str) -> (Bytes, Option<Bytes>) {
        (first.into(), Some(end.into()))
    }

    #[test]
    fn it_holds_for_what_was_found_and_not_for_what_was_whole_since() {
        let mut amnesty = Amnesty::default();
        amnesty.note_whole(&"d".into());
        amnesty.grant("b".into(), Some("f".into()));
        assert!(["b", "d", "e"].iter().all(|row| amnesty.holds_for(row.as_bytes())));
        assert!(["a", "f"].iter().all(|row| !amnesty.holds_for(row.as_bytes())));
        amnesty.note_whole(&"d".into());
        assert!(!amnesty.holds_for(b"d") && amnesty.holds_for(b"c"));
        assert!(amnesty.covers(&range("b", "f")) && amnesty.covers(&range("c", "e")));
        assert!(!amnesty.covers(&range("c", "g")) && !amnesty.covers(&("c".into(), None)));
        assert!(!amnesty.covers(&range("a", "c")));
        assert_eq!(amnesty.whole_in(&range("b", "z")).collect::<Vec<_>>(), ["d"]);
        assert_eq!(amnesty.whole_in(&range("z", "b")).count(), 0);
        amnesty.grant("a".into(), None);
        assert!(amnesty.holds_for(b"d"), "it was found damaged again, and given up");
    }

    #[test]
    fn with_too_much_to_remember_all_is_forgotten() {
        let mut amnesty = Amnesty::default();
        amnesty.grant(Bytes::new(), None);
        (0..=MOST_WHOLE).for_each(|n| amnesty.note_whole(&n.to_be_bytes().to_vec().into()));
        assert!(!amnesty.holds_for(b"any"));
    }
}
