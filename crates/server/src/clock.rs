//! The only place where a daemon reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use starling_types::{Instant, Now, WallTime};

/// Monotonic time since the process started, and wall time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Duration,
}

impl Clock {
    /// A clock whose monotonic origin is now.
    pub fn start() -> Self {
        Self { origin: monotonic() }
    }

    /// Both times.
    #[expect(clippy::disallowed_methods, reason = "the shell's clock")]
    pub fn now(&self) -> Now {
        let instant = self.instant();
        // A wall clock before 1970 reads as 1970: the median of the peers will tell.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let fraction = Now::fraction_of(u64::from(wall.subsec_nanos()));
        let wall = WallTime::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        Now { instant, wall, fraction }
    }

    /// Monotonic time.
    pub fn instant(&self) -> Instant {
        let since = monotonic().saturating_sub(self.origin);
        Instant::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same moment for timers, whose clock may stand still while the machine sleeps.
    #[expect(clippy::disallowed_methods, reason = "the shell's clock")]
    pub fn at(&self, instant: Instant) -> tokio::time::Instant {
        tokio::time::Instant::now() + instant.since(self.instant())
    }
}

/// Time since the machine was booted, sleep included: what a wall clock that is not set goes along with.
#[cfg(target_os = "linux")]
fn monotonic() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or(Duration::ZERO)
}

/// Elsewhere, time since this process first asked; a machine that slept has a clock that jumped.
#[cfg(not(target_os = "linux"))]
#[expect(clippy::disallowed_methods, reason = "the shell's clock")]
fn monotonic() -> Duration {
    static FIRST: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    FIRST.get_or_init(std::time::Instant::now).elapsed()
}
