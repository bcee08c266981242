//! The daemon as users run it: real processes, sockets, signals and disks, spoken to from outside by hand-made
//! RESP and HTTP.
//!
//! ```text
//! main_job      one command, a cluster, all doors
//! three_files   three configuration files, one cluster of them
//! buckets       rules by bucket, from the command line to all doors
//! kill          SIGKILL under load: what was acked is there
//! refusals      what must not start, must not join, must not do harm
//! hostile       input that no well-behaved client sends, over real sockets
//! backup        backups cut off, damaged, old, put back; directories checked and repaired
//! pipelines     commands of one connection act in their order
//! diagnostics   signals, the log, and who may read what is written
//! output        what is printed arrives whole, or the command fails
//! sandbox       the system calls that the shipped unit allows
//! stated        what a client states is honoured or refused
//! local         what one node holds itself, and where keys live
//! watching      metrics against dashboards, alerts and the reference page
//! ```
//!
//! Nothing here waits by the clock: a condition is looked at until it holds or a generous deadline has passed.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the way to fail")]

mod backup;
mod buckets;
mod clocks;
mod diagnostics;
mod disk;
mod hostile;
mod kill;
mod local;
mod main_job;
mod output;
mod pipelines;
mod refusals;
mod sandbox;
mod stated;
mod support;
mod three_files;
mod watching;
