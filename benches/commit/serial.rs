//! Group commit at its plainest: one thread takes what waits, writes it, makes it durable, answers.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::slow::linger;
use crate::{Committer, Groups, Put};

/// Somewhere to put things durably.
pub trait Place: Send + 'static {
    /// Makes all of them durable, with one fsync.
    fn commit(&mut self, puts: &[Put]) -> Result<()>;
}

/// The thread that commits, and both ways to it.
pub struct Serial {
    puts: Sender<Vec<Put>>,
    answered: UnboundedReceiver<Vec<usize>>,
    thread: JoinHandle<Result<()>>,
}

impl Serial {
    /// Commits to `place`; every fsync takes `delay` longer.
    pub fn start(place: impl Place, groups: Groups, delay: Duration) -> Result<Self> {
        let (puts, queue) = channel();
        let (answers, answered) = unbounded_channel();
        let work = move || run(place, &queue, &answers, &groups, delay);
        let thread = std::thread::Builder::new().name("commit".into()).spawn(work)?;
        Ok(Self { puts, answered, thread })
    }
}

impl Committer for Serial {
    fn submit(&self, puts: Vec<Put>) {
        // The thread ends early only with an error, which `finish` reports.
        let _ = self.puts.send(puts);
    }

    async fn answers(&mut self) -> Result<Vec<usize>> {
        self.answered.recv().await.context("the committing thread has ended")
    }

    fn finish(self) -> Result<()> {
        drop(self.puts);
        self.thread.join().map_err(|_| anyhow!("the committing thread panicked"))?
    }
}

fn run(
    mut place: impl Place,
    queue: &Receiver<Vec<Put>>,
    answers: &UnboundedSender<Vec<usize>>,
    groups: &Groups,
    delay: Duration,
) -> Result<()> {
    while let Ok(first) = queue.recv() {
        let group: Vec<Put> = std::iter::once(first).chain(queue.try_iter()).flatten().collect();
        place.commit(&group)?;
        linger(delay);
        groups.fetch_add(1, Relaxed);
        if answers.send(group.iter().map(|put| put.writer).collect()).is_err() {
            break;
        }
    }
    Ok(())
}
