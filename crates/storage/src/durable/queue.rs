//! What waits to be committed: bounded, drained in groups by one thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::batch::Batch;
use crate::engine::{Done, Durability};

/// A group takes in at most about this many bytes: longer ones would make those behind wait without saving fsyncs.
const GROUP_BYTES: usize = 1 << 20;
/// Bytes that may wait. A submission beyond waits outside.
const QUEUE_BYTES: usize = 256 << 20;
/// Bytes that a submission counts besides its rows.
const SUBMISSION: usize = 128;

/// One submission.
pub(super) struct Submission {
    pub(super) batches: Vec<Batch>,
    pub(super) durability: Durability,
    pub(super) done: Done,
}

impl Submission {
    fn bytes(&self) -> usize {
        SUBMISSION + self.batches.iter().map(Batch::byte_size).sum::<usize>()
    }
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Submission>,
    bytes: usize,
    closed: bool,
    /// Whether the thread that drains it is asleep.
    drained: bool,
}

impl Queue {
    /// Adds a submission, or gives it back when the queue is closed.
    pub(super) fn push(&self, submission: Submission) -> Result<(), Submission> {
        let mut state = self.lock();
        while state.bytes > QUEUE_BYTES && !state.closed {
            state = self.emptied.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return Err(submission);
        }
        state.bytes += submission.bytes();
        state.waiting.push_back(submission);
        if std::mem::take(&mut state.drained) {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Waits for submissions and takes a group of them; none once the queue is closed and empty.
    pub(super) fn next_group(&self) -> Option<Vec<Submission>> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state.drained = true;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(self.take_group(&mut state))
    }

    fn take_group(&self, state: &mut State) -> Vec<Submission> {
        let (mut count, mut bytes) = (0, 0);
        for submission in &state.waiting {
            bytes += submission.bytes();
            count += 1;
            if bytes >= GROUP_BYTES {
                break;
            }
        }
        if state.bytes > QUEUE_BYTES {
            self.emptied.notify_all();
        }
        state.bytes -= bytes;
        state.waiting.drain(..count).collect()
    }

    /// Takes nothing more; what waits is still drained.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
