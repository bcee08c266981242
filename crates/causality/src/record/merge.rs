//! Two replicas' records become one.

use super::Record;
use super::dead::DeadIds;
use super::sibling::Sibling;
use crate::walk::{Pair, side_by_side};
use starling_types::planted::{self, Bug};

/// The result of [`Record::merge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The merged record.
    pub record: Record,
    /// Each side claims to have superseded all that the other holds: a replica has forgotten what it wrote. Everything
    /// was kept and is now [`Sibling::rescued`]: raise an alarm.
    pub conflict: bool,
}

impl Record {
    /// The join of two replicas' records: keeps what both hold, what one holds and the other has not superseded, and
    /// what was rescued; drops what is left of requests that either knows to be superseded. Commutative, associative,
    /// idempotent. Never empties two records that both hold something: see [`Merge::conflict`].
    #[must_use]
    pub fn merge(&self, other: &Self) -> Merge {
        let mut dead = self.dead.joined(&other.dead);
        let mut siblings = self.survivors(other, &mut dead);
        if planted::on(Bug::MergeDropsOneOfThree) && siblings.len() == 3 {
            siblings.remove(0);
        }
        dead.clear(&mut siblings);
        let conflict = self.is_contradicted_by(other, &siblings);
        if conflict {
            dead = self.dead.joined(&other.dead);
            siblings = self.rescued_with(other);
            dead.clear(&mut siblings);
        }
        let context = self.context.joined(&other.context);
        Merge { record: Self { context, siblings, dead }, conflict }
    }

    /// Whether each side holds something, and nothing of it would be left, or it would be but for an earlier rescue.
    fn is_contradicted_by(&self, other: &Self, left: &[Sibling]) -> bool {
        let replaced = |s: &Sibling, by: &Self| by.context.covers(s.dot) && by.sibling_of(s.dot).is_none();
        let forgotten = |one: &Self, by: &Self| one.siblings.iter().all(|s| replaced(s, by));
        !self.siblings.is_empty()
            && !other.siblings.is_empty()
            && (left.is_empty() || (forgotten(self, other) && forgotten(other, self)))
    }

    /// Everything that either side holds, kept until a write has seen it.
    fn rescued_with(&self, other: &Self) -> Vec<Sibling> {
        let both = side_by_side(&self.siblings, &other.siblings, |sibling| sibling.dot);
        let kept = both.map(|pair| match pair {
            Pair::Both(ours, theirs) => ours.joined(theirs),
            Pair::Left(one) | Pair::Right(one) => one.clone(),
        });
        kept.map(|sibling| Sibling { rescued: true, ..sibling }).collect()
    }

    fn survivors(&self, other: &Self, dead: &mut DeadIds) -> Vec<Sibling> {
        let mut survivors = Vec::with_capacity(self.sibling_count().max(other.sibling_count()));
        for pair in side_by_side(&self.siblings, &other.siblings, |sibling| sibling.dot) {
            match pair {
                Pair::Both(ours, theirs) => survivors.push(ours.joined(theirs)),
                Pair::Left(ours) if ours.rescued || !other.context.covers(ours.dot) => {
                    survivors.push(ours.clone());
                }
                Pair::Right(theirs) if theirs.rescued || !self.context.covers(theirs.dot) => {
                    survivors.push(theirs.clone());
                }
                Pair::Left(gone) | Pair::Right(gone) => dead.bury(gone),
            }
        }
        survivors
    }
}
