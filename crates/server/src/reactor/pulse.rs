//! Whether the node stands still now and then: stopped by a signal, starved, or blocked by its own disk. Requests that
//! lie in the doors' sockets meanwhile are as old as the pause is long, and nothing else tells.

use std::cell::Cell;
use std::time::Duration;

use starling_types::Instant;

/// How often a node that has nothing to do beats.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// A pause that requests notice.
const PAUSE: Duration = Duration::from_millis(400);
/// How long after a pause requests may still be read that came during it.
const BACKLOG: Duration = Duration::from_millis(500);

/// The last beat, and the last pause.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    last: Cell<Option<Instant>>,
    /// When the last pause began and when it ended.
    pause: Cell<Option<(Instant, Instant)>>,
}

impl Pulse {
    /// The node does something at `now`.
    pub(crate) fn beat(&self, now: Instant) {
        if let Some(last) = self.last.replace(Some(now))
            && now.since(last) > PAUSE
        {
            self.pause.set(Some((last, now)));
        }
    }

    /// How long what is read at `now` may have waited; zero unless the node stood still a moment ago.
    pub(crate) fn stood_still(&self, now: Instant) -> Duration {
        self.beat(now);
        match self.pause.get() {
            Some((began, ended)) if now.since(ended) < BACKLOG => now.since(began),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn what_is_read_right_after_a_pause_may_be_as_old_as_the_pause() {
        let pulse = Pulse::default();
        pulse.beat(at(1_000));
        pulse.beat(at(1_100));
        assert_eq!(pulse.stood_still(at(1_200)), Duration::ZERO);
        assert_eq!(pulse.stood_still(at(4_200)), Duration::from_secs(3), "nothing else has noticed it yet");
        pulse.beat(at(4_300));
        assert_eq!(pulse.stood_still(at(4_500)), Duration::from_millis(3_300));
        for ms in (4_600..=4_700).step_by(100) {
            pulse.beat(at(ms));
        }
        assert_eq!(pulse.stood_still(at(4_701)), Duration::ZERO);
    }
}
