//! Group commit at its plainest: one thread takes what waits, writes it, makes it durable, answers.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::slow::linger;
use crate::{Committer, Groups, Put};

/// Somewhere to put things durably.
pub trait Place: Send + 'static {
    /// Makes all of them durable, with one fsync.
    fn commit(&mut self, puts: &[Put]) -> Result<()>;
}

/// The thread that commits, and the way to it.
pub struct Serial {
    puts: Sender<Put>,
    thread: JoinHandle<Result<()>>,
}

impl Serial {
    /// Commits to `place`; every fsync takes `delay` longer.
    pub fn start(place: impl Place, groups: Groups, delay: Duration) -> Result<Self> {
        let (puts, queue) = channel();
        let work = move || run(place, &queue, &groups, delay);
        let thread = std::thread::Builder::new().name("commit".into()).spawn(work)?;
        Ok(Self { puts, thread })
    }
}

impl Committer for Serial {
    fn submit(&self, put: Put) {
        // The thread ends early only with an error, which `finish` reports.
        let _ = self.puts.send(put);
    }

    fn finish(self) -> Result<()> {
        drop(self.puts);
        self.thread.join().map_err(|_| anyhow!("the committing thread panicked"))?
    }
}

fn run(mut place: impl Place, queue: &Receiver<Put>, groups: &Groups, delay: Duration) -> Result<()> {
    while let Ok(first) = queue.recv() {
        let group: Vec<Put> = std::iter::once(first).chain(queue.try_iter()).collect();
        place.commit(&group)?;
        linger(delay);
        groups.fetch_add(1, Relaxed);
        group.into_iter().for_each(|put| drop(put.answer.send(Ok(()))));
    }
    Ok(())
}
