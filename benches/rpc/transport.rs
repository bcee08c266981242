//! The subject: two endpoints of `starling-transport`.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bytes::Bytes;
use starling_benches::meter::{Meter, Sample, now};
use starling_transport::{ClientId, Config, EndpointSecrets, GreetingError, Inbox, Sent, Transport};
use starling_types::{BucketName, ClusterId, ExchangeId, Generation, Key, LayoutVersion, Lineage, NodeId};
use starling_wire::hello::{Hello, NodeHello, PROTOCOLS};
use starling_wire::replica::{Merge, Merged};
use starling_wire::{Class, Envelope, Message};
use tokio::sync::{Notify, oneshot};

use crate::{CLIENT, Load, REQUEST, SERVER, both_ends, run};

/// One round.
pub fn measure(load: &Load<'_>) -> Result<Sample> {
    let (client, server) = (config(load, CLIENT)?, config(load, SERVER)?);
    let (limit, outstanding, span) = (load.limit(), load.outstanding, load.span);
    both_ends(
        move |listens, stop| run(limit, serve(server, listens, stop)),
        |addr| run(limit, call(client, addr, outstanding, span)),
    )
}

async fn serve(config: Config, listens: mpsc::Sender<SocketAddr>, stop: oneshot::Receiver<()>) -> Result<()> {
    let inbox = Rc::new(Replica::default());
    let transport = bind(config, inbox.clone(), &inbox.transport)?;
    listens.send(transport.local_addr()?)?;
    // An error means that the caller is gone, which ends this end as well.
    let _ = stop.await;
    transport.drain().await;
    Ok(())
}

async fn call(config: Config, addr: SocketAddr, outstanding: usize, span: Duration) -> Result<Sample> {
    let inbox = Rc::new(Caller {
        transport: OnceCell::new(),
        merge: merge(),
        begun: RefCell::new(vec![now(); outstanding]),
        answered: RefCell::default(),
        sent: Cell::new(0),
        meter: RefCell::new(Meter::start(span)?),
        span,
        over: Notify::new(),
        failed: RefCell::default(),
    });
    let transport = bind(config, inbox.clone(), &inbox.transport)?;
    transport.dial(addr, Some(SERVER));
    inbox.over.notified().await;
    let sample = match inbox.failed.take() {
        Some(why) => Err(anyhow!(why)),
        None => inbox.meter.borrow().sample(),
    };
    transport.drain().await;
    sample
}

fn bind(config: Config, inbox: Rc<dyn Inbox>, slot: &OnceCell<Rc<Transport>>) -> Result<Rc<Transport>> {
    let transport = Transport::bind(config, inbox)?;
    Ok(slot.get_or_init(|| transport).clone())
}

fn config(load: &Load<'_>, node: NodeId) -> Result<Config> {
    Ok(Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        credentials: load.authority.issue_node(node)?,
        secrets: EndpointSecrets::random()?,
        node,
        max_connections: 16,
        max_clients: 16,
    })
}

/// Takes the requests that arrive together, then answers them together, as a node's turn does.
#[derive(Default)]
struct Replica {
    transport: OnceCell<Rc<Transport>>,
    asked: RefCell<Vec<ExchangeId>>,
}

impl Inbox for Replica {
    fn hello(&self) -> Hello {
        hello(SERVER)
    }

    fn peer_frame(&self, _from: NodeId, envelope: Envelope) {
        if matches!(envelope.message, Message::Merge(_)) {
            self.asked.borrow_mut().push(envelope.exchange);
        }
    }

    fn batch_end(&self) {
        for request in self.asked.borrow_mut().drain(..) {
            let done = envelope(request, Message::Merged(Merged::Done { durable: true }));
            // If it cannot be sent, the caller misses it.
            let _ = self.transport.get().map(|transport| transport.send(CLIENT, Class::Foreground, &done));
        }
    }

    fn peer_up(&self, _peer: NodeHello, _addr: SocketAddr) {}
    fn peer_down(&self, _peer: NodeId, _reason: &str) {}
    fn client_frame(&self, _client: ClientId, _envelope: Envelope) {}
    fn client_gone(&self, _client: ClientId) {}
}

/// Keeps requests outstanding, each in a slot whose number is the low half of its id.
struct Caller {
    transport: OnceCell<Rc<Transport>>,
    merge: Merge,
    begun: RefCell<Vec<Instant>>,
    answered: RefCell<Vec<ExchangeId>>,
    sent: Cell<u64>,
    meter: RefCell<Meter>,
    span: Duration,
    over: Notify,
    failed: RefCell<Option<String>>,
}

impl Caller {
    fn ask(&self, slot: usize, now: Instant) {
        self.begun.borrow_mut()[slot] = now;
        self.sent.set(self.sent.get() + 1);
        let request = ExchangeId::from_bits(u128::from(self.sent.get()) << 64 | slot as u128);
        let merge = envelope(request, Message::Merge(self.merge.clone()));
        match self.transport.get().map(|transport| transport.send(SERVER, Class::Foreground, &merge)) {
            Some(Sent::Queued) => {}
            other => self.fail(format!("a request was not sent: {other:?}")),
        }
    }

    fn fail(&self, why: String) {
        self.failed.borrow_mut().get_or_insert(why);
        self.over.notify_one();
    }
}

impl Inbox for Caller {
    fn hello(&self) -> Hello {
        hello(CLIENT)
    }

    fn peer_up(&self, _peer: NodeHello, _addr: SocketAddr) {
        match Meter::start(self.span) {
            Ok(meter) => *self.meter.borrow_mut() = meter,
            Err(error) => self.fail(error.to_string()),
        }
        let slots = self.begun.borrow().len();
        (0..slots).for_each(|slot| self.ask(slot, now()));
    }

    fn peer_frame(&self, _from: NodeId, envelope: Envelope) {
        if matches!(envelope.message, Message::Merged(Merged::Done { .. })) {
            self.answered.borrow_mut().push(envelope.exchange);
        }
    }

    fn batch_end(&self) {
        let now = now();
        let goes_on = self.meter.borrow_mut().goes_on(now);
        for request in self.answered.borrow_mut().drain(..) {
            let slot = request.bits() as u64 as usize;
            let begun = self.begun.borrow()[slot];
            self.meter.borrow_mut().done(begun, now);
            if goes_on {
                self.ask(slot, now);
            }
        }
        if !goes_on {
            self.over.notify_one();
        }
    }

    fn peer_down(&self, _peer: NodeId, reason: &str) {
        self.fail(format!("the connection was lost: {reason}"));
    }

    fn dial_failed(&self, _addr: SocketAddr, _expect: Option<NodeId>, error: &GreetingError) {
        self.fail(error.to_string());
    }

    fn client_frame(&self, _client: ClientId, _envelope: Envelope) {}
    fn client_gone(&self, _client: ClientId) {}
}

fn hello(node: NodeId) -> Hello {
    let node = NodeHello {
        node,
        generation: Generation(1),
        name: "bench".into(),
        quic: SocketAddr::from(([127, 0, 0, 1], 1)),
        resp: None,
        http: None,
        zone: "zone".into(),
        weight: 1,
        layout: LayoutVersion::FIRST,
        version: "bench".into(),
        lineage: Lineage::default(),
    };
    Hello { protocols: PROTOCOLS, cluster: CLUSTER, node: Some(node), wall: None }
}

fn envelope(exchange: ExchangeId, message: Message) -> Envelope {
    Envelope { cluster: CLUSTER, epoch: LayoutVersion::FIRST, exchange, deadline_ms: 2_000, message }
}

/// Such that its frame has [`REQUEST`] bytes.
fn merge() -> Merge {
    let merge = |length: usize| Merge {
        bucket: BucketName::default_bucket(),
        #[expect(clippy::expect_used, reason = "short and not empty")]
        key: Key::new("bench:0000000001").expect("short and not empty"),
        record: Bytes::from(vec![7; length]),
        props: 1,
        durable: true,
        origin: None,
        stands_for: None,
    };
    let frame = |length| {
        let mut bytes = Vec::new();
        let message = Message::Merge(merge(length));
        envelope(ExchangeId::from_bits(1), message).encode(&mut bytes).map(|()| bytes.len())
    };
    let empty = frame(1_000).map_or(0, |length| length - 1_000);
    merge(REQUEST - empty)
}

const CLUSTER: ClusterId = ClusterId::from_bits(9);
