//! Who is told what a store does, for the metrics.

use std::time::{Duration, Instant};

/// Told from the threads of a store; must return soon.
pub trait Observer: Send + Sync {
    /// A group of commits went to the log.
    fn group(&self, _group: Group) {}

    /// Write buffers became tables.
    fn flushed(&self, _took: Duration) {}

    /// A step of compaction was made.
    fn compacted(&self, _took: Duration) {}
}

/// One group of commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// Batches.
    pub batches: usize,
    /// Bytes in the log.
    pub bytes: usize,
    /// How long the write took, and the fsync.
    pub took: Duration,
    /// Whether there was an fsync.
    pub synced: bool,
}

/// Nobody.
impl Observer for () {}

/// Measures a span.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "told to the observer, and nothing depends on it")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn read(&self) -> Duration {
        self.0.elapsed()
    }
}
