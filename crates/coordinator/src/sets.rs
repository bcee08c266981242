//! The owner sets that a request counts over: while the layout changes, a write must win in each live layout's.

use starling_types::BucketProps;

/// Layouts that can be live at once: one in force, its successor, and one that supersedes or cancels that.
pub const MAX_SETS: usize = 3;

/// The owners of a key under one layout: how many there are, and how many suffice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Set {
    /// Copies there shall be.
    pub(crate) n: u8,
    /// Answers (read) or acks (write) that suffice.
    pub(crate) quorum: u8,
    /// Every acked write is held by one of any so many owners.
    pub(crate) contexts: u8,
}

impl Set {
    pub(crate) fn new(n: u8, quorum: u8, props: &BucketProps) -> Self {
        let contexts = props.read_quorum(n).max(n.saturating_sub(props.write_quorum(n)) + 1).min(n);
        Self { n, quorum, contexts }
    }

    /// N−quorum+1: any so many owners meet each quorum.
    pub(crate) const fn meeting(&self) -> u8 {
        self.n.saturating_sub(self.quorum) + 1
    }
}

/// The sets of one plan, the newest layout's first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sets([Set; MAX_SETS]);

impl Sets {
    /// Puts the set numbered `at` in its place, of which there are [`MAX_SETS`].
    pub(crate) const fn put(&mut self, at: usize, set: Set) {
        self.0[at] = set;
    }

    /// The newest layout's.
    pub(crate) const fn first(&self) -> &Set {
        &self.0[0]
    }

    /// Each set, and a membership in it alone.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Membership, &Set)> {
        self.0.iter().enumerate().take_while(|(_, set)| set.n > 0).map(|(at, set)| (Membership::of(at), set))
    }

    #[cfg(test)]
    pub(crate) fn each_mut(&mut self) -> impl Iterator<Item = &mut Set> {
        self.0.iter_mut().filter(|set| set.n > 0)
    }
}

/// The sets that a node is in, as bits: it counts in each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Membership(u8);

impl Membership {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const ALL: Self = Self(u8::MAX);

    pub(crate) const fn of(set: usize) -> Self {
        Self(1 << set)
    }

    pub(crate) const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether they share a set.
    pub(crate) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}
