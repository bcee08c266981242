//! Time as an argument. Machines are told what time it is; only the shell reads a clock.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Monotonic time in nanoseconds since an origin the shell chose. For timeouts and deadlines; never stored,
/// never sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The shell's origin.
    pub const ORIGIN: Self = Self(0);

    /// `nanos` after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Wall-clock time in milliseconds since the Unix epoch. For expiry, hybrid logical time and people; it may
/// jump, so no timeout uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct WallTime(u64);

impl WallTime {
    /// `millis` since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// `span` later, saturating.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The time on a clock that is `ms` ahead of this.
    pub const fn ahead_by(self, ms: i64) -> Self {
        Self(self.0.saturating_add_signed(ms))
    }

    /// `span` earlier, saturating.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// The times that the shell gives a machine with every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Monotonic time: for every timeout.
    pub instant: Instant,
    /// Wall time: for expiry and hybrid logical time only.
    pub wall: WallTime,
    /// How far the wall is within its millisecond, in 65,536ths of it: for hybrid logical time, which is that fine.
    /// Wall times that are stored or sent have no such part.
    pub fraction: u16,
}

impl Now {
    /// The fraction of a millisecond that `nanos` has beyond whole milliseconds, as in [`Self::fraction`].
    pub const fn fraction_of(nanos: u64) -> u16 {
        ((nanos % NANOS_PER_MILLI) * FRACTIONS_PER_MILLI / NANOS_PER_MILLI) as u16
    }
}

const NANOS_PER_MILLI: u64 = 1_000_000;
const FRACTIONS_PER_MILLI: u64 = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_saturates_instead_of_wrapping() {
        let late = Instant::from_nanos(u64::MAX) + Duration::from_secs(1);
        assert_eq!(late.nanos(), u64::MAX);
        assert_eq!(Instant::ORIGIN - Duration::from_secs(1), Instant::ORIGIN);
        assert_eq!(Instant::ORIGIN.since(late), Duration::ZERO);
        assert_eq!(WallTime::from_millis(5).since(WallTime::from_millis(9)), Duration::ZERO);
    }

    #[test]
    fn a_fraction_rises_through_its_millisecond_and_starts_anew_in_the_next() {
        let fractions = [0, 16, 500_000, 999_999, 1_000_000].map(Now::fraction_of);
        assert_eq!(fractions, [0, 1, 1 << 15, u16::MAX, 0]);
    }
}
