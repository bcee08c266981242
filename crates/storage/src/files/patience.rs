//! Reads that fail are tried again: a path to a disk may fail over, a controller start anew.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// How often what cannot be read is tried again while a store is opened, in all. Clones share what is left.
#[derive(Debug, Clone)]
pub struct Patience {
    left: Arc<Mutex<u32>>,
    pause: Duration,
}

impl Patience {
    /// So many tries, with a pause before each.
    pub fn new(tries: u32, pause: Duration) -> Self {
        Self { left: Arc::new(Mutex::new(tries)), pause }
    }

    /// Calls `read` until it succeeds, fails in a way that `may_pass` does not hold for, or nothing is left.
    pub(crate) fn try_while<T, E>(
        &self,
        may_pass: impl Fn(&E) -> bool,
        mut read: impl FnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        loop {
            match read() {
                Err(error) if may_pass(&error) && self.wait() => {}
                done => return done,
            }
        }
    }

    /// [`Patience::try_while`] for every error, except that a file is not there.
    pub(crate) fn try_read<T>(&self, read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        self.try_while(|error: &io::Error| error.kind() != io::ErrorKind::NotFound, read)
    }

    /// Waits before another try. False: there is none left.
    fn wait(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if *left == 0 {
            return false;
        }
        *left -= 1;
        // It is never woken: this is a pause, for the disk.
        drop(Condvar::new().wait_timeout(left, self.pause));
        true
    }
}

impl Default for Patience {
    /// About six seconds: longer than most paths take to fail over, and a person who waits for a start still does.
    fn default() -> Self {
        Self::new(60, Duration::from_millis(100))
    }
}
