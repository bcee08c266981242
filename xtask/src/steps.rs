//! The steps of CI.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{docs, edges, nightly, tidy};

/// One check of the whole repository.
#[derive(Debug)]
pub struct Step {
    name: &'static str,
    title: &'static str,
    check: fn(&Path) -> Result<()>,
}

const NIGHTLY: [Step; 2] = [
    Step { name: "seeds", title: "two thousand seeds are clean", check: nightly::seeds },
    Step { name: "planted", title: "planted bugs are found", check: nightly::planted },
];

const STEPS: [Step; 6] = [
    Step {
        name: "fmt",
        title: "every file is formatted",
        check: |root| cargo(root, &["fmt", "--all", "--check"]),
    },
    Step { name: "clippy", title: "no warnings", check: |root| cargo(root, CLIPPY) },
    Step {
        name: "edges",
        title: "crates import only what their layer may",
        check: |root| none_of(edges::findings(root)?),
    },
    Step {
        name: "tidy",
        title: "files keep to the house rules",
        check: |root| none_of(tidy::findings(root)?),
    },
    Step {
        name: "docs",
        title: "the documentation names what is there",
        check: |root| none_of(docs::findings(root)?),
    },
    Step {
        name: "test",
        title: "all tests pass",
        check: |root| cargo(root, &["test", "--workspace", "--locked"]),
    },
];

const CLIPPY: &[&str] = &["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];

/// The steps that `ci` or `nightly` runs, or the one step of that name.
pub fn named(name: &str) -> Option<Vec<&'static Step>> {
    let of =
        |all: &'static [Step], together| all.iter().filter(move |step| name == together || step.name == name);
    let chosen: Vec<_> = of(&STEPS, "ci").chain(of(&NIGHTLY, "nightly")).collect();
    (!chosen.is_empty()).then_some(chosen)
}

/// The names of all steps.
pub fn names() -> Vec<&'static str> {
    STEPS.iter().chain(&NIGHTLY).map(|step| step.name).collect()
}

/// Runs all of `steps`, even if earlier ones fail, and sums up.
pub fn run(steps: &[&Step]) -> ExitCode {
    let outcomes: Vec<Outcome> = steps.iter().map(|step| step.run()).collect();
    let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    eprintln!();
    outcomes.iter().for_each(Outcome::print);
    let passed = outcomes.iter().all(|outcome| outcome.passed);
    let verdict = if passed { "passed" } else { "FAILED" };
    eprintln!("{verdict} in {:.1} s", total.as_secs_f64());
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Outcome {
    name: &'static str,
    passed: bool,
    took: Duration,
}

impl Outcome {
    fn print(&self) {
        let word = if self.passed { "ok" } else { "FAILED" };
        eprintln!("{:<8}{word:<8}{:>7.1} s", self.name, self.took.as_secs_f64());
    }
}

impl Step {
    fn run(&self) -> Outcome {
        eprintln!("\n=== {}: {}", self.name, self.title);
        let start = clock();
        let result = (self.check)(&root());
        if let Err(error) = &result {
            eprintln!("{error:#}");
        }
        Outcome { name: self.name, passed: result.is_ok(), took: start.elapsed() }
    }
}

#[expect(clippy::disallowed_methods, reason = "says how long a step took, and decides nothing")]
fn clock() -> Instant {
    Instant::now()
}

/// The root of the repository: the parent of this package.
fn root() -> PathBuf {
    // Asked at run time: a binary built from another checkout, in a target directory that both share, would
    // otherwise check that one and call this one clean.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let package = Path::new(&package);
    package.parent().unwrap_or(package).into()
}

pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cargo does not start: is the Rust toolchain on the PATH?")?;
    if !status.success() {
        bail!("cargo {} failed", arguments.join(" "));
    }
    Ok(())
}

fn none_of(findings: Vec<String>) -> Result<()> {
    match findings.len() {
        0 => Ok(()),
        1 => bail!("{}", findings[0]),
        n => bail!("{}\n{n} findings", findings.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_is_every_step_and_a_name_is_one() {
        assert_eq!(named("ci").unwrap().len(), STEPS.len());
        assert_eq!(named("tidy").unwrap()[0].name, "tidy");
        assert_eq!(named("nightly").unwrap().len(), NIGHTLY.len());
        assert!(named("").is_none() && named("cl").is_none());
    }

    #[test]
    fn any_finding_fails_a_step() {
        assert!(none_of(vec![]).is_ok());
        assert!(none_of(vec!["one".into()]).is_err());
        assert!(none_of(vec!["one".into(), "two".into()]).unwrap_err().to_string().ends_with("2 findings"));
    }
}
