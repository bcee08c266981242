//! The subject: the daemon's storage executor on the durable engine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context, Result, anyhow, bail};
use starling_node::CommitId;
use starling_server::storage_executor::{Answer, GroupObserver, Job, StorageExecutor};
use starling_storage::{Batch, DurableEngine, Engine, Namespace, Options};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{Committer, Groups, Put};

/// The executor and the end at which its answers arrive.
pub struct Executor {
    engine: Arc<DurableEngine>,
    executor: StorageExecutor,
    answered: UnboundedReceiver<Answer>,
}

impl Executor {
    /// On an empty store in `dir`.
    pub fn start(dir: &Path, groups: Groups) -> Result<Self> {
        let engine = Arc::new(DurableEngine::open(dir, Options::default())?);
        let (executor, answered) = StorageExecutor::start(engine.clone(), Counter(groups))?;
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
        answer.result.map_err(|why| anyhow!(why))?;
        answer.ids.into_iter().map(writer).collect()
    }

    fn finish(self) -> Result<()> {
        self.executor.finish();
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

impl GroupObserver for Counter {
    fn group(&self, _batches: usize, _bytes: usize, _seconds: f64, _synced: bool) {
        self.0.fetch_add(1, Relaxed);
    }
}
