//! # The vocabulary
//!
//! **Job.** The words that every other crate speaks: identities, tokens, time, keys and values, bucket
//! properties, outcomes, and every limit that two crates share, in one file.
//!
//! **Invariants.** Identities are newtypes that cannot be mixed up; a value of a validated type
//! ([`BucketName`], [`Key`]) obeys its limit as long as it exists; nothing here reads a clock or draws
//! randomness.
//!
//! **Deliberately absent.** Causality (`starling-causality`), placement (`starling-ring`), messages (`starling-wire`).
//! The little that it computes follows from one value: quorums from a bucket's properties, say.
//!
//! **How to read this crate.** [`id`] who, [`generation`] in which life, [`time`] when, [`token`] where, [`key`] what, [`bucket`] by which
//! rules, [`outcome`] how it ended, [`held`] how much is left, [`limits`] how much, [`span`] how long,
//! [`format`](mod@format) in which form, [`counters`] how often, [`hash`] the two hashers. [`planted`] bugs that the
//! judges of the simulator are tried on.

pub mod bucket;
pub mod counters;
pub mod format;
pub mod generation;
pub mod hash;
pub mod held;
pub mod id;
pub mod key;
pub mod limits;
pub mod outcome;
pub mod planted;
pub mod remedy;
pub mod row;
pub mod span;
pub mod time;
pub mod token;

pub use bucket::{BadProps, BucketChanges, BucketProps, Conflict, PropsStamp};
pub use format::{Formats, OtherFormat};
pub use generation::{Generation, Lineage};
pub use held::Held;
pub use id::{ActorId, ClusterId, ExchangeId, LayoutVersion, NodeId, RequestId};
pub use key::{BucketName, Key, QualifiedKey, Value};
pub use outcome::Outcome;
pub use span::BadSpan;
pub use time::{Instant, Now, WallTime};
pub use token::{PartitionBits, PartitionId, Token};
