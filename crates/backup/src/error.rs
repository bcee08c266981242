//! Why a backup cannot be made or read.

use std::io;
use std::path::{Path, PathBuf};

use starling_types::{NodeId, OtherFormat};

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// There is no manifest.
    #[error("{} is no backup: it has no manifest.json", dir.display())]
    NoBackup {
        /// The directory.
        dir: PathBuf,
    },
    /// The manifest is not what was written.
    #[error(
        "{} cannot be trusted ({why}): restore the file from a copy of this backup, or use another backup",
        path.display()
    )]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: String,
    },
    /// Another version wrote the backup.
    #[error("{} {format}", path.display())]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: OtherFormat,
    },
    /// The directory holds a complete backup.
    #[error("{} holds a complete backup: name another directory; nothing was changed", dir.display())]
    Complete {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error("{} is not empty and no backup: name another directory; nothing was changed", dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// The backup that was begun here is of something else.
    #[error(
        "{} holds the beginning of a backup of node {begun}, and {differs}: name another directory; nothing was changed",
        dir.display()
    )]
    OtherBackup {
        /// The directory.
        dir: PathBuf,
        /// The node whose backup was begun.
        begun: NodeId,
        /// The difference of this one.
        differs: String,
    },
    /// Another process writes there.
    #[error("{} is being written by another process: wait for it, or name another directory", dir.display())]
    Busy {
        /// The directory.
        dir: PathBuf,
    },
}

impl BackupError {
    /// For `map_err`: a failure of the system while doing `action` to `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path: path.clone(), source }
    }
}
