//! Starts of a node, and how one whose disk was put back from earlier is told by them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A start of a node: how often it has started, and a number drawn for this start. Raised durably before the node
/// speaks, so that old news about it loses.
///
/// The count is the upper half, and orders starts. The drawn number is the lower half: a disk that was put back from
/// earlier counts again what was counted, but draws other numbers. Generations below 2³² are counts without a drawn
/// number, as the first releases wrote them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Generation(pub u64);

/// Bits of the number that is drawn.
const DRAWN: u32 = 32;

impl Generation {
    /// How often the node had started.
    pub const fn count(self) -> u64 {
        match self.is_bare() {
            true => self.0,
            false => self.0 >> DRAWN,
        }
    }

    /// The start that follows, for which `drawn` was drawn.
    #[must_use]
    pub const fn next(self, drawn: u32) -> Self {
        Self::of(self.count().saturating_add(1), drawn)
    }

    /// The least of the starts that count further than this one.
    #[must_use]
    pub const fn beyond(self) -> Self {
        match self.is_bare() {
            true => Self(self.0 + 1),
            false => self.next(0),
        }
    }

    /// The last of the starts that count as far as this one.
    #[must_use]
    pub const fn last_of_its_count(self) -> Self {
        match self.is_bare() {
            true => self,
            false => Self(self.0 | u32::MAX as u64),
        }
    }

    /// That many starts later, without a drawn number.
    #[must_use]
    pub const fn skip(self, starts: u64) -> Self {
        Self::of(self.count().saturating_add(starts), 0)
    }

    /// A start with this count.
    pub const fn of(count: u64, drawn: u32) -> Self {
        let most = u64::MAX >> DRAWN;
        let count = if count < most { count } else { most };
        Self((count << DRAWN) | drawn as u64)
    }

    /// The number that was drawn for it.
    pub const fn drawn(self) -> u32 {
        match self.is_bare() {
            true => 0,
            false => (self.0 & u32::MAX as u64) as u32,
        }
    }

    const fn is_bare(self) -> bool {
        self.0 >> DRAWN == 0
    }
}

/// The count: the drawn number says nothing to a person.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.count().fmt(f)
    }
}

/// The last starts of a node as its disk remembers them, the oldest first, this one last.
///
/// Others remember a start of it as well. If that is none of these, though they reach back so far, the disk is one from
/// before that start. What the node had acked in starts before the first of these is remembered too, or was given up as
/// lost and pulled from other owners.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lineage(Vec<Generation>);

impl Lineage {
    /// How many starts are remembered. A disk from further back is noticed by its count only.
    pub const MOST: usize = 32;

    /// All before this start is given up, or unknown.
    pub fn since(start: Generation) -> Self {
        Self(vec![start])
    }

    /// A start follows.
    pub fn begin(&mut self, start: Generation) {
        let surplus = (self.0.len() + 1).saturating_sub(Self::MOST);
        self.0.drain(..surplus);
        self.0.push(start);
    }

    /// Whether a start that others remember is missing: it would be among these, or is yet to come.
    pub fn misses(&self, known: Generation) -> bool {
        let reaches_back = self.0.first().is_some_and(|first| known.count() >= first.count());
        reaches_back && known.drawn() != 0 && !self.0.contains(&known)
    }

    /// Whether nothing is said, as by releases that did not remember.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether others could have sent it: rising, and no longer than it may be.
    pub fn is_sound(&self) -> bool {
        self.0.len() <= Self::MOST && self.0.is_sorted_by(|a, b| a < b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_ordered_by_their_count_and_told_apart_by_what_was_drawn() {
        let old = Generation(21);
        let first = old.next(7);
        assert_eq!((first.count(), first.drawn()), (22, 7));
        assert_eq!((old.count(), old.drawn(), old.beyond()), (21, 0, Generation(22)));
        let rising =
            [Generation(1), old, first, Generation::of(22, 9), first.last_of_its_count(), first.beyond()];
        assert!(rising.is_sorted_by(|a, b| a < b), "{rising:?}");
        assert_eq!(first.beyond().count(), 23);
        assert_eq!(first.to_string(), "22");
        assert_eq!(old.skip(1_000).count(), 1_021);
        assert_eq!(
            Generation(u64::MAX).next(1).count(),
            u64::MAX >> DRAWN,
            "it ends, and does not begin anew"
        );
    }

    #[test]
    fn a_start_that_others_remember_is_missed_if_the_disk_would_know_it() {
        let mut lineage = Lineage::since(Generation::of(19, 1));
        lineage.begin(Generation::of(20, 2));
        lineage.begin(Generation::of(21, 3));
        for known in [Generation::of(20, 2), Generation::of(21, 3), Generation::of(18, 9), Generation(20)] {
            assert!(!lineage.misses(known), "{known:?}");
        }
        for known in
            [Generation::of(19, 9), Generation::of(20, 9), Generation::of(21, 9), Generation::of(22, 9)]
        {
            assert!(lineage.misses(known), "{known:?}");
        }
        assert!(!Lineage::default().misses(Generation::of(1, 1)), "it says nothing");
    }

    #[test]
    fn the_oldest_starts_are_forgotten() {
        let mut lineage = Lineage::default();
        (1..=100).for_each(|count| lineage.begin(Generation::of(count, 1)));
        assert!(lineage.is_sound());
        assert_eq!(lineage.0.len(), Lineage::MOST);
        assert!(lineage.misses(Generation::of(69, 2)));
        assert!(!lineage.misses(Generation::of(68, 2)), "too far back to tell");
    }
}
