//! The client's estimate of the cluster's time. Requests are dated by it: a client whose own clock is wrong is served
//! like any other.

use std::cell::Cell;
use std::time::Duration;

use starling_types::WallTime;
use tokio::time::Instant;

use crate::clock;

/// The last node's word, carried on by this machine's clocks: by the wall clock, which is kept at the right speed, and
/// by the monotonic one once the wall clock has jumped.
#[derive(Debug, Default)]
pub(crate) struct ClusterTime {
    told: Cell<Option<Told>>,
}

/// Three clocks read at one moment.
#[derive(Debug, Clone, Copy)]
struct Told {
    instant: Instant,
    own: WallTime,
    cluster: WallTime,
}

impl ClusterTime {
    /// A node that was asked at `asked` has shown its clock some time since. The estimate of this machine so far is
    /// believed within that span, and no further.
    pub(crate) fn told(&self, asked: Instant, cluster: WallTime) {
        let (instant, own) = (clock::now(), clock::wall());
        let elapsed = instant - asked;
        let cluster = match elapsed <= SLOW {
            true => cluster,
            false => self.now().clamp(cluster, cluster.after(elapsed)),
        };
        self.told.set(Some(Told { instant, own, cluster }));
    }

    /// The time now: this machine's own before any node has said otherwise.
    pub(crate) fn now(&self) -> WallTime {
        let (instant, own) = (clock::now(), clock::wall());
        self.told.get().map_or(own, |told| told.carried(instant, own))
    }
}

impl Told {
    fn carried(&self, instant: Instant, own: WallTime) -> WallTime {
        let (steady, wall) = (instant - self.instant, own.since(self.own));
        let has_jumped = own < self.own || steady.abs_diff(wall) > SLOW + steady / MOST_DRIFT;
        self.cluster.after(if has_jumped { steady } else { wall })
    }
}

/// Less than two right clocks may differ by.
const SLOW: Duration = Duration::from_millis(400);
/// A clock that gains or loses one part in so many has not jumped.
const MOST_DRIFT: u32 = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_that_jumps_moves_nothing_and_one_that_is_slewed_is_followed() {
        let (instant, own) = (clock::now(), WallTime::from_millis(5_000));
        let told = Told { instant, own, cluster: WallTime::from_millis(1_000_000) };
        let day = Duration::from_secs(86_400);
        let after = |own: WallTime| told.carried(instant + day, own).since(told.cluster);
        let slewed = day + Duration::from_secs(2);
        assert_eq!(after(own.after(slewed)), slewed);
        assert_eq!(after(own.after(day + Duration::from_secs(3_600))), day);
        assert_eq!(after(WallTime::from_millis(0)), day);
    }
}
