//! Why a node did not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use starling_node::boot::BootError;
use starling_storage::StorageError;
use starling_transport::{Identity, IdentityError, TransportError};
use starling_types::{NodeId, remedy};

use crate::home::HomeError;
use crate::reactor::End;

/// Why a node did not start. Nothing was changed but, at most, a new and empty data directory.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The state that the store remembers.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Certificates and secrets.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The network.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The cluster's layout and the configuration do not go together.
    #[error("{0}")]
    Objection(String),
    /// A port.
    #[error(
        "cannot listen for {door} at {addr} ({source}): if another process has the port, stop it or set listen.{door}"
    )]
    Listen {
        /// Whose door.
        door: &'static str,
        /// Where.
        addr: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// The certificate in the data directory is another node's.
    #[error("the certificate in {} names {certified}, the data directory is node {node}'s: {}", path.display(), remedy::OTHER_CERTIFICATE)]
    OtherCertificate {
        /// Where.
        path: PathBuf,
        /// The identity that it names.
        certified: Identity,
        /// Whose directory it is.
        node: NodeId,
    },
    /// The node ended before it served.
    #[error("the node ended while it started: {0}")]
    Ended(End),
    /// Something of the system.
    #[error("{what}: {source}")]
    System {
        /// The action that was tried.
        what: &'static str,
        /// The system's words.
        source: io::Error,
    },
}
