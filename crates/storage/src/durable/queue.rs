//! Submissions that wait to be committed: bounded, drained in groups by one thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::Batch;
use crate::engine::{Done, Durability};
use crate::error::StorageError;

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
    pub(super) answer: Answer,
}

/// The answer to a submission. Given once, also when the thread that should do it panics.
pub(super) struct Answer(Option<Done>);

impl Answer {
    pub(super) fn give(mut self, result: Result<(), StorageError>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            let cause = "a thread of the store has panicked".into();
            done(Err(StorageError::Io { action: "committing", cause }));
        }
    }
}

impl Submission {
    pub(super) fn new(batches: Vec<Batch>, durability: Durability, done: Done) -> Self {
        Self { batches, durability, answer: Answer(Some(done)) }
    }

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
    /// The thread that drains it is asleep until this many wait; 0 when it is awake.
    wanted: usize,
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
        if (1..=state.waiting.len()).contains(&state.wanted) {
            state.wanted = 0;
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
            state.wanted = 1;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(self.take_group(&mut state))
    }

    /// Waits for `count` more than wait already, but not longer than `span`.
    pub(super) fn linger(&self, count: usize, span: Duration) {
        let mut state = self.lock();
        let wanted = state.waiting.len() + count;
        state.wanted = wanted;
        let too_few = |state: &mut State| state.waiting.len() < wanted && !state.closed;
        let waited = self.filled.wait_timeout_while(state, span, too_few);
        waited.unwrap_or_else(PoisonError::into_inner).0.wanted = 0;
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

    /// Takes nothing more, and takes out what waits.
    pub(super) fn abandon(&self) -> Vec<Submission> {
        self.close();
        self.lock().waiting.drain(..).collect()
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn who_waits_is_told_once_whatever_happens() {
        let (answer, answered) = channel();
        let submission = || {
            let answer = answer.clone();
            Submission::new(
                Vec::new(),
                Durability::Synced,
                Box::new(move |result| answer.send(result).unwrap()),
            )
        };
        submission().answer.give(Ok(()));
        drop(submission());
        drop(answer);
        let answers: Vec<_> = answered.iter().collect();
        assert!(matches!(answers[..], [Ok(()), Err(StorageError::Io { .. })]), "{answers:?}");
    }
}
