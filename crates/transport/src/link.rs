//! One connection after both Hellos: its lanes, its large messages, and how it ends without losing a frame.
//!
//! **Ending well.** An end that retires a link takes no more frames for it, writes what it has, waits until the
//! other end has acknowledged the large messages, and finishes its lanes. Seeing a lane finished, the other end
//! does the same. An end that has seen all lanes finished and has everything acknowledged closes: nothing is under way
//! in either direction then.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt};
use starling_types::limits;
use starling_wire::{Class, Envelope, FrameError, Message};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::counters::{self, Counters};
use crate::crowd::{self, Used};
use crate::cutter::Cutter;
use crate::greeting::Greeted;
use crate::lane::{Lane, Offer, write_lane};
use crate::large::{Budget, LargeError, LargeQueue, read_one, write_large};

/// The outcome for a message handed over for sending. `Queued` promises no delivery: the connection may be lost.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// It will be written, unless the connection is lost first.
    Queued,
    /// There is no usable connection.
    NotConnected,
    /// The lane's queue is full: the other end does not keep up.
    Full,
    /// Larger than [`limits::MAX_MESSAGE`], or not encodable: it will never be sent.
    TooLarge,
}

/// Where a link's frames go.
pub(crate) trait Sink {
    fn frame(&self, envelope: Envelope);
    /// The frames that arrived together have been delivered.
    fn batch_end(&self);
}

/// Why an end closes a connection, as QUIC's application error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    Finished = 1,
    Refused = 2,
    Malformed = 3,
    Restarted = 4,
    Disconnected = 5,
    Drained = 6,
    Rival = 7,
    Crowded = 8,
}

impl Farewell {
    pub(crate) fn code(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// One usable connection.
#[derive(Debug)]
pub(crate) struct Link {
    connection: Connection,
    protocol: u16,
    /// All four of a peer, or the one of a client.
    lanes: Vec<Lane>,
    large: Rc<LargeQueue>,
    large_written: Latch,
    budget: Rc<Budget>,
    counters: Rc<Counters>,
    frames: Cell<u64>,
    used: Cell<Used>,
    retiring: Cell<bool>,
    leaving: Cell<bool>,
    dialed: Cell<Option<SocketAddr>>,
    last_words: RefCell<Option<String>>,
}

/// A pair of streams that carries frames both ways.
pub(crate) type Streams = (SendStream, RecvStream);

impl Link {
    pub(crate) fn new(
        connection: Connection,
        greeted: &Greeted,
        counters: Rc<Counters>,
        budget: Rc<Budget>,
    ) -> Rc<Self> {
        Rc::new(Self {
            connection,
            protocol: greeted.protocol,
            lanes: greeted.streams.iter().map(|_| Lane::new(counters.clone())).collect(),
            large: Rc::new(LargeQueue::new(counters.clone())),
            large_written: Latch::default(),
            budget,
            counters,
            frames: Cell::new(0),
            used: Cell::new(crowd::now()),
            retiring: Cell::new(false),
            leaving: Cell::new(false),
            dialed: Cell::new(None),
            last_words: RefCell::default(),
        })
    }

    pub(crate) fn send(&self, class: Class, envelope: &Envelope) -> Sent {
        let lane = &self.lanes[self.lane_of(class, envelope)];
        let offer = match class {
            Class::Datagram => self.send_datagram(envelope).unwrap_or_else(|| lane.offer(envelope)),
            _ => lane.offer(envelope),
        };
        self.frames.set(self.frames.get() + 1);
        self.used.set(crowd::now());
        match offer {
            Offer::Taken => Sent::Queued,
            Offer::Large(frame) => self.large.push(frame, priority_of(class) - 1),
            Offer::Full => Sent::Full,
            Offer::Closed => Sent::NotConnected,
            Offer::Unfit(error) => {
                tracing::error!(message = envelope.message.name(), %error, "message not sent");
                Sent::TooLarge
            }
        }
    }

    /// `None` if it does not fit or the other end takes no datagrams: the control lane takes it then.
    fn send_datagram(&self, envelope: &Envelope) -> Option<Offer> {
        let room = self.connection.max_datagram_size()?;
        let mut frame = Vec::with_capacity(DATAGRAM_ROOM);
        if let Err(error) = envelope.encode(&mut frame) {
            return Some(Offer::Unfit(error));
        }
        let length = frame.len();
        if length > room || self.connection.send_datagram(frame.into()).is_err() {
            return None;
        }
        counters::add(&self.counters.frames_out, 1);
        counters::add(&self.counters.bytes_out, length);
        Some(Offer::Taken)
    }

    /// Two foreground lanes halve the wait behind a lost packet; one request always takes the same.
    fn lane_of(&self, class: Class, envelope: &Envelope) -> usize {
        match class {
            _ if self.lanes.len() == 1 => 0,
            Class::Control | Class::Datagram => CONTROL,
            Class::Foreground => FOREGROUND + spread(envelope.exchange.bits()),
            Class::Background => BACKGROUND,
        }
    }

    /// The protocol version that both ends speak.
    pub(crate) const fn protocol(&self) -> u16 {
        self.protocol
    }

    /// Whether frames can be sent on it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.retiring.get()
    }

    /// Whether the connection has not ended yet, as far as is known here.
    pub(crate) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Whether the other end has announced that it goes.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get()
    }

    /// Frames sent and received: unchanged over a while means quiet.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.get()
    }

    /// When a frame was last sent or received.
    pub(crate) fn used(&self) -> Used {
        self.used.get()
    }

    /// Remembers the address under which the other end was dialed.
    pub(crate) fn dialed(&self, addr: SocketAddr) {
        self.dialed.set(Some(addr));
    }

    /// Whether dialing `addr` would lead to where this link leads.
    pub(crate) fn leads_to(&self, addr: SocketAddr) -> bool {
        self.is_usable() && (self.dialed.get() == Some(addr) || self.connection.remote_address() == addr)
    }

    /// Ends the link without losing what is queued or under way in either direction.
    pub(crate) fn retire(&self) {
        self.retiring.set(true);
        self.large.close();
        self.lanes.iter().for_each(Lane::close);
    }

    /// Ends the link now.
    pub(crate) fn close(&self, farewell: Farewell, reason: &str) {
        self.last_words.borrow_mut().get_or_insert_with(|| reason.to_owned());
        self.connection.close(farewell.code(), reason.as_bytes());
    }

    fn malformed(&self, error: &dyn std::fmt::Display) {
        if self.connection.close_reason().is_none() {
            counters::add(&self.counters.malformed, 1);
            let addr = self.connection.remote_address();
            tracing::warn!(%addr, %error, "closing a connection that sent what is no frame");
            self.close(Farewell::Malformed, &error.to_string());
        }
    }

    fn deliver(&self, frame: &[u8], sink: &dyn Sink) -> Result<(), FrameError> {
        let envelope = Envelope::decode(frame)?;
        counters::add(&self.counters.frames_in, 1);
        counters::add(&self.counters.bytes_in, frame.len());
        self.frames.set(self.frames.get() + 1);
        self.used.set(crowd::now());
        if matches!(envelope.message, Message::GoAway(_)) {
            self.leaving.set(true);
        }
        sink.frame(envelope);
        Ok(())
    }

    /// Why it ended, for a person.
    fn epitaph(&self, error: &ConnectionError) -> String {
        match (error, self.last_words.borrow().as_ref()) {
            (ConnectionError::LocallyClosed, Some(words)) => words.clone(),
            _ => describe(error),
        }
    }
}

/// Serves a link until its connection is gone; says why it is.
pub(crate) async fn run(link: &Rc<Link>, streams: Vec<Streams>, sink: Rc<dyn Sink>) -> String {
    let mut others = JoinSet::new();
    others.spawn_local(write_large_messages(link.clone()));
    others.spawn_local(read_large_messages(link.clone(), sink.clone()));
    others.spawn_local(read_datagrams(link.clone(), sink.clone()));
    let mut lanes = JoinSet::new();
    for (index, (send, recv)) in streams.into_iter().enumerate() {
        lanes.spawn_local(write(link.clone(), index, send));
        lanes.spawn_local(read(link.clone(), recv, sink.clone()));
    }
    tokio::select! {
        biased;
        _ = link.connection.closed() => {}
        () = join(&mut lanes) => link.close(Farewell::Finished, "both ends have finished"),
    }
    let epitaph = link.epitaph(&link.connection.closed().await);
    link.retire();
    join(&mut lanes).await;
    join(&mut others).await;
    epitaph
}

async fn join(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}

/// A failed write means that the connection is gone or condemned.
async fn write(link: Rc<Link>, index: usize, mut stream: SendStream) {
    if write_lane(&link.lanes[index], &mut stream).await.is_err() {
        return;
    }
    link.large_written.wait().await;
    if stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
}

async fn read(link: Rc<Link>, mut stream: RecvStream, sink: Rc<dyn Sink>) {
    let mut cutter = Cutter::new(limits::LANE_FRAME);
    let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
    loop {
        match stream.read_chunks(&mut chunks).await {
            Ok(Some(count)) => {
                let read = read_batch(&link, &mut cutter, &mut chunks[..count], &*sink);
                sink.batch_end();
                if let Err(error) = read {
                    return link.malformed(&error);
                }
                // A client that sends without a pause leaves the thread to all others after each batch.
                tokio::task::yield_now().await;
            }
            Ok(None) => return link.retire(),
            Err(ReadError::ConnectionLost(_)) => return,
            Err(error) => return link.malformed(&error),
        }
    }
}

/// Chunks are let go at once: each pins all that came with it in one datagram.
fn read_batch(
    link: &Link,
    cutter: &mut Cutter,
    chunks: &mut [Bytes],
    sink: &dyn Sink,
) -> Result<(), FrameError> {
    for chunk in chunks {
        let chunk = std::mem::take(chunk);
        cutter.feed(&chunk, |frame| link.deliver(frame, sink))?;
    }
    Ok(())
}

async fn write_large_messages(link: Rc<Link>) {
    write_large(link.large.clone(), link.connection.clone()).await;
    link.large_written.set();
}

/// Their number is bounded by the stream limit of the connection.
async fn read_large_messages(link: Rc<Link>, sink: Rc<dyn Sink>) {
    let mut under_way = JoinSet::new();
    while let Ok(stream) = link.connection.accept_uni().await {
        while under_way.try_join_next().is_some() {}
        under_way.spawn_local(read_large(link.clone(), stream, sink.clone()));
    }
    join(&mut under_way).await;
}

async fn read_large(link: Rc<Link>, mut stream: RecvStream, sink: Rc<dyn Sink>) {
    let read = read_one(&mut stream, &link.budget).await;
    let delivered = read.and_then(|frame| Ok(link.deliver(&frame, &*sink)?));
    match delivered {
        Ok(()) => sink.batch_end(),
        Err(LargeError::Gone) => {}
        Err(error) => link.malformed(&error),
    }
}

async fn read_datagrams(link: Rc<Link>, sink: Rc<dyn Sink>) {
    while let Ok(datagram) = link.connection.read_datagram().await {
        match link.deliver(&datagram, &*sink) {
            Ok(()) => sink.batch_end(),
            Err(error) => return link.malformed(&error),
        }
    }
}

/// Why a connection ended, for a person.
pub(crate) fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => String::from_utf8_lossy(&close.reason).into_owned(),
        ConnectionError::TimedOut => "no answer within the idle timeout".into(),
        ConnectionError::Reset => "the other end has restarted".into(),
        other => other.to_string(),
    }
}

/// Strict tiers among the streams of a connection.
pub(crate) const fn priority_of(class: Class) -> i32 {
    match class {
        Class::Control | Class::Datagram => 10,
        Class::Foreground => 0,
        Class::Background => -10,
    }
}

const fn spread(bits: u128) -> usize {
    let folded = (bits >> 64) as u64 ^ bits as u64;
    (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63) as usize
}

/// Something that happens once and that tasks of this thread wait for.
#[derive(Debug, Default)]
struct Latch {
    happened: Cell<bool>,
    wake: Notify,
}

impl Latch {
    fn set(&self) {
        self.happened.set(true);
        self.wake.notify_waiters();
    }

    async fn wait(&self) {
        if !self.happened.get() {
            self.wake.notified().await;
        }
    }
}

/// A peer's lanes, in the order of their first bytes.
pub(crate) const CONTROL: usize = 0;
pub(crate) const FOREGROUND: usize = 1;
pub(crate) const BACKGROUND: usize = 3;
const CHUNKS: usize = 32;
const DATAGRAM_ROOM: usize = 1_500;
