//! The library's errors in our words.

use std::io::{self, ErrorKind};
use std::path::Path;

use bytes::Bytes;
use fjall::{Error, LsmError};

use crate::batch::Namespace;
use crate::error::StorageError;

/// A write or fsync failed.
pub(super) fn of_commit(error: Error) -> StorageError {
    let action = "writing the log";
    match io_error(&error) {
        Some(error) => StorageError::io(action, error),
        None if matches!(error, Error::Poisoned) => StorageError::Io {
            action: "writing tables in the background",
            cause: "the error is in the log of this node, before this one".into(),
        },
        None => StorageError::Io { action, cause: error.to_string() },
    }
}

/// A row, or the block around it, could not be read.
pub(super) fn of_read(namespace: Namespace, key: &[u8], error: &Error) -> StorageError {
    match io_error(error) {
        // A file that ends too early is damage like any other.
        Some(error) if error.kind() != ErrorKind::UnexpectedEof => StorageError::io("reading tables", error),
        _ => StorageError::Corrupt { namespace, key: Bytes::copy_from_slice(key), detail: error.to_string() },
    }
}

/// A store could not be opened.
pub(super) fn of_open(dir: &Path, error: &Error) -> StorageError {
    let damaged = [ErrorKind::UnexpectedEof, ErrorKind::NotFound, ErrorKind::InvalidData];
    match io_error(error) {
        Some(error) if !damaged.contains(&error.kind()) => StorageError::io("opening the store", error),
        _ => unreadable(dir, &error.to_string()),
    }
}

/// A store is too damaged to be opened.
pub(super) fn unreadable(dir: &Path, cause: &str) -> StorageError {
    StorageError::Unreadable { dir: dir.into(), cause: cause.into() }
}

fn io_error(error: &Error) -> Option<&io::Error> {
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => Some(error),
        _ => None,
    }
}
