//! The client: one request, however many tries it takes.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::{StdRng, SysRng};
use rand::{RngExt, SeedableRng};
use starling_transport::{Credentials, Dialer};
use starling_types::{BucketName, ClusterId, ExchangeId, Key, LayoutVersion, Outcome, RequestId};
use starling_wire::client::{AdminReply, AdminRequest, ReadReply, WriteReply};
use starling_wire::{Failure, KvOp, KvReply, KvRequest, Message, Seen};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

use crate::call::Call;
use crate::clock;
use crate::connection::{Connection, NoAnswer};
use crate::course::{Course, Ending, Next};
use crate::error::ClientError;
use crate::nodes::Nodes;
use crate::routes::Routes;

/// A client of one cluster. Cheap to clone; all clones share the connections. Lives on one thread, inside a
/// `LocalSet`.
#[derive(Clone)]
pub struct Client {
    pub(crate) nodes: Rc<Nodes>,
    routes: Rc<Routes>,
    /// For request ids, which must not repeat: seeded by the system.
    rng: Rc<RefCell<StdRng>>,
}

impl Client {
    /// Connects to the first of `addrs` (nodes' QUIC addresses) that answers, and asks it for the layout; the others
    /// are for when it does not answer. Members that are not among `addrs` are found through it, if they can be reached
    /// by the addresses that they announce.
    pub async fn connect(addrs: &[SocketAddr], credentials: Credentials) -> Result<Self, ClientError> {
        let like = addrs.iter().find(|addr| addr.is_ipv6()).or(addrs.first());
        let dialer = Dialer::bind(&credentials, *like.ok_or(ClientError::NoAddress)?)?;
        let seeded = StdRng::try_from_rng(&mut SysRng);
        let rng = seeded.map_err(|error| ClientError::Randomness(error.to_string()))?;
        let nodes = Rc::new(Nodes::new(dialer, addrs));
        let client = Self { nodes, routes: Rc::default(), rng: Rc::new(RefCell::new(rng)) };
        let connection = client.first_connection().await?;
        if connection.cluster().is_some() {
            client.learn(&connection).await;
        }
        Ok(client)
    }

    /// A read of a key.
    pub fn get(&self, bucket: BucketName, key: Key) -> Call<'_, ReadReply> {
        Call::new(self, self.new_request(bucket, key, KvOp::Get))
    }

    /// A write of a value. Without [`Call::context`] or [`Call::blind`] it replaces nothing: the value becomes a
    /// sibling of what is there.
    pub fn put(&self, bucket: BucketName, key: Key, value: impl Into<Bytes>) -> Call<'_, WriteReply> {
        let op = KvOp::Put { value: value.into(), seen: Seen::Nothing, ttl_ms: None };
        Call::new(self, self.new_request(bucket, key, op))
    }

    /// A write of a tombstone. Without [`Call::context`] or [`Call::blind`] it deletes nothing.
    pub fn delete(&self, bucket: BucketName, key: Key) -> Call<'_, WriteReply> {
        Call::new(self, self.new_request(bucket, key, KvOp::Delete { seen: Seen::Nothing }))
    }

    /// A request with a fresh id, issued now. To retry one whose outcome is unknown, pass the very same request
    /// again, with its attempt number raised: within [`starling_types::limits::REQUEST_MEMORY`] it cannot become a second write.
    pub fn new_request(&self, bucket: BucketName, key: Key, op: KvOp) -> KvRequest {
        let id = RequestId::from_bits(self.rng.borrow_mut().random());
        KvRequest::new(id, self.nodes.time().now(), bucket, key, op)
    }

    /// Carries out a request: the answer is never [`KvReply::Failed`]. A request that was tried before should
    /// bear an attempt number above 0.
    pub async fn request(&self, mut request: KvRequest) -> Result<KvReply, ClientError> {
        request.check()?;
        let deadline = clock::now() + request.timeout() + GRACE;
        let mut course = Course::new(request.op.is_write(), self.nodes.count(), request.attempt);
        let mut tried = Vec::new();
        let mut heard = None;
        let mut owners = self.owners(&request);
        let mut node = self.nodes.choose(&owners, &mut tried);
        loop {
            self.nodes.warm(&owners);
            let ending = match self.try_once(node, &owners, &request, &course, deadline).await? {
                Ok(reply) => return Ok(reply),
                Err(ending) => ending,
            };
            if let Ending::Failed(failure) = &ending {
                heard = Some(failure.clone());
            }
            let (stay, pause) = match course.after(&ending) {
                Next::Same(pause) => (true, pause),
                Next::Other(pause) => (false, pause),
                Next::GiveUp => return Err(give_up(&course, ending, heard, self.nodes.addr(node))),
            };
            if clock::now() + pause >= deadline {
                return Err(give_up(&course, ending, heard, self.nodes.addr(node)));
            }
            tracing::debug!(request = %request.id, ?ending, "trying again");
            tokio::time::sleep(pause).await;
            // A node that is gone remembers nothing.
            if !stay || !self.nodes.is_usable(node) {
                tried.push(node);
                owners = self.owners(&request);
                node = self.nodes.choose(&owners, &mut tried);
            }
            request.attempt = course.attempt();
            request.timeout_ms = millis_until(deadline - GRACE);
        }
    }

    /// Asks one node to do an operator's task. Not retried once it was sent.
    pub async fn admin(&self, request: AdminRequest) -> Result<AdminReply, ClientError> {
        let connection = self.first_connection().await?;
        match connection.call(self.new_exchange(), Message::Admin(request), ADMIN_TIME).await {
            Ok(Message::AdminReply(reply)) => Ok(reply),
            Ok(other) => Err(ClientError::Unexpected(other.name())),
            Err(NoAnswer::TooLarge) => Err(ClientError::TooLarge),
            Err(NoAnswer::Unsent) => Err(unanswered("the connection was lost", Outcome::NotApplied, 1)),
            Err(NoAnswer::Unanswered) => Err(unanswered(SILENCE, Outcome::Unknown, 1)),
        }
    }

    /// The version of the layout by which requests find owners; [`LayoutVersion::NONE`] before there is one.
    pub fn layout_version(&self) -> LayoutVersion {
        self.routes.version()
    }

    /// Closes all connections. Requests under way are lost.
    pub async fn close(&self) {
        self.nodes.close().await;
    }

    /// One try: success, how it ended otherwise, or an error that ends the whole request.
    async fn try_once(
        &self,
        node: usize,
        owners: &[usize],
        request: &KvRequest,
        course: &Course,
        deadline: Instant,
    ) -> Result<Result<KvReply, Ending>, ClientError> {
        let patience = || clock::now() + course.patience(deadline.saturating_duration_since(clock::now()));
        let at = self.nodes.addr(node);
        let connected = timeout_at(patience(), self.nodes.connection(node)).await;
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Ok(Err(Ending::Unsent(format!("{at}: {error}")))),
            Err(_) => return Ok(Err(Ending::Unsent(format!("{at}: no connection in time")))),
        };
        let patience = patience() - clock::now();
        let began = self.nodes.time().now();
        let patience_ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX).max(1);
        let asked = KvRequest { began, patience_ms, ..request.clone() };
        let answer = connection
            .call(ExchangeId::from_bits(request.id.bits()), Message::Request(asked), patience)
            .await;
        self.nodes.answered(node, !matches!(answer, Err(NoAnswer::Unanswered)));
        self.review(&connection, owners.contains(&node), &answer);
        match answer {
            Ok(Message::Reply(KvReply::Failed(mut failure))) => {
                failure.detail = format!("{at} says: {}", failure.detail);
                Ok(Err(Ending::Failed(failure)))
            }
            Ok(Message::Reply(reply)) => {
                if owners.is_empty() {
                    self.nodes.prefer(node);
                }
                Ok(Ok(reply))
            }
            Ok(other) => Err(ClientError::Unexpected(other.name())),
            Err(NoAnswer::TooLarge) => Err(ClientError::TooLarge),
            Err(NoAnswer::Unsent) => Ok(Err(Ending::Unsent(format!("{at}: the connection takes no more")))),
            Err(NoAnswer::Unanswered) => Ok(Err(Ending::Unanswered)),
        }
    }

    /// A connection to the preferred node, or else to the next that answers.
    async fn first_connection(&self) -> Result<Rc<Connection>, ClientError> {
        let mut node = self.nodes.preferred();
        let mut tries = 1;
        loop {
            match self.nodes.connection(node).await {
                Ok(connection) => {
                    self.nodes.prefer(node);
                    return Ok(connection);
                }
                Err(last) if tries == self.nodes.count() => {
                    return Err(ClientError::Unreachable { tried: self.nodes.addresses(), last });
                }
                Err(error) => tracing::debug!(%error, "trying the next address"),
            }
            node = self.nodes.after(node);
            tries += 1;
        }
    }

    /// The owners of a request's key, as far as they are known.
    fn owners(&self, request: &KvRequest) -> Vec<usize> {
        let owners = self.routes.owners(&request.bucket, &request.key).into_iter();
        owners.filter_map(|id| self.nodes.of(id)).collect()
    }

    /// Looks whether an answer tells that the layout in use is an old one, and if so asks for another.
    fn review(&self, connection: &Rc<Connection>, is_owner: bool, answer: &Result<Message, NoAnswer>) {
        let elsewhere = match answer {
            Ok(Message::Reply(KvReply::Written(reply))) => reply.receipt.coordinator != connection.node(),
            _ => false,
        };
        if self.routes.wants(connection.epoch(), is_owner && elsewhere, clock::now()) {
            let (client, connection) = (self.clone(), connection.clone());
            spawn_local(async move { client.learn(&connection).await });
        }
    }

    /// Asks a node for its layout. One that shows none is as good as before: it passes requests on.
    async fn learn(&self, connection: &Connection) {
        let asked = Message::Admin(AdminRequest::Layout);
        let answer = connection.call(self.new_exchange(), asked, LAYOUT_TIME).await;
        self.routes.done(clock::now());
        if let Ok(Message::AdminReply(AdminReply::Layout(Some(layout)))) = answer {
            let cluster = match connection.cluster() {
                ClusterId::NONE => layout.cluster(),
                cluster => cluster,
            };
            if self.routes.adopt(cluster, layout) {
                let layout = self.routes.layout();
                let members = layout.iter().flat_map(|layout| layout.members());
                self.nodes.meet(members.map(|role| (role.node, role.addr)));
            }
        }
    }

    fn new_exchange(&self) -> ExchangeId {
        ExchangeId::from_bits(self.rng.borrow_mut().random())
    }
}

/// An earlier answer of a node tells more than that another could not be asked.
fn give_up(course: &Course, ending: Ending, heard: Option<Failure>, at: SocketAddr) -> ClientError {
    let tries = course.tries();
    let ending = match (ending, heard) {
        (Ending::Unsent(_), Some(failure)) => Ending::Failed(failure),
        (ending, _) => ending,
    };
    match ending {
        Ending::Failed(failure) => {
            ClientError::Failed { outcome: course.outcome(failure.outcome), failure, tries }
        }
        Ending::Unsent(why) => unanswered(why, course.outcome(Outcome::NotApplied), tries),
        Ending::Unanswered => unanswered(format!("{at}: {SILENCE}"), course.outcome(Outcome::Unknown), tries),
    }
}

fn unanswered(last: impl Into<String>, outcome: Outcome, tries: u32) -> ClientError {
    ClientError::Unanswered { last: last.into(), outcome, tries }
}

fn millis_until(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(clock::now());
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1)
}

/// For the answer's way back.
const GRACE: Duration = Duration::from_millis(250);
const LAYOUT_TIME: Duration = Duration::from_secs(1);
const ADMIN_TIME: Duration = Duration::from_secs(30);
const SILENCE: &str = "the node was silent, or the connection was lost";
