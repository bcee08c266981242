//! Damage that was given up: what could not be read, and no owner had, counts as absent.
//!
//! That holds for the bytes that were found. A row in such a range that was written later, or that turned out to be
//! whole, is no part of it: should it be damaged one day, that is a loss like any other.

use std::collections::BTreeSet;
use std::ops::Bound;

use bytes::Bytes;
use starling_types::row::RowRange;

/// Rows remembered one by one. With more, all is forgotten: then the damage is found once more, and given up again.
const MOST_WHOLE: usize = 1 << 16;

/// Ranges of row keys, and what in them is not meant.
#[derive(Debug, Default)]
pub(crate) struct Amnesty {
    ranges: Vec<RowRange>,
    /// Rows that were whole, or written, since their range was given up.
    whole: BTreeSet<Bytes>,
}

impl Amnesty {
    /// Damage in a range counts as absent from now on.
    pub(crate) fn grant(&mut self, range: RowRange) {
        self.whole.retain(|row| !range.contains(row));
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
        if !self.ranges.iter().any(|range| range.contains(row)) {
            return;
        }
        self.whole.insert(row.clone());
        if self.whole.len() > MOST_WHOLE {
            *self = Self::default();
        }
    }

    pub(crate) fn holds_for(&self, row: &[u8]) -> bool {
        !self.whole.contains(row) && self.ranges.iter().any(|range| range.contains(row))
    }

    pub(crate) fn covers(&self, range: &RowRange) -> bool {
        self.ranges.iter().any(|given_up| given_up.covers(range))
    }

    pub(crate) fn whole_in<'a>(&'a self, range: &'a RowRange) -> impl Iterator<Item = &'a Bytes> {
        let (first, is_empty) = (range.start(), range.is_empty());
        let end: Bound<&[u8]> = range.end().map_or(Bound::Unbounded, |end| Bound::Excluded(end));
        let bounds = (Bound::Included(&first[..]), if is_empty { Bound::Included(&first[..]) } else { end });
        self.whole.range::<[u8], _>(bounds).filter(move |_| !is_empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: &'static str, end: &'static str) -> RowRange {
        RowRange::new(first, Some(end.into()))
    }

    #[test]
    fn it_holds_for_what_was_found_and_not_for_what_was_whole_since() {
        let mut amnesty = Amnesty::default();
        amnesty.note_whole(&"d".into());
        amnesty.grant(range("b", "f"));
        assert!(["b", "d", "e"].iter().all(|row| amnesty.holds_for(row.as_bytes())));
        assert!(["a", "f"].iter().all(|row| !amnesty.holds_for(row.as_bytes())));
        amnesty.note_whole(&"d".into());
        assert!(!amnesty.holds_for(b"d") && amnesty.holds_for(b"c"));
        assert!(amnesty.covers(&range("b", "f")) && amnesty.covers(&range("c", "e")));
        assert!(!amnesty.covers(&range("c", "g")) && !amnesty.covers(&RowRange::new("c", None)));
        assert!(!amnesty.covers(&range("a", "c")));
        assert_eq!(amnesty.whole_in(&range("b", "z")).collect::<Vec<_>>(), ["d"]);
        assert_eq!(amnesty.whole_in(&range("z", "b")).count(), 0);
        amnesty.grant(RowRange::new("a", None));
        assert!(amnesty.holds_for(b"d"), "it was found damaged again, and given up");
    }

    #[test]
    fn with_too_much_to_remember_all_is_forgotten() {
        let mut amnesty = Amnesty::default();
        amnesty.grant(RowRange::all());
        (0..=MOST_WHOLE).for_each(|n| amnesty.note_whole(&n.to_be_bytes().to_vec().into()));
        assert!(!amnesty.holds_for(b"any"));
    }
}
