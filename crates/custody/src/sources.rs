//! The sources that a partition can be pulled from, and whether what was pulled is enough.

use std::collections::BTreeSet;

use starling_types::planted::{self, Bug};
use starling_types::{BucketName, BucketProps, Held, NodeId};

use crate::event::Rules;
use crate::unsure::Unsure;

pub(crate) struct Sources<'a> {
    pub(crate) me: NodeId,
    pub(crate) sets: &'a [BTreeSet<NodeId>],
    pub(crate) rules: &'a Rules,
}

/// Whole copies that were found, and that there must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copies {
    pub(crate) found: usize,
    pub(crate) needed: usize,
}

impl Copies {
    pub(crate) const fn are_enough(self) -> bool {
        self.found >= self.needed
    }
}

impl Sources<'_> {
    /// All other owners.
    pub(crate) fn others(&self) -> impl Iterator<Item = NodeId> {
        self.sets.iter().flatten().copied().filter(|&owner| owner != self.me)
    }

    /// Those of them that were not heard.
    pub(crate) fn unheard(&self, of: &Unsure) -> BTreeSet<NodeId> {
        self.others().filter(|owner| !of.pulled.contains_key(owner)).collect()
    }

    /// Sources that had at least so much, in the set of owners that lacks most. For the strictest bucket if none is
    /// named, or one that is not known.
    pub(crate) fn copies(&self, of: &Unsure, held: Held, bucket: Option<&BucketName>) -> Copies {
        let rules = bucket.and_then(|bucket| self.rules.get(bucket));
        let sets = self.sets.iter().map(|set| {
            let had =
                |owner: &NodeId| *owner != self.me && of.pulled.get(owner).is_some_and(|&had| had >= held);
            Copies { found: set.iter().filter(|owner| had(owner)).count(), needed: self.needed(set, rules) }
        });
        let worst = sets.max_by_key(|copies| copies.needed.saturating_sub(copies.found));
        worst.unwrap_or(Copies { found: 0, needed: 1 })
    }

    /// At least one: where there is no other owner, there never is enough.
    fn needed(&self, set: &BTreeSet<NodeId>, bucket: Option<&BucketProps>) -> usize {
        if planted::on(Bug::RefillHearsOne) {
            return 1;
        }
        let n = u8::try_from(set.len()).unwrap_or(u8::MAX);
        let of = |props: &BucketProps| n - props.least_write_quorum(n) + 1;
        let strictest = || self.rules.values().map(of).max().unwrap_or_else(|| of(&BucketProps::default()));
        let others = set.len() - usize::from(set.contains(&self.me));
        usize::from(bucket.map_or_else(strictest, of)).min(others).max(1)
    }

    /// Synced records can be told for every bucket; and so can the rest, or it is as good as it gets.
    pub(crate) fn are_enough(&self, of: &Unsure) -> bool {
        self.copies(of, Held::All, None).are_enough()
            || (self.copies(of, Held::Synced, None).are_enough() && self.unheard(of).is_empty())
    }
}
