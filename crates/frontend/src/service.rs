//! The interface to the node behind the doors.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use starling_types::{BucketName, ClusterId, Key, NodeId, limits};
use starling_wire::client::KvReply;
use starling_wire::local::{LocalAsk, LocalPage};
use starling_wire::{Failure, FailureKind, KvOp, KvRequest};
use tokio::sync::oneshot;

/// The node as both doors see it. Everything runs on one thread; a service answers whenever it likes, from within
/// [`submit`](Self::submit) too.
pub trait KvService: 'static {
    /// Takes a request. The answer goes through `reply`, now or later, exactly once.
    fn submit(&self, request: KvRequest, reply: ReplyTo);

    /// Everything that was read in one go has been submitted: run the machine.
    fn turn(&self);

    /// A request for `op` with everything filled in that needs a clock or a generator: id and issue time.
    fn draft(&self, bucket: BucketName, key: Key, op: KvOp) -> KvRequest;

    /// Whether clients can be served, or why not.
    fn ready(&self) -> Result<(), String>;

    /// The node's status, as `GET /v1/status` shows it.
    fn status(&self) -> serde_json::Value;

    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;

    /// The ring, as `GET /v1/ring` shows it.
    fn ring(&self) -> serde_json::Value;

    /// The placement of a key, as `GET /v1/key/{bucket}/{key}/explain` shows it; `None` before `cluster init`.
    fn explain(&self, bucket: BucketName, key: Key) -> Option<serde_json::Value>;

    /// Shows records that this node holds itself. The answer goes through `answer`, now or later; if it is dropped,
    /// there is none.
    fn local(&self, ask: LocalAsk, answer: oneshot::Sender<Result<LocalPage, Failure>>);

    /// Whether an HTTP client may call this node by that host name, which is in lower case and no IP address.
    fn is_called(&self, host: &str) -> bool;

    /// The identity of this node.
    fn identity(&self) -> Identity;

    /// The sections of RESP's `INFO` besides the one on the server.
    fn info(&self) -> Vec<InfoSection>;

    /// How much the doors take on. Read once per listener.
    fn limits(&self) -> FrontLimits;

    /// Told of everything worth a counter.
    fn count(&self, door: Door, event: FrontEvent);
}

/// One section of `INFO`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InfoSection {
    /// Its title.
    pub name: &'static str,
    /// Its lines.
    pub fields: Vec<(String, String)>,
}

/// A node's identity, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node.
    pub node_id: NodeId,
    /// Its cluster, [`ClusterId::NONE`] before `cluster init`.
    pub cluster_id: ClusterId,
    /// Its name.
    pub name: String,
    /// Its software version.
    pub version: String,
    /// Where it listens for RESP.
    pub resp: SocketAddr,
    /// Where it listens for HTTP.
    pub http: SocketAddr,
    /// Where it listens for peers and native clients.
    pub quic: SocketAddr,
    /// Where its data are.
    pub data_dir: PathBuf,
}

/// How much one door takes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontLimits {
    /// Largest value, in bytes; up to [`limits::MAX_VALUE`].
    pub max_value: usize,
    /// Connections at a time, per door; idle ones are closed for others beyond it.
    pub max_connections: usize,
    /// RESP: requests of one connection that may wait for their reply; beyond that nothing more is read from it.
    pub max_pipeline: usize,
    /// RESP: bytes of replies, and of requests behind others of their keys, that may wait in one connection before
    /// nothing more is read from it.
    pub max_output: usize,
    /// HTTP: time for the head of a request to arrive, from its first byte.
    pub head_timeout: Duration,
    /// Time for the body of a request to arrive; RESP: for a whole request, from its first byte.
    pub body_timeout: Duration,
    /// Time that a client may leave its replies unread before it is cut off.
    pub stall_timeout: Duration,
    /// Time that connections get at shutdown to finish what is in flight.
    pub drain_timeout: Duration,
}

impl Default for FrontLimits {
    fn default() -> Self {
        Self {
            max_value: limits::DEFAULT_MAX_VALUE,
            max_connections: 10_000,
            max_pipeline: 1_024,
            max_output: 1 << 20,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Through which door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// The Redis protocol.
    Resp,
    /// HTTP/1.1.
    Http,
}

impl Door {
    /// The word for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resp => "resp",
            Self::Http => "http",
        }
    }
}

/// An event that a door reports to the service's counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEvent {
    /// A connection was accepted.
    Opened,
    /// A connection has ended.
    Closed,
    /// A connection was turned away: the door is full.
    Refused,
    /// A connection was closed because another client needed its place.
    MadeRoom,
    /// Accepting failed (file descriptors, memory); the listener waits a moment.
    AcceptFailed,
    /// A command, by its name in the table, or an HTTP request, by its route.
    Command(&'static str),
    /// Bytes that are no request; the connection is closed.
    ProtocolError,
    /// A client took too long, over sending a request or over reading its replies, and was cut off.
    Stalled,
}

/// Where a reply goes. Slots are the sink's own numbers.
pub trait ReplySink {
    /// Takes the reply for `slot`.
    fn deliver(&self, slot: u64, reply: KvReply);

    /// Whether the client may still be there to hear it.
    fn is_heard(&self) -> bool;
}

/// The right, and the duty, to answer one request once.
pub struct ReplyTo {
    sink: Option<Rc<dyn ReplySink>>,
    slot: u64,
}

impl ReplyTo {
    /// For `slot` of `sink`.
    pub fn new(sink: Rc<dyn ReplySink>, slot: u64) -> Self {
        Self { sink: Some(sink), slot }
    }

    /// Answers.
    pub fn send(mut self, reply: KvReply) {
        self.deliver(reply);
    }

    /// Whether the client may still be there to hear the answer.
    pub fn is_heard(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.is_heard())
    }

    fn deliver(&mut self, reply: KvReply) {
        if let Some(sink) = self.sink.take() {
            sink.deliver(self.slot, reply);
        }
    }
}

/// A request that the service lost: its outcome is unknown.
impl Drop for ReplyTo {
    fn drop(&mut self) {
        if self.sink.is_some() {
            let detail =
                "the node gave the request up without an answer: read the key before you write again";
            self.deliver(KvReply::Failed(Failure::unknown(FailureKind::NotReady, detail)));
        }
    }
}

impl std::fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyTo").field("slot", &self.slot).finish_non_exhaustive()
    }
}

/// Why a value of `len` bytes is refused.
pub(crate) fn value_too_large(len: impl std::fmt::Display, limit: usize) -> String {
    format!("the value has {len} bytes: this node takes at most {limit} (limits.max_value)")
}

/// The answer's kind does not fit the request: a bug behind the door, reported as one.
pub(crate) fn mismatched(reply: &KvReply) -> Failure {
    let kind = if matches!(reply, KvReply::Read(_)) {
        "a write was answered by a read"
    } else {
        "a read was answered by a write"
    };
    Failure::unknown(FailureKind::NotReady, format!("internal error: {kind}; please report it"))
}
