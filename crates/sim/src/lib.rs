//! # A world for whole nodes
//!
//! **Job.** Runs real node machines ([`starling_node::Node`]) on one thread under one seeded heap of events: a
//! network that loses, delays, repeats and reorders, disks that lag, fail and forget, clocks that disagree,
//! clients that retry, and a nemesis. Then heals everything and hands the history to `starling-checker`.
//!
//! **Invariants.**
//! - The same seed and options give the same events, to the byte ([`Trace`] hashes them).
//! - Every frame passes the real codec; every row passes the real memory engine, with its crash modes.
//! - Nothing is told to a client that a machine did not say, and nothing survives a crash that a disk would lose,
//!   unless a [`Sabotage`] says so: with one switched on, the judge must find something.
//! - Each source of chance has a stream of its own, so that taking one fault away does not shift the others.
//!
//! **Deliberately absent.** tokio, sockets, threads, and every rule of the store.
//!
//! **How to read this crate.** [`seed`] chance, [`trace`] the fingerprint of a run, `network`, `disk` and `host` what a
//! node stands on, [`world`] the heap with `links` (connections), `effects` (what machines ask for), `hands` and
//! `losses` (what drivers may do), `pause` and [`listen`]; [`toll`] what faults did; [`observer`] the mints; [`workload`]
//! clients and [`history`] what they were told, [`nemesis`] faults, [`run`] one seed from start to verdict, [`swarm`]
//! what a standard seed draws, with `settle` (heal, drain, read all) and `verdict` (what the judge is told).

pub mod counters;
mod disk;
mod effects;
mod hands;
pub mod history;
mod host;
pub mod judges;
mod links;
pub mod listen;
mod losses;
pub mod nemesis;
mod network;
pub mod observer;
mod pause;
mod report;
pub mod rules;
pub mod run;
pub mod sabotage;
pub mod seed;
mod settle;
mod shape;
pub mod swarm;
pub mod toll;
pub mod trace;
pub mod troubles;
mod verdict;
mod witness;
pub mod workload;
pub mod world;

pub use counters::Counters;
pub use judges::{Complaint, Judge};
pub use listen::{Listener, Passed};
pub use nemesis::Faults;
pub use rules::Rules;
pub use run::{Options, Report, run};
pub use sabotage::Sabotage;
pub use seed::Seed;
pub use toll::{Harm, Toll};
pub use trace::Trace;
pub use world::{Notice, World, WorldOptions};
