//! The commit pipeline: one thread writes groups to the log and makes them durable, another makes them visible and
//! answers. While one group is applied, the next one's fsync is under way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

use super::options::SyncMode;
use super::queue::{Answer, Submission};
use super::store::Store;
use crate::Space;
use crate::batch::Batch;
use crate::engine::Durability;
use crate::error::StorageError;
use crate::log::Sequence;
use crate::observer::{Group, Stopwatch};
use crate::payload;

/// Groups between the log and the tables.
const PIPELINE_DEPTH: usize = 2;
/// From here on it pays to wait for more to share the next fsync,
const SLOW_FSYNC: Duration = Duration::from_millis(1);
/// for this part of the time that the last one took.
const LINGER_PART: u32 = 8;
/// but not longer than this.
const LONGEST_LINGER: Duration = Duration::from_millis(5);

/// The two threads.
pub(super) struct Pipeline {
    store: Arc<Store>,
    threads: Vec<JoinHandle<()>>,
}

/// A group that is in the log as its submissions demand.
struct Logged {
    frames: Vec<(Sequence, std::ops::Range<usize>)>,
    bytes: Bytes,
    answers: Vec<Answer>,
    result: Result<(), StorageError>,
}

impl Pipeline {
    pub(super) fn start(store: &Arc<Store>) -> std::io::Result<Self> {
        let (logged, groups) = sync_channel(PIPELINE_DEPTH);
        let writer = LogWriter { store: store.clone(), logged };
        let applier = Applier { store: store.clone() };
        let threads = vec![
            guarded(store, "log", move || writer.run())?,
            guarded(store, "apply", move || applier.run(&groups))?,
        ];
        Ok(Self { store: store.clone(), threads })
    }

    /// Finishes what was submitted and ends the threads.
    pub(super) fn finish(self) {
        self.store.queue.close();
        for thread in self.threads {
            // A thread that panicked has poisoned the store.
            let _ = thread.join();
        }
    }
}

/// A thread whose panic does not leave others waiting for it: the store is poisoned, and what waits is refused.
pub(super) fn guarded(
    store: &Arc<Store>,
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let store = store.clone();
    Builder::new().name(name.into()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            store.give_up(name);
        }
    })
}

struct LogWriter {
    store: Arc<Store>,
    logged: SyncSender<Logged>,
}

impl LogWriter {
    fn run(self) {
        while let Some(group) = self.store.queue.next_group() {
            let submissions = group.len();
            let (logged, synced_in) = self.write(group);
            if self.logged.send(logged).is_err() {
                return;
            }
            // Callers that are answered now come back soon, and would miss a slow fsync that starts without them.
            if synced_in >= SLOW_FSYNC {
                self.store.queue.linger(submissions, LONGEST_LINGER.min(synced_in / LINGER_PART));
            }
        }
    }

    /// Says also how long the fsync took.
    fn write(&self, submissions: Vec<Submission>) -> (Logged, Duration) {
        let is_synced = submissions.iter().any(|s| s.durability == Durability::Synced);
        self.store.stall.begin(self.store.observer.clock());
        // A node acts upon what it knows of itself: that is never left to luck.
        let sync = is_synced && (self.store.options.sync == SyncMode::Always || has_meta(&submissions));
        let mut frames = Vec::with_capacity(submissions.len());
        let mut written =
            self.store.poison.check().and_then(|()| self.append(&submissions, &mut frames, sync));
        // Refused before anything was written: there may be room that was kept for this.
        if matches!(written, Err(StorageError::NoSpace { .. })) && self.store.ballast.throw_out() {
            frames.clear();
            written = self.append(&submissions, &mut frames, sync);
        }
        self.store.stall.end();
        let answers = submissions.into_iter().map(|submission| submission.answer).collect();
        match written {
            Ok((bytes, synced_in)) => (Logged { frames, bytes, answers, result: Ok(()) }, synced_in),
            Err(error) => (
                Logged { frames: Vec::new(), bytes: Bytes::new(), answers, result: Err(error) },
                Duration::ZERO,
            ),
        }
    }

    fn append(
        &self,
        submissions: &[Submission],
        frames: &mut Vec<(Sequence, std::ops::Range<usize>)>,
        sync: bool,
    ) -> Result<(Bytes, Duration), StorageError> {
        let mut log = self.store.log();
        let mut group = log.group();
        for batch in submissions.iter().flat_map(|s| &s.batches).filter(|batch| !batch.is_empty()) {
            frames.push(group.push(payload::size(batch), |out| payload::encode(batch, out)));
        }
        let bytes = group.freeze();
        let watch = Stopwatch::start(&*self.store.observer);
        if !frames.is_empty() {
            log.append(&bytes).map_err(|error| self.store.log_failed(error))?;
            self.store.log_is(log.bytes());
        }
        let written = watch.read();
        if sync {
            log.sync().map_err(|error| self.store.log_failed(error))?;
            self.store.synced(log.last());
        }
        let (batches, bytes, took) = (frames.len(), bytes.into_bytes(), watch.read());
        self.store.observer.group(Group { batches, bytes: bytes.len(), took, synced: sync });
        Ok((bytes, if sync { took.saturating_sub(written) } else { Duration::ZERO }))
    }
}

fn has_meta(submissions: &[Submission]) -> bool {
    let mut ops = submissions.iter().flat_map(|s| &s.batches).flat_map(Batch::ops);
    ops.any(|op| op.namespace() == Space::Meta)
}

struct Applier {
    store: Arc<Store>,
}

impl Applier {
    fn run(self, groups: &Receiver<Logged>) {
        while let Ok(group) = groups.recv() {
            self.apply(group);
        }
    }

    fn apply(&self, group: Logged) {
        let last = group.frames.last().map(|(sequence, _)| *sequence);
        let buffers = self.store.trees.buffers();
        let mut dropped = false;
        for (sequence, range) in group.frames {
            dropped |= buffers.apply(sequence, group.bytes.slice(range), |_| true);
        }
        if let Some(last) = last {
            // Before the buffers are let go: what is sealed then holds no batch above.
            self.store.applied(last);
        }
        drop(buffers);
        if dropped {
            self.store.chores.want_sweep();
        }
        self.store.ask_for_tables();
        if let Some(last) = last {
            // First: a batch that was answered must not be forgotten because the process ended in between.
            self.store.acknowledged(last);
        }
        for answer in group.answers {
            answer.give(group.result.clone());
        }
        self.store.backpressure().wait_for_room();
    }
}
