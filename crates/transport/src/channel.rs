//! A client's end: it dials nodes and does not listen.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use starling_types::{ClusterId, WallTime};
use starling_wire::hello::{Hello, NodeHello, PROTOCOLS};
use starling_wire::{Class, Envelope};
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::counters::Counters;
use crate::endpoint::connect;
use crate::greeting::GreetingError;
use crate::identity::{ANY_NODE, Credentials};
use crate::large::Budget;
use crate::link::{self, Farewell, Link, Sent, Sink};
use crate::quic::{self, Protocols, TransportError};
use crate::secrets::EndpointSecrets;

/// Receives the frames of a [`Channel`]. Called on the endpoint's own thread.
pub trait ChannelInbox: 'static {
    /// A frame of the node.
    fn frame(&self, envelope: Envelope);
    /// The connection is gone: what was asked on it may or may not have happened.
    fn gone(&self, reason: &str);
}

/// A client's socket, shared by all its channels.
pub struct Dialer {
    endpoint: quinn::Endpoint,
    config: quinn::ClientConfig,
    budget: Rc<Budget>,
    counters: Rc<Counters>,
}

impl Dialer {
    /// Opens a socket that reaches addresses like `like`. Must be called inside a `LocalSet`.
    pub fn bind(credentials: &Credentials, like: SocketAddr) -> Result<Self, TransportError> {
        let any: SocketAddr = match like {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        Ok(Self {
            endpoint: quic::endpoint(any, &EndpointSecrets::random()?, None)?,
            config: quic::client_config(credentials, Protocols::Client)?,
            budget: Rc::new(Budget::new()),
            counters: Rc::default(),
        })
    }

    /// Connects to the node at `addr`, of `cluster` or, if that is none, of any.
    pub async fn connect(
        &self,
        addr: SocketAddr,
        cluster: ClusterId,
        inbox: Rc<dyn ChannelInbox>,
    ) -> Result<Channel, GreetingError> {
        let ours = Hello { protocols: PROTOCOLS, cluster, node: None, wall: None };
        let to = (addr, ANY_NODE);
        let (connection, greeted) =
            connect(&self.endpoint, &self.config, Protocols::Client, to, &ours).await?;
        let node = greeted.node()?.clone();
        let link = Link::new(connection, &greeted, self.counters.clone(), self.budget.clone());
        let channel =
            Channel { node, cluster: greeted.hello.cluster, wall: greeted.hello.wall, link: link.clone() };
        spawn_local(async move {
            let sink = Rc::new(ChannelSink(inbox.clone()));
            let reason = link::run(&link, greeted.streams, sink).await;
            inbox.gone(&reason);
        });
        Ok(channel)
    }

    /// The counters of its work so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tells the nodes that this client goes; what is under way is lost.
    pub async fn close(&self) {
        self.endpoint.close(Farewell::Finished.code(), b"the client has finished");
        let _ = timeout(GOODBYE, self.endpoint.wait_idle()).await;
    }
}

/// One connection of a client to a node; closed when dropped.
#[derive(Debug)]
pub struct Channel {
    node: NodeHello,
    cluster: ClusterId,
    wall: Option<WallTime>,
    link: Rc<Link>,
}

impl Channel {
    /// The node, as it introduced itself.
    pub const fn node(&self) -> &NodeHello {
        &self.node
    }

    /// The node's cluster when it introduced itself.
    pub const fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The node's estimate of the cluster's time when it introduced itself.
    pub const fn wall(&self) -> Option<WallTime> {
        self.wall
    }

    /// The protocol version that both ends speak.
    pub fn protocol(&self) -> u16 {
        self.link.protocol()
    }

    /// Hands a message to the connection.
    pub fn send(&self, envelope: &Envelope) -> Sent {
        self.link.send(Class::Foreground, envelope)
    }

    /// Whether new requests can be sent here: the connection stands and the node has not said that it goes.
    pub fn is_usable(&self) -> bool {
        self.link.is_usable() && !self.link.is_leaving()
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.link.close(Farewell::Finished, "the client has finished");
    }
}

struct ChannelSink(Rc<dyn ChannelInbox>);

impl Sink for ChannelSink {
    fn frame(&self, envelope: Envelope) {
        self.0.frame(envelope);
    }

    /// A client wakes the waiting task for each frame; there is no turn to take.
    fn batch_end(&self) {}
}

const GOODBYE: Duration = Duration::from_secs(1);
