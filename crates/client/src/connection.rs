//! One connection to one node, shared by all requests that go there.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use starling_transport::{Channel, Dialer, GreetingError, Sent};
use starling_types::{ClusterId, ExchangeId, LayoutVersion, NodeId, WallTime};
use starling_wire::{Envelope, Message};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;

use crate::clock;
use crate::pending::{Pending, sweep};

/// A connection and what is under way on it.
pub(crate) struct Connection {
    channel: Channel,
    pending: Rc<Pending>,
    sweep: AbortHandle,
    /// When the node was last asked for the time.
    asked: Cell<Instant>,
}

/// Why a call brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Nothing was sent: the connection is going, or its queue is full.
    Unsent,
    /// It was sent, but no answer came: too late, or the connection was lost.
    Unanswered,
    /// It is larger than any message may be.
    TooLarge,
}

impl Connection {
    /// Connects to the node at `addr`, of `cluster` or, if that is none, of any.
    pub(crate) async fn open(
        dialer: &Dialer,
        addr: std::net::SocketAddr,
        cluster: ClusterId,
    ) -> Result<Self, GreetingError> {
        let pending = Rc::new(Pending::default());
        let channel = dialer.connect(addr, cluster, pending.clone()).await?;
        let sweep = spawn_local(sweep(Rc::downgrade(&pending))).abort_handle();
        Ok(Self { channel, pending, sweep, asked: Cell::new(clock::now()) })
    }

    /// The node's cluster when the connection was made.
    pub(crate) const fn cluster(&self) -> ClusterId {
        self.channel.cluster()
    }

    /// The node, by what it said of itself.
    pub(crate) const fn node(&self) -> NodeId {
        self.channel.node().node
    }

    /// The node's estimate of the cluster's time when the connection was made.
    pub(crate) const fn wall(&self) -> Option<WallTime> {
        self.channel.wall()
    }

    /// The newest layout version by which the node has answered.
    pub(crate) fn epoch(&self) -> LayoutVersion {
        self.pending.epoch()
    }

    /// Whether new requests can go here.
    pub(crate) fn is_usable(&self) -> bool {
        self.channel.is_usable()
    }

    /// Whether the node, which could not tell the time, is to be asked again by a new connection: once a second.
    pub(crate) fn asks_the_time_again(&self) -> bool {
        let now = clock::now();
        let is_due = self.wall().is_none() && now - self.asked.get() > TIME_AGAIN;
        if is_due {
            self.asked.set(now);
        }
        is_due
    }

    /// Sends a message and waits for the answer, at most `patience`.
    pub(crate) async fn call(
        &self,
        exchange: ExchangeId,
        message: Message,
        patience: Duration,
    ) -> Result<Message, NoAnswer> {
        let envelope = Envelope {
            cluster: self.channel.cluster(),
            epoch: LayoutVersion::NONE,
            exchange,
            deadline_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).max(1),
            message,
        };
        let waiting = self.pending.wait(exchange, clock::now() + patience).ok_or(NoAnswer::Unsent)?;
        match self.channel.send(&envelope) {
            Sent::Queued => waiting.await.map_err(|_| NoAnswer::Unanswered),
            not_sent => {
                self.pending.forget(exchange);
                Err(if not_sent == Sent::TooLarge { NoAnswer::TooLarge } else { NoAnswer::Unsent })
            }
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.sweep.abort();
    }
}

/// A node has heard its peers by then, if it can.
const TIME_AGAIN: Duration = Duration::from_secs(1);
