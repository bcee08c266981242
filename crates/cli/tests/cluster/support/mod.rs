//! Processes, and the two text protocols.

pub mod command;
pub mod http;
pub mod load;
pub mod node;
pub mod process;
pub mod resp;

use std::time::{Duration, Instant};

/// Everything that should happen soon has happened by then, on a busy machine too.
pub const SOON: Duration = Duration::from_secs(60);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until there is something to see.
///
/// # Panics
/// With the last reason, when `limit` has passed.
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = now() + limit;
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(why) if now() >= deadline => panic!("not within {limit:?}: {what}: {why}"),
            Err(_) => pause(),
        }
    }
}

/// [`within`] for a condition that holds [`SOON`].
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    within(SOON, what, || if holds() { Ok(()) } else { Err("it is not so".into()) });
}

/// The moment, for deadlines and measurements.
#[expect(clippy::disallowed_methods, reason = "real processes live by the real clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Lets others run before the next look.
#[expect(clippy::disallowed_methods, reason = "the pause between two looks at a condition")]
pub fn pause() {
    std::thread::sleep(PAUSE);
}
