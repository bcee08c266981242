//! How far scrubbing has come.

use std::sync::atomic::AtomicU64;

/// How far scrubbing has come since the open.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) bytes: AtomicU64,
    pub(super) passes: AtomicU64,
}
