//! Commits are held back while tables fall behind: what comes in faster than it can be put in order must wait somewhere.
//!
//! They are slowed down first, then wait, and are refused where nothing will make room.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::chores::{Chores, Work};
use super::headroom::Volume;
use super::options::Options;
use super::poison::Poison;
use super::tree::{TOO_MANY_RUNS, Tree};
use super::trees::Trees;
use crate::error::StorageError;

/// Write buffers of one tree, by their bytes, from which on commits are slowed down: many short waits rather than a long
/// one.
const SLOW_BUFFERS: f64 = 2.5;
/// Buffers from which on commits wait for them to become tables.
const MAX_BUFFERS: u64 = 7;
/// L0 runs of a tree from which on commits are slowed down: every run is another place to look for a row, and
/// compaction must come after.
const SLOW_RUNS: usize = 20;
/// L0 runs from which on commits wait.
pub(super) const MAX_RUNS: usize = 64;
/// L0 runs from which on commits are refused: nothing merges them. Batches taken in before fill less than as many again.
const MOST_RUNS: usize = 112;
/// By how much a group is slowed down for each buffer and run too many,
const PAUSE: Duration = Duration::from_millis(1);
/// but not by more than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The last look at the trees of a store.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    /// A tree had [`MOST_RUNS`].
    is_crowded: AtomicBool,
}

/// Weighs what the trees of a store hold against what work in the background can still do about it.
pub(super) struct Backpressure<'a> {
    pub(super) dir: &'a Path,
    pub(super) options: &'a Options,
    pub(super) trees: &'a Trees,
    pub(super) chores: &'a Chores,
    pub(super) poison: &'a Poison,
    pub(super) crowd: &'a Crowd,
}

impl Backpressure<'_> {
    /// Slows commits down while tables fall behind, and stops them when they are far behind: what comes in faster than it
    /// can be put in order must wait somewhere. On a full disk nothing is waited for: no more is taken in
    /// ([`Backpressure::check_room`]).
    pub(super) fn wait_for_room(&self) {
        self.look_for_crowds();
        let pause = self.trees.iter().map(|tree| self.pause_for(tree)).max().unwrap_or_default();
        if !pause.is_zero() {
            self.chores.pause(pause);
        }
        let waits_for = |work, is_behind: bool| is_behind && self.chores.lack_for(work).is_none();
        self.chores.wait_until(|| {
            let is_waiting = waits_for(Work::Flush, self.has_too_many_buffers())
                || waits_for(Work::Compaction, self.has_too_many_runs());
            !is_waiting || self.poison.is_set()
        });
    }

    /// How long a group should wait because of one tree: [`PAUSE`] for each run and for each buffer too many.
    fn pause_for(&self, tree: &Tree) -> Duration {
        let is_compacting = self.chores.lack_for(Work::Compaction).is_none();
        let runs = if is_compacting { self.runs_behind(tree).saturating_sub(SLOW_RUNS) as f64 } else { 0.0 };
        let buffers = tree.published().buffered_bytes() as f64 / tree.buffer_bytes as f64;
        PAUSE.mul_f64(runs.max(buffers - SLOW_BUFFERS).max(0.0)).min(LONGEST_PAUSE)
    }

    /// Runs that compaction has not come to. Damaged tables are not compacted, and wait for nothing.
    fn runs_behind(&self, tree: &Tree) -> usize {
        if tree.health.is_unmergeable() { 0 } else { tree.published().l0_runs() }
    }

    fn has_too_many_buffers(&self) -> bool {
        self.trees.iter().any(|tree| tree.published().buffered_bytes() >= MAX_BUFFERS * tree.buffer_bytes)
    }

    fn has_too_many_runs(&self) -> bool {
        self.trees.iter().any(|tree| self.runs_behind(tree) >= MAX_RUNS)
    }

    /// Whether a tree has too many runs. Not asked for every commit.
    fn look_for_crowds(&self) -> bool {
        let is_crowded = self.trees.iter().any(|tree| tree.published().l0_runs() >= MOST_RUNS);
        self.crowd.is_crowded.store(is_crowded, Ordering::Relaxed);
        is_crowded
    }

    /// Why no commit can be taken at present, if so. After a full disk the volume is asked, not the clock: a commit that
    /// comes when there is room again is taken in, and tables are tried at once if there is enough of it for what is in memory.
    pub(super) fn check_room(&self) -> Result<(), StorageError> {
        if self.crowd.is_crowded.load(Ordering::Relaxed) && self.look_for_crowds() {
            return Err(StorageError::NoSpace { cause: TOO_MANY_RUNS.into() });
        }
        let Some(lack) = self.chores.lack() else { return Ok(()) };
        if !lack.is_of_space() {
            let is_behind = self.has_too_many_buffers() && self.chores.lack_for(Work::Flush).is_some();
            return if is_behind { Err(lack.error) } else { Ok(()) };
        }
        let (one, free) = (self.options.write_buffer_bytes, Volume::free_in(self.dir));
        let largest = self.trees.iter().map(|tree| tree.published().buffered_bytes()).max();
        self.chores.note_room(free, one + largest.unwrap_or_default(), one);
        let is_behind = self.has_too_many_buffers() || self.has_too_many_runs();
        if free <= 2 * one && is_behind { Err(lack.error) } else { Ok(()) }
    }
}
