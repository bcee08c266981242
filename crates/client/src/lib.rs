//! # The native client
//!
//! **Job.** Requests to a Starling cluster over QUIC, many at once over one connection a node, retried by what is
//! known of their outcome, each straight to an owner of its key.
//!
//! **Invariants.**
//! - A request keeps its id over all its tries, so that a retry can never become a second write unnoticed; a new
//!   id is a new request, and only the caller makes one.
//! - Only what may have been staged raises the attempt number; and once a write may have been applied, no later
//!   refusal turns the outcome back into "not applied".
//! - Every call ends within its time limit and a grace of a quarter second.
//!
//! - A layout only says where to go first. Any node takes any request and passes it on once, so a layout that is old, or
//!   owners that cannot be reached, cost time and nothing else.
//! - No request waits for a new connection while another node is connected; connections to owners are made beside it.
//! - A node that was silent is left alone for a while: one request at a time finds out whether it is back.
//!
//! **Deliberately absent.** Merging of siblings: that is the application's to do. Choosing owners by their latency.
//!
//! **How to read this crate.** [`Client`] (`client`) and its calls (`call`); `course`, which decides after every
//! try what comes next, without any input or output; [`ClientError`] (`error`). Below: `routes` (which nodes own a
//! key), `nodes` (addresses and their connections), `connection` and `pending` (requests under way), `clock`.

mod call;
mod client;
mod clock;
mod cluster_time;
mod connection;
mod course;
mod error;
mod nodes;
mod pending;
mod routes;
#[cfg(test)]
mod tests;

pub use call::Call;
pub use client::Client;
pub use error::ClientError;
pub use starling_transport::Credentials;
