//! Our wall clock against the median of our peers' (semantics, section 2): one sample a peer, taken from the
//! acks of pings.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_types::{Instant, NodeId, Now, WallTime};

/// The newest sample of each peer: when, and the peer's wall clock by our monotonic one, which no jump of ours moves.
#[derive(Debug, Default)]
pub(crate) struct ClockSamples {
    samples: BTreeMap<NodeId, (Instant, i64)>,
}

impl ClockSamples {
    /// Takes a sample: `peer` showed `theirs` in an answer that reached us at `at` after a round trip of `trip`. That
    /// leaves half of itself in doubt, so a slow one tells nothing.
    pub(crate) fn take(&mut self, at: Instant, peer: NodeId, theirs: WallTime, trip: Duration) {
        if trip > MAX_ROUND_TRIP {
            return;
        }
        let half = i128::try_from(trip.as_millis() / 2).unwrap_or(0);
        let since_origin = i128::from(theirs.millis()) + half - millis(at);
        self.samples.insert(peer, (at, clamp(since_origin)));
    }

    pub(crate) fn forget(&mut self, peer: NodeId) {
        self.samples.remove(&peer);
    }

    /// Milliseconds that the wall of `now` is ahead of the median of the peers heard within [`FRESH`] and itself;
    /// `None` with fewer than two peers, of which neither could be called wrong. Without itself, one wrong clock of
    /// three would move the median that the two right ones see by half its error, and stop them too.
    pub(crate) fn offset(&self, now: Now) -> Option<i64> {
        let ours = i128::from(now.wall.millis()) - millis(now.instant);
        let fresh = |(at, theirs): &(Instant, i64)| {
            (now.instant.since(*at) <= FRESH).then(|| clamp(ours - i128::from(*theirs)))
        };
        let mut offsets: Vec<i64> = self.samples.values().filter_map(fresh).collect();
        if offsets.len() < 2 {
            return None;
        }
        offsets.push(0);
        offsets.sort_unstable();
        let upper = offsets[offsets.len() / 2];
        let lower = offsets[(offsets.len() - 1) / 2];
        Some(i64::midpoint(lower, upper))
    }
}

fn millis(at: Instant) -> i128 {
    i128::from(at.nanos() / 1_000_000)
}

fn clamp(wide: i128) -> i64 {
    i64::try_from(wide).unwrap_or(if wide < 0 { i64::MIN } else { i64::MAX })
}

/// A sample older than this does not count. A thousand members are probed in 400 s, but 150 of them, enough
/// for a median, within this.
const FRESH: Duration = Duration::from_secs(60);
/// Half of it stays well under the 500 ms at which a node stops coordinating.
const MAX_ROUND_TRIP: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now =
        Now { instant: Instant::from_nanos(1), wall: WallTime::from_millis(10_000), fraction: 0 };

    fn take(samples: &mut ClockSamples, peer: u64, theirs: u64, trip_ms: u64) {
        let (theirs, trip) = (WallTime::from_millis(theirs), Duration::from_millis(trip_ms));
        samples.take(NOW.instant, NodeId::from_bits(peer), theirs, trip);
    }

    #[test]
    fn one_peer_is_no_median() {
        let mut samples = ClockSamples::default();
        assert_eq!(samples.offset(NOW), None);
        take(&mut samples, 1, 10_000, 0);
        assert_eq!(samples.offset(NOW), None);
        take(&mut samples, 2, 9_000, 0);
        assert_eq!(samples.offset(NOW), Some(0));
    }

    #[test]
    fn of_three_clocks_the_wrong_one_alone_is_wrong() {
        let mut right = ClockSamples::default();
        take(&mut right, 1, 10_000, 0);
        take(&mut right, 2, 99_000, 0);
        assert_eq!(right.offset(NOW), Some(0));
        let mut wrong = ClockSamples::default();
        take(&mut wrong, 1, 5_000, 0);
        take(&mut wrong, 2, 5_000, 0);
        assert_eq!(wrong.offset(NOW), Some(5_000));
    }

    #[test]
    fn one_liar_does_not_move_the_median() {
        let mut samples = ClockSamples::default();
        take(&mut samples, 1, 9_990, 0);
        take(&mut samples, 2, 10_000, 0);
        take(&mut samples, 3, u64::MAX, 0);
        assert_eq!(samples.offset(NOW), Some(0));
    }

    #[test]
    fn half_the_round_trip_is_taken_off_and_slow_ones_do_not_count() {
        let mut samples = ClockSamples::default();
        take(&mut samples, 1, 9_900, 200);
        take(&mut samples, 2, 9_900, 200);
        take(&mut samples, 2, 0, 501);
        assert_eq!(samples.offset(NOW), Some(0));
    }

    #[test]
    fn old_samples_and_forgotten_peers_do_not_count() {
        let mut samples = ClockSamples::default();
        for peer in 1..=3 {
            take(&mut samples, peer, 10_000, 0);
        }
        samples.forget(NodeId::from_bits(1));
        let after = |span| Now { instant: NOW.instant + span, wall: NOW.wall.after(span), ..NOW };
        assert_eq!(samples.offset(after(FRESH)), Some(0));
        assert_eq!(samples.offset(after(FRESH + Duration::from_nanos(1))), None);
    }

    #[test]
    fn our_own_jump_shows_at_once_against_samples_from_before() {
        let mut samples = ClockSamples::default();
        (1..=2).for_each(|peer| take(&mut samples, peer, 10_000, 0));
        let jumped = Now { wall: WallTime::from_millis(99_000), ..NOW };
        assert_eq!((samples.offset(NOW), samples.offset(jumped)), (Some(0), Some(89_000)));
    }
}
