//! The subject: the daemon's way to the durable engine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use starling_node::CommitId;
use starling_server::storage_executor::{Answer, Job, StorageExecutor};
use starling_storage::{Batch, DurableEngine, Engine, Group, Namespace, Observer, Options, Surroundings};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::slow::SlowFiles;
use crate::{Committer, Groups, Put};

/// The executor and the end at which its answers arrive.
pub struct Executor {
    engine: Arc<DurableEngine>,
    executor: StorageExecutor,
    answered: UnboundedReceiver<Answer>,
}

impl Executor {
    /// On an empty store in `dir`; every fsync of its log takes `delay` longer.
    pub fn start(dir: &Path, groups: Groups, delay: Duration) -> Result<Self> {
        let surroundings =
            Surroundings { observer: Arc::new(Counter(groups)), log_files: SlowFiles::opener(delay) };
        let engine = Arc::new(DurableEngine::open_in(dir, Options::default(), surroundings)?);
        let (executor, answered) = StorageExecutor::new(engine.clone());
        Ok(Self { engine, executor, answered })
    }
}

impl Committer for Executor {
    fn submit(&self, puts: Vec<Put>) {
        let job = |put: Put| {
            let mut batch = Batch::new();
            batch.put(Namespace::Data, put.key, put.value);
            Job { id: CommitId::Control(put.writer as u64), batch, durable: true }
        };
        self.executor.submit(puts.into_iter().map(job).collect());
    }

    async fn answers(&mut self) -> Result<Vec<usize>> {
        let answer = self.answered.recv().await.context("the executor has ended")?;
        answer.result?;
        answer.ids.into_iter().map(writer).collect()
    }

    fn finish(self) -> Result<()> {
        Ok(self.engine.close()?)
    }
}

fn writer(id: CommitId) -> Result<usize> {
    match id {
        CommitId::Control(writer) => Ok(usize::try_from(writer)?),
        other => bail!("an answer to {other:?}, which was not asked"),
    }
}

struct Counter(Groups);

impl Observer for Counter {
    fn group(&self, _group: Group) {
        self.0.fetch_add(1, Relaxed);
    }
}
