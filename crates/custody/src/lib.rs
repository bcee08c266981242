//! # Custody: the partitions that this node can vouch for
//!
//! **Job.** A partition is whole, unsure (and why) or being pulled (and from whom). This machine says which, what an
//! unsure one may still answer, when it has been pulled from enough other owners, and when a person must say that no
//! more can come back. A lost disk, a damaged row and a partition that came with a new layout are the same to it.
//!
//! **Invariants.**
//! - What may be lost is durable before anything rests on it, and so is that it no longer is: a crash on the way changes
//!   nothing ([`Effect::Store`] before [`Effect::Raise`] and [`Effect::Trust`]).
//! - An owner counts as a source only if it has lost nothing of the partition itself, could read all of it, and had
//!   fenced off the layouts before the one for which the partition is pulled:
//! ```text
//! enough for a bucket: in every set of owners, min(others, N - least_w + 1) sources. Of any W >= least_w owners that
//!                      acked a write one is among them, or is this node itself.
//! ```
//! - More that may be lost makes all that was pulled and accepted before void.
//! - Rows that the disk did not give are not damage: as long as a partition has some, nothing of it is given up.
//!
//! **Deliberately absent.** How pages are compared and records merged (`starling-antientropy` walks, told by
//! [`Effect::Pull`]), rows and memory (`starling-vnode`), which nodes are up (`starling-gossip`), which layouts are in
//! force and which owners have fenced which (the control plane, and `starling-ring`): events say it.
//!
//! **How to read this crate.** [`event`] what goes in and out, [`losses`] what the disk keeps of it, `tokens` where
//! rows lie, `unsure` one partition, `sources` which owners count, [`word`] what may be said meanwhile, [`custody`] the
//! machine: what may be lost, `refill` how it becomes whole again, `acceptance` of a loss by an operator.
//!
//! Layout changes will bring it joiners ([`Event::Joined`]); its stories do today.

mod acceptance;
pub mod custody;
pub mod event;
pub mod losses;
mod refill;
mod sources;
#[cfg(test)]
mod tests;
pub mod tokens;
mod unsure;
pub mod word;

pub use custody::{Custody, State};
pub use event::{Counters, Effect, Event, Held, Holdings, Log, OrderId, Rules, Surveyed, Ticket};
pub use losses::Losses;
pub use word::Word;
