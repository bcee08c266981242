//! # Durable ordered bytes
//!
//! **Job.** Keep rows (a key and a value, both plain bytes) in a few fixed namespaces: commit batches of them
//! durably, read one, scan a range. [`Engine`] is the contract; [`DurableEngine`] keeps it on disk,
//! [`MemoryEngine`] in memory with the faults a disk has, for the simulator.
//!
//! **Invariants.** When a synced commit returns, its batches survive a crash and every later read sees them. A
//! batch survives a crash whole or not at all. Bytes are checked against a checksum over namespace, key and
//! value at every read: a damaged row is an error, never other bytes. After a failed commit the engine answers
//! nothing but [`StorageError::Poisoned`] until it is opened again, because nobody knows what the disk kept
//! (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020). One process at a time
//! has a data directory open.
//!
//! **Deliberately absent.** Records, tokens, partitions and their key layout (`starling-vnode`); queues and
//! threads (the daemon drains waiting batches into one commit); caching of decoded records (`starling-vnode`).
//!
//! **How to read this crate.** [`batch`] what is written, [`range`] what is scanned, [`engine`] the contract,
//! [`error`] how it fails; then `row` (one stored row), `directory` (the data directory), [`durable`] and
//! [`memory`], the two engines. `conformance` holds both to the contract.

pub mod batch;
#[cfg(test)]
mod conformance;
mod directory;
pub mod durable;
pub mod engine;
pub mod error;
pub mod files;
mod graves;
pub mod log;
mod marks;
pub mod memory;
mod observer;
mod payload;
pub mod range;
mod row;

pub use batch::{Batch, Namespace, Op};
pub use durable::{DurableEngine, OpenReport, Options, Salvage, Surroundings, SyncMode};
pub use engine::{Done, Durability, Engine, Page, ScanLimit, Sizes, Snapshot, Ticket};
pub use error::StorageError;
pub use memory::{CrashMode, MemoryEngine};
pub use observer::{Group, Observer};
pub use range::KeyRange;
pub use row::{MAX_ROW_KEY, MAX_ROW_VALUE};
