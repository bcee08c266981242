//! The nodes a client knows, and its connections to them: made when needed, at most one to each, and kept.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use starling_transport::{Dialer, GreetingError};
use starling_types::{ClusterId, NodeId, limits};
use starling_wire::hello::ProtocolGap;
use tokio::sync::Mutex;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::clock;
use crate::cluster_time::ClusterTime;
use crate::connection::Connection;

/// Known nodes: those the client was told, and the members of every layout since. None is ever forgotten, so that
/// no layout can lead a client away from where it once found the cluster.
pub(crate) struct Nodes {
    dialer: Dialer,
    known: RefCell<Vec<Rc<Node>>>,
    by_id: RefCell<BTreeMap<NodeId, usize>>,
    /// Where to go when nothing better is known: the node that answered last when that was so.
    preferred: Cell<usize>,
    /// The cluster that all of them must belong to, once one has said its own.
    cluster: Cell<ClusterId>,
    time: ClusterTime,
}

struct Node {
    addr: SocketAddr,
    connection: RefCell<Option<Rc<Connection>>>,
    /// Held while connecting, so that requests that need the connection at once share one attempt.
    connecting: Mutex<()>,
    dial: Cell<Dial>,
    /// It speaks no protocol version of this client's: asking it again before the rest is over is in vain.
    gap: Cell<Option<ProtocolGap>>,
    silence: Cell<Option<Rest>>,
}

/// A node is left alone until then, the next time for this long.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    span: Duration,
}

/// The result of the last attempt to connect.
#[derive(Debug, Clone, Copy)]
enum Dial {
    Rested,
    UnderWay,
    /// Not tried of the client's own accord before the rest is over.
    Failed(Rest),
}

impl Nodes {
    /// Must not be empty: there is always a preferred one.
    pub(crate) fn new(dialer: Dialer, addrs: &[SocketAddr]) -> Self {
        Self {
            dialer,
            known: RefCell::new(addrs.iter().copied().map(Node::new).collect()),
            by_id: RefCell::default(),
            preferred: Cell::new(0),
            cluster: Cell::new(ClusterId::NONE),
            time: ClusterTime::default(),
        }
    }

    /// Where nodes are looked for.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.known.borrow().iter().map(|node| node.addr).collect()
    }

    pub(crate) fn count(&self) -> usize {
        self.known.borrow().len()
    }

    /// The estimate of the cluster's time.
    pub(crate) const fn time(&self) -> &ClusterTime {
        &self.time
    }

    /// Where to try first if any node will do.
    pub(crate) fn preferred(&self) -> usize {
        self.preferred.get()
    }

    /// The address to try after `index`.
    pub(crate) fn after(&self, index: usize) -> usize {
        (index + 1) % self.count()
    }

    /// Where it is dialed.
    pub(crate) fn addr(&self, index: usize) -> SocketAddr {
        self.node(index).addr
    }

    /// Remembers that `index` answered.
    pub(crate) fn prefer(&self, index: usize) {
        self.preferred.set(index);
    }

    /// Which known node this is.
    pub(crate) fn of(&self, id: NodeId) -> Option<usize> {
        self.by_id.borrow().get(&id).copied()
    }

    /// Adds the members of a layout to what is known.
    pub(crate) fn meet(&self, members: impl Iterator<Item = (NodeId, SocketAddr)>) {
        for (id, addr) in members {
            // A node may be reached by another address than the one it announces.
            let found = self.of(id).filter(|&index| self.node(index).addr == addr || self.is_usable(index));
            if let Some(index) = found.or_else(|| self.at(addr)).or_else(|| self.add(addr)) {
                self.by_id.borrow_mut().insert(id, index);
            }
        }
    }

    /// Where to go next: to an owner first, rather over a connection that stands than over a new one, and to a node
    /// that was silent only when no other node is left. `tried` are the nodes of this round; when all have been tried,
    /// the next round begins.
    pub(crate) fn choose(&self, owners: &[usize], tried: &mut Vec<usize>) -> usize {
        let known = self.known.borrow();
        if tried.len() >= known.len() {
            tried.clear();
        }
        let others = (0..known.len()).map(|step| (self.preferred.get() + step) % known.len());
        let mut open = owners.iter().copied().chain(others).filter(|index| !tried.contains(index));
        let now = clock::now();
        let usable = |index: &usize| known[*index].usable().is_some();
        let good = open.clone().find(|index| usable(index) && known[*index].may_be_asked(now));
        let fresh = || open.clone().find(|index| !usable(index) && known[*index].may_be_dialed(now));
        let silent = || open.clone().find(usable);
        good.or_else(fresh).or_else(silent).or_else(|| open.next()).unwrap_or(self.preferred.get())
    }

    /// Connects, in the background, to the first of `owners` that may be there; nothing if one that comes before it
    /// in preference is connected already.
    pub(crate) fn warm(self: &Rc<Self>, owners: &[usize]) {
        let now = clock::now();
        for &index in owners {
            let node = self.node(index);
            if node.usable().is_some() && node.silence.get().is_some() {
                continue;
            }
            if node.usable().is_some() || matches!(node.dial.get(), Dial::UnderWay) {
                return;
            }
            if node.may_be_dialed(now) {
                node.dial.set(Dial::UnderWay);
                let nodes = self.clone();
                spawn_local(async move {
                    if let Err(error) = nodes.connection(index).await {
                        tracing::debug!(%error, "an owner is not reached");
                    }
                });
                return;
            }
        }
    }

    /// A node has answered, or has let a request wait for nothing: then others are asked rather, for a while.
    pub(crate) fn answered(&self, index: usize, did: bool) {
        let (node, now) = (self.node(index), clock::now());
        let last = node.silence.get();
        // Requests that wait at the same time hear one silence.
        let is_resting = last.is_some_and(|rest| rest.until > now);
        if did {
            node.silence.set(None);
        } else if !is_resting {
            node.silence.set(Some(Rest::after(last)));
        }
    }

    /// Whether there is a connection to the node that takes requests.
    pub(crate) fn is_usable(&self, index: usize) -> bool {
        self.node(index).usable().is_some()
    }

    /// The connection to a node, made if there is none.
    pub(crate) async fn connection(self: &Rc<Self>, index: usize) -> Result<Rc<Connection>, GreetingError> {
        let node = self.node(index);
        if let Some(connection) = node.usable() {
            if connection.asks_the_time_again() {
                self.connect_anew(index);
            }
            return Ok(connection);
        }
        let _connecting = node.connecting.lock().await;
        if let Some(connection) = node.usable() {
            return Ok(connection);
        }
        let rests = matches!(node.dial.get(), Dial::Failed(rest) if rest.until > clock::now());
        if let Some(gap) = node.gap.get().filter(|_| rests) {
            return Err(GreetingError::Versions(gap));
        }
        self.open(index).await
    }

    /// Requests go on over the connection there is until the new one stands.
    fn connect_anew(self: &Rc<Self>, index: usize) {
        let nodes = self.clone();
        spawn_local(async move {
            let node = nodes.node(index);
            let _connecting = node.connecting.lock().await;
            if let Err(error) = nodes.open(index).await {
                tracing::debug!(%error, "a node cannot be asked for the time");
            }
        });
    }

    async fn open(&self, index: usize) -> Result<Rc<Connection>, GreetingError> {
        let node = self.node(index);
        let asked = clock::now();
        let opened = Connection::open(&self.dialer, node.addr, self.cluster.get()).await;
        node.dial.set(node.dial.get().after(opened.is_ok()));
        node.gap.set(if let Err(GreetingError::Versions(gap)) = opened { Some(gap) } else { None });
        let connection = Rc::new(opened?);
        if let Some(wall) = connection.wall() {
            self.time.told(asked, wall);
        }
        if connection.cluster().is_some() {
            self.cluster.set(connection.cluster());
        }
        *node.connection.borrow_mut() = Some(connection.clone());
        self.identify(index, connection.node());
        Ok(connection)
    }

    /// Closes all connections and tells the nodes.
    pub(crate) async fn close(&self) {
        self.dialer.close().await;
    }

    /// A node has said who it is. Should it be connected under another address already, that one stays.
    fn identify(&self, index: usize, id: NodeId) {
        let is_connected = self.of(id).is_some_and(|other| other != index && self.is_usable(other));
        let mut by_id = self.by_id.borrow_mut();
        by_id.retain(|&known, at| *at != index || known == id);
        if !is_connected {
            by_id.insert(id, index);
        }
    }

    fn at(&self, addr: SocketAddr) -> Option<usize> {
        let taken: Vec<usize> = self.by_id.borrow().values().copied().collect();
        self.known.borrow().iter().position(|node| node.addr == addr).filter(|index| !taken.contains(index))
    }

    fn add(&self, addr: SocketAddr) -> Option<usize> {
        let mut known = self.known.borrow_mut();
        let has_room = known.len() < MOST_KNOWN;
        has_room.then(|| {
            known.push(Node::new(addr));
            known.len() - 1
        })
    }

    /// Nodes are never taken out, so an index stays good.
    fn node(&self, index: usize) -> Rc<Node> {
        self.known.borrow()[index].clone()
    }
}

impl Node {
    fn new(addr: SocketAddr) -> Rc<Self> {
        Rc::new(Self {
            addr,
            connection: RefCell::default(),
            connecting: Mutex::new(()),
            dial: Cell::new(Dial::Rested),
            gap: Cell::new(None),
            silence: Cell::new(None),
        })
    }

    fn usable(&self) -> Option<Rc<Connection>> {
        self.connection.borrow().as_ref().filter(|connection| connection.is_usable()).cloned()
    }

    fn may_be_dialed(&self, now: Instant) -> bool {
        match self.dial.get() {
            Dial::Rested => true,
            Dial::UnderWay => false,
            Dial::Failed(rest) => rest.until <= now,
        }
    }

    /// Whether it answers, as far as is known. After a rest one request finds out: the others wait for what it finds.
    fn may_be_asked(&self, now: Instant) -> bool {
        let silence = self.silence.get();
        let is_over = silence.is_some_and(|rest| rest.until <= now);
        if is_over {
            self.silence.set(Some(Rest::after(silence)));
        }
        silence.is_none() || is_over
    }
}

impl Dial {
    fn after(self, success: bool) -> Self {
        let last = if let Self::Failed(rest) = self { Some(rest) } else { None };
        if success { Self::Rested } else { Self::Failed(Rest::after(last)) }
    }
}

impl Rest {
    /// Rests double, up to a bound.
    fn after(last: Option<Self>) -> Self {
        let span = last.map_or(FIRST_REST, |last| (2 * last.span).min(LONGEST_REST));
        Self { until: clock::now() + span, span }
    }
}

/// Addresses, moved nodes' old ones included.
const MOST_KNOWN: usize = 2 * limits::MAX_MEMBERS;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
