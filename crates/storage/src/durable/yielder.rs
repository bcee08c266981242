//! Work in the background gives way often: a low priority alone lets it finish its time slice, some milliseconds, before
//! the thread that has a commit to answer gets the processor.

use std::thread::yield_now;

/// Rows between two yields: some tens of microseconds.
const ROWS: u32 = 32;

/// Counts rows, and yields the processor now and then.
#[derive(Debug, Default)]
pub(super) struct Yielder(u32);

impl Yielder {
    /// One row more is done.
    pub(super) fn row_done(&mut self) {
        self.0 += 1;
        if self.0 == ROWS {
            self.0 = 0;
            yield_now();
        }
    }
}
