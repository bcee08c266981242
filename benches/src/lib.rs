//! # Benchmarks
//!
//! **Job.** Say what the node-to-node protocol, the codecs and the committer cost, each against the simplest thing
//! that does the same work on the same machine, and print one table of it.
//!
//! **Invariants.**
//! - The subjects of a comparison run in the same process in turns, round by round, and a ratio is formed within a
//!   round: a machine that is slow for a while is slow for both.
//! - A figure is the median over the rounds. Every benchmark ends by itself, talks to loopback only, and leaves
//!   nothing behind.
//! - A loop is closed: the next request starts when one is answered, so a rate belongs to a number outstanding.
//!
//! **Deliberately absent.** A whole cluster under load: `starling bench` measures that. Thresholds that fail a
//! build: a shared machine cannot hold them.
//!
//! **How to read this crate.** [`args`] what all benchmarks understand; [`meter`] one measurement; [`callgrind`] instructions; [`table`] what is
//! printed. Then the benchmarks: `rpc/`, `codec.rs`, `commit/`, `store/`, `gauge/`. Results: docs/benchmarks.md.

pub mod args;
pub mod callgrind;
pub mod meter;

pub mod table;
