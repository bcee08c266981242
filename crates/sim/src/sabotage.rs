//! Lies that the world can tell a node. Each breaks one promise on which the store's safety rests; a judge that
//! stays silent under one of them is worthless.

use starling_wire::client::Seen;
use starling_wire::{KvOp, KvRequest};

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
    /// Hints are kept, and never arrive.
    WithholdHints,
    /// Writes lose their context on the way, and with it all that they meant to replace.
    LoseContexts,
    /// Writes replace all that their coordinator holds, with no regard to what their writers have seen.
    IgnoreContexts,
    /// A disk does not report its losses: damaged rows pass for absent ones.
    HideLosses,
    /// The same, and the actors that were last in use go on.
    KeepActors,
}

impl Sabotage {
    /// Every lie, by the name of what it takes away.
    pub const ALL: [(&'static str, Self); 10] = [
        ("fsync", Self::AckBeforeDurable),
        ("hints", Self::DropHints),
        ("hint-replay", Self::WithholdHints),
        ("actor-renewal", Self::ForgeCleanMark),
        ("tombstones", Self::DropTombstones),
        ("records", Self::DropRecords),
        ("contexts", Self::LoseContexts),
        ("concurrency", Self::IgnoreContexts),
        ("doubt", Self::HideLosses),
        ("actor-renewal-after-loss", Self::KeepActors),
    ];

    /// Whether nodes are not told what their disks have lost.
    pub(crate) const fn hides_losses(self) -> bool {
        matches!(self, Self::HideLosses | Self::KeepActors)
    }

    /// Changes what a client meant.
    pub(crate) fn tamper(self, request: &mut KvRequest) {
        let (KvOp::Put { seen, .. } | KvOp::Delete { seen }) = &mut request.op else {
            return;
        };
        match self {
            Self::LoseContexts if matches!(seen, Seen::Context(_)) => *seen = Seen::Nothing,
            Self::IgnoreContexts => *seen = Seen::Local,
            _ => {}
        }
    }
}
