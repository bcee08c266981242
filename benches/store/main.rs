//! The costs of a store besides durable puts: loading, reading, scanning, opening, disk and memory; the engine beside
//! other stores (feature `rivals`).
//!
//! Every subject runs in a process of its own, which this one starts: memory and bytes written are counted by process.
//! Keys are random, values do not compress. "Cold" reads come after a new open, with the files' pages dropped from the
//! page cache.

mod engine;
#[cfg(feature = "rivals")]
mod rivals;
mod system;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};
use starling_benches::meter::now;
use starling_benches::table::{Table, fine, rate};

/// Loading, reading, scanning, opening, disk and memory.
#[derive(Debug, Parser)]
struct Args {
    /// Directory on the disk to measure; by default cargo's.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Rows loaded.
    #[arg(long, default_value_t = 400_000)]
    rows: u64,
    /// Bytes of a value.
    #[arg(long, default_value_t = 1_024)]
    value_size: usize,
    /// How often every row is overwritten after that.
    #[arg(long, default_value_t = 2)]
    overwrites: u32,
    /// A hundredth of the rows and reads: shows that it runs, measures nothing.
    #[arg(long)]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Measure one subject in this process.
    #[arg(long, hide = true)]
    only: Option<String>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A store under measurement.
trait Store: Sized {
    /// Opens the store in `dir`, made if it is not there.
    fn open(dir: &Path) -> Result<Self>;
    /// Opens one that makes no tables of what it is given, so that all of it is in the log; none: it cannot be told to.
    fn open_hoarding(_dir: &Path) -> Result<Option<Self>> {
        Ok(None)
    }
    /// Writes rows, without an fsync.
    fn put(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<()>;
    /// Length of a row's value.
    fn get(&self, key: &[u8]) -> Result<Option<usize>>;
    /// Walks over all rows; returns how many.
    fn scan(&self) -> Result<u64>;
    /// Waits until what is in memory is in tables, as far as the store can be asked to.
    fn settle(&mut self) -> Result<()>;
}

const SUBJECTS: &[&str] = if cfg!(feature = "rivals") { &["engine", "fjall", "redb"] } else { &["engine"] };
/// Bytes of rows that are left in the log for the longest open.
const LONG_LOG: u64 = 1 << 30;
/// Rows of one group.
const GROUP: usize = 100;

fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.quick {
        args.rows /= 100;
    }
    match args.only.as_deref() {
        None => compare(&args),
        Some("engine") => measure::<engine::Subject>(&args),
        #[cfg(feature = "rivals")]
        Some("fjall") => measure::<rivals::Fjall>(&args),
        #[cfg(feature = "rivals")]
        Some("redb") => measure::<rivals::Redb>(&args),
        Some(other) => bail!("{other} is not one of {SUBJECTS:?}"),
    }
}

/// Runs every subject, and prints one table: a line a figure.
fn compare(args: &Args) -> Result<()> {
    let results: Vec<Value> = SUBJECTS.iter().map(|subject| run(subject, args)).collect::<Result<_>>()?;
    let columns: Vec<&'static str> = std::iter::once("figure").chain(SUBJECTS.iter().copied()).collect();
    let title =
        format!("{} rows of {} bytes, overwritten {} times", args.rows, args.value_size, args.overwrites);
    let mut table = Table::new(Box::leak(title.into_boxed_str()), Box::leak(columns.into_boxed_slice()));
    let first = results.first().and_then(Value::as_object).context("nothing was measured")?;
    for figure in first.keys() {
        let show = |result: &Value| match result[figure].as_f64() {
            Some(large) if large >= 100.0 => rate(large),
            Some(small) => fine(small),
            None => "-".into(),
        };
        table.push(std::iter::once(figure.as_str().into()).chain(results.iter().map(show)).collect());
    }
    table.print(args.json);
    Ok(())
}

/// Measures a subject in a process of its own.
fn run(subject: &str, args: &Args) -> Result<Value> {
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["--only", subject, "--rows", &args.rows.to_string()]);
    child.args(["--value-size", &args.value_size.to_string(), "--overwrites", &args.overwrites.to_string()]);
    child.args(args.dir.iter().flat_map(|dir| [Path::new("--dir"), dir]));
    let output = child.output()?;
    ensure!(output.status.success(), "{subject}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Measures one subject, and prints its figures as JSON.
fn measure<S: Store>(args: &Args) -> Result<()> {
    let parent = args.dir.clone().unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    std::fs::create_dir_all(&parent)?;
    let dir = tempfile::tempdir_in(parent)?;
    let path = dir.path().join("store");
    let load = Load { rows: args.rows, value_size: args.value_size };
    let mut figures = serde_json::Map::new();
    let mut note = |name: &str, figure: f64| drop(figures.insert(name.into(), json!(figure)));

    let mut store = S::open(&path)?;
    let (took, worst) = load.write(&mut store, 0)?;
    note("1 puts/s, not synced, 100 a group", args.rows as f64 / took.as_secs_f64());
    note("1 worst group, ms", worst.as_secs_f64() * 1e3);
    note("1 memory after it, MiB (anonymous)", system::anonymous_memory()? as f64 / 1_048_576.0);
    store.settle()?;
    note("2 bytes written per byte put, settled", system::bytes_written()? as f64 / load.bytes());
    note("2 disk per byte of rows, settled", system::disk_use(dir.path())? as f64 / load.bytes());
    note("3 cached gets/s, 1 thread", load.read(&store, args.rows / 100, 400_000)?);
    let begun = now();
    ensure!(store.scan()? == args.rows, "rows are missing");
    note("4 rows/s of a full scan", args.rows as f64 / begun.elapsed().as_secs_f64());

    let (mut most, mut worst) = (0.0f64, Duration::ZERO);
    for round in 1..=args.overwrites {
        worst = worst.max(load.write(&mut store, round)?.1);
        most = most.max(system::disk_use(dir.path())? as f64 / load.bytes());
    }
    note("5 worst group while overwritten, ms", worst.as_secs_f64() * 1e3);
    note("5 most disk per byte while overwritten", most);
    store.settle()?;
    note("5 disk per byte after that, settled", system::disk_use(dir.path())? as f64 / load.bytes());
    note(
        "5 bytes written per byte put, over all",
        system::bytes_written()? as f64 / load.bytes() / f64::from(args.overwrites + 1),
    );
    drop(store);

    // Half a write buffer's worth and more stays in the log.
    let mut store = S::open(&path)?;
    let tail = Load { rows: 25_000_000 / args.value_size as u64, ..load };
    tail.write(&mut store, 0)?;
    drop(store);
    system::drop_pages(dir.path())?;
    let begun = now();
    let store = S::open(&path)?;
    note("6 open with 25 MB in the log, s", begun.elapsed().as_secs_f64());
    note("7 cold gets/s, 1 thread", load.read(&store, args.rows, 20_000.min(args.rows))?);
    drop(store);

    let long =
        Load { rows: LONG_LOG.min(args.rows * args.value_size as u64) / args.value_size as u64, ..load };
    if let Some(mut store) = S::open_hoarding(&dir.path().join("long"))? {
        long.write(&mut store, 0)?;
        drop(store);
        system::drop_pages(dir.path())?;
        let begun = now();
        let store = S::open(&dir.path().join("long"))?;
        let per_gib = begun.elapsed().as_secs_f64() * LONG_LOG as f64 / long.bytes();
        note("8 open per GiB of rows in the log only, s", per_gib);
        ensure!(store.scan()? == long.rows, "rows are missing");
    }
    Ok(serde_json::to_writer(std::io::stdout(), &figures)?)
}

/// The rows that are written and read.
#[derive(Clone, Copy)]
struct Load {
    rows: u64,
    value_size: usize,
}

impl Load {
    fn bytes(&self) -> f64 {
        self.rows as f64 * (KEY + self.value_size) as f64
    }

    /// Writes every row once, in random order. Returns how long it took, and the slowest group.
    fn write(&self, store: &mut impl Store, round: u32) -> Result<(Duration, Duration)> {
        let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(u64::from(round));
        let mut noise = vec![0; self.value_size * 64];
        rng.fill_bytes(&mut noise);
        let (begun, mut worst) = (now(), Duration::ZERO);
        let mut group = Vec::with_capacity(GROUP);
        for row in 0..self.rows {
            let at = rng.random_range(0..=noise.len() - self.value_size);
            group.push((key(row), noise[at..at + self.value_size].to_vec()));
            if group.len() == GROUP || row + 1 == self.rows {
                let begun = now();
                store.put(&group)?;
                worst = worst.max(begun.elapsed());
                group.clear();
            }
        }
        Ok((begun.elapsed(), worst))
    }

    /// Reads `count` of the first `among` rows, after as many to warm up if there are few of them. Returns reads a second.
    fn read(&self, store: &impl Store, among: u64, count: u64) -> Result<f64> {
        let mut rng = rand::rngs::ChaCha8Rng::seed_from_u64(7);
        let warm_up = if among < self.rows { among.max(1) } else { 0 };
        (0..warm_up).try_for_each(|row| store.get(&key(row)).map(drop))?;
        let begun = now();
        for _ in 0..count {
            let row = rng.random_range(0..among.max(1));
            ensure!(store.get(&key(row))? == Some(self.value_size), "row {row} is missing");
        }
        Ok(count as f64 / begun.elapsed().as_secs_f64())
    }
}

/// The key of a row: its token is random, as a hash would be.
fn key(row: u64) -> Vec<u8> {
    let token = row.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (row << 17);
    let mut key = token.to_be_bytes().to_vec();
    key.extend_from_slice(&1u32.to_be_bytes());
    key.extend_from_slice(format!("bucket\0key-{row:09}").as_bytes());
    key
}

/// Length of a key.
const KEY: usize = 32;
