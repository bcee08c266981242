//! The errors that a caller sees when a call fails.

use std::net::SocketAddr;

use starling_transport::{GreetingError, TransportError};
use starling_types::{BadSpan, Outcome};
use starling_wire::Failure;

/// A call that failed. [`ClientError::outcome`] says what became of the data.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A node answered with a failure that no retry within the time limit has mended.
    #[error("{}: {} (outcome: {outcome}, tries: {tries}){}", failure.kind.as_str(), failure.detail, advice(*outcome))]
    Failed {
        /// The last answer. Its own outcome is that of the last try alone.
        failure: Failure,
        /// The outcome for the data, over all tries.
        outcome: Outcome,
        /// How often it was tried.
        tries: u32,
    },
    /// No node answered within the time limit.
    #[error("no answer in time: {last} (outcome: {outcome}, tries: {tries}){}", advice(*outcome))]
    Unanswered {
        /// The error that ended the last try.
        last: String,
        /// The outcome for the data, over all tries.
        outcome: Outcome,
        /// How often it was tried.
        tries: u32,
    },
    /// No node can be reached: nothing was sent.
    #[error("no node can be reached at {}: {last}", addresses(tried))]
    Unreachable {
        /// Where one was looked for.
        tried: Vec<SocketAddr>,
        /// The end of the last try.
        last: GreetingError,
    },
    /// No address was given.
    #[error("no address: name at least one node's QUIC address")]
    NoAddress,
    /// The message is larger than any message may be: nothing was sent.
    #[error("the request is larger than a message may be: split the value")]
    TooLarge,
    /// The request states a span that no request may state: nothing was sent.
    #[error(transparent)]
    BadSpan(#[from] BadSpan),
    /// The client's own socket or credentials do not work: nothing was sent.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system gives no random bytes to make request ids from: nothing was sent.
    #[error("the system gives no random bytes: {0}")]
    Randomness(String),
    /// A node answered with something that is no answer to the request.
    #[error(
        "a node answered with {0}, which is no answer to the request: are client and node of one release?"
    )]
    Unexpected(&'static str),
}

/// Every address, or the first few of many.
fn addresses(tried: &[SocketAddr]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<_> = tried.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = tried.len().saturating_sub(SHOWN);
    shown.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

impl ClientError {
    /// The outcome for the data. After [`Outcome::Unknown`] the write may or may not show up.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Failed { outcome, .. } | Self::Unanswered { outcome, .. } => *outcome,
            Self::Unexpected(_) => Outcome::Unknown,
            _ => Outcome::NotApplied,
        }
    }
}

const fn advice(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unknown => ": read the key to see, or send the very same request again",
        Outcome::NotApplied | Outcome::Applied => "",
    }
}
