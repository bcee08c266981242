//! The first exchange on a connection: the dialer opens the lanes and introduces itself on the first of them, the other
//! end checks that against the certificate and answers in kind, or says why not.

use std::time::Duration;

use quinn::{Connection, ReadExactError, RecvStream, SendStream, WriteError};
use rustls::pki_types::CertificateDer;
use starling_types::{ExchangeId, LayoutVersion, NodeId, limits};
use starling_wire::frame::{Envelope, FrameError, frame_length};
use starling_wire::hello::{Hello, HelloRefusal, NodeHello, ProtocolGap, common_protocol, same_cluster};
use starling_wire::{Class, Message};

use crate::identity::{Identity, identity_of};
use crate::link::{Streams, describe, priority_of};
use crate::quic::{LANES, Protocols};

/// Why no connection came to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GreetingError {
    /// No answer came in time.
    #[error("no answer within {} ms: is a node running there, and does UDP reach it?", .0.as_millis())]
    Silent(Duration),
    /// TLS refused a certificate, or its want.
    #[error("the handshake failed: {0}: do both ends have credentials of the same authority?")]
    Handshake(String),
    /// The node at one end is not the one that the other end expected.
    #[error(
        "another node is there than was expected ({0}): was its data directory replaced, or is the address another node's now?"
    )]
    OtherNode(String),
    /// The other end takes no connections: it stops, or has too many.
    #[error("the other end takes no connections at the moment: it is stopping, or has too many")]
    Closed,
    /// The other end said no.
    #[error("the other end refused: {0}")]
    RefusedByPeer(HelloRefusal),
    /// This end said no.
    #[error("this end refused: {0}")]
    Refused(HelloRefusal),
    /// The ends have no protocol version in common: until one of them is upgraded, every try ends so.
    #[error("{0}")]
    Versions(ProtocolGap),
    /// The address is the dialer's own.
    #[error("this address is this node's own")]
    Myself,
    /// The bytes that came are no greeting.
    #[error("no greeting: {0}: is the other end a node of this release?")]
    Nonsense(String),
    /// The connection was lost during the greeting.
    #[error("the connection was lost during the greeting: {0}")]
    Lost(String),
}

impl GreetingError {
    /// Whether a person should look at it: it does not pass by itself, as ends that come and go do.
    pub(crate) const fn is_of_note(&self) -> bool {
        match self {
            Self::Handshake(_)
            | Self::OtherNode(_)
            | Self::RefusedByPeer(_)
            | Self::Refused(_)
            | Self::Versions(_)
            | Self::Nonsense(_) => true,
            Self::Silent(_) | Self::Closed | Self::Myself | Self::Lost(_) => false,
        }
    }
}

/// A connection after both Hellos.
#[derive(Debug)]
pub(crate) struct Greeted {
    /// The hello of the other end.
    pub(crate) hello: Hello,
    /// The protocol version that both ends speak.
    pub(crate) protocol: u16,
    /// The lanes, in the order of [`crate::link`].
    pub(crate) streams: Vec<Streams>,
}

impl Greeted {
    /// The other end's introduction as a node.
    pub(crate) fn node(&self) -> Result<&NodeHello, GreetingError> {
        node_of(&self.hello)
    }
}

fn node_of(hello: &Hello) -> Result<&NodeHello, GreetingError> {
    hello.node.as_ref().ok_or_else(|| GreetingError::Nonsense("the other end names no node".into()))
}

/// The dialer's part.
pub(crate) async fn greet(
    connection: &Connection,
    protocol: Protocols,
    ours: &Hello,
) -> Result<Greeted, GreetingError> {
    let mut streams = Vec::new();
    for &(kind, class) in lanes_of(protocol) {
        let (mut send, recv) = connection.open_bi().await.map_err(lost)?;
        prioritise(&send, class);
        send.write_all(&[kind]).await.map_err(write_lost)?;
        streams.push((send, recv));
    }
    let (send, recv) = &mut streams[0];
    write_message(send, ours, Message::Hello(ours.clone())).await?;
    let hello = read_hello(recv, ours).await?;
    let protocol = judge_dialed(connection, ours, &hello)?;
    Ok(Greeted { hello, protocol, streams })
}

/// The listener's part.
pub(crate) async fn answer(
    connection: &Connection,
    protocol: Protocols,
    ours: &Hello,
) -> Result<Greeted, GreetingError> {
    let mut streams = accept_lanes(connection, protocol).await?;
    let (send, recv) = &mut streams[0];
    let hello = read_hello(recv, ours).await?;
    let protocol = match judge(connection, protocol, ours, &hello) {
        Ok(protocol) => protocol,
        Err(refusal) => {
            refuse(send, ours, refusal.clone()).await;
            return Err(refused(refusal, &hello));
        }
    };
    write_message(send, ours, Message::Hello(ours.clone())).await?;
    Ok(Greeted { hello, protocol, streams })
}

/// Every lane is opened at once and starts with its kind; streams may arrive in any order.
async fn accept_lanes(connection: &Connection, protocol: Protocols) -> Result<Vec<Streams>, GreetingError> {
    let expected = lanes_of(protocol);
    let mut lanes: Vec<Option<Streams>> = expected.iter().map(|_| None).collect();
    for _ in expected {
        let (send, mut recv) = connection.accept_bi().await.map_err(lost)?;
        let mut first = [0];
        recv.read_exact(&mut first).await.map_err(read_lost)?;
        let index = expected.iter().position(|(kind, _)| *kind == first[0]);
        let index = index.filter(|index| lanes[*index].is_none());
        let index = index.ok_or_else(|| GreetingError::Nonsense(format!("unexpected lane {}", first[0])))?;
        prioritise(&send, expected[index].1);
        lanes[index] = Some((send, recv));
    }
    Ok(lanes.into_iter().flatten().collect())
}

/// Versions, cluster, and that a peer is the one its certificate names.
fn judge(
    connection: &Connection,
    protocol: Protocols,
    ours: &Hello,
    theirs: &Hello,
) -> Result<u16, HelloRefusal> {
    let spoken = common_protocol(ours.protocols, theirs.protocols)
        .map_err(|gap| HelloRefusal::Protocol { ours: gap.ours })?;
    same_cluster(ours.cluster, theirs.cluster)?;
    match protocol {
        Protocols::Peer => is_itself(connection, theirs).map(|()| spoken),
        Protocols::Client => Ok(spoken),
    }
}

/// A refusal for versions carries those of one end: each end knows its own.
fn refused(refusal: HelloRefusal, hello: &Hello) -> GreetingError {
    match refusal {
        HelloRefusal::Protocol { ours } => {
            GreetingError::Versions(ProtocolGap { ours, theirs: hello.protocols })
        }
        other => GreetingError::Refused(other),
    }
}

fn is_itself(connection: &Connection, theirs: &Hello) -> Result<(), HelloRefusal> {
    let claimed = theirs.node.as_ref().map_or(NodeId::from_bits(0), |node| node.node);
    match certified(connection) {
        Some(Identity::Node(node)) if node == claimed => Ok(()),
        _ => Err(HelloRefusal::NotYou(claimed)),
    }
}

fn judge_dialed(connection: &Connection, ours: &Hello, theirs: &Hello) -> Result<u16, GreetingError> {
    let node = node_of(theirs)?.node;
    if ours.node.as_ref().is_some_and(|own| own.node == node) {
        return Err(GreetingError::Myself);
    }
    judge(connection, Protocols::Peer, ours, theirs).map_err(|refusal| refused(refusal, theirs))
}

fn certified(connection: &Connection) -> Option<Identity> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    identity_of(chain.first()?).ok()
}

/// The reason must arrive before the connection is closed, which discards what is not yet acknowledged.
async fn refuse(send: &mut SendStream, ours: &Hello, refusal: HelloRefusal) {
    let said = write_message(send, ours, Message::HelloRefused(refusal)).await;
    if said.is_ok() && send.finish().is_ok() {
        let _ = tokio::time::timeout(LAST_WORDS, send.stopped()).await;
    }
}

async fn write_message(send: &mut SendStream, ours: &Hello, message: Message) -> Result<(), GreetingError> {
    let frame = envelope(ours, message);
    let mut bytes = Vec::new();
    frame.encode(&mut bytes).map_err(nonsense)?;
    send.write_all(&bytes).await.map_err(write_lost)
}

/// A frame that belongs to no exchange.
pub(crate) fn envelope(ours: &Hello, message: Message) -> Envelope {
    Envelope {
        cluster: ours.cluster,
        epoch: ours.node.as_ref().map_or(LayoutVersion::NONE, |node| node.layout),
        exchange: ExchangeId::from_bits(0),
        deadline_ms: 0,
        message,
    }
}

/// Reads exactly one frame, so that the lane's reader starts with the next.
async fn read_hello(recv: &mut RecvStream, ours: &Hello) -> Result<Hello, GreetingError> {
    let mut frame = vec![0; 4];
    recv.read_exact(&mut frame).await.map_err(read_lost)?;
    let length = frame_length(&frame).map_err(nonsense)?.unwrap_or_default();
    if length > limits::LANE_FRAME {
        return Err(nonsense(FrameError::Length(length)));
    }
    frame.resize(length, 0);
    recv.read_exact(&mut frame[4..]).await.map_err(read_lost)?;
    match Envelope::decode(&frame).map_err(nonsense)?.message {
        Message::Hello(hello) => Ok(hello),
        Message::HelloRefused(HelloRefusal::Protocol { ours: theirs }) => {
            Err(GreetingError::Versions(ProtocolGap { ours: ours.protocols, theirs }))
        }
        Message::HelloRefused(refusal) => Err(GreetingError::RefusedByPeer(refusal)),
        other => Err(GreetingError::Nonsense(format!("{} came first", other.name()))),
    }
}

/// Fails only on a stream that is already gone, which the next use of it reports.
fn prioritise(send: &SendStream, class: Class) {
    let _ = send.set_priority(priority_of(class));
}

const fn lanes_of(protocol: Protocols) -> &'static [(u8, Class)] {
    match protocol {
        Protocols::Peer => &PEER_LANES,
        Protocols::Client => &CLIENT_LANES,
    }
}

fn nonsense(error: FrameError) -> GreetingError {
    GreetingError::Nonsense(error.to_string())
}

/// Only errors that TLS raised are the certificates' fault.
pub(crate) fn lost(error: quinn::ConnectionError) -> GreetingError {
    use quinn::ConnectionError::{ConnectionClosed, TransportError};
    let (code, reason) = match &error {
        // A refused certificate shows only once the dialer uses the connection.
        ConnectionClosed(close) => (close.error_code, describe(&error)),
        TransportError(local) => (local.code, describe(&error)),
        _ => return GreetingError::Lost(describe(&error)),
    };
    match u64::from(code) {
        CONNECTION_REFUSED => GreetingError::Closed,
        CRYPTO..CRYPTO_END if reason.contains(OTHER_NAME) => GreetingError::OtherNode(reason),
        CRYPTO..CRYPTO_END => GreetingError::Handshake(reason),
        _ => GreetingError::Lost(reason),
    }
}

fn write_lost(error: WriteError) -> GreetingError {
    match error {
        WriteError::ConnectionLost(error) => lost(error),
        other => GreetingError::Lost(other.to_string()),
    }
}

fn read_lost(error: ReadExactError) -> GreetingError {
    match error {
        ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error)) => lost(error),
        other => GreetingError::Lost(other.to_string()),
    }
}

const PEER_LANES: [(u8, Class); LANES as usize] =
    [(0, Class::Control), (1, Class::Foreground), (2, Class::Foreground), (3, Class::Background)];
const CLIENT_LANES: [(u8, Class); 1] = [(1, Class::Foreground)];
/// The code of QUIC [RFC 9000, 20.1] for a server that takes no connection.
const CONNECTION_REFUSED: u64 = 0x2;
/// The codes that carry alerts of TLS.
const CRYPTO: u64 = 0x100;
const CRYPTO_END: u64 = 0x200;
/// How rustls words a certificate in another name than was dialed.
const OTHER_NAME: &str = "not valid for name";
const LAST_WORDS: Duration = Duration::from_secs(1);
