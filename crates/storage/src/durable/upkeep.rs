//! What goes on in the background: write buffers become tables, tables are compacted, dead rows are swept out.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::failure::{self, Reason};
use super::pipeline::guarded;
use super::store::Store;
use super::tree::Tree;
use super::trees::view_after;
use super::{SyncMode, scrub, sweeper, writeback};
use crate::error::StorageError;
use crate::observer::Stopwatch;

/// How long to leave a full disk alone before tables are tried again.
const SPACE_RETRY: Duration = Duration::from_secs(1);
/// The same, at most, for compaction, which may have written much before it finds that it does not fit.
const LONGEST_RETRY: Duration = Duration::from_secs(16);
/// Niceness of the threads.
#[cfg(target_os = "linux")]
const BACKGROUND: i32 = 10;
/// Who waits for a condition looks again after this long, whether it was woken or not.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What is to be done, and what stands in the way.
#[derive(Default)]
pub(super) struct Chores {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// How often tables were asked for, which of these askings are done, and up to which all buffers are to be sealed.
    flush_asked: u64,
    flush_done: u64,
    flush_all: u64,
    /// How often compaction was asked for, and which of these askings are done.
    compaction_asked: u64,
    compaction_done: u64,
    sweep: bool,
    spare: bool,
    stop: bool,
    /// There may be room again for each kind of work.
    try_again: [bool; 2],
    /// What keeps each kind of work from making tables.
    lacks: [Option<Lack>; 2],
}

/// Why tables could not be made, until another try.
#[derive(Debug, Clone)]
pub(super) struct Lack {
    pub(super) error: StorageError,
    /// Bytes that were free on the disk afterwards.
    free: u64,
}

impl Lack {
    /// Whether the disk was too full.
    pub(super) const fn is_of_space(&self) -> bool {
        matches!(self.error, StorageError::NoSpace { .. })
    }
}

/// What makes tables.
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

    fn flush_done(&self, asked: u64) {
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

    fn compaction_done(&self, asked: u64) {
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

    /// Lets everybody who waits look again.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    fn stop(&self) {
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
    fn next(&self, take: impl Fn(&mut State) -> bool) -> bool {
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

    /// Somebody wants to know whether there is room again.
    pub(super) fn try_again(&self, work: Work) {
        self.lock().try_again[work as usize] = true;
        self.changed.notify_all();
    }

    fn pause_until_tried_again(&self, work: Work, span: Duration) {
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

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    const fn is_flush_wanted(&self, all: bool) -> bool {
        self.flush_done < if all { self.flush_all } else { self.flush_asked }
    }
}

/// The threads.
pub(super) struct Upkeep {
    store: Arc<Store>,
    threads: Vec<JoinHandle<()>>,
}

impl Upkeep {
    pub(super) fn start(store: &Arc<Store>) -> std::io::Result<Self> {
        let mut upkeep = Self { store: store.clone(), threads: Vec::new() };
        upkeep.spawn("flush", flush)?;
        upkeep.spawn("compact", compact)?;
        upkeep.spawn("sweep", sweep)?;
        upkeep.spawn("spare", prepare)?;
        upkeep.spawn("writeback", writeback::follow)?;
        let rate = store.options.scrub_rate;
        if rate > 0 {
            upkeep.spawn("scrub", move |store| scrub::scrub(store, rate))?;
        }
        if let SyncMode::Interval(span) = store.options.sync {
            upkeep.spawn("fsync", move |store| sync(store, span))?;
        }
        let _ = store.chores.want_flush(false);
        store.chores.want_sweep();
        store.chores.want_spare();
        Ok(upkeep)
    }

    fn spawn(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&Store) + Send + 'static,
    ) -> std::io::Result<()> {
        let store = self.store.clone();
        let thread = guarded(&self.store, name, move || {
            step_back();
            work(&store);
        })?;
        self.threads.push(thread);
        Ok(())
    }

    /// Ends the threads after the step that each is at.
    pub(super) fn finish(self) {
        self.store.chores.stop();
        self.store.trees.shared.making.stop();
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// Lets threads that somebody waits for go first, where threads have priorities of their own.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BACKGROUND) {
        tracing::debug!(%error, "background work runs at the same priority as the rest");
    }
}

fn flush(store: &Store) {
    while store.chores.next(|state| state.is_flush_wanted(false)) {
        let (asked, all) = {
            let state = store.chores.lock();
            (state.flush_asked, state.is_flush_wanted(true))
        };
        match store.flush(all) {
            Ok(()) => {
                store.chores.set_lack(Work::Flush, None);
                let _ = store.chores.want_compaction();
                store.chores.flush_done(asked);
                // Filled meanwhile: who applies may wait for it, and ask no more.
                if store.has_full_buffer() {
                    let _ = store.chores.want_flush(false);
                }
            }
            Err(error) => wait_for_better(store, Work::Flush, SPACE_RETRY, error),
        }
        if store.poison.is_set() {
            return;
        }
    }
}

fn compact(store: &Store) {
    let mut retry = SPACE_RETRY;
    while store.chores.next(|state| state.compaction_done < state.compaction_asked) {
        let asked = store.chores.lock().compaction_asked;
        // All of them: what does not fit in one may be given back by another.
        match worst(store.trees.iter().map(|tree| compact_tree(store, tree))) {
            Ok(()) if store.chores.is_stopped() => return,
            Ok(()) => {
                store.chores.set_lack(Work::Compaction, None);
                store.chores.compaction_done(asked);
                retry = SPACE_RETRY;
            }
            Err(error) => {
                wait_for_better(store, Work::Compaction, retry, error);
                retry = LONGEST_RETRY.min(2 * retry);
            }
        }
        if store.poison.is_set() {
            return;
        }
    }
}

/// The failure that must not be passed over: some pass, and others do not.
fn worst(done: impl Iterator<Item = Result<(), StorageError>>) -> Result<(), StorageError> {
    let failures = done.filter_map(Result::err);
    failures.min_by_key(may_pass).map_or(Ok(()), Err)
}

/// Whether no table in force was touched, and another try may do: where there is room, descriptors and memory again, or
/// the disk gives what it did not.
const fn may_pass(failure: &StorageError) -> bool {
    failure.is_for_later() || matches!(failure, StorageError::ReadFailed { .. })
}

fn compact_tree(store: &Store, tree: &Tree) -> Result<(), StorageError> {
    while !store.chores.is_stopped() && !store.is_damaged(tree.namespace) {
        let watch = Stopwatch::start(&*store.observer);
        store.bury()?;
        match tree.compact(view_after(store.last_applied())) {
            Ok(true) => {
                store.observer.compacted(watch.read());
                store.chores.changed.notify_all();
            }
            Ok(false) => return Ok(()),
            Err(error) => match Reason::of(&error) {
                Reason::Damage(detail) => store.found_damage(tree.namespace, &detail),
                Reason::Later(error) => return Err(error),
                Reason::Unread(cause) => return Err(unsettled(tree, &error, cause)),
            },
        }
    }
    Ok(())
}

/// Whether the disk failed to read the old tables or to write new ones nobody can tell here. As long as the manifest in
/// force names the old ones alone, nothing rests on the new: what was made of them is thrown away, and made again.
fn unsettled(tree: &Tree, error: &lsm_tree::Error, cause: String) -> StorageError {
    match tree.is_in_force() {
        true => StorageError::ReadFailed { path: tree.path().into(), cause },
        false => failure::of_write(error),
    }
}

/// What may pass is waited for. After anything else nobody knows what the disk holds.
fn wait_for_better(store: &Store, work: Work, retry: Duration, error: StorageError) {
    if !may_pass(&error) {
        return drop(store.poison.put(error));
    }
    tracing::warn!(%error, ?work, "tables cannot be made at present: it is tried again");
    store.chores.set_lack(work, Some(Lack { error, free: store.free_bytes() }));
    store.chores.pause_until_tried_again(work, retry);
}

/// Makes the next segment of the log ahead of need.
fn prepare(store: &Store) {
    while store.chores.next(|state| std::mem::take(&mut state.spare)) {
        match store.prepare_log() {
            // The log will find out by itself, and say so to whom it concerns.
            Err(error) if error.is_for_later() => {
                tracing::warn!(%error, "no segment can be made ahead of need")
            }
            Err(error) => drop(store.poison.put(error)),
            Ok(()) => {}
        }
    }
}

fn sweep(store: &Store) {
    while store.chores.next(|state| std::mem::take(&mut state.sweep)) {
        sweeper::sweep(store);
    }
}

/// What is acknowledged before it is synced is not left so for longer than `span`.
fn sync(store: &Store, span: Duration) {
    while !store.chores.is_stopped() {
        store.chores.pause(span);
        if store.sync_log().is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_in_one_tree_hides_no_failure_in_another() {
        let full = || Err(StorageError::NoSpace { cause: "full".into() });
        let failed = || Err(StorageError::Io { action: "writing tables", cause: "broken".into() });
        assert_eq!(worst([full(), failed(), full()].into_iter()), failed());
        assert_eq!(worst([Ok(()), full(), Ok(())].into_iter()), full());
        assert_eq!(worst([Ok(()), Ok(())].into_iter()), Ok(()));
    }

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
