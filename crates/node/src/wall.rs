//! The wall clock held against the monotonic one: a jump is seen in the moment it happens, without asking any peer.
//!
//! ```text
//! following   the wall is what the system says
//! jumped      the wall goes on as it was, carried by the monotonic clock, until
//!               the system's clock is back where it was                       → following
//!               its peers' clocks are nearer to the new time ([`Wall::weigh`]) → following
//!               a person says that the new time is right ([`Wall::accept`])    → following
//! ```
//! A start believes the clock that it finds: it has no other.

use std::time::Duration;

use starling_types::{Instant, Now, WallTime, limits};

/// The largest step of the wall clock that is still followed: half of what may lie between two clocks that coordinate,
/// so that a node that was right stays so. Time services step by less only when they start, and slew what is below 128
/// ms; slewing moves both clocks where the kernel does it.
const STEP: Duration = Duration::from_millis(limits::HLC_MAX_LEAD.as_millis() as u64 / 2);
/// Smaller steps are followed up to [`STEP`] in all, and as much again in ten times as long: no clock is slewed faster
/// than by a tenth, and many small steps do not pass below the limit.
const SLEW: i64 = 10;

/// The wall clock as this node believes it.
#[derive(Debug, Clone, Copy)]
pub struct Wall {
    /// The wall less the monotonic clock, in 65,536ths of a millisecond.
    offset: i64,
    /// When the system's clock was last looked at.
    seen: Instant,
    /// By how much it may differ and be followed.
    slack: i64,
    /// By how much the system's clock is ahead of what is believed, if it has jumped.
    jump: Option<i64>,
}

impl Wall {
    /// Believes what the system says.
    pub fn new(told: Now) -> Self {
        Self { offset: offset(told), seen: told.instant, slack: ticks(STEP), jump: None }
    }

    /// The time to believe when the system says `told`.
    pub fn believe(&self, told: Now) -> Now {
        let follows = self.ahead(told).unsigned_abs() <= self.slack_at(told.instant).unsigned_abs();
        if follows { told } else { self.carried(told.instant) }
    }

    /// As [`Self::believe`], and takes note of it.
    pub fn tell(&mut self, told: Now) -> Now {
        let (ahead, slack) = (self.ahead(told), self.slack_at(told.instant));
        let left = slack.saturating_sub_unsigned(ahead.unsigned_abs());
        if left >= 0 {
            let offset = self.offset.saturating_add(ahead);
            *self = Self { offset, seen: told.instant, slack: left, jump: None };
            return told;
        }
        let now = self.carried(told.instant);
        (self.seen, self.jump) = (told.instant, Some(ahead));
        now
    }

    /// Takes the system's time, when it has jumped, if it is nearer to the peers' than the time before the jump.
    /// `distance` gives a time's distance from their median, if there is one. Whether it was taken.
    pub fn weigh(&mut self, told: Now, distance: impl Fn(Now) -> Option<i64>) -> bool {
        let is_jumped = self.jump.is_some();
        let nearer = || {
            let (before, after) = (distance(self.carried(told.instant))?, distance(told)?);
            Some(after.unsigned_abs() < before.unsigned_abs())
        };
        let nearer = is_jumped && nearer() == Some(true);
        if nearer {
            *self = Self::new(told);
        }
        nearer
    }

    /// Takes the system's time: the operator says that it is right. Milliseconds by which the wall moved.
    pub fn accept(&mut self, told: Now) -> i64 {
        let moved = self.tell(told);
        *self = Self::new(told);
        told.wall.millis().cast_signed().saturating_sub(moved.wall.millis().cast_signed())
    }

    /// Milliseconds by which the system's clock is ahead of what is believed, if it has jumped.
    pub fn jump_ms(&self) -> Option<i64> {
        self.jump.map(|ahead| ahead >> TICK_BITS)
    }

    fn ahead(&self, told: Now) -> i64 {
        offset(told).saturating_sub(self.offset)
    }

    /// By how much the system's clock may differ from what is believed and be followed: after a jump, as at a start.
    fn slack_at(&self, instant: Instant) -> i64 {
        if self.jump.is_some() {
            return ticks(STEP);
        }
        let earned = ticks(instant.since(self.seen)) / SLEW;
        self.slack.saturating_add(earned).min(ticks(STEP))
    }

    fn carried(&self, instant: Instant) -> Now {
        let wall = monotonic(instant).saturating_add(self.offset).max(0);
        let millis = (wall >> TICK_BITS).unsigned_abs();
        Now { instant, wall: WallTime::from_millis(millis), fraction: wall as u16 }
    }
}

fn offset(told: Now) -> i64 {
    let millis = told.wall.millis().min(MAX_MILLIS).cast_signed();
    ((millis << TICK_BITS) | i64::from(told.fraction)).saturating_sub(monotonic(told.instant))
}

fn monotonic(instant: Instant) -> i64 {
    ticks(Duration::from_nanos(instant.nanos()))
}

fn ticks(span: Duration) -> i64 {
    let millis = span.as_secs().saturating_mul(1_000).saturating_add(u64::from(span.subsec_millis()));
    let millis = millis.min(MAX_MILLIS);
    let fraction = Now::fraction_of(u64::from(span.subsec_nanos()));
    (millis.cast_signed() << TICK_BITS) | i64::from(fraction)
}

const TICK_BITS: u32 = 16;
/// The year 6429.
const MAX_MILLIS: u64 = u64::MAX >> (TICK_BITS + 1);

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_700_000_000_000;
    const YEAR: i64 = 365 * 24 * 3_600_000;

    /// A monotonic moment `ms` after the start, while the system's clock is off by `off`.
    fn at(ms: u64, off: i64) -> Now {
        let wall = WallTime::from_millis((NOON + ms).saturating_add_signed(off));
        Now { instant: Instant::from_nanos(ms * 1_000_000 + 500_000), wall, fraction: 1 << 15 }
    }

    #[test]
    fn a_jump_is_seen_at_once_and_time_goes_on_as_it_was_until_the_clock_is_back() {
        for jump in [YEAR, -YEAR, 251, -251] {
            let mut wall = Wall::new(at(0, 0));
            assert_eq!(wall.tell(at(1_000, 40)), at(1_000, 40), "a small difference is followed");
            assert_eq!(wall.believe(at(2_000, jump + 40)), at(2_000, 40), "{jump}");
            assert_eq!(wall.tell(at(2_000, jump + 40)), at(2_000, 40));
            assert_eq!(wall.jump_ms(), Some(jump));
            assert_eq!(wall.tell(at(900_000, jump + 40)), at(900_000, 40), "however long it takes");
            assert_eq!(wall.tell(at(901_000, 0)), at(901_000, 0));
            assert_eq!(wall.jump_ms(), None);
        }
    }

    #[test]
    fn a_jump_from_one_wrong_time_to_another_is_still_one() {
        let mut wall = Wall::new(at(0, 0));
        wall.tell(at(1_000, YEAR));
        assert_eq!(wall.tell(at(2_000, -YEAR)), at(2_000, 0));
        assert_eq!(wall.jump_ms(), Some(-YEAR));
    }

    /// 500 ppm is the most that a kernel slews by, a twelfth the most that any time service asks for.
    #[test]
    fn slewing_is_no_jump() {
        for rate in [2_000, 12] {
            let mut wall = Wall::new(at(0, 0));
            for ms in (0..3_600_000).step_by(100) {
                let told = at(ms, i64::try_from(ms).unwrap() / rate);
                assert_eq!(wall.tell(told), told, "1/{rate} after {ms} ms");
            }
        }
    }

    #[test]
    fn many_small_steps_are_a_jump() {
        let mut wall = Wall::new(at(0, 0));
        let seen = (1..100).find(|&n| {
            wall.tell(at(n * 10, i64::try_from(n).unwrap() * 100));
            wall.jump_ms().is_some()
        });
        assert_eq!(seen, Some(3));
    }

    #[test]
    fn of_two_times_the_one_nearer_to_the_peers_is_taken() {
        // The peers are at 0: the time before the jump, the time after it, and whether the new one is taken.
        for (before, after, taken) in
            [(0, YEAR, false), (-YEAR, 0, true), (-200, 300, false), (-400, 100, true)]
        {
            let mut wall = Wall::new(at(0, before));
            wall.tell(at(1_000, after));
            let distance = |now: Now| Some(now.wall.millis().cast_signed() - (NOON + 2_000).cast_signed());
            assert_eq!(wall.weigh(at(2_000, after), distance), taken, "{before} to {after}");
            let believed = if taken { after } else { before };
            assert_eq!(wall.tell(at(3_000, after)), at(3_000, believed));
        }
    }

    #[test]
    fn without_peers_nobody_decides_but_a_person() {
        let mut wall = Wall::new(at(0, 0));
        wall.tell(at(1_000, YEAR));
        assert!(!wall.weigh(at(1_000, YEAR), |_| None));
        assert_eq!(wall.accept(at(2_000, YEAR)), YEAR);
        assert_eq!(wall.tell(at(3_000, YEAR)), at(3_000, YEAR));
        assert_eq!(wall.accept(at(4_000, YEAR)), 0, "nothing to accept");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let end = Now {
            instant: Instant::from_nanos(u64::MAX),
            wall: WallTime::from_millis(u64::MAX),
            fraction: 1,
        };
        let mut wall = Wall::new(Now::default());
        assert_eq!(wall.tell(end).wall.millis(), u64::MAX / 1_000_000);
        let mut wall = Wall::new(end);
        wall.tell(Now { wall: WallTime::default(), ..end });
        assert!(wall.jump_ms().is_some_and(|ms| ms < 0));
    }
}
