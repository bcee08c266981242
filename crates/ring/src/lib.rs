//! # The ring
//!
//! **Job.** Say which nodes hold which keys. A token falls into one of Q equal partitions (the virtual nodes);
//! a [`Layout`] names the N owners of each; [`assign()`] computes those owners and [`plan()`] the next layout;
//! [`decide`] makes all nodes agree on the first one.
//!
//! **Invariants.** Pure data and pure functions in integer arithmetic: the same input gives the same bytes on
//! every platform. A layout's owners are distinct members; every node holds the floor or the ceiling of its fair
//! share, zones are spread whenever that is possible, and a change moves no more than it must. From one layout
//! to the next a partition takes in at most N−W new owners, so that writes can win in both. A node accepts one
//! first layout, ever.
//!
//! **Deliberately absent.** Membership (`starling-gossip`), which replies suffice (`starling-coordinator`), how
//! data follow a new layout (`starling-handoff`), and the disk: the caller that holds an [`Acceptor`] makes it durable
//! before it answers.
//!
//! **How to read this crate.** [`role`] what a node brings, [`owners`] the table of owners, [`layout`] the map and
//! its lookups, [`assign`](mod@assign) how owners are chosen (targets, keep and fill, balance, primaries),
//! [`plan`](mod@plan) from one layout to the next, [`decide`] the first layout, [`error`] what can be wrong.

pub mod assign;
pub mod decide;
pub mod error;
pub mod layout;
pub mod owners;
pub mod plan;
pub mod role;

pub use assign::{Assignment, ZoneRedundancy, assign};
pub use decide::{Acceptor, InitError, Progress, Proposal, Refusal, Verdict};
pub use error::{LayoutError, PlanError};
pub use layout::{Layout, LayoutHash};
pub use owners::OwnerTable;
pub use plan::{Plan, next, plan};
pub use role::{Role, Weight, Zone};
