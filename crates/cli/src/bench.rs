//! `starling bench`: a closed loop of requests against a running cluster.
//!
//! Each outstanding request waits for its answer before the next is sent, so the rate is what the cluster gives
//! at that depth. CPU time and memory are the servers' own, read from their `/metrics` before and after.

mod keys;
mod quic;
mod resp;
mod servers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use self::keys::{Keys, Values};
use self::servers::Usage;
use crate::args::{BenchArgs, Load, Protocol};
use crate::exit::{Exit, Failed};
use crate::{connect, output};

/// The state that all loops of a run share.
pub struct Run {
    /// When they stop.
    until: Instant,
    keys: RefCell<Keys>,
    values: Values,
    load: Load,
    turn: Cell<bool>,
    latencies: RefCell<Histogram<u64>>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
}

/// The next step.
pub enum Step {
    /// Write this key.
    Put(Vec<u8>),
    /// Read this key.
    Get(Vec<u8>),
}

impl Run {
    fn new(args: &BenchArgs, until: Instant, keys: Keys, load: Load) -> Rc<Self> {
        // Bounds that are constants, and three digits: this cannot fail.
        #[expect(clippy::expect_used, reason = "constant bounds")]
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3).expect("constant bounds");
        Rc::new(Self {
            until,
            keys: RefCell::new(keys),
            values: Values::new(args.value_size, args.seed),
            load,
            turn: Cell::new(false),
            latencies: RefCell::new(latencies),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
        })
    }

    /// The next step; `None` when the run is over.
    pub fn next(&self) -> Option<Step> {
        if now() >= self.until {
            return None;
        }
        let key = self.keys.borrow_mut().next_key()?;
        let writes = match self.load {
            Load::Put => true,
            Load::Get => false,
            Load::Mixed => self.turn.replace(!self.turn.get()),
        };
        Some(if writes { Step::Put(key) } else { Step::Get(key) })
    }

    /// The next value to write.
    pub fn value(&self) -> bytes::Bytes {
        self.values.next_value()
    }

    /// A request that began at `begun` was answered.
    pub fn done(&self, begun: Instant) {
        let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.latencies.borrow_mut().saturating_record(micros.max(1));
    }

    /// A request failed.
    pub fn failed(&self, why: impl ToString) {
        self.errors.set(self.errors.get() + 1);
        self.first_error.borrow_mut().get_or_insert_with(|| why.to_string());
    }
}

/// This command measures: it reads the clock.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Measures and prints.
pub async fn run(args: BenchArgs, json: bool) -> Result<Exit, Failed> {
    if args.load != Load::Put {
        fill(&args).await?;
    }
    let http = connect::one_each(&args.http)?;
    let before = servers::usage(&http).await;
    let begun = now();
    let until = begun + Duration::from_secs(u64::from(args.seconds));
    let run = Run::new(&args, until, Keys::random(args.keys, args.seed), args.load);
    drive(&args, &run).await?;
    let elapsed = begun.elapsed();
    let after = servers::usage(&http).await;
    let report = report(&args, &run, elapsed, before.zip(after));
    output::product(if json { report.to_string() } else { text(&report) })?;
    Ok(if run.errors.get() == 0 { Exit::Done } else { Exit::Failed })
}

async fn drive(args: &BenchArgs, run: &Rc<Run>) -> Result<(), Failed> {
    match args.protocol {
        Protocol::Resp => resp::drive(&connect::one_each(&args.resp)?, args.outstanding, run).await,
        Protocol::Quic => quic::drive(&args.target, args.outstanding, run).await,
    }
}

/// Writes every key once, so that reads find something.
async fn fill(args: &BenchArgs) -> Result<(), Failed> {
    let until = now() + Duration::from_secs(600);
    let run = Run::new(args, until, Keys::each_once(args.keys), Load::Put);
    drive(args, &run).await?;
    match run.first_error.borrow().as_ref() {
        None => Ok(()),
        Some(error) => Err(Failed::new(Exit::Failed, format!("the keys could not be written: {error}"))),
    }
}

fn report(
    args: &BenchArgs,
    run: &Run,
    elapsed: Duration,
    usage: Option<(Usage, Usage)>,
) -> serde_json::Value {
    let latencies = run.latencies.borrow();
    let done = latencies.len();
    let per_op =
        usage.map(|(before, after)| (after.cpu_seconds - before.cpu_seconds) * 1e6 / done.max(1) as f64);
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
    serde_json::json!({
        "protocol": format!("{:?}", args.protocol).to_lowercase(),
        "load": format!("{:?}", args.load).to_lowercase(),
        "outstanding": args.outstanding,
        "value_size": args.value_size,
        "keys": args.keys,
        "operations": done,
        "errors": run.errors.get(),
        "first_error": *run.first_error.borrow(),
        "seconds": elapsed.as_secs_f64(),
        "ops_per_s": (done as f64 / elapsed.as_secs_f64()).round(),
        "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99), "p999_ms": ms(0.999),
        "max_ms": latencies.max() as f64 / 1_000.0,
        "server_cpu_us_per_op": per_op.map(|us| (us * 10.0).round() / 10.0),
        "server_rss_mib": usage.map(|(_, after)| (after.rss_bytes / (1 << 20) as f64).round()),
    })
}

fn text(report: &serde_json::Value) -> String {
    let field = |name: &str| report[name].to_string().trim_matches('"').to_owned();
    let mut text = format!(
        "{} {} {} B, {} outstanding: {} ops/s, p50 {} ms, p99 {} ms, p99.9 {} ms, max {} ms; servers: {} µs CPU per operation, {} MiB RSS in all",
        field("protocol"),
        field("load"),
        field("value_size"),
        field("outstanding"),
        field("ops_per_s"),
        field("p50_ms"),
        field("p99_ms"),
        field("p999_ms"),
        field("max_ms"),
        field("server_cpu_us_per_op"),
        field("server_rss_mib"),
    );
    if report["errors"] != 0 {
        text.push_str(&format!("\n{} errors, the first: {}", field("errors"), field("first_error")));
    }
    text
}
