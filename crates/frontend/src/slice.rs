//! How long one connection may keep the thread before all others have had their turn.

use std::time::Duration;

use tokio::time::Instant;

use crate::places::now;

/// One connection's turn.
#[derive(Debug)]
pub(crate) struct Slice {
    began: Instant,
    requests: usize,
}

impl Slice {
    /// From now on.
    pub(crate) fn begin() -> Self {
        Self { began: now(), requests: 0 }
    }

    /// Counts a request.
    pub(crate) fn count(&mut self) {
        self.requests += 1;
    }

    /// Whether it is over. The clock is asked only now and then.
    pub(crate) fn is_over(&self) -> bool {
        self.requests >= REQUESTS
            || (self.requests.is_multiple_of(CLOCKED) && self.requests > 0 && self.began.elapsed() >= TIME)
    }
}

/// Requests of one turn, at most: what the node does for so many takes about [`TIME`].
const REQUESTS: usize = 64;
/// Time of one turn, about.
const TIME: Duration = Duration::from_millis(1);
const CLOCKED: usize = 16;
