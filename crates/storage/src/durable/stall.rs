//! A disk that neither answers nor fails shows by a group of commits that does not come to an end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Since when a group of commits has been on its way to the log; 0 if none is.
#[derive(Debug, Default)]
pub(super) struct Stall(AtomicU64);

impl Stall {
    /// A group is being written and synced.
    pub(super) fn begin(&self, now: Duration) {
        self.0.store((now.as_nanos() as u64).max(1), Ordering::Relaxed);
    }

    /// It is done, or has failed.
    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// How long it has taken by now.
    pub(super) fn age(&self, now: Duration) -> Option<Duration> {
        let begun = Some(self.0.load(Ordering::Relaxed)).filter(|begun| *begun > 0)?;
        Some(now.saturating_sub(Duration::from_nanos(begun)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_under_way_grows_old_until_it_is_done() {
        let stall = Stall::default();
        let seconds = Duration::from_secs;
        assert_eq!(stall.age(seconds(9)), None);
        stall.begin(seconds(10));
        assert_eq!(stall.age(seconds(17)), Some(seconds(7)));
        stall.end();
        assert_eq!(stall.age(seconds(18)), None);
    }
}
