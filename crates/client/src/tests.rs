//! The client against real endpoints whose nodes follow a script.

mod requests;
mod routes;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::Bytes;
use starling_causality::{Dot, Hlc};
use starling_ring::Layout;
use starling_transport::{Authority, ClientId, Config, EndpointSecrets, Inbox, Transport};
use starling_types::{ActorId, BucketName, ClusterId, Generation, Key, LayoutVersion, Lineage, NodeId};
use starling_wire::client::{AdminReply, AdminRequest, ReadReply, Receipt, SiblingView, WriteReply};
use starling_wire::hello::{Hello, NodeHello, PROTOCOLS};
use starling_wire::{Envelope, Failure, KvOp, KvReply, KvRequest, Message};
use tokio::task::{LocalSet, spawn_local};

use crate::Client;

/// The behaviour of a node at its next request; afterwards it answers well.
#[derive(Debug, Clone)]
enum Act {
    Fail(Failure),
    Silence,
    /// Has another node coordinate.
    PassOn(NodeId),
    /// Goes away without an answer.
    Leave,
}

/// A node that follows a script and remembers what it was asked.
struct Stub {
    id: NodeId,
    cluster: ClusterId,
    script: RefCell<VecDeque<Act>>,
    asked: RefCell<Vec<KvRequest>>,
    /// The layout that it shows to clients that ask, and answers by.
    layout: RefCell<Option<Layout>>,
    /// The time that its greeting shows.
    wall: Cell<Option<starling_types::WallTime>>,
    /// The protocol versions that its greeting shows.
    protocols: Cell<(u16, u16)>,
    /// How often a client asked for the layout.
    shown: Cell<u32>,
    transport: RefCell<Weak<Transport>>,
}

struct Node {
    stub: Rc<Stub>,
    transport: Rc<Transport>,
}

impl Node {
    fn new(authority: &Authority, id: u64, script: impl IntoIterator<Item = Act>) -> Self {
        Self::of_cluster(authority, id, 9, script)
    }

    fn of_cluster(
        authority: &Authority,
        id: u64,
        cluster: u128,
        script: impl IntoIterator<Item = Act>,
    ) -> Self {
        let node = NodeId::from_bits(id);
        let stub = Rc::new(Stub {
            id: node,
            cluster: ClusterId::from_bits(cluster),
            script: RefCell::new(script.into_iter().collect()),
            asked: RefCell::default(),
            layout: RefCell::default(),
            shown: Cell::new(0),
            wall: Cell::new(None),
            protocols: Cell::new(PROTOCOLS),
            transport: RefCell::default(),
        });
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            credentials: authority.issue_node(node).unwrap(),
            secrets: EndpointSecrets::random().unwrap(),
            node,
            max_connections: 10,
            max_clients: 10,
        };
        let transport = Transport::bind(config, stub.clone()).unwrap();
        *stub.transport.borrow_mut() = Rc::downgrade(&transport);
        Self { stub, transport }
    }

    fn addr(&self) -> SocketAddr {
        self.transport.local_addr().unwrap()
    }

    fn asked(&self) -> Vec<KvRequest> {
        self.stub.asked.borrow().clone()
    }

    /// From now on it answers by this layout.
    fn adopts(&self, layout: &Layout) {
        *self.stub.layout.borrow_mut() = Some(layout.clone());
    }

    fn attempts(&self) -> Vec<u8> {
        self.stub.asked.borrow().iter().map(|request| request.attempt).collect()
    }
}

impl Stub {
    fn act(&self, client: ClientId, envelope: &Envelope, request: &KvRequest) {
        let transport = self.transport.borrow().upgrade().unwrap();
        self.asked.borrow_mut().push(request.clone());
        let reply = match self.script.borrow_mut().pop_front() {
            None => good(self.id, request),
            Some(Act::Fail(failure)) => KvReply::Failed(failure),
            Some(Act::PassOn(coordinator)) => good(coordinator, request),
            Some(Act::Silence) => return,
            Some(Act::Leave) => {
                spawn_local(async move { transport.drain().await });
                return;
            }
        };
        self.reply(client, envelope, Message::Reply(reply));
    }

    fn reply(&self, client: ClientId, to: &Envelope, message: Message) {
        let transport = self.transport.borrow().upgrade().unwrap();
        let epoch = self.layout.borrow().as_ref().map_or(LayoutVersion::NONE, Layout::version);
        let _ = transport.reply(client, &Envelope { epoch, message, ..to.clone() });
    }
}

/// A get finds the key as value; a write is acked.
fn good(coordinator: NodeId, request: &KvRequest) -> KvReply {
    let dot = Dot { hlc: Hlc::ZERO, actor: ActorId::from_bits(1) };
    if let KvOp::Get = request.op {
        let value = Bytes::copy_from_slice(request.key.as_bytes());
        let siblings = vec![SiblingView { value, dot, expires_at: None }];
        return KvReply::Read(ReadReply {
            siblings,
            context: Some(Bytes::from_static(b"seen")),
            deleted: None,
        });
    }
    let receipt = Receipt {
        dot: Some(dot),
        coordinator,
        acked: 2,
        owners: 2,
        w: 2,
        n: 3,
        durable: true,
        hinted: 0,
        partial: false,
        unvouched: false,
    };
    KvReply::Written(WriteReply { context: None, siblings: 1, existed: false, receipt })
}

impl Inbox for Stub {
    fn hello(&self) -> Hello {
        let node = NodeHello {
            node: self.id,
            generation: Generation(1),
            name: "stub".into(),
            quic: "127.0.0.1:1".parse().unwrap(),
            resp: None,
            http: None,
            zone: "zone".into(),
            weight: 1,
            layout: LayoutVersion::NONE,
            version: "test".into(),
            lineage: Lineage::default(),
        };
        Hello {
            protocols: self.protocols.get(),
            cluster: self.cluster,
            node: Some(node),
            wall: self.wall.get(),
        }
    }

    fn client_frame(&self, client: ClientId, envelope: Envelope) {
        match &envelope.message {
            Message::Request(request) => self.act(client, &envelope, request),
            Message::Admin(AdminRequest::Layout) => {
                self.shown.set(self.shown.get() + 1);
                let layout = self.layout.borrow().clone();
                self.reply(client, &envelope, Message::AdminReply(AdminReply::Layout(layout)));
            }
            Message::Admin(_) => {
                let reply = AdminReply::Status("{}".into());
                self.reply(client, &envelope, Message::AdminReply(reply));
            }
            _ => {}
        }
    }

    fn peer_up(&self, _peer: NodeHello, _addr: SocketAddr) {}
    fn peer_down(&self, _peer: NodeId, _reason: &str) {}
    fn peer_frame(&self, _from: NodeId, _envelope: Envelope) {}
    fn client_gone(&self, _client: ClientId) {}
    fn batch_end(&self) {}
}

/// A client that tries `nodes` in this order.
async fn client(authority: &Authority, nodes: &[&Node]) -> Client {
    let addrs: Vec<_> = nodes.iter().map(|node| node.addr()).collect();
    Client::connect(&addrs, authority.client_credentials()).await.unwrap()
}

fn bucket() -> BucketName {
    BucketName::default_bucket()
}

fn key(text: &str) -> Key {
    Key::new(text.to_owned()).unwrap()
}

/// Runs a test on one thread, inside a `LocalSet`. The limit only turns a hang into a failure.
fn run<F: Future<Output = ()>>(test: impl FnOnce(Authority) -> F) {
    let dir = tempfile::tempdir().unwrap();
    let test = test(Authority::open_or_create(dir.path()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(HANG, test).await.expect("the test hangs") };
    LocalSet::new().block_on(&runtime, limited);
}

const HANG: Duration = Duration::from_secs(40);
/// A time limit of which seconds are left, for a busy machine, when two tries have waited their part of it in vain.
const PATIENT: Duration = Duration::from_secs(8);
