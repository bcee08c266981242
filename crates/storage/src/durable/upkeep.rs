//! Work in the background: write buffers become tables, tables are compacted, dead rows are swept out.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::chores::{Lack, Work};
use super::failure::{self, Reason};
use super::numbers::view_after;
use super::options::SyncMode;
use super::pipeline::guarded;
use super::store::Store;
use super::tree::Tree;
use super::{mending, scrub, sweeper, writeback};
use crate::error::StorageError;
use crate::observer::Stopwatch;

/// How long to leave a full disk alone before tables are tried again.
const SPACE_RETRY: Duration = Duration::from_secs(1);
/// The same, at most, for compaction, which may have written much before it finds that it does not fit.
const LONGEST_RETRY: Duration = Duration::from_secs(16);
/// Niceness of the threads.
#[cfg(target_os = "linux")]
const BACKGROUND: i32 = 10;
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

/// Lets threads that commit or read go first, where threads have priorities of their own.
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
                // Filled meanwhile: the thread that applies may wait for it, and ask no more.
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
        let mended = std::iter::once_with(|| mending::work_off(store));
        let given_back = std::iter::once_with(|| store.give_back());
        let merged = store.trees.iter().map(|tree| compact_tree(store, tree));
        match worst(mended.chain(given_back).chain(merged)) {
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
    while !store.chores.is_stopped() && !tree.health.is_unmergeable() && store.may_merge() {
        let watch = Stopwatch::start(&*store.observer);
        store.apply_tombstones()?;
        match tree.compact(view_after(store.last_applied())) {
            Ok(true) => {
                store.observer.compacted(watch.read());
                store.chores.wake();
            }
            Ok(false) => return Ok(()),
            Err(error) => match Reason::of(&error) {
                Reason::Damage(detail) => store.cannot_merge(tree.namespace, &detail),
                Reason::Later(error) => return Err(error),
                Reason::Unread(cause) => return Err(unsettled(tree, &error, cause)),
            },
        }
    }
    Ok(())
}

/// It cannot be told here whether a read of the old tables or a write of new ones failed. As long as the manifest in
/// force names the old ones alone, nothing rests on the new: what was made of them is thrown away, and made again.
fn unsettled(tree: &Tree, error: &lsm_tree::Error, cause: String) -> StorageError {
    match tree.is_in_force() {
        true => StorageError::ReadFailed { path: tree.path().into(), cause },
        false => failure::of_write(error),
    }
}

/// Waits for a failure to pass. After one that does not pass it is unknown what the disk holds.
fn wait_for_better(store: &Store, work: Work, retry: Duration, error: StorageError) {
    if !may_pass(&error) {
        return drop(store.poison.put(error));
    }
    // Room for deletes was kept for this.
    let has_room = matches!(error, StorageError::NoSpace { .. }) && store.ballast.throw_out();
    // Once: it may be tried for hours.
    match store.chores.lack_for(work) {
        None => tracing::warn!(%error, ?work, "tables cannot be made at present: it is tried again"),
        Some(_) => tracing::debug!(%error, ?work, "tables still cannot be made"),
    }
    store.chores.set_lack(work, Some(Lack { error, free: store.free_bytes() }));
    if !has_room {
        store.chores.pause_until_tried_again(work, retry);
    }
}

/// Makes the next segment of the log ahead of need.
fn prepare(store: &Store) {
    while store.chores.next(|state| std::mem::take(&mut state.spare)) {
        match store.prepare_log() {
            // The log will find out by itself, and tell the commits that need a segment.
            Err(error) if error.is_for_later() => {
                tracing::warn!(%error, "no segment can be made ahead of need")
            }
            Err(error) => drop(store.poison.put(error)),
            Ok(()) => keep_ballast(store),
        }
    }
}

/// Room for later, once an owner has said that there is enough.
fn keep_ballast(store: &Store) {
    if store.shortage.has_room()
        && let Err(error) = store.ballast.take_in()
    {
        tracing::warn!(%error, "no ballast can be taken in: on a volume filled to the last byte deletes may be refused");
    }
}

fn sweep(store: &Store) {
    while store.chores.next(|state| std::mem::take(&mut state.sweep)) {
        sweeper::sweep(store);
    }
}

/// Leaves nothing that is acknowledged unsynced for longer than `span`.
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
}
