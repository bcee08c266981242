//! # The house rules as programs
//!
//! **Job.** `cargo xtask ci` is what CI runs: `fmt`, `clippy`, `edges`, `tidy`, `docs`, `test`, each also on its own.
//! `cargo xtask nightly` is what takes too long for it: many seeds of the simulator, and planted bugs that it must find.
//!
//! **Invariants.** A step changes no file of the repository. Every finding names the file, or the crate, and what
//! to do instead.
//!
//! **Deliberately absent.** Installing anything (`.ci/run` does), and rules that clippy already checks.
//!
//! **How to read this crate.** `steps` the list and how it runs, `edges` which crate may import which, `tidy` what a
//! file may hold, `docs` what the documentation says of the code, `nightly` the simulator at length; `tree` the files
//! they read.

use std::process::ExitCode;

mod docs;
mod edges;
mod nightly;
mod steps;
mod tidy;
mod tree;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chosen = match arguments.as_slice() {
        [name] => steps::named(name),
        _ => None,
    };
    match chosen {
        Some(steps) => steps::run(&steps),
        None => {
            eprintln!("usage: cargo xtask ci|nightly|{}", steps::names().join("|"));
            ExitCode::from(2)
        }
    }
}
