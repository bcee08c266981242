//! How much a node still has.

/// How much of what it ever took for a partition a node still has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// It may have lost anything.
    Part,
    /// All that it had synced: only buckets that do not wait for the disk may lack something.
    Synced,
    /// All.
    All,
}
