//! A history to judge: every write to one key, and the live values of each replica in the end.

use std::collections::BTreeSet;
use std::fmt;

/// One write, named by its recorder: an operation over all its tries, however often one of them took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "w{}", self.0)
    }
}

/// The answer that the client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Done: it must never be lost.
    Acked,
    /// Nothing certain: it may show up, now or later, or never.
    Unknown,
    /// Not applied: it must never show up.
    Refused,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub id: WriteId,
    /// Whether it deletes.
    pub deletes: bool,
    /// The answer that the client got.
    pub outcome: WriteOutcome,
    /// The writes that its writer had seen for certain, and that it therefore replaces.
    pub seen: BTreeSet<WriteId>,
    /// Further writes that it may have replaced: they excuse it, and are no proof against any other write.
    pub perhaps: BTreeSet<WriteId>,
}

/// The content of one replica in the end: live values only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its name, for the report.
    pub name: String,
    /// The writes whose values it shows.
    pub live: BTreeSet<WriteId>,
}

/// Everything about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHistory {
    /// Its name, for the report.
    pub key: String,
    /// All writes, in any order.
    pub writes: Vec<Write>,
    /// The replicas when all was quiet.
    pub replicas: Vec<Replica>,
}
