//! # The whole node as a deterministic machine
//!
//! **Job.** Two machines under one roof: the [`control`] plane (members, layouts, the first decision) and the
//! [`shard`] (client requests and the replicas this node owns). [`Node`] routes between them and the shell.
//!
//! **Invariants.**
//! - The same seed, boot rows and events give the same effects: no clock, no socket, no file, no unseeded
//!   randomness.
//! - Nothing that must survive a crash is acted upon before the shell has answered its `Commit`.
//! - A node without a layout, or one that is draining, refuses client requests and says so.
//! - Every request is answered exactly once, by its deadline.
//!
//! **Deliberately absent.** Everything that needs tokio or a file (`starling-server`), causality
//! (`starling-causality`), the quorum of a request (`starling-coordinator`) and placement (`starling-ring`), what can
//! be vouched for after a loss (`starling-custody`). Rules about the whole node are here: which nodes the first layout
//! needs, which are fenced, what a full disk refuses.
//!
//! **How to read this crate.** [`event`] what goes in and out, [`node`] the roof, `change` what its two machines tell each
//! other, [`boot`] what a start knows (with `lives` of other members; what it may have lost is a [`Losses`]; `meta` how it
//! is kept), [`view`] the cluster as this node sees it, [`wall`] which wall time it goes by, [`control`] with [`founding`]
//! (`cluster init`), [`shard`] with `replica` (what other nodes ask), `client` (what clients ask), `local` (what this node
//! holds), `sweep` (comparison with other owners), `vouching` (the effects of `starling-custody`), `damage`, `pressure` and
//! [`admission`]; [`report`], [`health`], [`status`] and [`explain`] for people.

pub mod admission;
pub mod boot;
pub mod buckets;
mod change;
pub mod control;
pub mod disk;
pub mod event;
pub mod explain;
pub mod founding;
pub mod health;
mod meta;
pub mod node;
pub mod report;
pub mod shard;
pub mod status;
pub mod view;
pub mod wall;

pub use boot::{Boot, Config};
pub use disk::{Disk, Lack, Room};
pub use event::{CommitId, Effect, Event, Log, ReplyHandle, ScanId};
pub use node::Node;
pub use report::Report;
pub use starling_antientropy::Pace;
pub use starling_custody::{Losses, losses};
pub use view::View;
