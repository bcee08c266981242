//! Durable puts through the storage executor against the least that group commit can be: append to a log with a
//! checksum, fdatasync, answer.
//!
//! All subjects commit all that waits by then in one thread (the engine applies in another). Writers are tasks of one
//! more thread, each with one put outstanding. A put is one row with a fresh random key.

mod engine;
mod log;
#[cfg(feature = "rivals")]
mod rivals;
mod serial;
mod slow;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use rand::{Rng, SeedableRng};
use serial::Serial;
use starling_benches::args::Common;
use starling_benches::meter::{Meter, Sample, median, now};
use starling_benches::table::{Cell, Table, fine, rate};
use tokio::sync::oneshot;
use tokio::task::{JoinSet, LocalSet};

/// Durable puts against a log.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Directory on the disk to measure; by default cargo's.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Writers, each with one put outstanding.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 256])]
    writers: Vec<usize>,
    /// Bytes of a value.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1_024])]
    value_size: Vec<usize>,
    /// Milliseconds that every fsync of both takes longer.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 2])]
    slow_fsync: Vec<u64>,
}

/// One put, and where its answer goes.
struct Put {
    key: Bytes,
    value: Bytes,
    answer: oneshot::Sender<Result<()>>,
}

/// Makes puts durable.
trait Committer {
    /// Hands over a put; it is answered when it is durable.
    fn submit(&self, put: Put);
    /// Waits for what is under way and stops.
    fn finish(self) -> Result<()>;
}

#[cfg(not(feature = "rivals"))]
const SUBJECTS: [&str; 2] = ["engine", "log"];
#[cfg(feature = "rivals")]
const SUBJECTS: [&str; 4] = ["engine", "log", "fjall", "redb"];
/// The subject that the others are held against.
const LOG: usize = 1;

/// One outcome for each subject.
type Round = [Outcome; SUBJECTS.len()];

/// How many groups were committed.
type Groups = Arc<AtomicU64>;

/// One cell in one round: what was done, and how many puts shared an fsync.
#[derive(Clone, Copy)]
struct Outcome {
    sample: Sample,
    per_sync: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = args.dir.clone().unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot use {}", dir.display()))?;
    let mut table = Table::new(TITLE, COLUMNS);
    for load in loads(&args) {
        let rounds: Vec<Round> =
            (0..args.common.rounds()).map(|_| load.round(&dir)).collect::<Result<_>>()?;
        for (index, subject) in SUBJECTS.iter().enumerate() {
            let outcomes: Vec<Outcome> = rounds.iter().map(|round| round[index]).collect();
            let ratio = |of: fn(&Sample) -> f64| {
                median(rounds.iter().map(|r| of(&r[index].sample) / of(&r[LOG].sample)))
            };
            table.push(load.row(subject, &outcomes, (ratio(|s| s.ops_per_s), ratio(|s| s.p99_us))));
        }
    }
    table.print(args.common.json);
    Ok(())
}

/// All cells of the table.
fn loads(args: &Args) -> impl Iterator<Item = Load> {
    args.slow_fsync.iter().flat_map(move |&ms| {
        args.writers.iter().flat_map(move |&writers| {
            args.value_size.iter().map(move |&value_size| Load {
                writers,
                value_size,
                delay: Duration::from_millis(ms),
                span: args.common.span(),
            })
        })
    })
}

struct Load {
    writers: usize,
    value_size: usize,
    delay: Duration,
    span: Duration,
}

impl Load {
    /// Measures every subject, in the order of [`SUBJECTS`], each with an empty store of its own.
    fn round(&self, dir: &Path) -> Result<Round> {
        let engine = self.on_empty(dir, |store, groups| {
            self.measure(engine::Subject::start(store, groups.clone(), self.delay)?, groups)
        })?;
        let log = self.on_empty(dir, |store, groups| {
            self.measure(
                Serial::start(log::Log::create(&store.join("log"))?, groups.clone(), self.delay)?,
                groups,
            )
        })?;
        #[cfg(feature = "rivals")]
        let fjall = self.on_empty(dir, |store, groups| {
            self.measure(Serial::start(rivals::Fjall::create(store)?, groups.clone(), self.delay)?, groups)
        })?;
        #[cfg(feature = "rivals")]
        let redb = self.on_empty(dir, |store, groups| {
            let place = rivals::Redb::create(&store.join("redb"))?;
            self.measure(Serial::start(place, groups.clone(), self.delay)?, groups)
        })?;
        Ok([
            engine,
            log,
            #[cfg(feature = "rivals")]
            fjall,
            #[cfg(feature = "rivals")]
            redb,
        ])
    }

    fn on_empty(
        &self,
        dir: &Path,
        measure: impl FnOnce(&Path, &Groups) -> Result<Outcome>,
    ) -> Result<Outcome> {
        let store = tempfile::tempdir_in(dir)?;
        measure(store.path(), &Groups::default())
    }

    fn measure(&self, committer: impl Committer + 'static, groups: &Groups) -> Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let committer = Rc::new(committer);
        let meter = LocalSet::new().block_on(&runtime, self.drive(committer.clone()))?;
        let committer = Rc::into_inner(committer).context("a writer is still at it")?;
        committer.finish()?;
        let per_sync = meter.1 as f64 / groups.load(Relaxed) as f64;
        Ok(Outcome { sample: meter.0.sample()?, per_sync })
    }

    /// Writers that each wait for their own answer, so that groups come about as they do for clients.
    async fn drive(&self, committer: Rc<impl Committer + 'static>) -> Result<(Meter, u64)> {
        let meter = Rc::new(RefCell::new(Meter::start(self.span)?));
        let mut writers = JoinSet::new();
        for writer in 0..self.writers {
            let source = Source::new(writer as u64, self.value_size);
            writers.spawn_local(write(source, committer.clone(), meter.clone()));
        }
        let mut answered = 0;
        while let Some(written) = writers.join_next().await {
            answered += written??;
        }
        let meter = Rc::into_inner(meter).context("a writer is still at it")?;
        Ok((meter.into_inner(), answered))
    }

    fn row(&self, subject: &str, outcomes: &[Outcome], ratios: (f64, f64)) -> Vec<Cell> {
        let samples: Vec<_> = outcomes.iter().map(|outcome| outcome.sample).collect();
        let Sample { ops_per_s, p50_us, p99_us, cpu_us } = Sample::median(&samples);
        vec![
            subject.into(),
            rate(self.delay.as_millis() as f64),
            self.writers.into(),
            self.value_size.into(),
            rate(ops_per_s),
            rate(p50_us),
            rate(p99_us),
            fine(cpu_us),
            rate(median(outcomes.iter().map(|outcome| outcome.per_sync))),
            fine(ratios.0),
            fine(ratios.1),
        ]
    }
}

/// Puts one after another until the time is over. Returns how many.
async fn write(mut source: Source, committer: Rc<impl Committer>, meter: Rc<RefCell<Meter>>) -> Result<u64> {
    let mut answered = 0;
    loop {
        let begun = now();
        if !meter.borrow_mut().goes_on(begun) {
            return Ok(answered);
        }
        let (answer, put_answered) = oneshot::channel();
        committer.submit(source.put(answer));
        put_answered.await.context("a put was never answered")??;
        meter.borrow_mut().done(begun, now());
        answered += 1;
    }
}

/// Where puts come from: random keys, and a value that does not compress.
struct Source {
    rng: rand::rngs::ChaCha8Rng,
    value: Bytes,
}

impl Source {
    fn new(seed: u64, value_size: usize) -> Self {
        let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
        let mut value = vec![0; value_size];
        rng.fill_bytes(&mut value);
        Self { rng, value: value.into() }
    }

    fn put(&mut self, answer: oneshot::Sender<Result<()>>) -> Put {
        let mut key = [0; KEY];
        self.rng.fill_bytes(&mut key);
        Put { key: Bytes::copy_from_slice(&key), value: self.value.clone(), answer }
    }
}

/// About what a row's key has: partition, generation, token and the client's key.
const KEY: usize = 32;
const TITLE: &str = "Durable puts, closed loop, one fsync a group";
const COLUMNS: &[&str] = &[
    "subject",
    "fsync +ms",
    "writers",
    "value B",
    "ops/s",
    "p50 µs",
    "p99 µs",
    "cpu µs/op",
    "puts/fsync",
    "ratio ops/s",
    "ratio p99",
];
