//! # What happened before what
//!
//! **Job.** Decide which values of a key are superseded and which stand side by side. A write is named by a
//! [`Dot`], a set of writes by a [`VersionVector`], and what a replica stores for a key is a [`Record`]: a dotted
//! version vector set. Also the clock that mints dots, and the token in which a client carries what it has seen.
//! All of it is pure data: semantics, section 2, is the contract.
//!
//! **Invariants.**
//! - A write drops a sibling iff its context covers a dot of the sibling's request, or both are deletes; no other
//!   client's value is ever dropped.
//! - Dots of one request are one value: none of them comes back once another one was superseded, and none costs another
//!   request's value. Of what is known for that, anything may be forgotten: a late dot then stands beside.
//! - Merge is commutative, associative and idempotent, so replicas converge in any order and any number of merges.
//! - A merge of two records that both have siblings is never empty, not even when a replica has forgotten; what it then
//!   rescues no merge drops.
//! - A clock mints strictly increasing times, all above what the caller has seen and none above what is durable.
//! - All that is stored or handed out is versioned, checksummed, and has exactly one encoding.
//!
//! **Deliberately absent.** The history of actors and the leasing of the clock's ceiling on disk (`starling-vnode`,
//! `starling-node`), the floor that lets tombstones go (`starling-vnode`), sibling caps, and any clock: time is an
//! argument.
//!
//! **How to read this crate.** [`hlc`] time, [`dot`] one write, [`version_vector`] what has been seen, [`record`]
//! what is stored (then its parts: `sibling`, `write`, `merge`, `dead` requests, `codec`, `digest`), [`token`] what a
//! client carries. The tests in `record/tests.rs` replay real histories against a model with explicit causal pasts
//! (`history.rs`), those in `record/tests/ids.rs` histories in which one request is minted more than once.

pub mod dot;
#[cfg(test)]
mod history;
pub mod hlc;
pub mod record;
mod staged;
pub mod token;
pub mod version_vector;
mod walk;

pub use dot::Dot;
pub use hlc::{Hlc, HlcClock, Minted};
pub use record::{Digest, Merge, Mint, Payload, Record, RecordError, Sibling};
pub use staged::Staged;
pub use token::{ContextToken, TokenError};
pub use version_vector::{Relation, VersionVector};
