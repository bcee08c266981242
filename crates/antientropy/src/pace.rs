//! How eager a sweep is.

use std::time::Duration;

/// How eager a sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// From the end of one pass with a peer to the next one's start, when all was equal. Shorter finds differences
    /// sooner and reads all data more often. Zero switches the sweep off: the node starts no pass, and answers others'.
    pub period: Duration,
    /// From the moment when a peer is up to the first pass, and the first pause after a pass that found something;
    /// that one doubles up to the period while passes keep finding something.
    pub soon: Duration,
    /// Least time between two pages, over all peers: bounds what a sweep costs a busy node.
    pub gap: Duration,
}

impl Pace {
    /// No pass is ever started here.
    pub const OFF: Self = Self { period: Duration::ZERO, soon: Duration::ZERO, gap: Duration::ZERO };

    /// Peers that one node compares itself with at a time.
    pub const AT_ONCE: usize = 2;

    /// Whether passes are started.
    pub const fn is_on(&self) -> bool {
        !self.period.is_zero()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self { period: Duration::from_secs(60), soon: Duration::from_secs(5), gap: Duration::from_millis(20) }
    }
}
