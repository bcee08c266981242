//! The seam to the owner of an endpoint: what it is told, and when.

use std::net::SocketAddr;
use std::rc::Rc;

use starling_types::NodeId;
use starling_wire::Envelope;
use starling_wire::hello::{Hello, NodeHello};

use crate::greeting::GreetingError;
use crate::link::Sink;

/// One client's connection, as long as it lasts; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// Receives all that arrives. Called on the endpoint's own thread and free to call the endpoint. Only [`Inbox::hello`]
/// is ever called from within a call into the endpoint (`leave`, `drain`).
pub trait Inbox: 'static {
    /// The hello that this node sends, as of now.
    fn hello(&self) -> Hello;
    /// The first connection to a peer is usable, or the first one since it restarted.
    fn peer_up(&self, peer: NodeHello, addr: SocketAddr);
    /// The last connection to a peer is gone. Frames that were under way are lost.
    fn peer_down(&self, peer: NodeId, reason: &str);
    /// A process was refused at `addr` that runs as a peer, beside the one that is connected.
    fn rival(&self, _peer: NodeId, _addr: SocketAddr) {}
    /// A frame of a peer. Its cluster and epoch are unchecked.
    fn peer_frame(&self, from: NodeId, envelope: Envelope);
    /// A frame of a client. Its cluster and epoch are unchecked.
    fn client_frame(&self, client: ClientId, envelope: Envelope);
    /// A client's connection is gone: replies to it lead nowhere.
    fn client_gone(&self, client: ClientId);
    /// Everything that arrived together has been delivered: time for one turn of the machine.
    fn batch_end(&self);
    /// A dial came to nothing.
    fn dial_failed(&self, _addr: SocketAddr, _expect: Option<NodeId>, _error: &GreetingError) {}
}

/// Frames of one peer.
pub(crate) struct PeerSink {
    pub(crate) peer: NodeId,
    pub(crate) inbox: Rc<dyn Inbox>,
}

impl Sink for PeerSink {
    fn frame(&self, envelope: Envelope) {
        self.inbox.peer_frame(self.peer, envelope);
    }

    fn batch_end(&self) {
        self.inbox.batch_end();
    }
}

/// Frames of one client.
pub(crate) struct ClientSink {
    pub(crate) client: ClientId,
    pub(crate) inbox: Rc<dyn Inbox>,
}

impl Sink for ClientSink {
    fn frame(&self, envelope: Envelope) {
        self.inbox.client_frame(self.client, envelope);
    }

    fn batch_end(&self) {
        self.inbox.batch_end();
    }
}
