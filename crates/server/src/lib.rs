//! # The daemon
//!
//! **Job.** Gives the node machine a clock, randomness, sockets and a disk: one process per host.
//!
//! **Invariants.**
//! - One thread runs the machine, every socket and every timer; the engine's threads commit to disk and keep its files, the readers' read them. The machine is
//!   only ever touched in a turn, and a turn is never re-entered.
//! - A commit is answered only after the engine has said that it is as durable as asked. After a failed one the
//!   process says why and ends: nothing is retried as if nothing had happened.
//! - A data directory belongs to one node of one cluster; any other start is refused and says what to do.
//!
//! **Deliberately absent.** Decisions: those are in `starling-node` and below.
//!
//! **How to read this crate.** [`config`] what can be set; [`daemon`] a node from start to stop, [`error`] why it did
//! not start; [`home`] the data directory and the node it belongs to; [`losses`] what a start must take for lost;
//! [`reactor`] the turn, with `doors`
//! (clients), `peers` (the network) and `disk`; [`storage_executor`] the way to the disk, [`readers`] the threads that read it,
//! [`disk_space`] how full it is;
//! [`host`] addresses as people write them, [`seeds`] where else members may be;
//! [`descriptors`] who may have how many files open, [`machine`] settings held against the machine, [`log`] lines for people;
//! [`clock`] the only place that reads one, [`metrics`] what is shown; [`offline`] what can be done with the data directory of a node that does
//! not run.

pub mod clock;
pub mod config;
pub mod daemon;
pub mod descriptors;
pub mod disk_space;
mod disk_watch;
pub mod error;
pub mod home;
pub mod host;
pub mod log;
pub mod losses;
pub mod machine;
pub mod metrics;
pub mod offline;
pub mod reactor;
pub mod readers;
pub mod seeds;
pub mod storage_executor;
#[cfg(test)]
mod testing;

pub use config::{ConfigError, Overrides, Settings};
pub use daemon::Daemon;
pub use error::StartError;
pub use host::Host;
pub use starling_frontend::Identity;
