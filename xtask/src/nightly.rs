//! The simulator at length: seeds that must all be clean, and bugs of which nearly all must be found.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::steps::cargo;

/// Seeds that must be clean.
const SEEDS: &str = "2000";
/// Seeds in which a planted bug may show.
const FEWER_SEEDS: &str = "300";
/// How many of the planted bugs must be found.
const FOUND: usize = 28;
/// A build with planted bugs is kept apart from all others.
const APART: &str = "target/planted";

pub fn seeds(root: &Path) -> Result<()> {
    cargo(root, &["build", "--release", "--locked", "--bin", "starling"])?;
    let done = Command::new(root.join("target/release/starling"))
        .args(["sim", "--seeds", SEEDS, "--jobs", "2"])
        .status()
        .context("starling does not start")?;
    if !done.success() {
        bail!("some of {SEEDS} seeds failed");
    }
    Ok(())
}

/// Plants one bug after the other, and prints at which seed it was found, and by which judge.
#[expect(clippy::print_stdout, reason = "the table is what was asked for")]
pub fn planted(root: &Path) -> Result<()> {
    let build = ["build", "--release", "--locked", "--bin", "starling", "--features", "planted"];
    cargo(root, &[&build[..], &["--target-dir", APART]].concat())?;
    let starling = root.join(APART).join("release/starling");
    let bugs = bugs(&starling)?;
    let mut found = 0;
    println!("| bug | first red seed | found by |\n|---|---|---|");
    for bug in &bugs {
        let hunt = hunt(&starling, bug)?;
        found += usize::from(hunt.is_some());
        let (seed, judges) = hunt.unwrap_or(("-".into(), "nobody".into()));
        println!("| `{bug}` | {seed} | {judges} |");
    }
    println!("{found} of {} found within {FEWER_SEEDS} seeds", bugs.len());
    if found < FOUND {
        bail!("only {found} of {} planted bugs were found; {FOUND} must be", bugs.len());
    }
    Ok(())
}

/// The names that it knows: it says them when it is given another.
fn bugs(starling: &Path) -> Result<Vec<String>> {
    let output = Command::new(starling).args(["sim", "--planted", "?"]).output()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, names) = words.split_once("takes one of ").with_context(|| format!("no names in: {words}"))?;
    let names = names.lines().next().unwrap_or_default();
    let bare = |name: &str| name.trim().trim_end_matches(|c: char| !c.is_ascii_lowercase()).to_owned();
    Ok(names.split(',').map(bare).collect())
}

/// The first red seed under a bug, and the judges that found it.
fn hunt(starling: &Path, bug: &str) -> Result<Option<(String, String)>> {
    let output = Command::new(starling)
        .args(["-o", "json", "sim", "--seeds", FEWER_SEEDS, "--jobs", "2", "--until-red", "--planted", bug])
        .output()
        .context("starling does not start")?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let reports = words.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let red = reports.into_iter().find(|report| report["verdict"] == "fail" && report["seed"].is_u64());
    match red {
        Some(report) => Ok(Some(first(&report))),
        // A machine that panics is found too.
        None if !output.status.success() => Ok(Some(("?".into(), "a panic".into()))),
        None => Ok(None),
    }
}

fn first(report: &Value) -> (String, String) {
    let judges = report["judges"].as_array().into_iter().flatten();
    let judges: Vec<&str> = judges.filter_map(Value::as_str).collect();
    (report["seed"].to_string(), judges.join(", "))
}
