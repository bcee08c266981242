//! A node's endpoint: it listens, dials, and knows which connection leads to which peer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use quinn::{Connection, Incoming};
use starling_types::{Generation, NodeId};
use starling_wire::hello::{Hello, NodeHello};
use starling_wire::message::GoAway;
use starling_wire::{Class, Envelope, Message};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::counters::{self, Counters};
use crate::crowd::{Clients, Greeting, Greetings};
use crate::greeting::{self, Greeted, GreetingError, lost};
use crate::identity::{ANY_NODE, Credentials, Identity, node_name};
use crate::inbox::{ClientId, ClientSink, Inbox, PeerSink};
use crate::large::Budget;
use crate::link::{self, Farewell, Link, Sent};
use crate::peers::{Arrival, Peers};
use crate::quic::{self, Protocols, TransportError};
use crate::secrets::EndpointSecrets;

/// The settings of an endpoint.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// This node's certificate and key.
    pub credentials: Credentials,
    /// This node's secrets, kept over restarts.
    pub secrets: EndpointSecrets,
    /// This node; the one its certificate names.
    pub node: NodeId,
    /// Connections above this many are refused, peers' included: leave room for every peer. Each costs some
    /// 30 kB.
    pub max_connections: usize,
    /// Clients above this many drive out the one that has been quiet longest.
    pub max_clients: usize,
}

/// A node's endpoint. Everything runs on one thread, inside a `LocalSet`.
pub struct Transport {
    inbox: Rc<dyn Inbox>,
    endpoint: quinn::Endpoint,
    dialer: quinn::ClientConfig,
    max_connections: usize,
    peers: RefCell<Peers>,
    clients: RefCell<Clients>,
    dialing: RefCell<BTreeSet<SocketAddr>>,
    greetings: Rc<Greetings>,
    leaving: Cell<bool>,
    link_gone: Notify,
    budget: Rc<Budget>,
    counters: Rc<Counters>,
}

impl Transport {
    /// Opens the socket and starts to accept connections. Must be called inside a `LocalSet`.
    pub fn bind(config: Config, inbox: Rc<dyn Inbox>) -> Result<Rc<Self>, TransportError> {
        let certified = config.credentials.identity();
        if certified != Identity::Node(config.node) {
            return Err(TransportError::OtherNode { node: config.node, certified });
        }
        let server = quic::server_config(&config.credentials)?;
        let transport = Rc::new(Self {
            inbox,
            endpoint: quic::endpoint(config.listen, &config.secrets, Some(server))?,
            dialer: quic::client_config(&config.credentials, Protocols::Peer)?,
            max_connections: config.max_connections,
            peers: RefCell::new(Peers::new(config.node)),
            clients: RefCell::new(Clients::new(config.max_clients)),
            dialing: RefCell::default(),
            greetings: Rc::default(),
            leaving: Cell::new(false),
            link_gone: Notify::new(),
            budget: Rc::new(Budget::new()),
            counters: Rc::default(),
        });
        spawn_local(transport.clone().accept());
        Ok(transport)
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The counters of its work so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Tries once, in the background, to connect to the node that listens at `addr`, or to `expect` and no other. Does
    /// nothing while such an attempt is under way, or the peer is connected, or for half a minute after it was found to
    /// speak no common protocol version: once upgraded, it may dial. Ends in [`Inbox::peer_up`] or
    /// [`Inbox::dial_failed`], within three seconds.
    pub fn dial(self: &Rc<Self>, addr: SocketAddr, expect: Option<NodeId>) {
        let pointless = self.leaving.get() || self.is_connected(addr, expect);
        if !pointless && self.dialing.borrow_mut().insert(addr) {
            spawn_local(self.clone().dial_once(addr, expect));
        }
    }

    /// Hands a message to the connection to a peer.
    pub fn send(&self, to: NodeId, class: Class, envelope: &Envelope) -> Sent {
        self.peers.borrow().link(to).map_or(Sent::NotConnected, |link| link.send(class, envelope))
    }

    /// Hands a message to a client's connection.
    pub fn reply(&self, to: ClientId, envelope: &Envelope) -> Sent {
        let clients = self.clients.borrow();
        clients.links.get(&to).map_or(Sent::NotConnected, |link| link.send(Class::Foreground, envelope))
    }

    /// The protocol version that a peer and this node speak with each other; none if it is not connected.
    pub fn protocol(&self, peer: NodeId) -> Option<u16> {
        self.peers.borrow().link(peer).map(|link| link.protocol())
    }

    /// Whether a client is still connected.
    pub fn has_client(&self, id: ClientId) -> bool {
        self.clients.borrow().links.contains_key(&id)
    }

    /// The peers that can be sent to, in order.
    pub fn connected(&self) -> Vec<NodeId> {
        self.peers.borrow().connected()
    }

    /// Closes every connection to a peer, losing what is under way.
    pub fn disconnect(&self, peer: NodeId) {
        let links = self.peers.borrow().links_to(peer);
        links.iter().for_each(|link| link.close(Farewell::Disconnected, "disconnected"));
    }

    /// Accepts and dials no more, and tells all peers and clients, so that they start nothing new here. Work under way
    /// goes on until [`Self::drain`].
    pub fn leave(&self, reason: &str) {
        if self.leaving.replace(true) {
            return;
        }
        let notice = Message::GoAway(GoAway { reason: reason.into() });
        let notice = greeting::envelope(&self.inbox.hello(), notice);
        for link in self.links() {
            // An end that cannot be told learns from the lanes being finished.
            let _ = link.send(Class::Control, &notice);
        }
    }

    /// Leaves, delivers what is queued, and closes. Takes at most two seconds; what a peer has not taken by
    /// then is lost.
    pub async fn drain(&self) {
        self.leave("draining");
        self.links().iter().for_each(|link| link.retire());
        let _ = timeout(DRAIN, self.all_links_gone()).await;
        self.endpoint.close(Farewell::Drained.code(), b"drained");
        let _ = timeout(DRAIN, self.endpoint.wait_idle()).await;
    }

    async fn all_links_gone(&self) {
        while !self.links().is_empty() {
            self.link_gone.notified().await;
        }
    }

    pub(crate) fn links(&self) -> Vec<Rc<Link>> {
        let mut links = self.peers.borrow().all();
        links.extend(self.clients.borrow().links.values().cloned());
        links
    }

    #[cfg(test)]
    pub(crate) fn is_dialing(&self, addr: SocketAddr) -> bool {
        self.dialing.borrow().contains(&addr)
    }

    fn is_connected(&self, addr: SocketAddr, expect: Option<NodeId>) -> bool {
        let peers = self.peers.borrow();
        match expect {
            Some(peer) => peers.link(peer).is_some(),
            None => peers.all().iter().any(|link| link.leads_to(addr)),
        }
    }
}

/// Listening.
impl Transport {
    async fn accept(self: Rc<Self>) {
        while let Some(incoming) = self.endpoint.accept().await {
            if self.leaving.get() || self.endpoint.open_connections() >= self.max_connections {
                counters::add(&self.counters.refused, 1);
                incoming.refuse();
            } else if self.greetings.count() > CROWD && !incoming.remote_address_validated() {
                // Always permitted for an address that is not validated.
                let _ = incoming.retry();
            } else if let Some(greeting) = self.greetings.begin(incoming.remote_address()) {
                spawn_local(self.clone().admit(incoming, greeting));
            } else {
                counters::add(&self.counters.refused, 1);
                incoming.refuse();
            }
        }
    }

    async fn admit(self: Rc<Self>, incoming: Incoming, greeting: Greeting) {
        let addr = incoming.remote_address();
        let answered = timeout(ANSWER_TIME, self.answer(incoming)).await;
        drop(greeting);
        match answered.unwrap_or(Err(GreetingError::Silent(ANSWER_TIME))) {
            Ok((connection, Protocols::Peer, greeted)) => self.serve_peer(connection, greeted, None).await,
            Ok((connection, Protocols::Client, greeted)) => self.serve_client(connection, greeted).await,
            Err(error) => {
                counters::add(&self.counters.refused, 1);
                match error.is_of_note() {
                    true => tracing::warn!(%addr, %error, "refused a connection"),
                    false => tracing::debug!(%addr, %error, "a connection did not come to be"),
                }
            }
        }
    }

    async fn answer(&self, incoming: Incoming) -> Result<(Connection, Protocols, Greeted), GreetingError> {
        let connecting = incoming.accept().map_err(lost)?;
        let connection = connecting.await.map_err(lost)?;
        let protocol = Protocols::of(&connection)
            .ok_or_else(|| GreetingError::Nonsense("a protocol that was not offered".into()))?;
        match greeting::answer(&connection, protocol, &self.inbox.hello()).await {
            Ok(greeted) => Ok((connection, protocol, greeted)),
            Err(error) => {
                connection.close(Farewell::Refused.code(), error.to_string().as_bytes());
                Err(error)
            }
        }
    }

    async fn serve_client(self: Rc<Self>, connection: Connection, greeted: Greeted) {
        let link = self.link(connection, &greeted);
        let id = self.clients.borrow_mut().take(link.clone());
        let sink = Rc::new(ClientSink { client: id, inbox: self.inbox.clone() });
        let reason = link::run(&link, greeted.streams, sink).await;
        tracing::debug!(client = id.0, reason, "client gone");
        self.clients.borrow_mut().links.remove(&id);
        self.unlink();
        self.inbox.client_gone(id);
        self.inbox.batch_end();
    }
}

/// Dialing.
impl Transport {
    async fn dial_once(self: Rc<Self>, addr: SocketAddr, expect: Option<NodeId>) {
        let greeted = self.connect(addr, expect).await;
        if let Err(error @ GreetingError::Versions(_)) = &greeted {
            self.dial_failed(addr, expect, error);
            tokio::time::sleep(VERSIONS_REST).await;
        }
        self.dialing.borrow_mut().remove(&addr);
        match greeted {
            Ok((connection, greeted)) => self.serve_peer(connection, greeted, Some(addr)).await,
            Err(GreetingError::Versions(_)) => {}
            Err(error) => self.dial_failed(addr, expect, &error),
        }
    }

    fn dial_failed(&self, addr: SocketAddr, expect: Option<NodeId>, error: &GreetingError) {
        counters::add(&self.counters.dials_failed, 1);
        match error.is_of_note() {
            true => tracing::warn!(%addr, %error, "cannot connect"),
            false => tracing::debug!(%addr, %error, "cannot connect"),
        }
        self.inbox.dial_failed(addr, expect, error);
        self.inbox.batch_end();
    }

    async fn connect(
        &self,
        addr: SocketAddr,
        expect: Option<NodeId>,
    ) -> Result<(Connection, Greeted), GreetingError> {
        let name = expect.map_or_else(|| ANY_NODE.to_owned(), node_name);
        let ours = self.inbox.hello();
        connect(&self.endpoint, &self.dialer, Protocols::Peer, (addr, &name), &ours).await
    }
}

/// Serving a peer, whichever end dialed.
impl Transport {
    async fn serve_peer(
        self: Rc<Self>,
        connection: Connection,
        greeted: Greeted,
        dialed: Option<SocketAddr>,
    ) {
        // Both ends of a greeting have checked that a peer names its node.
        let Ok(hello) = greeted.node().cloned() else {
            return;
        };
        let (peer, addr) = (hello.node, connection.remote_address());
        if self.has_rival(&hello) {
            connection.close(Farewell::Rival.code(), RIVAL.as_bytes());
            tracing::debug!(%peer, %addr, "another process runs as this peer: the newcomer is refused");
            self.inbox.rival(peer, addr);
            return self.inbox.batch_end();
        }
        let link = self.link(connection, &greeted);
        if let Some(dialed) = dialed {
            link.dialed(dialed);
        }
        self.welcome(hello, addr, &link, dialed.is_some());
        let sink = Rc::new(PeerSink { peer, inbox: self.inbox.clone() });
        let reason = link::run(&link, greeted.streams, sink).await;
        let last = self.peers.borrow_mut().remove(peer, &link);
        self.unlink();
        if last {
            tracing::info!(%peer, %addr, reason, "peer down");
            self.inbox.peer_down(peer, &reason);
            self.inbox.batch_end();
        }
    }

    /// Whether the process that was here first stays the peer. (One that is gone is noticed to be within the idle time.)
    fn has_rival(&self, newcomer: &NodeHello) -> bool {
        self.peers.borrow().rival(newcomer).is_some()
    }

    fn welcome(self: &Rc<Self>, hello: NodeHello, addr: SocketAddr, link: &Rc<Link>, dialed: bool) {
        let (peer, generation) = (hello.node, hello.generation);
        match self.arrive(peer, generation, link, dialed) {
            Arrival::New => self.peer_up(hello, addr, link.protocol()),
            Arrival::Another => self.retire_surplus(peer),
            Arrival::Restarted(stale) => {
                stale.iter().for_each(|old| old.close(Farewell::Restarted, RESTARTED));
                self.inbox.peer_down(peer, RESTARTED);
                self.peer_up(hello, addr, link.protocol());
            }
        }
    }

    fn arrive(&self, peer: NodeId, generation: Generation, link: &Rc<Link>, dialed: bool) -> Arrival {
        self.peers.borrow_mut().add(peer, generation, link.clone(), dialed)
    }

    fn peer_up(&self, hello: NodeHello, addr: SocketAddr, protocol: u16) {
        tracing::info!(peer = %hello.node, %addr, protocol, "peer up");
        self.inbox.peer_up(hello, addr);
        self.inbox.batch_end();
    }

    /// The end that dialed a link that nothing is sent on retires it, once it has been quiet.
    fn retire_surplus(self: &Rc<Self>, peer: NodeId) {
        for link in self.surplus(peer) {
            spawn_local(self.clone().retire_when_quiet(peer, link));
        }
    }

    pub(crate) fn surplus(&self, peer: NodeId) -> Vec<Rc<Link>> {
        self.peers.borrow().surplus(peer)
    }

    async fn retire_when_quiet(self: Rc<Self>, peer: NodeId, link: Rc<Link>) {
        loop {
            let frames = link.frames();
            tokio::time::sleep(QUIET).await;
            let still_surplus = self.peers.borrow().surplus(peer).iter().any(|l| Rc::ptr_eq(l, &link));
            if !still_surplus {
                return;
            }
            if link.frames() == frames {
                return link.retire();
            }
        }
    }

    fn link(&self, connection: Connection, greeted: &Greeted) -> Rc<Link> {
        counters::add(&self.counters.connections, 1);
        Link::new(connection, greeted, self.counters.clone(), self.budget.clone())
    }

    fn unlink(&self) {
        counters::subtract(&self.counters.connections, 1);
        self.link_gone.notify_waiters();
    }
}

/// Dials and greets, each within its time.
pub(crate) async fn connect(
    endpoint: &quinn::Endpoint,
    config: &quinn::ClientConfig,
    protocol: Protocols,
    (addr, name): (SocketAddr, &str),
    ours: &Hello,
) -> Result<(Connection, Greeted), GreetingError> {
    let connecting = endpoint
        .connect_with(config.clone(), addr, name)
        .map_err(|error| GreetingError::Handshake(error.to_string()))?;
    let connected = timeout(CONNECT_TIME, connecting).await;
    let connection = connected.map_err(|_| GreetingError::Silent(CONNECT_TIME))?.map_err(lost)?;
    let greeted = timeout(GREET_TIME, greeting::greet(&connection, protocol, ours)).await;
    match greeted.unwrap_or(Err(GreetingError::Silent(GREET_TIME))) {
        Ok(greeted) => Ok((connection, greeted)),
        Err(error) => {
            connection.close(Farewell::Refused.code(), error.to_string().as_bytes());
            Err(error)
        }
    }
}

const VERSIONS_REST: Duration = Duration::from_secs(30);
const CONNECT_TIME: Duration = Duration::from_secs(1);
const GREET_TIME: Duration = Duration::from_secs(2);
const ANSWER_TIME: Duration = Duration::from_secs(5);
const DRAIN: Duration = Duration::from_secs(1);
const QUIET: Duration = Duration::from_secs(5);
/// With more greetings than this under way, a dialer must first prove its address.
const CROWD: usize = 64;
/// The reason that a second process under one identity is given.
pub const RIVAL: &str = "another process runs as this node";
const RESTARTED: &str = "the peer has restarted";
