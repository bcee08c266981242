//! The only place where a daemon reads a clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use starling_types::{Instant, Now, WallTime};

/// Monotonic time since the process started, and wall time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    /// A clock whose monotonic origin is now.
    #[expect(clippy::disallowed_methods, reason = "the shell's clock")]
    pub fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// Both times.
    #[expect(clippy::disallowed_methods, reason = "the shell's clock")]
    pub fn now(&self) -> Now {
        // A wall clock before 1970 reads as 1970: the median of the peers will tell.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let wall = WallTime::from_millis(u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
        Now { instant: self.instant(), wall }
    }

    /// Monotonic time.
    pub fn instant(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same moment for timers.
    pub fn at(&self, instant: Instant) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.origin + Duration::from_nanos(instant.nanos()))
    }
}
