//! The judge of a single-writer register (proof, section 2, C3): one client writes versions one after the other,
//! any client reads, all strictly. Exact, in O(n log n).
//!
//! ```text
//! a read that lasted from b to e and returned version v:
//! stale      v < a version acked before b               a regular register returns no less
//! early      v > every version invoked before e          it was not written yet
//! backwards  v < what a read that ended before b returned   an atomic register never steps back
//! ```
//!
//! A value that was refused or never written is the business of [`crate::survival`].

use std::collections::BTreeMap;
use std::fmt;

/// A version: later writes have greater ones. Zero stands for nothing written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub u64);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// One write of the register's only writer. Times are of one clock, in any unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Store {
    /// The version that it wrote.
    pub version: Version,
    /// When the writer began.
    pub began: u64,
    /// When it first had an ack, if ever.
    pub acked: Option<u64>,
}

/// One answered read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The newest version it returned.
    pub version: Version,
    /// When the reader began.
    pub began: u64,
    /// When it had its answer.
    pub ended: u64,
}

/// Everything about one register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterHistory {
    /// Its name, for the report.
    pub key: String,
    /// Its writes, in any order.
    pub stores: Vec<Store>,
    /// Its reads, in any order.
    pub looks: Vec<Look>,
}

/// A read that returned what it must not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misread {
    /// Less than what was acked before it began.
    Stale {
        /// The key.
        key: String,
        /// The version that it returned.
        returned: Version,
        /// The version that it missed.
        acked: Version,
        /// When it began.
        began: u64,
    },
    /// More than the writer had begun to write when it ended.
    Early {
        /// The key.
        key: String,
        /// The version that it returned.
        returned: Version,
        /// When it began.
        began: u64,
    },
    /// Less than an earlier read had returned.
    Backwards {
        /// The key.
        key: String,
        /// The version that it returned.
        returned: Version,
        /// The version that was returned before.
        before: Version,
        /// When it began.
        began: u64,
    },
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stale { key, returned, acked, began } => {
                write!(f, "{key}: a read begun at {began} returned {returned}, though {acked} was acked")
            }
            Self::Early { key, returned, began } => {
                write!(f, "{key}: a read begun at {began} returned {returned} before it was written")
            }
            Self::Backwards { key, returned, before, began } => {
                write!(f, "{key}: a read begun at {began} returned {returned} after {before} was read")
            }
        }
    }
}

/// All misreads of one register, in a fixed order.
pub fn judge(history: &RegisterHistory) -> Vec<Misread> {
    let acks = history.stores.iter().filter_map(|s| Some((s.acked?, s.version)));
    let acks = Highest::new(acks);
    let begun = Highest::new(history.stores.iter().map(|s| (s.began, s.version)));
    let read = Highest::new(history.looks.iter().map(|l| (l.ended, l.version)));
    let mut found: Vec<Misread> = history
        .looks
        .iter()
        .flat_map(|look| {
            let &Look { version: returned, began, ended } = look;
            let key = || history.key.clone();
            let (acked, before) = (acks.before(began), read.before(began));
            let stale = (returned < acked).then(|| Misread::Stale { key: key(), returned, acked, began });
            let early = returned > begun.before(ended.saturating_add(1));
            let early = early.then(|| Misread::Early { key: key(), returned, began });
            let back =
                (returned < before).then(|| Misread::Backwards { key: key(), returned, before, began });
            [stale, early, back].into_iter().flatten()
        })
        .collect();
    found.sort();
    found
}

/// The highest version of all points in time before a given one.
struct Highest(BTreeMap<u64, Version>);

impl Highest {
    fn new(points: impl Iterator<Item = (u64, Version)>) -> Self {
        let mut steps = BTreeMap::new();
        for (at, version) in points {
            let step = steps.entry(at).or_default();
            *step = version.max(*step);
        }
        let mut highest = Version::default();
        for step in steps.values_mut() {
            highest = highest.max(*step);
            *step = highest;
        }
        Self(steps)
    }

    fn before(&self, at: u64) -> Version {
        self.0.range(..at).next_back().map_or(Version::default(), |(_, &version)| version)
    }
}

#[cfg(test)]
mod tests;
