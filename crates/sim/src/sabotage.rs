//! Lies that the world can tell a node. Each breaks one promise on which the store's safety rests; a judge that
//! stays silent under one of them is worthless.

/// At most one lie at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sabotage {
    /// The world is honest.
    #[default]
    None,
    /// Commits are said to be durable when they are issued.
    AckBeforeDurable,
    /// Rows of hints are said to be stored, and are not.
    DropHints,
    /// After an unclean stop the mark of a clean one is there, with the actors that were last in use.
    ForgeCleanMark,
    /// Tombstones are said to be stored, and are not.
    DropTombstones,
    /// Every fourth record is said to be stored, and is not.
    DropRecords,
}
