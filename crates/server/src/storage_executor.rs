//! The way from the machine's commits to the engine, and back to the node's thread.

use std::sync::Arc;

use starling_node::CommitId;
use starling_storage::{Batch, Durability, Engine, StorageError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// One commit.
pub struct Job {
    /// Its number.
    pub id: CommitId,
    /// Its rows.
    pub batch: Batch,
    /// Whether it must be fsynced.
    pub durable: bool,
}

/// The answers to commits that were handed over together, all alike.
pub struct Answer {
    /// The commits, in the order in which they were asked for.
    pub ids: Vec<CommitId>,
    /// How they went.
    pub result: Result<(), StorageError>,
}

/// Where commits are handed over. What is on its way is bounded by what the machine admits.
pub struct StorageExecutor {
    engine: Arc<dyn Engine>,
    answers: UnboundedSender<Answer>,
}

impl StorageExecutor {
    /// The way to `engine`. Answers come in order, but for what the engine refuses at once.
    pub fn new(engine: Arc<dyn Engine>) -> (Self, UnboundedReceiver<Answer>) {
        let (answers, answered) = unbounded_channel();
        (Self { engine, answers }, answered)
    }

    /// Hands over the commits of one turn: together, except that who needs no fsync does not wait for one because of its
    /// neighbour.
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
        // Who no longer listens does not want to know.
        let done = move |result| drop(answers.send(Answer { ids, result }));
        self.engine.submit(batches, durability, Box::new(done));
    }
}
