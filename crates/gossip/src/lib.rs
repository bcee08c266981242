//! # Membership
//!
//! **Job.** Finds out which members are up, suspects and convicts those that do not answer, and spreads that and every
//! member's own claims until all tables are equal: SWIM (Das, Gupta, Motivala 2002) with Lifeguard's
//! suspicion and local health (Dadgar, Phillips, Currey 2018), a reliable ping as last resort, and comparison
//! of whole tables. On the side it compares our wall clock with our peers', and notices which peers hold
//! another layout.
//!
//! **Invariants.** The same seed and events give the same effects. A member's standing (generation, left,
//! incarnation, status) never falls, so the order in which news arrives does not matter. Only a member raises
//! its own incarnation; a live member that hears doubt about itself refutes it. Left is final for a generation.
//! A message that may be lost stays within [`starling_wire::gossip::DATAGRAM_BUDGET`]; the table within
//! [`starling_types::limits::MAX_MEMBERS`]. No message makes the machine panic or set off an endless exchange.
//!
//! **Deliberately absent.** Placement: Dead moves no data, it only says where not to wait. Layouts: a digest
//! rides along, the control plane fetches what differs. Addresses, sockets, clocks: the shell's.
//!
//! **How to read this crate.** [`machine`] the event loop, with `receive` (messages), `hearsay` (what becomes
//! of news), `probing` (asking) and `exchange` (comparing tables); then what they work on: `table`,
//! `suspicion`, `probe`, `rumours`, `health`, `clock`; [`config`] the timers.

mod clock;
pub mod config;
mod health;
pub mod machine;
mod probe;
mod rumours;
mod suspicion;
mod table;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use config::{Config, ConfigError, Preset};
pub use machine::{Counters, Effect, Event, Gossip, Member, Notice};
pub use starling_wire::gossip::{MemberInfo, Status};
