//! The tables' errors in our words.

use std::io::{self, ErrorKind};

use bytes::Bytes;
use lsm_tree::Error;

use crate::batch::Namespace;
use crate::error::StorageError;

/// A row, or the block around it, could not be read.
pub(super) fn of_read(namespace: Namespace, key: &[u8], error: &Error) -> StorageError {
    match damage_of(error) {
        Ok(detail) => StorageError::Corrupt { namespace, key: Bytes::copy_from_slice(key), detail },
        Err(error) => error,
    }
}

/// What is damaged, if that is what an error of a read says.
pub(super) fn damage_of(error: &Error) -> Result<String, StorageError> {
    match error {
        Error::Io(error) if !is_damage(error) => Err(StorageError::io("reading tables", error)),
        _ => Ok(error.to_string()),
    }
}

/// A file that ends too early, or is not there, or has a sector that the disk cannot read, is damage like any other.
fn is_damage(error: &io::Error) -> bool {
    let kinds = [ErrorKind::UnexpectedEof, ErrorKind::NotFound, ErrorKind::InvalidData];
    kinds.contains(&error.kind()) || error.raw_os_error().is_some_and(|code| MEDIA.contains(&code))
}

/// EIO, ENODATA, EBADMSG, EUCLEAN: what file systems say of sectors and blocks that cannot be read.
const MEDIA: [i32; 4] = [5, 61, 74, 117];

/// Whether there was no room.
pub(super) fn is_no_space(error: &Error) -> bool {
    matches!(of_write(error), StorageError::NoSpace { .. })
}

/// Making tables failed.
pub(super) fn of_write(error: &Error) -> StorageError {
    match error {
        Error::Io(error) => StorageError::io("writing tables", error),
        _ => StorageError::Io { action: "making tables from damaged ones", cause: error.to_string() },
    }
}
