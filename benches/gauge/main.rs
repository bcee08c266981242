//! Instructions that the machines of three nodes spend on a put and on a get: the steady gauge of what a change costs.
//! Counted is what [`Trio`] hands to the nodes, and nothing else: no codec, no store, no socket.

mod trio;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use starling_benches::callgrind::instructions;
use starling_benches::table::{Table, fine, rate};
use starling_wire::client::{KvOp, Seen};

use crate::trio::Trio;

/// Counts instructions of puts and gets over three nodes in one process.
#[derive(Debug, Parser)]
struct Args {
    /// Write what was counted into the baseline.
    #[arg(long)]
    bless: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Do one thing many times and print nothing: what is started under valgrind.
    #[arg(long, hide = true)]
    case: Option<String>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The operations, each with its preparation.
const CASES: [(&str, Case); 4] = [
    ("put, new key", Case { known: false, op: blind }),
    ("put, blind", Case { known: true, op: blind }),
    ("put, context=local", Case { known: true, op: local }),
    ("get", Case { known: true, op: || KvOp::Get }),
];

struct Case {
    known: bool,
    op: fn() -> KvOp,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(name) = args.case {
        return carry_out(&name);
    }
    let mut table = Table::new(TITLE, COLUMNS);
    let mut counted = Vec::new();
    for (name, _) in CASES {
        let count = (instructions("counted_handle", &["--case", name])? / f64::from(TIMES)).round();
        let before = baseline(name)?;
        counted.push(format!("{name}: {count}\n"));
        table.push(vec![name.into(), rate(count), rate(before), fine(count / before)]);
    }
    table.print(args.json);
    if args.bless {
        std::fs::write(file(), counted.concat()).context("writing the baseline")?;
    }
    Ok(())
}

fn carry_out(name: &str) -> Result<()> {
    let case = &CASES.iter().find(|(known, _)| *known == name).context("no such case")?.1;
    let mut trio = Trio::new()?;
    if case.known {
        (0..KEYS).try_for_each(|key| done(trio.ask(key, blind(), false)?))?;
    }
    (0..TIMES).try_for_each(|n| done(trio.ask(n % KEYS, (case.op)(), true)?))
}

/// A request that failed would be a cheap one.
fn done(reply: starling_wire::KvReply) -> Result<()> {
    match reply {
        starling_wire::KvReply::Failed(failure) => bail!("{failure:?}"),
        _ => Ok(()),
    }
}

fn blind() -> KvOp {
    KvOp::Put { value: VALUE.into(), seen: Seen::Quorum, ttl_ms: None }
}

fn local() -> KvOp {
    KvOp::Put { value: VALUE.into(), seen: Seen::Local, ttl_ms: None }
}

/// The count of the commit that last wrote the baseline; not a number if it has none.
fn baseline(name: &str) -> Result<f64> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let count = line.map_or(Ok(f64::NAN), str::parse)?;
    ensure!(!count.is_sign_negative() || count.is_nan(), "a negative count in the baseline");
    Ok(count)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("gauge/baseline.txt")
}

const TITLE: &str = "Instructions of three nodes' machines, 100 B values";
const COLUMNS: &[&str] = &["operation", "instructions", "baseline", "ratio"];
const VALUE: &[u8] = &[7; 100];
const KEYS: u32 = 2_000;
const TIMES: u32 = 2_000;
