//! Our wall clock against the median of our peers' (semantics, section 2): one sample a peer, taken from the
//! acks of pings.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_types::{Instant, NodeId, WallTime};

/// The newest sample of each peer.
#[derive(Debug, Default)]
pub(crate) struct ClockSamples {
    samples: BTreeMap<NodeId, (Instant, i64)>,
}

impl ClockSamples {
    /// Takes a sample: `peer` showed `theirs` in an answer that reached us at `ours` after `round_trip`. A
    /// round trip leaves half of itself in doubt, so a slow one tells nothing.
    pub(crate) fn take(
        &mut self,
        at: Instant,
        peer: NodeId,
        ours: WallTime,
        theirs: WallTime,
        trip: Duration,
    ) {
        if trip > MAX_ROUND_TRIP {
            return;
        }
        let half = i128::try_from(trip.as_millis() / 2).unwrap_or(0);
        let ahead = i128::from(ours.millis()) - i128::from(theirs.millis()) - half;
        self.samples.insert(peer, (at, clamp(ahead)));
    }

    pub(crate) fn forget(&mut self, peer: NodeId) {
        self.samples.remove(&peer);
    }

    /// Milliseconds that we are ahead of the median of the peers heard within [`FRESH`] and ourselves; `None`
    /// with fewer than two peers, of which neither could be called wrong. Without ourselves, one wrong clock of
    /// three would move the median that the two right ones see by half its error, and stop them too.
    pub(crate) fn offset(&self, now: Instant) -> Option<i64> {
        let fresh = |(at, offset): &(Instant, i64)| (now.since(*at) <= FRESH).then_some(*offset);
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

    const NOW: Instant = Instant::from_nanos(1);

    fn take(samples: &mut ClockSamples, peer: u64, theirs: u64, trip_ms: u64) {
        let (ours, theirs) = (WallTime::from_millis(10_000), WallTime::from_millis(theirs));
        samples.take(NOW, NodeId::from_bits(peer), ours, theirs, Duration::from_millis(trip_ms));
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
        assert_eq!(samples.offset(NOW + FRESH), Some(0));
        assert_eq!(samples.offset(NOW + FRESH + Duration::from_nanos(1)), None);
    }
}
