//! # Transport: messages between nodes, and from clients, over QUIC
//!
//! **Job.** One endpoint a node: who the other end is (mutual TLS under the cluster's own authority), the first
//! exchange, and messages of four traffic classes that never queue behind each other.
//!
//! **Invariants.**
//! - A peer is usable only after both Hellos, and only as the node that its certificate names.
//! - A frame is refused above its limit before any of it is buffered; an end that sends bytes of no frame loses that
//!   connection and nothing else. Every queue is bounded in frames and bytes, and full is said, never waited for.
//! - Nothing is lost by choosing among two connections to a peer, by retiring one, or by draining.
//! - One thread, no lock and no task per request. A batch is what gathered while the last was written: no timer.
//!
//! **Deliberately absent.** The meaning of messages, retries, request timeouts (`starling-node`, the client). The
//! choice of nodes to dial: the control plane's (`starling-node`). Delivery: a queued frame is lost with its
//! connection.
//!
//! **How to read this crate.** Identity: [`Authority`] (`authority`), [`Credentials`] (`identity`), `secrets`, `files`.
//! Settings and their reasons: `quic`. A connection from the inside out: `cutter` (bytes to frames), `lane` and `large`
//! (frames to bytes), `link` (all of one connection), `greeting` (before it is one). Many connections: `peers` (which
//! leads to which peer), [`Inbox`] and [`Transport`] (`endpoint`), and a client's end, [`Dialer`] (`channel`). Its
//! counts: [`Counters`].

mod authority;
mod channel;
mod counters;
mod crowd;
mod cutter;
mod endpoint;
mod files;
mod greeting;
mod identity;
mod inbox;
mod lane;
mod large;
mod link;
mod peers;
mod quic;
mod secrets;
#[cfg(test)]
mod tests;

pub use authority::Authority;
pub use channel::{Channel, ChannelInbox, Dialer};
pub use counters::Counters;
pub use endpoint::{Config, RIVAL, Transport};
pub use greeting::GreetingError;
pub use identity::{Credentials, Identity, IdentityError};
pub use inbox::{ClientId, Inbox};
pub use link::Sent;
pub use quic::TransportError;
pub use secrets::EndpointSecrets;
