//! Whether tables are being made at present: writeback follows them, and sleeps otherwise.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a table may grow unwatched.
const PACE: Duration = Duration::from_millis(1);

/// How many threads are making tables.
#[derive(Default)]
pub(super) struct Making {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    makers: usize,
    stop: bool,
}

/// A thread is making tables, until this is dropped.
pub(super) struct Maker<'a>(&'a Making);

impl Making {
    /// Tables are made until the answer is dropped.
    pub(super) fn begin(&self) -> Maker<'_> {
        self.lock().makers += 1;
        self.changed.notify_all();
        Maker(self)
    }

    /// Ends [`super::writeback::follow`].
    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Waits until tables are made. False: stop.
    pub(super) fn wait(&self) -> bool {
        let idle = |state: &mut State| state.makers == 0 && !state.stop;
        !self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner).stop
    }

    /// Waits a little. Says whether tables are still being made.
    pub(super) fn rest(&self) -> bool {
        let busy = |state: &mut State| state.makers > 0 && !state.stop;
        let waited = self.changed.wait_timeout_while(self.lock(), PACE, busy);
        busy(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Maker<'_> {
    fn drop(&mut self) {
        self.0.lock().makers -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_sleeps_until_tables_are_made_and_ends_when_told() {
        let making = Making::default();
        let maker = making.begin();
        let other = making.begin();
        assert!(making.wait());
        drop(maker);
        assert!(making.wait() && making.rest(), "one is left");
        drop(other);
        assert!(!making.rest());
        making.stop();
        assert!(!making.wait());
    }
}
