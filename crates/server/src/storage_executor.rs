//! The disk's thread: takes all commits that wait, makes them durable with one fsync, answers them together.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use starling_node::CommitId;
use starling_storage::{Batch, Durability, Engine, Namespace};
use starling_vnode::{RowSpace, RowWrite};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A group takes in at most about this many bytes before it is written.
const GROUP_BYTES: usize = 1 << 20;

/// One commit.
pub struct Job {
    /// Its number.
    pub id: CommitId,
    /// Its rows.
    pub batch: Batch,
    /// Whether it must be fsynced.
    pub durable: bool,
}

/// The answers to a group, all alike.
pub struct Answer {
    /// The commits, in the order in which they were asked for.
    pub ids: Vec<CommitId>,
    /// How the group went.
    pub result: Result<(), String>,
}

/// Told of every group, for the metrics.
pub trait GroupObserver: Send + 'static {
    /// A group of `batches` and `bytes` took `seconds`, and was fsynced or not.
    fn group(&self, batches: usize, bytes: usize, seconds: f64, synced: bool);
}

/// The handle of the disk's thread. What is queued here is bounded by what the machine admits.
pub struct StorageExecutor {
    jobs: Option<Sender<Vec<Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl StorageExecutor {
    /// Starts the thread. Answers come in order.
    pub fn start(
        engine: Arc<dyn Engine>,
        observer: impl GroupObserver,
    ) -> std::io::Result<(Self, UnboundedReceiver<Answer>)> {
        let (jobs, queue) = channel();
        let (answers, answered) = unbounded_channel();
        let work = move || run(engine.as_ref(), &queue, &answers, &observer);
        let thread = std::thread::Builder::new().name("storage".into()).spawn(work)?;
        Ok((Self { jobs: Some(jobs), thread: Some(thread) }, answered))
    }

    /// Hands over the commits of one turn.
    pub fn submit(&self, jobs: Vec<Job>) {
        if let Some(queue) = &self.jobs {
            // The thread ends only when this handle is dropped, or by a panic, which aborts a node's process.
            let _ = queue.send(jobs);
        }
    }

    /// Waits until everything that was handed over is on disk, and ends the thread.
    pub fn finish(mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    engine: &dyn Engine,
    queue: &Receiver<Vec<Job>>,
    answers: &UnboundedSender<Answer>,
    observer: &dyn GroupObserver,
) {
    let clock = crate::clock::Clock::start();
    while let Some(group) = next_group(queue) {
        let (count, bytes, synced) = (group.batches.len(), group.bytes, group.durable);
        let begun = clock.instant();
        let durability = if synced { Durability::Synced } else { Durability::Buffered };
        let result = engine.commit(&group.batches, durability).map_err(|e| e.to_string());
        observer.group(count, bytes, clock.instant().since(begun).as_secs_f64(), synced);
        if answers.send(Answer { ids: group.ids, result }).is_err() {
            return;
        }
    }
}

#[derive(Default)]
struct Group {
    ids: Vec<CommitId>,
    batches: Vec<Batch>,
    bytes: usize,
    durable: bool,
}

/// Whatever waits by now goes together: the longer the disk takes, the larger the groups.
fn next_group(queue: &Receiver<Vec<Job>>) -> Option<Group> {
    let mut group = Group::default();
    let mut jobs = queue.recv().ok()?;
    loop {
        for job in jobs {
            group.bytes += job.batch.byte_size();
            group.durable |= job.durable;
            group.ids.push(job.id);
            group.batches.push(job.batch);
        }
        if group.bytes >= GROUP_BYTES {
            return Some(group);
        }
        match queue.try_recv() {
            Ok(more) => jobs = more,
            Err(_) => return Some(group),
        }
    }
}

/// The rows of the machine as a batch of the engine.
pub fn batch_of(rows: Vec<RowWrite>) -> Batch {
    let mut batch = Batch::new();
    for row in rows {
        match row.value {
            Some(value) => batch.put(namespace(row.space), row.key, value),
            None => batch.delete(namespace(row.space), row.key),
        }
    }
    batch
}

/// The engine's word for a keyspace of the machine.
pub const fn namespace(space: RowSpace) -> Namespace {
    match space {
        RowSpace::Data => Namespace::Data,
        RowSpace::Hints => Namespace::Hints,
        RowSpace::Meta => Namespace::Meta,
    }
}
