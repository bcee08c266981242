//! # The replicas that a node holds
//!
//! **Job.** One node's holding of its partitions: every record it stores, read and changed in one place. A
//! client's write goes through `coordinate`, everything that replicates through `merge`, and every read
//! through `read` or `scan`: the narrow waist of the store. (A backup copies rows, not records, and reads the engine.)
//!
//! **Invariants.**
//! - All changes of one key pass one queue, across loads that take their time; each starts from the newest
//!   *staged* record, so no read-modify-write is lost.
//! - A record is visible to reads, and acked, only when its commit is durable (as asked).
//! - A dot is minted only by a vnode of an owner, above everything the client and the record have seen, under an
//!   actor that never outlives an unclean stop. The ceiling that the clock leaves a restart is durable before the ack.
//! - A request id that was seen once never inserts a value again.
//!
//! **Deliberately absent.** Ownership, quorums and peers (`starling-coordinator`), files
//! (`starling-storage`): loads and commits are effects, answered by events.
//!
//! **How to read this crate.** [`event`] what goes in and out, [`rows`] how a record lies on disk, [`vnodes`]
//! the machine, then `write`, `read` and `scan` (the waist), `cell` one key's queue, `mint` who may make dots, `context` what
//! writers may claim to have seen, `tries` what a try of a request may do, `recall` the memory of request ids, `cache`
//! records kept for reads, `outcome` what the disk answers, `counters`.

mod cache;
mod cell;
mod context;
mod counters;
pub mod event;
mod mint;
mod outcome;
mod read;
mod recall;
pub mod rows;
mod scan;
mod size;
#[cfg(test)]
mod tests;
mod tries;
mod vnodes;
mod write;

pub use counters::Counters;
pub use event::{
    CellKind, Changed, ClientWrite, Done, Effect, Event, OpId, RecordPage, Refused, Replaces, ScanRange,
    Staged, Ticket, Tries,
};
pub use rows::CellKey;
pub use vnodes::{Boot, HintTally, Vnodes};
