//! # Durable ordered bytes
//!
//! **Job.** Keep rows (a key and a value, both plain bytes) in a few fixed namespaces: commit batches of them
//! durably, read one, scan a range. [`Engine`] is the contract; [`DurableEngine`] keeps it on disk,
//! [`MemoryEngine`] in memory with the faults a disk has, for the simulator.
//!
//! **Invariants.** When a synced commit is answered, its batches survive a power cut and every later read sees them. A
//! batch survives whole or not at all. An open says what it finds missing or damaged ([`OpenReport`]); what was never
//! promised is not among it. Bytes are checked against a checksum over namespace, key and value at every read: a
//! damaged row is an error, never other bytes. After a failed write or fsync the engine answers nothing but
//! [`StorageError::Poisoned`] until it is opened again, because it is unknown what the disk kept (Rebello et al., "Can
//! Applications Recover from fsync Failures?", USENIX ATC 2020); a full disk refuses and goes on. One process at a time
//! has a data directory open.
//!
//! **Deliberately absent.** Records and partitions (`starling-vnode`; of tokens and generations this crate knows only
//! where they stand in a key, to drop them); caching of decoded records (`starling-vnode`); what to do about a loss
//! (`starling-node`).
//!
//! **How to read this crate.** [`starling_types::row`] and [`batch`] what is written and scanned, [`engine`] the
//! contract, [`error`] how it fails; `row` one stored row, `range_tombstones` the dropped ranges, which nothing in
//! production writes yet. Then [`durable`]: `pipeline` how a commit goes, `backpressure` what holds it back, `trees`
//! where rows rest, `chores` and `upkeep` the work in the background; [`log`] the commit log, over [`files`];
//! `directory` and `marks` the data directory. [`memory`] is the other engine. `conformance` holds both to the contract.

pub mod batch;
#[cfg(test)]
mod conformance;
mod directory;
pub mod durable;
pub mod engine;
pub mod error;
pub mod files;
pub mod log;
mod marks;
pub mod memory;
mod observer;
mod payload;
mod range_tombstones;
mod row;
mod ruins;

pub use batch::{Batch, Op};
pub use durable::{
    DurableEngine, Excavation, OpenReport, Options, Salvage, Supply, Surroundings, SyncMode, excavate,
    inspect_log,
};
pub use engine::{Done, Durability, Engine, ScanLimit, Sizes, Snapshot, Ticket};
pub use error::StorageError;
pub use files::Patience;
pub use memory::{CrashMode, MemoryEngine};
pub use observer::{Group, Observer};
pub(crate) use starling_types::row::{Page, RowWrite, Space};
