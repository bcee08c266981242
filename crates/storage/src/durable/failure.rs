//! The tables' errors in our words.

use std::io::ErrorKind;

use bytes::Bytes;
use lsm_tree::Error;

use crate::Space;
use crate::error::StorageError;
use crate::files::Trouble;

/// A row, or the block around it, could not be read.
pub(super) fn of_read(namespace: Space, key: &[u8], error: &Error) -> StorageError {
    let key = Bytes::copy_from_slice(key);
    match Reason::of(error) {
        Reason::Damage(detail) => StorageError::Corrupt { namespace, key, detail },
        Reason::Unread(cause) => StorageError::Unread { namespace, key, cause },
        Reason::Later(error) => error,
    }
}

/// Why something of a table could not be had.
#[derive(Debug)]
pub(super) enum Reason {
    /// It was read, and is not what was written; or it ends too early, or is not there.
    Damage(String),
    /// The disk did not give it, which says nothing of what it holds.
    Unread(String),
    /// The disk was not asked: the system is short of something.
    Later(StorageError),
}

impl Reason {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::Io(error) if DAMAGE.contains(&error.kind()) => Self::Damage(error.to_string()),
            Error::Io(error) => match Trouble::of(error) {
                Trouble::Other => Self::Unread(error.to_string()),
                Trouble::NoSpace | Trouble::Scarce => Self::Later(StorageError::io("reading tables", error)),
            },
            _ => Self::Damage(error.to_string()),
        }
    }
}

/// Errors that a damaged file brings about: with a length or place in it that makes no sense, what is asked of the
/// system makes none either.
const DAMAGE: [ErrorKind; 4] =
    [ErrorKind::UnexpectedEof, ErrorKind::NotFound, ErrorKind::InvalidData, ErrorKind::InvalidInput];

/// Whether the tables that were being made are orphans: they take room, and another try makes others.
pub(super) fn leaves_orphans(error: &Error) -> bool {
    !matches!(Reason::of(error), Reason::Damage(_))
}

/// Making tables failed.
pub(super) fn of_write(error: &Error) -> StorageError {
    match error {
        Error::Io(error) => StorageError::io("writing tables", error),
        _ => StorageError::Io { action: "making tables from damaged ones", cause: error.to_string() },
    }
}
