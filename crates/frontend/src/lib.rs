//! # The front doors
//!
//! **Job.** Turn bytes from strangers into requests of one [`KvService`], and its replies into bytes: RESP for
//! every Redis client, HTTP for everything else.
//!
//! **Invariants.**
//! - Replies of a connection leave in the order of its requests, in any order of their answers; commands on one key
//!   begin in that order, one after the other.
//! - Every condition that a client states is honoured or refused, never passed over.
//! - No input makes a door panic or hold more memory than its limits: a length is judged before anything is
//!   buffered for it, requests in flight and output per connection are bounded, and a client that does not read
//!   is not read from.
//! - A request is answered exactly once; one that its service loses is answered `unknown`.
//! - A connection is closed for another only when places run short, and then the address with most of them gives up the
//!   one that has been idle longest; half-read requests and unread replies have a time limit; none keeps the thread for
//!   longer than a slice.
//! - Malformed input costs its own connection an error, and no other connection anything.
//! - One current-thread runtime: no task and no lock per request, one task per connection, nothing is `Send`.
//!
//! **Deliberately absent.** Wall clocks and randomness (the service drafts requests), what a request means
//! (`starling-node`), telemetry (the service counts), TLS, passwords and transactions.
//!
//! **How to read this crate.** [`service`] the trait both doors speak to, `context` and `text` how contexts and
//! numbers look in text, [`listener`] the accept loop, `places` who holds its
//! places, `slice` how long a connection may keep the thread. Then RESP: [`resp`] and in it `frame` bytes to arguments, `command` the
//! table, `session`, `block` and `data` arguments to what is asked, `order` whose turn it is, `ask` the request when it is,
//! `pipeline` replies back in order, `reply` and `output` replies to bytes, `connection` the loop around it all. Then
//! HTTP: [`http`] and in it `routes`, `target`, `options` and `stated` a request's head to a
//! [`KvRequest`](starling_wire::KvRequest), `body`, `answer` and `problem` the way back, `exchange` the call between,
//! `local` what this node holds itself.

mod context;
pub mod http;
pub mod listener;
mod places;
pub mod resp;
pub mod service;
mod slice;
#[cfg(test)]
mod testing;
mod text;

pub use http::serve_http;
pub use resp::serve_resp;
pub use service::{Door, FrontEvent, FrontLimits, Identity, InfoSection, KvService, ReplySink, ReplyTo};
