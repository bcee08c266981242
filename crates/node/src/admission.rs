//! Admission: requests and bytes in flight are bounded, and a request that is shed is told when to come back.

use std::time::Duration;

use starling_wire::{Failure, FailureKind};

/// Counts what is in flight on one shard.
#[derive(Debug)]
pub struct Admission {
    max_requests: usize,
    max_bytes: usize,
    requests: usize,
    bytes: usize,
    shed: u64,
}

/// When a shed client should try again.
const RETRY_AFTER: Duration = Duration::from_millis(50);

impl Admission {
    /// Bounds from the configuration.
    pub const fn new(max_requests: usize, max_bytes: usize) -> Self {
        Self { max_requests, max_bytes, requests: 0, bytes: 0, shed: 0 }
    }

    /// Takes a request of `bytes` in, or says why not.
    pub fn enter(&mut self, bytes: usize) -> Result<(), Failure> {
        let full = self.requests >= self.max_requests || self.bytes.saturating_add(bytes) > self.max_bytes;
        if full && self.requests > 0 {
            self.shed += 1;
            let detail = format!(
                "this node is overloaded ({} requests, {} bytes in flight); nothing was changed; retry later",
                self.requests, self.bytes
            );
            return Err(Failure::refused(FailureKind::Overloaded, detail).retry_after(RETRY_AFTER));
        }
        self.requests += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// A request of `bytes` is over.
    pub const fn leave(&mut self, bytes: usize) {
        self.requests = self.requests.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Requests in flight.
    pub const fn requests(&self) -> usize {
        self.requests
    }

    /// Bytes in flight.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Requests shed since the start.
    pub const fn shed(&self) -> u64 {
        self.shed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_what_left_makes_room() {
        let mut admission = Admission::new(2, 100);
        assert!(admission.enter(60).is_ok());
        assert!(admission.enter(50).is_err(), "too many bytes");
        assert!(admission.enter(40).is_ok());
        let refused = admission.enter(0).unwrap_err();
        assert_eq!(refused.kind, FailureKind::Overloaded);
        assert!(refused.retry_after_ms.is_some());
        admission.leave(60);
        assert!(admission.enter(60).is_ok());
        assert_eq!(admission.shed(), 2);
    }

    #[test]
    fn a_request_larger_than_the_budget_gets_in_alone() {
        let mut admission = Admission::new(2, 100);
        assert!(admission.enter(1_000).is_ok());
        assert!(admission.enter(1).is_err());
    }
}
