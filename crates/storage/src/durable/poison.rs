//! A store that failed refuses all work.

use std::sync::OnceLock;

use crate::error::StorageError;

/// The first failure after which it is unknown what the disk holds.
#[derive(Default)]
pub(super) struct Poison(OnceLock<String>);

impl Poison {
    pub(super) fn check(&self) -> Result<(), StorageError> {
        match self.0.get() {
            Some(cause) => Err(StorageError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// Refuses all work from now on. The caller that met the first failure is told of it, later ones of the poison.
    pub(super) fn put(&self, error: StorageError) -> StorageError {
        let first = self.0.get_or_init(|| {
            tracing::error!(%error, "the store failed and refuses all further work");
            error.to_string()
        });
        match error.to_string() == *first {
            true => error,
            false => StorageError::Poisoned { cause: first.clone() },
        }
    }
}
