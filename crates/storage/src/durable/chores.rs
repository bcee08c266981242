//! The work that the threads of a store ask of each other, and what stands in its way.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::StorageError;

/// A thread that waits for a condition looks again after this long, whether it was woken or not.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Work to be done in the background, and what stands in its way.
#[derive(Default)]
pub(super) struct Chores {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct State {
    /// How often tables were asked for, which of these askings are done, and up to which all buffers are to be sealed.
    pub(super) flush_asked: u64,
    flush_done: u64,
    flush_all: u64,
    /// How often compaction was asked for, and which of these askings are done.
    pub(super) compaction_asked: u64,
    pub(super) compaction_done: u64,
    pub(super) sweep: bool,
    pub(super) spare: bool,
    stop: bool,
    /// There may be room again for each kind of work.
    try_again: [bool; 2],
    /// The failure that keeps each kind of work from making tables.
    lacks: [Option<Lack>; 2],
}

/// Why tables could not be made, until another try.
#[derive(Debug, Clone)]
pub(super) struct Lack {
    pub(super) error: StorageError,
    /// Bytes that were free on the disk afterwards.
    pub(super) free: u64,
}

impl Lack {
    /// Whether the disk was too full.
    pub(super) const fn is_of_space(&self) -> bool {
        matches!(self.error, StorageError::NoSpace { .. })
    }
}

/// Kinds of work that make tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Flush,
    Compaction,
}

impl Chores {
    /// Has write buffers become tables: the full ones, or `all`. Says by which number it can be asked for later
    /// ([`Chores::flushed`]).
    pub(super) fn want_flush(&self, all: bool) -> u64 {
        let mut state = self.lock();
        state.flush_asked += 1;
        if all {
            state.flush_all = state.flush_asked;
        }
        self.changed.notify_all();
        state.flush_asked
    }

    /// The same, unless as much is wanted already.
    pub(super) fn want_flush_unless_asked(&self, all: bool) {
        let is_asked = { self.lock().is_flush_wanted(all) };
        if !is_asked {
            let _ = self.want_flush(all);
        }
    }

    /// Whether what was wanted by this asking is in tables.
    pub(super) fn flushed(&self, asked: u64) -> bool {
        self.lock().flush_done >= asked
    }

    pub(super) fn flush_done(&self, asked: u64) {
        self.lock().flush_done = asked;
        self.changed.notify_all();
    }

    /// Says by which number it can be asked for later ([`Chores::compacted`]).
    pub(super) fn want_compaction(&self) -> u64 {
        let mut state = self.lock();
        state.compaction_asked += 1;
        self.changed.notify_all();
        state.compaction_asked
    }

    /// Whether there was nothing left to compact at some time after it was `asked` for.
    pub(super) fn compacted(&self, asked: u64) -> bool {
        self.lock().compaction_done >= asked
    }

    pub(super) fn compaction_done(&self, asked: u64) {
        self.lock().compaction_done = asked;
        self.changed.notify_all();
    }

    /// The log has begun another segment.
    pub(super) fn want_spare(&self) {
        self.lock().spare = true;
        self.changed.notify_all();
    }

    /// A range was dropped.
    pub(super) fn want_sweep(&self) {
        self.lock().sweep = true;
        self.changed.notify_all();
    }

    /// Why the last try to make tables failed, if it did: want of space first.
    pub(super) fn lack(&self) -> Option<Lack> {
        let state = self.lock();
        let lacks = || state.lacks.iter().flatten();
        lacks().find(|lack| lack.is_of_space()).or(lacks().next()).cloned()
    }

    /// The same, of one kind of work.
    pub(super) fn lack_for(&self, work: Work) -> Option<StorageError> {
        self.lock().lacks[work as usize].as_ref().map(|lack| lack.error.clone())
    }

    pub(super) fn set_lack(&self, work: Work, lack: Option<Lack>) {
        self.lock().lacks[work as usize] = lack;
        self.changed.notify_all();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stop
    }

    /// Lets every thread that waits look again.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Waits until `condition` holds, or everything stops.
    pub(super) fn wait_until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            let state = self.lock();
            if state.stop {
                return;
            }
            drop(self.changed.wait_timeout(state, LOOK_AGAIN));
        }
    }

    /// Waits for work of the kind that `take` takes. False: stop.
    pub(super) fn next(&self, take: impl Fn(&mut State) -> bool) -> bool {
        let mut state = self.lock();
        loop {
            if state.stop {
                return false;
            }
            if take(&mut state) {
                return true;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// So many bytes are `free`: a flush is worth another try if there are `enough`, compaction if there are `more` than
    /// when it failed.
    pub(super) fn note_room(&self, free: u64, enough: u64, more: u64) {
        let mut state = self.lock();
        let [flush, compaction] =
            state.lacks.each_ref().map(|lack| lack.as_ref().filter(|l| l.is_of_space()));
        let tries = [
            flush.is_some() && free > enough,
            compaction.is_some_and(|lack| free > lack.free.saturating_add(more)),
        ];
        if tries != [false; 2] {
            state.try_again = std::array::from_fn(|work| state.try_again[work] || tries[work]);
            self.changed.notify_all();
        }
    }

    /// Has the work tried again at once: there may be room.
    pub(super) fn try_again(&self, work: Work) {
        self.lock().try_again[work as usize] = true;
        self.changed.notify_all();
    }

    pub(super) fn pause_until_tried_again(&self, work: Work, span: Duration) {
        self.pause_while(span, |state| !state.stop && !state.try_again[work as usize]);
        self.lock().try_again[work as usize] = false;
    }

    /// Waits, but not longer than until everything stops.
    pub(super) fn pause(&self, span: Duration) {
        self.pause_while(span, |state| !state.stop);
    }

    fn pause_while(&self, span: Duration, wanted: impl Fn(&State) -> bool) {
        let state = self.lock();
        drop(self.changed.wait_timeout_while(state, span, |state| wanted(state)));
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) const fn is_flush_wanted(&self, all: bool) -> bool {
        self.flush_done < if all { self.flush_all } else { self.flush_asked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_wakes_the_work_that_it_is_enough_for() {
        let chores = Chores::default();
        let woken = |free| {
            chores.lock().try_again = [false; 2];
            chores.note_room(free, 10, 5);
            chores.lock().try_again
        };
        assert_eq!(woken(1_000), [false; 2], "nothing waits");
        let lack = |free| Some(Lack { error: StorageError::NoSpace { cause: "full".into() }, free });
        chores.set_lack(Work::Flush, lack(0));
        assert_eq!([woken(10), woken(11)], [[false, false], [true, false]]);
        chores.set_lack(Work::Compaction, lack(100));
        assert_eq!([woken(105), woken(106)], [[true, false], [true, true]]);
    }

    #[test]
    fn all_is_wanted_beside_a_part_and_nothing_is_wanted_twice() {
        let chores = Chores::default();
        let part = chores.want_flush(false);
        chores.want_flush_unless_asked(true);
        chores.want_flush_unless_asked(true);
        chores.want_flush_unless_asked(false);
        let asked = |state: &State| (state.flush_asked, state.flush_all);
        assert_eq!(asked(&chores.lock()), (part + 1, part + 1));
        chores.flush_done(part);
        assert!(chores.flushed(part));
        assert!(chores.lock().is_flush_wanted(true), "the part was not all");
    }
}
