//! Messages from node to node against a raw QUIC echo: how much of what one QUIC connection can carry is left after
//! frames, lanes, codecs and envelopes.
//!
//! Either side of either subject has a thread with a runtime of its own. A request is a `Merge` whose frame has
//! 1,150 bytes, its answer a `Merged`; the echo moves 1,150 bytes one way and 20 the other on one stream, with
//! the same QUIC settings.

mod raw;
mod transport;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use starling_benches::args::Common;
use starling_benches::meter::{Sample, median};
use starling_benches::table::{Cell, Table, fine, rate};
use starling_transport::Authority;
use starling_types::NodeId;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

/// Node-to-node messages against a raw QUIC echo.
#[derive(Debug, Parser)]
struct Args {
    #[command(flatten)]
    common: Common,
    /// Requests outstanding at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 256])]
    outstanding: Vec<usize>,
    /// Measure one subject alone, for a profiler.
    #[arg(long, value_enum)]
    only: Option<Subject>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    Transport,
    Raw,
}

/// One measurement to make.
struct Load<'a> {
    authority: &'a Authority,
    outstanding: usize,
    span: Duration,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let dir = tempfile::tempdir()?;
    let authority = Authority::open_or_create(dir.path())?;
    let mut table = Table::new(TITLE, COLUMNS);
    for &outstanding in &args.outstanding {
        let load = Load { authority: &authority, outstanding, span: args.common.span() };
        let (mut ours, mut echo) = (Vec::new(), Vec::new());
        for _ in 0..args.common.rounds() {
            if args.only != Some(Subject::Raw) {
                ours.push(transport::measure(&load)?);
            }
            if args.only != Some(Subject::Transport) {
                echo.push(raw::measure(&load)?);
            }
        }
        let ratio = median(ours.iter().zip(&echo).map(|(ours, echo)| ours.ops_per_s / echo.ops_per_s));
        let cpu = median(ours.iter().zip(&echo).map(|(ours, echo)| echo.cpu_us / ours.cpu_us));
        table.push(row("transport", outstanding, &ours, ratio, cpu));
        table.push(row("raw echo", outstanding, &echo, 1.0, 1.0));
    }
    table.print(args.common.json);
    Ok(())
}

fn row(subject: &str, outstanding: usize, samples: &[Sample], ratio: f64, cpu_ratio: f64) -> Vec<Cell> {
    let Sample { ops_per_s, p50_us, p99_us, cpu_us } = Sample::median(samples);
    vec![
        subject.into(),
        outstanding.into(),
        rate(ops_per_s),
        rate(p50_us),
        rate(p99_us),
        fine(cpu_us),
        fine(ratio),
        fine(cpu_ratio),
    ]
}

/// Runs `serve` on a thread of its own, and on this one `call` with the address at which that listens.
fn both_ends(
    serve: impl FnOnce(mpsc::Sender<SocketAddr>, oneshot::Receiver<()>) -> Result<()> + Send,
    call: impl FnOnce(SocketAddr) -> Result<Sample>,
) -> Result<Sample> {
    let (listens, listening) = mpsc::channel();
    let (stop, stopped) = oneshot::channel();
    thread::scope(|scope| {
        let serve = move || serve(listens, stopped);
        let server = thread::Builder::new().name("server".into()).spawn_scoped(scope, serve)?;
        let sample = listening.recv().context("the server did not start").and_then(call);
        // The receiver is gone if the server has failed.
        let _ = stop.send(());
        server.join().map_err(|_| anyhow!("the server panicked"))??;
        sample
    })
}

/// Runs one end as a node runs: one thread, one `LocalSet`. The limit only turns a hang into an error.
fn run<T>(limit: Duration, end: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limited = async { tokio::time::timeout(limit, end).await.context("the connection hangs")? };
    LocalSet::new().block_on(&runtime, limited)
}

impl Load<'_> {
    /// Long enough for a handshake, a warm-up and the measurement.
    fn limit(&self) -> Duration {
        2 * self.span + Duration::from_secs(10)
    }
}

const CLIENT: NodeId = NodeId::from_bits(1);
const SERVER: NodeId = NodeId::from_bits(2);
const REQUEST: usize = 1_150;
const TITLE: &str = "Node to node: Merge (1,150 B) and Merged, one connection over loopback";
const COLUMNS: &[&str] =
    &["subject", "outstanding", "ops/s", "p50 µs", "p99 µs", "cpu µs/op", "ratio ops/s", "ratio cpu"];
