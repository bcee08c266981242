//! Arguments of an open: how the log runs, what others know of it, how it is read.

use std::collections::BTreeSet;

use super::error::LogError;
use super::sequence::Sequence;
use crate::files::{LogFile, Patience, read_all, read_what_can_be};

/// How a log runs. May differ from open to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Length of a segment file. A group that is larger gets a file of its own.
    pub(crate) segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 32 << 20 }
    }
}

/// Evidence from outside the log, when it is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Tables hold every batch up to this one: the log need not have them, and they are not replayed.
    pub(crate) flushed: Sequence,
    /// The highest batch that any table holds. It was synced in the log before.
    pub(crate) persisted: Sequence,
    /// The highest batch known to have been acknowledged: the watermark.
    pub(crate) acknowledged: Option<Sequence>,
}

/// How a log is read when it is opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// How often what cannot be read is tried again.
    pub(crate) patience: Patience,
    /// Names of files of which a person has given up what cannot be read.
    pub(crate) given_up: BTreeSet<String>,
}

impl Reading {
    /// The bytes of the file of this name.
    pub(super) fn all(&self, name: &str, file: &dyn LogFile) -> Result<Vec<u8>, LogError> {
        match self.patience.try_read(|| read_all(file)) {
            Err(_) if self.given_up.contains(name) => read_what_can_be(file),
            read => read,
        }
        .map_err(LogError::reading(name))
    }
}
