//! How a store fails: what happened, and what to do.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::Space;
use crate::files::Trouble;
use crate::log::LogError;
use starling_types::OtherFormat;
use starling_types::limits::{MAX_ROW_KEY, MAX_ROW_VALUE};
use starling_types::row::{CommitFailure, LoadFailure};

/// A failed call. Cloneable, because every caller of a failed group commit hears of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// The volume is full. Nothing was written, and the store goes on: it takes writes again when there is room.
    #[error(
        "the disk of the data directory is full ({cause}): nothing was written; make room on the volume or grow it; a node \
         that runs goes on by itself"
    )]
    NoSpace {
        /// The system's words.
        cause: String,
    },
    /// The system lacks something that others hold at the moment: descriptors, memory. Nothing was written, and the
    /// store goes on.
    #[error(
        "the system is short of something ({cause}): nothing was written, and it is tried again; raise the limit of \
         open files, or end what takes the memory"
    )]
    Scarce {
        /// The system's words.
        cause: String,
    },
    /// The disk did not give a stored row. It may be whole: nothing is known of what it holds, and nothing was changed.
    #[error(
        "the {namespace} row {} cannot be read at present ({cause}): it may be whole, and the next read tries \
         again; look at the disk and the system log",
        key.escape_ascii()
    )]
    Unread {
        /// Where.
        namespace: Space,
        /// The row.
        key: Bytes,
        /// The system's words.
        cause: String,
    },
    /// A file of the store could not be read when it was opened, tried again and again. Nothing was changed.
    #[error(
        "{} cannot be read ({cause}): that says nothing of what it holds, so nothing was changed; look at the disk, \
         its cables and the system log, then start again. If it stays so, \
         `starling data repair DIR --accept-unreadable FILE` gives up what cannot be read of it, and keeps a copy",
        path.display()
    )]
    ReadFailed {
        /// The file, or the directory whose files they are.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The operating system failed us. During a commit, the engine is poisoned.
    #[error("{action} failed ({cause}): look at the disk and the system log, then restart the node")]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The system's words.
        cause: String,
    },
    /// Stored bytes are not those that were written. Nothing wrong was returned, other rows still answer.
    #[error(
        "the {namespace} row {} or the block around it is damaged ({detail}): its content must come from \
         another replica; if it happens again, look at the disk and the system's log",
        key.escape_ascii()
    )]
    Corrupt {
        /// Where.
        namespace: Space,
        /// The damaged row; for a scan that met a damaged block, the key from which on nothing could be read.
        key: Bytes,
        /// The mismatch.
        detail: String,
    },
    /// An earlier commit failed: what the disk holds is unknown until the store is opened again.
    #[error(
        "the store refuses all work because an earlier write failed ({cause}): remove the cause, then \
         restart the node"
    )]
    Poisoned {
        /// The first failure.
        cause: String,
    },
    /// The engine was closed.
    #[error("the store is closed: the node is stopping")]
    Closed,
    /// A row key that cannot be stored. Nothing was written.
    #[error("a row key of {bytes} bytes cannot be stored: it has 1 to {max}; nothing was written", max = MAX_ROW_KEY)]
    KeyLength {
        /// Its length.
        bytes: usize,
    },
    /// A row value that cannot be stored. Nothing was written.
    #[error(
        "a row value of {bytes} bytes cannot be stored: it has at most {max}; nothing was written",
        max = MAX_ROW_VALUE
    )]
    ValueLength {
        /// Its length.
        bytes: usize,
    },
    /// Another process has the data directory open.
    #[error(
        "the data directory {} is in use by {holder}: stop that process, or give this node a directory of \
         its own",
        dir.display()
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The process that has it, as far as known.
        holder: String,
    },
    /// Another version wrote the store. Nothing was changed.
    #[error("the store in {} {format}", dir.display())]
    OtherFormat {
        /// The data directory.
        dir: PathBuf,
        /// The store's format.
        format: OtherFormat,
    },
    /// Files are in the way that no version of this store wrote. Nothing was changed.
    #[error(
        "{} is not a store of this program ({detail}): choose another data directory or move it away; \
         nothing was changed",
        path.display()
    )]
    Foreign {
        /// The file in the way.
        path: PathBuf,
        /// How that shows.
        detail: String,
    },
    /// The store is too damaged to be opened.
    #[error(
        "the store in {} cannot be opened ({cause}): keep a copy of the directory and do not start \
         the node with an empty one under the same name; its data are on the other replicas",
        dir.display()
    )]
    Unreadable {
        /// The data directory.
        dir: PathBuf,
        /// The damage that was found.
        cause: String,
    },
}

impl From<LogError> for StorageError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::NoSpace { cause } => Self::NoSpace { cause },
            LogError::Scarce { cause } => Self::Scarce { cause },
            LogError::Unread { file, cause } => Self::ReadFailed { path: file.into(), cause },
            LogError::Io { action, cause } => Self::Io { action, cause },
            LogError::Failed { cause } => Self::Poisoned { cause },
            LogError::OtherFormat(format) => Self::OtherFormat { dir: "log".into(), format },
            LogError::TooLarge { bytes } => Self::ValueLength { bytes },
            stale @ LogError::Stale { .. } => {
                Self::Io { action: "writing the commit log", cause: stale.to_string() }
            }
        }
    }
}

impl StorageError {
    /// Says of which data directory it speaks, and of which part of it, where the log did not know.
    pub(crate) fn in_directory(mut self, path: &Path, part: &str) -> Self {
        match &mut self {
            Self::OtherFormat { dir, .. } => *dir = path.join(part),
            Self::ReadFailed { path: file, .. } => *file = path.join(part).join(&*file),
            _ => {}
        }
        self
    }

    /// Whether nothing was written, and another try later may do.
    pub const fn is_for_later(&self) -> bool {
        matches!(self, Self::NoSpace { .. } | Self::Scarce { .. })
    }

    /// A failure of the operating system while doing `action`.
    pub(crate) fn io(action: &'static str, error: &io::Error) -> Self {
        let cause = error.to_string();
        match Trouble::of(error) {
            Trouble::NoSpace => Self::NoSpace { cause },
            Trouble::Scarce => Self::Scarce { cause },
            Trouble::Other => Self::Io { action, cause },
        }
    }

    /// For `map_err`: [`StorageError::io`] while doing `action`.
    pub(crate) fn during(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::io(action, &error)
    }
}

/// For a machine: whether the row's bytes are wrong, or the disk did not answer.
impl From<&StorageError> for LoadFailure {
    fn from(error: &StorageError) -> Self {
        match error {
            StorageError::Corrupt { .. } => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// For a machine: whether the store goes on.
impl From<&StorageError> for CommitFailure {
    fn from(error: &StorageError) -> Self {
        if error.is_for_later() { Self::NoSpace(error.to_string()) } else { Self::Failed(error.to_string()) }
    }
}
