//! Durable puts through the storage executor against the least that group commit can be: append to a log with a
//! checksum, fdatasync, answer.
//!
//! All subjects have one thread that commits whatever waits by then (the engine applies in another), and a driver that keeps a number of writers
//! going, each with one put outstanding. A put is one row with a fresh random key.

mod engine;
mod log;
#[cfg(feature = "rivals")]
mod rivals;
mod serial;
mod slow;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Parser;
use rand::{Rng, SeedableRng};
use serial::Serial;
use starling_benches::args::Common;
use starling_benches::meter::{Meter, Sample, median, now};
use starling_benches::table::{Cell, Table, fine, rate};

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

/// One put; its answer bears the writer.
struct Put {
    writer: usize,
    key: Bytes,
    value: Bytes,
}

/// Makes puts durable.
trait Committer {
    /// Hands over puts.
    fn submit(&self, puts: Vec<Put>);
    /// Writers whose puts are durable by now, at least one.
    async fn answers(&mut self) -> Result<Vec<usize>>;
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
            self.measure(engine::Executor::start(store, groups.clone(), self.delay)?, groups)
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

    fn measure(&self, committer: impl Committer, groups: &Groups) -> Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(self.drive(committer, groups))
    }

    async fn drive(&self, mut committer: impl Committer, groups: &Groups) -> Result<Outcome> {
        let mut source = Source::new(self.value_size);
        let mut begun: Vec<Instant> = vec![now(); self.writers];
        let mut meter = Meter::start(self.span)?;
        let (mut under_way, mut answered) = (self.writers, 0);
        committer.submit((0..self.writers).map(|writer| source.put(writer)).collect());
        while under_way > 0 {
            let writers = committer.answers().await?;
            let now = now();
            let goes_on = meter.goes_on(now);
            writers.iter().for_each(|writer| meter.done(begun[*writer], now));
            answered += writers.len();
            under_way -= writers.len();
            if goes_on {
                under_way += writers.len();
                writers.iter().for_each(|writer| begun[*writer] = now);
                committer.submit(writers.into_iter().map(|writer| source.put(writer)).collect());
            }
        }
        committer.finish()?;
        let per_sync = answered as f64 / groups.load(Relaxed) as f64;
        Ok(Outcome { sample: meter.sample()?, per_sync })
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

/// Where puts come from: random keys, and a value that does not compress.
struct Source {
    rng: rand::rngs::ChaCha8Rng,
    value: Bytes,
}

impl Source {
    fn new(value_size: usize) -> Self {
        let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(1);
        let mut value = vec![0; value_size];
        rng.fill_bytes(&mut value);
        Self { rng, value: value.into() }
    }

    fn put(&mut self, writer: usize) -> Put {
        let mut key = [0; KEY];
        self.rng.fill_bytes(&mut key);
        Put { writer, key: Bytes::copy_from_slice(&key), value: self.value.clone() }
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
