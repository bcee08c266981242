//! The judge of one key (proof, section 2, C1 and the data half of C5), in one pass over the causal graph.
//!
//! ```text
//! a → b        b's writer had seen a
//! F            the live values of all replicas in the end
//! lost         an acked value from which no path leads to F or to a delete that may have happened
//! resurrected  an f in F with a path to an acked write that is not itself lost
//! false pair   f, g in F with a path from f to g
//! phantom      an f in F that was refused, or that no client wrote
//! diverged     two replicas whose live values differ
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{KeyHistory, Write, WriteId, WriteOutcome};

/// Something that must not be. Each names the key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// An acked value is gone, and nothing that saw it is left.
    Lost {
        /// The key.
        key: String,
        /// The write.
        write: WriteId,
    },
    /// A value that an acked write replaced or deleted is there.
    Resurrected {
        /// The key.
        key: String,
        /// The value that is back.
        write: WriteId,
        /// The acked write that had done away with it.
        by: WriteId,
    },
    /// A value shows that was refused or never written.
    Phantom {
        /// The key.
        key: String,
        /// The write.
        write: WriteId,
    },
    /// A value shows beside one whose writer had seen it.
    FalseSibling {
        /// The key.
        key: String,
        /// The older.
        older: WriteId,
        /// The newer.
        newer: WriteId,
    },
    /// Two replicas differ though all is quiet.
    Diverged {
        /// The key.
        key: String,
        /// One replica.
        one: String,
        /// The other.
        other: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { key, write } => write!(f, "{key}: acked {write} is lost"),
            Self::Resurrected { key, write, by } => {
                write!(f, "{key}: {write} is back, though {by} had replaced it")
            }
            Self::Phantom { key, write } => write!(f, "{key}: {write} shows, but was never applied"),
            Self::FalseSibling { key, older, newer } => {
                write!(f, "{key}: {older} stands beside {newer}, which had seen it")
            }
            Self::Diverged { key, one, other } => write!(f, "{key}: {one} and {other} differ"),
        }
    }
}

/// All that is wrong with one key, in a fixed order.
pub fn judge(history: &KeyHistory) -> Vec<Finding> {
    let graph = Graph::new(history);
    let mut findings = graph.phantoms();
    let lost = graph.lost();
    findings.extend(graph.resurrected(&lost));
    findings.extend(lost.into_iter().map(|write| Finding::Lost { key: history.key.clone(), write }));
    findings.extend(graph.false_siblings());
    findings.extend(diverged(history));
    findings.sort();
    findings
}

struct Graph<'a> {
    key: &'a str,
    writes: BTreeMap<WriteId, &'a Write>,
    live: BTreeSet<WriteId>,
}

impl<'a> Graph<'a> {
    fn new(history: &'a KeyHistory) -> Self {
        Self {
            key: &history.key,
            writes: history.writes.iter().map(|w| (w.id, w)).collect(),
            live: history.replicas.iter().flat_map(|r| r.live.iter().copied()).collect(),
        }
    }

    /// Everything that the writers of `from` had seen for certain, directly or through others.
    fn past(&self, from: impl IntoIterator<Item = WriteId>) -> BTreeSet<WriteId> {
        past(&self.writes, from, |w| w.seen.iter().copied().collect())
    }

    /// Everything that they may have seen.
    fn perhaps(&self, from: impl IntoIterator<Item = WriteId>) -> BTreeSet<WriteId> {
        past(&self.writes, from, |w| w.seen.union(&w.perhaps).copied().collect())
    }

    fn acked(&self) -> impl Iterator<Item = &'a Write> {
        self.writes.values().copied().filter(|w| w.outcome == WriteOutcome::Acked)
    }

    fn lost(&self) -> BTreeSet<WriteId> {
        let deletes = self.writes.values().filter(|w| w.deletes);
        let deletes = deletes.filter(|w| w.outcome != WriteOutcome::Refused).map(|w| w.id);
        let accounted = self.perhaps(deletes.chain(self.live.iter().copied()));
        self.acked()
            .filter(|w| !w.deletes && !self.live.contains(&w.id) && !accounted.contains(&w.id))
            .map(|w| w.id)
            .collect()
    }

    fn resurrected(&self, lost: &BTreeSet<WriteId>) -> Vec<Finding> {
        let mut found = BTreeMap::new();
        for write in self.acked().filter(|w| !lost.contains(&w.id)) {
            // A value that is there itself makes of its past false siblings, which are reported as such.
            if self.live.contains(&write.id) {
                continue;
            }
            for id in self.past([write.id]).intersection(&self.live) {
                found.entry(*id).or_insert(write.id);
            }
        }
        let finding = |(write, by)| Finding::Resurrected { key: self.key.into(), write, by };
        found.into_iter().map(finding).collect()
    }

    fn phantoms(&self) -> Vec<Finding> {
        let refused = |id: &WriteId| {
            self.writes.get(id).is_none_or(|w| w.outcome == WriteOutcome::Refused || w.deletes)
        };
        let phantom = |&write: &WriteId| Finding::Phantom { key: self.key.into(), write };
        self.live.iter().filter(|id| refused(id)).map(phantom).collect()
    }

    fn false_siblings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for &newer in &self.live {
            let past = self.past([newer]);
            for &older in past.intersection(&self.live).filter(|&&older| older != newer) {
                found.push(Finding::FalseSibling { key: self.key.into(), older, newer });
            }
        }
        found
    }
}

/// The writes that can be reached from some writes, in any number of steps; not these themselves, unless in a circle.
fn past(
    writes: &BTreeMap<WriteId, &Write>,
    from: impl IntoIterator<Item = WriteId>,
    seen: impl Fn(&Write) -> Vec<WriteId>,
) -> BTreeSet<WriteId> {
    let mut past = BTreeSet::new();
    let mut open: Vec<WriteId> = from.into_iter().collect();
    while let Some(id) = open.pop() {
        let seen = writes.get(&id).map(|write| seen(write)).unwrap_or_default();
        open.extend(seen.into_iter().filter(|&s| past.insert(s)));
    }
    past
}

fn diverged(history: &KeyHistory) -> Option<Finding> {
    let (first, rest) = history.replicas.split_first()?;
    let other = rest.iter().find(|r| r.live != first.live)?;
    Some(Finding::Diverged { key: history.key.clone(), one: first.name.clone(), other: other.name.clone() })
}

#[cfg(test)]
mod tests;
