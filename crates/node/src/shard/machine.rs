//! The machine of one request, whichever it is.

use starling_coordinator::{self as coordinator, Forward, Get, Put, forward, get, put};
use starling_types::{Instant, NodeId};

/// One of the three.
pub(super) enum Machine {
    Put(Put),
    Get(Get),
    Forward(Forward),
}

/// What kind of request it is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Write,
    Read,
    Forward,
}

/// What happens to a request's machine.
pub(super) enum Input {
    Put(put::Event),
    Get(get::Event),
    Forward(forward::Event),
    PeerDown(NodeId),
    Tick,
}

impl Machine {
    pub(super) fn handle(&mut self, now: Instant, input: Input, out: &mut Vec<coordinator::Effect>) {
        match (self, input) {
            (Self::Put(put), Input::Put(event)) => put.handle(now, event, out),
            (Self::Put(put), Input::PeerDown(node)) => put.handle(now, put::Event::PeerDown(node), out),
            (Self::Put(put), Input::Tick) => put.handle(now, put::Event::Tick, out),
            (Self::Get(get), Input::Get(event)) => get.handle(now, event, out),
            (Self::Get(get), Input::PeerDown(node)) => get.handle(now, get::Event::PeerDown(node), out),
            (Self::Get(get), Input::Tick) => get.handle(now, get::Event::Tick, out),
            (Self::Forward(fwd), Input::Forward(event)) => fwd.handle(now, event, out),
            (Self::Forward(fwd), Input::PeerDown(node)) => {
                fwd.handle(now, forward::Event::PeerDown(node), out)
            }
            (Self::Forward(fwd), Input::Tick) => fwd.handle(now, forward::Event::Tick, out),
            // An answer that fits no question of this request.
            _ => {}
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Put(_) => Kind::Write,
            Self::Get(_) => Kind::Read,
            Self::Forward(_) => Kind::Forward,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Put(put) => put.next_deadline(),
            Self::Get(get) => get.next_deadline(),
            Self::Forward(forward) => forward.next_deadline(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Put(put) => put.is_over(),
            Self::Get(get) => get.is_over(),
            Self::Forward(forward) => forward.is_over(),
        }
    }
}
