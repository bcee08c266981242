//! How the log fails.

use std::io;

use starling_types::OtherFormat;

use super::sequence::Sequence;
use crate::files::Trouble;

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no room for a new segment. Nothing was written, and the log goes on.
    #[error("there is no room for the commit log ({cause}): free space")]
    NoSpace {
        /// The system's words.
        cause: String,
    },
    /// The system lacks something for now, descriptors or memory. Nothing was written, and the log goes on.
    #[error("the commit log cannot go on at present ({cause}); nothing was written")]
    Scarce {
        /// The system's words.
        cause: String,
    },
    /// A file of the log cannot be read. Nothing was changed: that says nothing of what it holds.
    #[error("{file} of the commit log cannot be read ({cause}); nothing was changed")]
    Unread {
        /// Its name.
        file: String,
        /// The system's words.
        cause: String,
    },
    /// The operating system failed us. An open log refuses everything from now on.
    #[error("{action} failed ({cause})")]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The system's words.
        cause: String,
    },
    /// An earlier write or sync failed: what the disk holds is unknown until the log is opened again.
    #[error("the commit log refuses all work because an earlier write failed ({cause})")]
    Failed {
        /// The first failure.
        cause: String,
    },
    /// Another version wrote the log. Nothing was changed.
    #[error("the commit log {0}")]
    OtherFormat(OtherFormat),
    /// A batch is larger than a frame can be. Nothing was written.
    #[error("a batch of {bytes} bytes cannot be logged: it has at most {max}; nothing was written", max = u32::MAX)]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The group was begun before another one was written. Nothing was written.
    #[error("a group that begins with batch {begins} cannot follow batch {last}; nothing was written")]
    Stale {
        /// The group's first batch.
        begins: Sequence,
        /// The log's last batch.
        last: Sequence,
    },
}

impl LogError {
    /// For `map_err`: a failure of the operating system while doing `action`.
    pub(crate) fn during(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::io(action, &error)
    }

    fn io(action: &'static str, error: &io::Error) -> Self {
        let cause = error.to_string();
        match Trouble::of(error) {
            Trouble::NoSpace => Self::NoSpace { cause },
            Trouble::Scarce => Self::Scarce { cause },
            Trouble::Other => Self::Io { action, cause },
        }
    }

    /// For `map_err`: a file that cannot be read.
    pub(crate) fn reading(file: &str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Unread { file: file.into(), cause: error.to_string() }
    }
}
