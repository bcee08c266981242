//! # Judges of histories
//!
//! **Job.** Given what clients were told and what the replicas hold in the end, say what is wrong: an acked
//! write that is gone, a deleted value that came back, a value that no client wrote, a value shown beside the one
//! that replaced it, replicas that differ, a strict read that missed what was acked.
//!
//! **Invariants.** A finding is a proof: it follows from the store's promises alone (semantics, sections 2 and
//! 3), never from timing. A judge knows nothing of how the store works, so the simulator and the chaos runner
//! share it.
//!
//! **Deliberately absent.** Recording (the harness's task), clocks, and any notion of nodes beyond a name.
//!
//! **How to read this crate.** [`history`] what is judged, [`survival`] the judge of one key in the end, [`register`]
//! of what was read of a single-writer key on the way, [`sights`] of what was read of any key on the way; the tests mutate good histories and demand that every mutant is caught.

pub mod history;
pub mod register;
pub mod sights;
pub mod survival;

pub use history::{KeyHistory, Replica, Write, WriteId, WriteOutcome};
pub use register::{Look, Misread, RegisterHistory, Store, Version};
pub use sights::{Ack, Missight, Sight, SightHistory};
pub use survival::{Finding, judge};
