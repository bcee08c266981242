//! The only reads of clocks: the client is part of the shell.

use std::time::{SystemTime, UNIX_EPOCH};

use starling_types::WallTime;
use tokio::time::Instant;

/// For deadlines.
#[expect(clippy::disallowed_methods, reason = "the client's own deadlines: it is driven by no machine")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// For a request's time of issue.
#[expect(clippy::disallowed_methods, reason = "the time of issue is the client's own, by its wall clock")]
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
