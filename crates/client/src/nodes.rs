//! The addresses a client knows, and the connections to them, made when needed.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use starling_transport::{Dialer, GreetingError};
use starling_types::ClusterId;
use tokio::sync::Mutex;

use crate::connection::Connection;

/// Known addresses. Requests prefer the one that answered last.
pub(crate) struct Nodes {
    dialer: Dialer,
    nodes: Vec<Node>,
    preferred: Cell<usize>,
    /// The cluster that all of them must belong to, once one has said its own.
    cluster: Cell<ClusterId>,
}

struct Node {
    addr: SocketAddr,
    connection: RefCell<Option<Rc<Connection>>>,
    /// Held while connecting, so that requests that need the connection at once share one attempt.
    connecting: Mutex<()>,
}

impl Nodes {
    /// Must not be empty: there is always a preferred one.
    pub(crate) fn new(dialer: Dialer, addrs: &[SocketAddr]) -> Self {
        let node = |addr: &SocketAddr| Node {
            addr: *addr,
            connection: RefCell::default(),
            connecting: Mutex::new(()),
        };
        Self {
            dialer,
            nodes: addrs.iter().map(node).collect(),
            preferred: Cell::new(0),
            cluster: Cell::new(ClusterId::NONE),
        }
    }

    pub(crate) const fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Where to try first.
    pub(crate) fn preferred(&self) -> usize {
        self.preferred.get()
    }

    /// Where to try after `index`.
    pub(crate) const fn after(&self, index: usize) -> usize {
        (index + 1) % self.nodes.len()
    }

    /// Remembers that `index` answered.
    pub(crate) fn prefer(&self, index: usize) {
        self.preferred.set(index);
    }

    /// The connection to a node, made if there is none.
    pub(crate) async fn connection(&self, index: usize) -> Result<Rc<Connection>, GreetingError> {
        let node = &self.nodes[index];
        if let Some(connection) = node.usable() {
            return Ok(connection);
        }
        let _connecting = node.connecting.lock().await;
        if let Some(connection) = node.usable() {
            return Ok(connection);
        }
        let connection = Rc::new(Connection::open(&self.dialer, node.addr, self.cluster.get()).await?);
        if connection.cluster().is_some() {
            self.cluster.set(connection.cluster());
        }
        *node.connection.borrow_mut() = Some(connection.clone());
        Ok(connection)
    }

    /// Closes all connections and tells the nodes.
    pub(crate) async fn close(&self) {
        self.dialer.close().await;
    }
}

impl Node {
    fn usable(&self) -> Option<Rc<Connection>> {
        self.connection.borrow().as_ref().filter(|connection| connection.is_usable()).cloned()
    }
}
