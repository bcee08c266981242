//! The faults that a store on disk survives. All through the public interface of the crate; files are only known by
//! their names and bytes.
//!
//! ```text
//! kill        processes killed under 64 writers, and in the middle of an open
//! power       the same with the power of the volume cut
//! damage      files cut short, a byte flipped
//! missing     files gone
//! mixture     files of an earlier day
//! space       disks that are full, and what happens when they no longer are
//! descriptors a process without descriptors
//! directory   what must not be opened, must not be changed
//! judges      the judges of all this, judged
//! ```
//!
//! Writers follow a script (`common/workload.rs`) of which every row can be computed again; a ledger knows what they
//! were promised; a judge holds the store against both (`judge.rs` after a crash, `damage.rs` after damage).
//!
//! Seeds are printed, and set by `STARLING_FAULT_SEED`. `STARLING_KILL_ROUNDS` and `STARLING_POWER_ROUNDS` ask for
//! more rounds than a quick run has. Tests that need volumes of their own skip without the privileges, and say so;
//! with `STARLING_FAULTS=required` they fail. Nothing here waits by the clock.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the way to fail")]
#![expect(clippy::print_stdout, reason = "a failed test tells its seed and its rounds")]

mod common;

mod damage;
#[cfg(unix)]
mod descriptors;
mod directory;
mod judges;
mod kill;
mod missing;
mod mixture;
mod power;
mod space;

/// The process that the tests start, kill and cut off.
#[test]
#[ignore = "run by the tests in here, in a process of its own"]
fn child() {
    common::child::run();
}

/// A process whose limits are its own.
#[cfg(unix)]
#[test]
#[ignore = "run by the tests in here, in a process of its own"]
fn starving() {
    descriptors::starve();
}
