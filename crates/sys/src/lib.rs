//! # Faults of the machine
//!
//! **Job.** Cause faults of this machine, so that tests can watch: cut the power of a volume
//! ([`LoopVolume`]), let one run full or refuse writes ([`MemoryVolume`]).
//!
//! **Invariants.** Only volumes made here are touched; each is unmounted and its image removed when its value goes.
//! The one unsafe call of the repository is in `shutdown` (ADR 009). A fault that this machine or user cannot cause is
//! [`Unavailable`], with the reason, never a failed test.
//!
//! **Deliberately absent.** Anything that a node needs to run: nothing but tests imports this crate. Network and
//! clock faults.
//!
//! **How to read this crate.** `shutdown` the system call, [`fork`] how to start processes beside it, `mount` the
//! tools, [`volume`] what tests use.

pub mod fork;
mod mount;
mod shutdown;
pub mod volume;

pub use shutdown::shut_down_file_system;
pub use volume::{LoopVolume, MemoryVolume, Unavailable, or_skip};
