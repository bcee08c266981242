//! Starting processes beside threads that have files open.
//!
//! Between its fork and its exec a new process holds a copy of every file that is open here. Closed meanwhile, such a
//! file is still locked, and its volume still in use. So one process is started at a time, and a test that is about to
//! open or unmount again what was just closed waits for that one.

use std::io;
use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Starts a process.
///
/// # Errors
/// As [`Command::spawn`].
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _alone = forking();
    // Comes back after the exec.
    command.spawn()
}

/// Waits until no process that [`spawn`] is starting can hold what was closed before.
pub fn wait_for_forks() {
    drop(forking());
}

fn forking() -> MutexGuard<'static, ()> {
    static FORKING: Mutex<()> = Mutex::new(());
    FORKING.lock().unwrap_or_else(PoisonError::into_inner)
}
