//! Hybrid logical time: wall time where it can be, a counter where it must be [Kulkarni et al., "Logical Physical
//! Clocks", 2014].

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use starling_types::{WallTime, limits};

/// A hybrid logical time: 48 bits of milliseconds since the Unix epoch, then 16 bits of counter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hlc(u64);

impl Hlc {
    /// Before every minted time.
    pub const ZERO: Self = Self(0);

    /// `ms` since the Unix epoch, saturating in the year 10889, and a counter within that millisecond.
    pub const fn from_parts(ms: u64, counter: u16) -> Self {
        let ms = if ms > MAX_MILLIS { MAX_MILLIS } else { ms };
        Self((ms << COUNTER_BITS) | counter as u64)
    }

    /// From [`Self::bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The time as one integer, for encoding: it orders as the time does.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The counter within the millisecond.
    pub const fn counter(self) -> u16 {
        self.0 as u16
    }

    /// The least time after this one; the last time of all is its own successor.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    const fn at(wall: WallTime) -> Self {
        Self::from_parts(wall.millis(), 0)
    }

    const fn ahead(self, span: Duration) -> Self {
        let ms = self.millis().saturating_add(span.as_millis() as u64);
        Self::from_parts(ms, self.counter())
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.counter())
    }
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hlc({self})")
    }
}

/// The clock may not mint yet: `ceiling` must be made durable first, then told to [`HlcClock::lease`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no time may be minted before the ceiling {ceiling} is durable: store it, then mint again")]
pub struct NeedsLease {
    /// What to make durable.
    pub ceiling: Hlc,
}

/// One node's clock: mints strictly increasing times.
///
/// `every time ever minted ≤ the durable ceiling < every time minted after a restart`
///
/// The ceiling is leased ahead of need, so that a mint rarely waits for a disk.
#[derive(Debug, Clone)]
pub struct HlcClock {
    last: Hlc,
    ceiling: Hlc,
}

impl HlcClock {
    /// A clock that starts above `durable_ceiling`: the last one that was stored, or [`Hlc::ZERO`] on a node that
    /// never ran. Its first mint needs a lease.
    pub const fn new(durable_ceiling: Hlc) -> Self {
        Self { last: durable_ceiling, ceiling: durable_ceiling }
    }

    /// A time after every other one of this clock, after `above` (the highest time in the client's context and in
    /// the record) and not before `wall`. On [`NeedsLease`] nothing has changed; mint again once the ceiling is
    /// leased. (At the very end of time, where no greater one exists, that is the answer for good.)
    pub fn mint(&mut self, wall: WallTime, above: Hlc) -> Result<Hlc, NeedsLease> {
        let seen = self.last.max(above);
        let minted = seen.next().max(Hlc::at(wall));
        if minted > self.ceiling || minted == seen {
            return Err(NeedsLease { ceiling: minted.ahead(limits::HLC_LEASE) });
        }
        self.last = minted;
        Ok(minted)
    }

    /// States that `durable_ceiling` is durable now: times up to it may be minted.
    pub fn lease(&mut self, durable_ceiling: Hlc) {
        self.ceiling = self.ceiling.max(durable_ceiling);
    }

    /// The ceiling to make durable in good time: `Some` when less than half of [`limits::HLC_LEASE`] remains. The
    /// caller keeps track of what it has under way, and may leave an idle clock alone.
    pub fn wants_lease(&self, wall: WallTime) -> Option<Hlc> {
        let present = self.last.max(Hlc::at(wall));
        let comfortable = present.ahead(limits::HLC_LEASE / 2);
        (self.ceiling < comfortable).then(|| present.ahead(limits::HLC_LEASE))
    }

    /// Follows a time that another node minted, at most to `wall` + [`limits::HLC_MAX_LEAD`]: one runaway clock
    /// must not drag the cluster along. Data with later times are accepted all the same.
    pub fn observe(&mut self, remote: Hlc, wall: WallTime) {
        let furthest = Hlc::at(wall).ahead(limits::HLC_MAX_LEAD);
        self.last = self.last.max(remote.min(furthest));
    }

    /// The latest time minted or observed.
    pub const fn last(&self) -> Hlc {
        self.last
    }

    /// How far this clock is ahead of `wall`, zero if it is not: for a metric and an alarm.
    pub const fn lead(&self, wall: WallTime) -> Duration {
        Duration::from_millis(self.last.millis().saturating_sub(wall.millis()))
    }
}

const COUNTER_BITS: u32 = 16;
const MAX_MILLIS: u64 = u64::MAX >> COUNTER_BITS;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: u64 = 1_700_000_000_000;

    fn wall(ms: u64) -> WallTime {
        WallTime::from_millis(ms)
    }

    /// Mints as a node does: makes durable whatever the clock asks for.
    fn mint(clock: &mut HlcClock, at: u64, above: Hlc) -> Hlc {
        clock.mint(wall(at), above).unwrap_or_else(|need| {
            clock.lease(need.ceiling);
            clock.mint(wall(at), above).unwrap()
        })
    }

    #[test]
    fn parts_order_display_and_saturation() {
        let time = Hlc::from_parts(NOON, 7);
        assert_eq!((time.millis(), time.counter()), (NOON, 7));
        assert_eq!(time.to_string(), "1700000000000.7");
        assert_eq!(Hlc::from_bits(time.bits()), time);
        assert_eq!(Hlc::from_parts(NOON, u16::MAX).next(), Hlc::from_parts(NOON + 1, 0));
        assert!(Hlc::from_parts(NOON, u16::MAX) < Hlc::from_parts(NOON + 1, 0));
        assert_eq!(Hlc::from_parts(u64::MAX, 0).millis(), (1 << 48) - 1);
        let end = Hlc::from_bits(u64::MAX);
        assert_eq!(end.next(), end);
    }

    #[test]
    fn a_mint_follows_the_wall_and_then_the_counter() {
        let mut clock = HlcClock::new(Hlc::ZERO);
        assert_eq!(mint(&mut clock, NOON, Hlc::ZERO), Hlc::from_parts(NOON, 0));
        assert_eq!(mint(&mut clock, NOON - 5, Hlc::ZERO), Hlc::from_parts(NOON, 1));
        assert_eq!(mint(&mut clock, NOON + 9, Hlc::ZERO), Hlc::from_parts(NOON + 9, 0));
    }

    #[test]
    fn a_refused_mint_names_the_ceiling_and_changes_nothing() {
        let mut clock = HlcClock::new(Hlc::ZERO);
        let need = clock.mint(wall(NOON), Hlc::ZERO).unwrap_err();
        assert_eq!(need.ceiling, Hlc::from_parts(NOON, 0).ahead(limits::HLC_LEASE));
        assert_eq!(clock.last(), Hlc::ZERO);
        clock.lease(need.ceiling);
        assert!(clock.mint(wall(NOON), Hlc::ZERO).is_ok());
        clock.lease(Hlc::ZERO);
        assert!(clock.mint(wall(NOON), Hlc::ZERO).is_ok(), "an older lease takes nothing back");
    }

    #[test]
    fn a_lease_is_wanted_when_half_of_it_is_used() {
        let mut clock = HlcClock::new(Hlc::ZERO);
        let ceiling = clock.wants_lease(wall(NOON)).unwrap();
        let half = limits::HLC_LEASE.as_millis() as u64 / 2;
        clock.lease(ceiling);
        assert_eq!(clock.wants_lease(wall(NOON + half)), None);
        assert!(clock.wants_lease(wall(NOON + half + 1)).is_some());
        assert!(ceiling.millis() - NOON < 500, "leased ahead by less than 500 ms");
    }

    #[test]
    fn remote_time_raises_the_clock_only_so_far() {
        let mut clock = HlcClock::new(Hlc::ZERO);
        clock.observe(Hlc::from_parts(NOON + 100, 3), wall(NOON));
        assert_eq!(clock.last(), Hlc::from_parts(NOON + 100, 3));
        clock.observe(Hlc::from_bits(u64::MAX), wall(NOON));
        assert_eq!(clock.lead(wall(NOON)), limits::HLC_MAX_LEAD);
        clock.observe(Hlc::ZERO, wall(NOON));
        assert_eq!(clock.lead(wall(NOON)), limits::HLC_MAX_LEAD);
        assert_eq!(clock.lead(wall(NOON + 10_000)), Duration::ZERO);
    }

    #[test]
    fn at_the_end_of_time_nothing_is_minted_twice() {
        let end = Hlc::from_bits(u64::MAX);
        let mut clock = HlcClock::new(Hlc::ZERO);
        clock.lease(end);
        assert_eq!(clock.mint(wall(NOON), Hlc::from_bits(u64::MAX - 1)), Ok(end));
        assert_eq!(clock.mint(wall(NOON), Hlc::ZERO), Err(NeedsLease { ceiling: end }));
        assert_eq!(HlcClock::new(Hlc::ZERO).mint(wall(NOON), end), Err(NeedsLease { ceiling: end }));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Mint { wall: u64, above: u64 },
        Observe { wall: u64, remote: u64 },
        AskEarly { wall: u64 },
        Restart,
    }

    fn step() -> impl Strategy<Value = Step> {
        let near = NOON..NOON + 2_000;
        prop_oneof![
            8 => (near.clone(), near.clone()).prop_map(|(wall, above)| Step::Mint { wall, above }),
            2 => (near.clone(), near.clone()).prop_map(|(wall, remote)| Step::Observe { wall, remote }),
            2 => near.prop_map(|wall| Step::AskEarly { wall }),
            1 => Just(Step::Restart),
        ]
    }

    proptest! {
        /// Whatever the wall clock does, and however often the node restarts from its durable ceiling.
        #[test]
        fn mints_increase_and_stay_below_what_is_durable(steps in prop::collection::vec(step(), 1..80)) {
            let mut durable = Hlc::ZERO;
            let mut newest = Hlc::ZERO;
            let mut clock = HlcClock::new(durable);
            for step in steps {
                match step {
                    Step::Restart => clock = HlcClock::new(durable),
                    Step::Observe { wall: at, remote } => clock.observe(Hlc::from_parts(remote, 9), wall(at)),
                    Step::AskEarly { wall: at } => {
                        if let Some(ceiling) = clock.wants_lease(wall(at)) {
                            durable = durable.max(ceiling);
                            clock.lease(ceiling);
                        }
                    }
                    Step::Mint { wall: at, above } => {
                        let above = Hlc::from_parts(above, 5);
                        let minted = match clock.mint(wall(at), above) {
                            Ok(minted) => minted,
                            Err(need) => {
                                durable = durable.max(need.ceiling);
                                clock.lease(need.ceiling);
                                clock.mint(wall(at), above).unwrap()
                            }
                        };
                        prop_assert!(minted > newest, "{minted} after {newest}");
                        prop_assert!(minted > above && minted.millis() >= at);
                        prop_assert!(minted <= durable, "{minted} over the ceiling {durable}");
                        newest = minted;
                    }
                }
            }
        }
    }
}
