//! The subject: the durable engine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::Result;
use starling_benches::meter::now;
use starling_storage::{Batch, Durability, DurableEngine, Engine, Group, Observer, Options, Surroundings};
use starling_types::row::Space;

use crate::slow::SlowFiles;
use crate::{Committer, Groups, Put};

/// The engine, with an observer that counts its groups.
pub struct Subject(DurableEngine);

impl Subject {
    /// On an empty store in `dir`; every fsync of its log takes `delay` longer.
    pub fn start(dir: &Path, groups: Groups, delay: Duration) -> Result<Self> {
        let surroundings = Surroundings {
            observer: Arc::new(Counter { groups, begun: now() }),
            log_files: SlowFiles::opener(delay),
            ..Surroundings::default()
        };
        Ok(Self(DurableEngine::open_in(dir, Options::default(), surroundings)?))
    }
}

impl Committer for Subject {
    fn submit(&self, put: Put) {
        let mut batch = Batch::new();
        batch.put(Space::Data, put.key, put.value);
        let answer = put.answer;
        // A writer that is gone does not want to know.
        let done = move |result: Result<(), _>| drop(answer.send(result.map_err(Into::into)));
        self.0.submit(vec![batch], Durability::Synced, Box::new(done));
    }

    fn finish(self) -> Result<()> {
        Ok(self.0.close()?)
    }
}

struct Counter {
    groups: Groups,
    begun: Instant,
}

impl Observer for Counter {
    fn clock(&self) -> Duration {
        now() - self.begun
    }

    fn group(&self, _group: Group) {
        self.groups.fetch_add(1, Relaxed);
    }
}
