//! How fast compaction of a tree goes while others commit: it shares the disk and the processor with them, and has time as
//! long as that tree is not far behind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of rows between two rests,
const PIECE: usize = 64 << 10;
/// each so long if there were no L0 runs at all: a piece takes about as much work.
const LONGEST_REST: Duration = Duration::from_micros(600);
/// L0 runs from which on there is no rest any more. Compaction begins at four of them.
const HURRY: usize = 8;

/// Shared by the threads that commit to a tree and the one that compacts it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    l0_runs: Mutex<usize>,
    changed: Condvar,
    has_commits: AtomicBool,
    /// The error of the system's with which compaction fails; 0: it does not.
    #[cfg(test)]
    pub(super) fails_with: std::sync::atomic::AtomicI32,
}

impl Pace {
    /// So many runs are to be compacted.
    pub(super) fn runs_are(&self, runs: usize) {
        *self.l0_runs() = runs;
        self.changed.notify_all();
    }

    /// A group was committed.
    pub(super) fn note_commit(&self) {
        self.has_commits.store(true, Ordering::Relaxed);
    }

    /// Leaves the machine to others for a while, unless no group was committed since the last rest.
    fn rest(&self) {
        if self.has_commits.swap(false, Ordering::Relaxed) {
            let runs = self.l0_runs();
            let span = longest_rest(*runs);
            drop(self.changed.wait_timeout_while(runs, span, |runs| *runs < HURRY));
        }
    }

    fn l0_runs(&self) -> MutexGuard<'_, usize> {
        self.l0_runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn longest_rest(runs: usize) -> Duration {
    LONGEST_REST.mul_f64(HURRY.saturating_sub(runs) as f64 / HURRY as f64)
}

/// Counts what one compaction has done since its last rest.
#[derive(Debug, Default)]
pub(super) struct Steps(usize);

impl Steps {
    /// A row of so many bytes is done.
    pub(super) fn done(&mut self, bytes: usize, pace: &Pace) {
        self.0 += bytes;
        if self.0 >= PIECE {
            self.0 = 0;
            pace.rest();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_further_it_is_behind_the_less_compaction_rests() {
        let rests = [0, 4, 7, HURRY, 100].map(longest_rest);
        assert_eq!(rests[..2], [LONGEST_REST, LONGEST_REST / 2]);
        assert!(rests[2] > Duration::ZERO);
        assert_eq!(rests[3..], [Duration::ZERO; 2]);
    }

    #[test]
    fn a_rest_is_taken_once_for_all_that_was_committed_before() {
        let pace = Pace::default();
        let mut steps = Steps::default();
        pace.note_commit();
        steps.done(PIECE - 1, &pace);
        assert!(pace.has_commits.load(Ordering::Relaxed), "not yet a piece");
        steps.done(1, &pace);
        assert!(!pace.has_commits.load(Ordering::Relaxed));
    }
}
