//! Real connections over loopback.

mod endings;
mod exchange;
mod refusals;
mod versions;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use starling_types::{BucketName, ClusterId, ExchangeId, Generation, Key, LayoutVersion, Lineage, NodeId};
use starling_wire::hello::{Hello, NodeHello, PROTOCOLS};
use starling_wire::replica::Merge;
use starling_wire::{Class, Envelope, Message};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::{
    Authority, ClientId, Config, EndpointSecrets, GreetingError, Inbox, Sent, Transport, TransportError,
};

/// The calls that an inbox got.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Rival(NodeId),
    Up(NodeId),
    Down(NodeId, String),
    Peer(NodeId, Envelope),
    Client(ClientId, Envelope),
    Gone(ClientId),
    Failed(GreetingError),
}

/// Remembers what it was told.
struct Recorder {
    hello: RefCell<Hello>,
    told: RefCell<Vec<Told>>,
    batches: Cell<usize>,
    news: Notify,
}

impl Recorder {
    fn tell(&self, told: Told) {
        self.told.borrow_mut().push(told);
    }

    /// The first that fits, once it is there.
    async fn first<T>(&self, fits: impl Fn(&Told) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.told.borrow().iter().find_map(&fits) {
                return found;
            }
            self.news.notified().await;
        }
    }

    async fn frames(&self, count: usize) -> Vec<Envelope> {
        loop {
            let frames = self.frames_so_far();
            if frames.len() >= count {
                return frames;
            }
            self.news.notified().await;
        }
    }

    fn frames_so_far(&self) -> Vec<Envelope> {
        let told = self.told.borrow();
        told.iter()
            .filter_map(|told| match told {
                Told::Peer(_, envelope) | Told::Client(_, envelope) => Some(envelope.clone()),
                _ => None,
            })
            .collect()
    }

    async fn up(&self, node: u64) {
        let node = NodeId::from_bits(node);
        self.first(|told| (*told == Told::Up(node)).then_some(())).await;
    }

    async fn down(&self) -> String {
        self.first(|told| if let Told::Down(_, reason) = told { Some(reason.clone()) } else { None }).await
    }

    async fn failed(&self) -> GreetingError {
        self.first(|told| if let Told::Failed(error) = told { Some(error.clone()) } else { None }).await
    }
}

impl Inbox for Recorder {
    fn hello(&self) -> Hello {
        self.hello.borrow().clone()
    }

    fn peer_up(&self, peer: NodeHello, _addr: SocketAddr) {
        self.tell(Told::Up(peer.node));
    }

    fn peer_down(&self, peer: NodeId, reason: &str) {
        self.tell(Told::Down(peer, reason.into()));
    }

    fn rival(&self, peer: NodeId, _addr: SocketAddr) {
        self.tell(Told::Rival(peer));
    }

    fn peer_frame(&self, from: NodeId, envelope: Envelope) {
        self.tell(Told::Peer(from, envelope));
    }

    fn client_frame(&self, client: ClientId, envelope: Envelope) {
        self.tell(Told::Client(client, envelope));
    }

    fn client_gone(&self, client: ClientId) {
        self.tell(Told::Gone(client));
    }

    fn batch_end(&self) {
        self.batches.set(self.batches.get() + 1);
        self.news.notify_waiters();
    }

    fn dial_failed(&self, _addr: SocketAddr, _expect: Option<NodeId>, error: &GreetingError) {
        self.tell(Told::Failed(error.clone()));
    }
}

/// A node under test.
struct Node {
    transport: Rc<Transport>,
    inbox: Rc<Recorder>,
}

impl Node {
    fn new(authority: &Authority, id: u64) -> Self {
        Self::start(config(authority, id), recorder(id)).unwrap()
    }

    fn start(config: Config, inbox: Rc<Recorder>) -> Result<Self, TransportError> {
        let transport = Transport::bind(config, inbox.clone())?;
        Ok(Self { transport, inbox })
    }

    fn addr(&self) -> SocketAddr {
        self.transport.local_addr().unwrap()
    }

    fn dial(&self, other: &Self) {
        self.transport.dial(other.addr(), None);
    }

    fn send(&self, to: u64, class: Class, envelope: &Envelope) -> Sent {
        self.transport.send(NodeId::from_bits(to), class, envelope)
    }
}

/// Nodes 1 and 2, connected by a dial of node 1.
async fn pair(authority: &Authority) -> (Node, Node) {
    let (one, two) = (Node::new(authority, 1), Node::new(authority, 2));
    one.dial(&two);
    one.inbox.up(2).await;
    two.inbox.up(1).await;
    (one, two)
}

fn config(authority: &Authority, id: u64) -> Config {
    let node = NodeId::from_bits(id);
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        credentials: authority.issue_node(node).unwrap(),
        secrets: EndpointSecrets::random().unwrap(),
        node,
        max_connections: 100,
        max_clients: 100,
    }
}

fn recorder(id: u64) -> Rc<Recorder> {
    let node = NodeHello {
        node: NodeId::from_bits(id),
        generation: Generation(1),
        name: format!("node-{id}"),
        quic: "127.0.0.1:1".parse().unwrap(),
        resp: None,
        http: None,
        zone: "zone".into(),
        weight: 1,
        layout: LayoutVersion::NONE,
        version: "test".into(),
        lineage: Lineage::default(),
    };
    let hello =
        Hello { protocols: PROTOCOLS, cluster: ClusterId::from_bits(9), node: Some(node), wall: None };
    Rc::new(Recorder {
        hello: RefCell::new(hello),
        told: RefCell::default(),
        batches: Cell::new(0),
        news: Notify::new(),
    })
}

fn merge(request: u128, length: usize) -> Envelope {
    let message = Message::Merge(Merge {
        bucket: BucketName::default_bucket(),
        key: Key::new("key").unwrap(),
        record: Bytes::from(vec![request as u8; length]),
        props: 0,
        durable: true,
        origin: None,
        stands_for: None,
    });
    Envelope {
        cluster: ClusterId::from_bits(9),
        epoch: LayoutVersion::FIRST,
        exchange: ExchangeId::from_bits(request),
        deadline_ms: 500,
        message,
    }
}

fn authority(dir: &Path) -> Authority {
    Authority::open_or_create(&dir.join("ca")).unwrap()
}

/// Runs a test as a node runs: one thread, one `LocalSet`. The limit only turns a hang into a failure.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Authority) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let test = test(authority(dir.path()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(HANG, test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, limited);
}

/// Less than the idle timeout, so that nothing passes because a connection timed out.
const HANG: Duration = Duration::from_secs(25);
