//! How a request ended, as far as the client's data are concerned.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Stated on every error that a client sees (semantics, section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Refused before anything was staged or sent: safe to retry as a new request.
    NotApplied,
    /// Something was staged or sent: the write may or may not show up. Retry with the same request id.
    Unknown,
    /// The write took place.
    Applied,
}

impl Outcome {
    /// The word that all interfaces use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotApplied => "not_applied",
            Self::Unknown => "unknown",
            Self::Applied => "applied",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
