//! The machine of one request, whichever it is.

use starling_types::Instant;

use crate::{Effect, Event, Forward, Get, Put};

/// One of the three.
#[derive(Debug)]
pub enum Request {
    /// A write that this node coordinates.
    Put(Put),
    /// A read that this node coordinates.
    Get(Get),
    /// A request that an owner answers.
    Forward(Forward),
}

impl Request {
    /// The one entrance.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Effect>) {
        match self {
            Self::Put(put) => put.handle(now, event, out),
            Self::Get(get) => get.handle(now, event, out),
            Self::Forward(forward) => forward.handle(now, event, out),
        }
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Put(put) => put.next_deadline(),
            Self::Get(get) => get.next_deadline(),
            Self::Forward(forward) => forward.next_deadline(),
        }
    }

    /// Whether the client is answered, and nothing is awaited any more.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Put(put) => put.is_over(),
            Self::Get(get) => get.is_over(),
            Self::Forward(forward) => forward.is_over(),
        }
    }

    /// Replicas that it repairs.
    pub const fn repairs(&self) -> u32 {
        if let Self::Get(get) = self { get.repairs() } else { 0 }
    }
}
