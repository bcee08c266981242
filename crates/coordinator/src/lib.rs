//! # One request, decided
//!
//! **Job.** The life of one client request on the node that drives it: which nodes to ask, what suffices, when to give
//! up, what to do about the silent ones.
//!
//! **Invariants.**
//! - A plan is made whole when the request starts, and nothing changes it; late answers are judged by it.
//! - W counts distinct nodes that hold the write as demanded; a coordinator's own hint never counts; in a
//!   strict request only owners count.
//! - A write succeeds when W is reached in each owner set of its plan. A node counts in every set that it, or the owner
//!   it stands for, is in.
//! - R counts owners that can vouch for the partition; a strict read answers only what N−R+1 owners hold.
//! - Every request ends by its deadline, with an outcome.
//!
//! **Deliberately absent.** How a record is stored or merged into a replica (`starling-vnode`), timers and
//! sockets. Effects name the vnode only as "here".
//!
//! **How to read this crate.** [`plan`] what is decided at the start, `sets` and `tally` how answers are counted,
//! [`put`] and [`get`] the two requests, [`forward`] a request passed on to an owner; [`Request`] is one of the three, [`Event`] what happens to it; [`reply`] what clients are told.

mod event;
pub mod forward;
pub mod get;
pub mod plan;
pub mod put;
pub mod reply;
mod request;
mod sets;
mod tally;
#[cfg(test)]
mod tests;

pub use event::Event;
pub use forward::Forward;
pub use get::Get;
pub use plan::{Plan, Reach, Terms};
pub use put::Put;
pub use request::Request;
pub use sets::MAX_SETS;

use bytes::Bytes;
use starling_causality::{Record, VersionVector};
use starling_types::NodeId;
use starling_wire::client::Receipt;
use starling_wire::replica::Origin;
use starling_wire::{Class, Failure, KvReply, Message};

/// The effects that a request asks of its surroundings.
#[derive(Debug)]
pub enum Effect {
    /// Send to another node.
    Send(NodeId, Class, Message),
    /// Coordinate the write on this node's vnode, with what was found out for it.
    Coordinate(put::Heard),
    /// Read this node's replica.
    ReadHere,
    /// Merge into this node's replica.
    MergeHere(Record, Option<Origin>),
    /// Keep the record for an absent owner until it is back.
    KeepHint(NodeId, Bytes),
    /// Tell the client.
    Respond(Answer),
}

/// The answer to the client, before its context is sealed for this cluster and key.
#[derive(Debug)]
pub enum Answer {
    /// The record that a read saw.
    Read(Record),
    /// A write that reached its quorum.
    Written(Written),
    /// Another node's answer, passed on.
    Relayed(KvReply),
    /// A failure.
    Failed(Failure),
}

/// A write that reached its quorum.
#[derive(Debug)]
pub struct Written {
    /// The versions that the record covers, if this write's value is the sole sibling.
    pub context: Option<VersionVector>,
    /// Siblings there are now.
    pub siblings: u32,
    /// Whether there was a live value before.
    pub existed: bool,
    /// The receipt: what was done, on which nodes.
    pub receipt: Receipt,
}

/// Where a request stands. `Wait` until one of the others is certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Undecided.
    Wait,
    /// The quorum is reached.
    Succeed,
    /// It cannot be reached any more.
    Fail,
}
