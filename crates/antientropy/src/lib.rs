//! # Comparison of replicas in the background
//!
//! **Job.** Finds what hints and reads did not: every pair of nodes that share partitions walks them, page by page,
//! compares digests, and merges what differs into both. Owners that can talk to each other become equal by
//! themselves. (Pages are read in full; hash trees, which skip what has not changed, come later.)
//!
//! **Invariants.**
//! - Data change only through merges, which are harmless however often and in whatever order they come.
//! - A difference is looked at twice: pages are read from disk while writes are under way, so each key that differs is
//!   read again at both ends, and only what still differs is merged.
//! - One page at a time is compared with a peer, at most [`Pace::AT_ONCE`] peers at a time, one page per [`Pace::gap`];
//!   at most [`limits::SWEEP_WINDOW`] records of a page are under way.
//! - What may have lost records is pulled from other owners at once, before all else; until then its answers say that
//!   they are partial.
//! - Two nodes are said to be equal only after a pass in which every page was, and only as of its beginning.
//!
//! **Deliberately absent.** How rows and records are read and merged: effects name them, the node carries them out
//! through the vnode. Expiry and deletes: a tombstone is a record like any other.
//!
//! **How to read this crate.** [`event`] what goes in and out, [`shared`] which tokens two nodes share, [`page`] what is compared, `walk` one walk with
//! its repairs, `refill` what is to be brought back and from whom, `standing` what is known to be equal, [`sweep`] the machine, with
//! `answer`, its other half.
//!
//! [`limits::SWEEP_WINDOW`]: starling_types::limits::SWEEP_WINDOW

mod answer;
pub mod event;
pub mod pace;
pub mod page;
mod refill;
pub mod shared;
mod standing;
pub mod sweep;
#[cfg(test)]
mod tests;
mod walk;

pub use event::{Counters, Effect, Errand, Event, Held, ScanTicket};
pub use pace::Pace;
pub use page::Rows;
pub use shared::Shared;
pub use sweep::Sweep;
