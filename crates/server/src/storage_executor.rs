//! The way from the machine's commits to the engine; and the way back to the node's thread, for reads too.

use std::sync::Arc;

use bytes::Bytes;
use starling_node::{CommitId, ScanId};
use starling_storage::{Batch, Durability, Engine, StorageError};
use starling_types::row::{LoadFailure, Page};
use starling_vnode::CellKey;
use tokio::sync::mpsc::UnboundedSender;

/// One commit.
pub struct Job {
    /// Its number.
    pub id: CommitId,
    /// Its rows.
    pub batch: Batch,
    /// Whether it must be fsynced.
    pub durable: bool,
}

/// The answers of the disk.
pub enum Answer {
    /// To commits that were handed over together, in the order in which they were asked for: how all of them went.
    Committed(Vec<CommitId>, Result<(), StorageError>),
    /// To a load.
    Loaded(CellKey, Result<Option<Bytes>, LoadFailure>),
    /// To a scan: its page, or why there is none.
    Scanned(ScanId, Result<Page, String>),
}

/// Where commits are handed over. Those on their way are bounded by what the machine admits.
pub struct StorageExecutor {
    engine: Arc<dyn Engine>,
    answers: UnboundedSender<Answer>,
}

impl StorageExecutor {
    /// The way to `engine`. Commits are answered to `answers` in order, but for what the engine refuses at once.
    pub const fn new(engine: Arc<dyn Engine>, answers: UnboundedSender<Answer>) -> Self {
        Self { engine, answers }
    }

    /// Hands over the commits of one turn: together, except that one that needs no fsync does not wait for one because
    /// of its neighbour.
    pub fn submit(&self, jobs: Vec<Job>) {
        let mut jobs = jobs.into_iter().peekable();
        while let Some(first) = jobs.next() {
            let durable = first.durable;
            let (mut ids, mut batches) = (vec![first.id], vec![first.batch]);
            while let Some(job) = jobs.next_if(|job| job.durable == durable) {
                ids.push(job.id);
                batches.push(job.batch);
            }
            self.submit_group(ids, batches, durable);
        }
    }

    fn submit_group(&self, ids: Vec<CommitId>, batches: Vec<Batch>, durable: bool) {
        let answers = self.answers.clone();
        let durability = if durable { Durability::Synced } else { Durability::Buffered };
        // A receiver that is gone does not need the answer.
        let done = move |result| drop(answers.send(Answer::Committed(ids, result)));
        self.engine.submit(batches, durability, Box::new(done));
    }
}
