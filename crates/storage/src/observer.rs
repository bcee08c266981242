//! The observer of a store, for the metrics.

use std::time::Duration;

/// Told from the threads of a store; must return soon.
pub trait Observer: Send + Sync {
    /// The time since whenever the observer likes. The store has no clock of its own: by this one it says how long
    /// something took, and paces itself on a slow disk. Nothing it promises depends on it.
    fn clock(&self) -> Duration {
        Duration::ZERO
    }

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

/// No observer.
impl Observer for () {}

/// Measures a span by an observer's clock.
pub(crate) struct Stopwatch<'a> {
    observer: &'a dyn Observer,
    begun: Duration,
}

impl<'a> Stopwatch<'a> {
    pub(crate) fn start(observer: &'a dyn Observer) -> Self {
        Self { observer, begun: observer.clock() }
    }

    pub(crate) fn read(&self) -> Duration {
        self.observer.clock().saturating_sub(self.begun)
    }
}
