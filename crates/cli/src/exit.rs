//! How a command ends: 0 done, 1 failed, 2 usage, 3 the cluster says no, 4 unreachable, 5 outcome unknown.

use std::process::ExitCode;

use starling_client::ClientError;
use starling_types::Outcome;

/// The exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed, here.
    Failed = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// The cluster refused; nothing was changed.
    Refused = 3,
    /// No node could be reached.
    Unreachable = 4,
    /// The write may or may not have taken place.
    Unknown = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failed {
    /// The exit code.
    pub exit: Exit,
    /// The failure, and how to mend it.
    pub why: String,
    /// The outcome for the data, if any were involved.
    pub outcome: Option<Outcome>,
}

impl Failed {
    /// With a reason.
    pub fn new(exit: Exit, why: impl Into<String>) -> Self {
        Self { exit, why: why.into(), outcome: None }
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        let exit = match (&error, error.outcome()) {
            (ClientError::Unreachable { .. }, _) => Exit::Unreachable,
            (ClientError::NoAddress | ClientError::BadSpan(_), _) => Exit::Usage,
            (_, Outcome::Unknown) => Exit::Unknown,
            (ClientError::Failed { .. } | ClientError::TooLarge, _) => Exit::Refused,
            (ClientError::Unanswered { .. }, _) => Exit::Unreachable,
            _ => Exit::Failed,
        };
        Self { exit, outcome: Some(error.outcome()), why: error.to_string() }
    }
}
