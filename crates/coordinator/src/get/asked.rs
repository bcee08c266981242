//! Whom a read has asked, and what came of it.

use starling_causality::Digest;
use starling_types::NodeId;

/// An owner that a read asks.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) node: NodeId,
    pub(super) state: State,
}

/// What one owner is known to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Holds(Digest),
    /// Counts towards nothing.
    CannotVouch,
    /// The same: what it has may be less than it once had.
    MayHaveLost,
    /// Gone: counts towards nothing.
    Down,
}

impl Asked {
    pub(super) fn story(&self) -> String {
        let word = match self.state {
            State::Waiting => "no answer yet",
            State::Holds(_) => "answered",
            State::CannotVouch => "cannot vouch for the key",
            State::MayHaveLost => {
                "may have lost the key: `starling cluster status` there says what it waits for"
            }
            State::Down => "is down",
        };
        format!("{}: {word}", self.node)
    }
}
