//! A service in memory: one replica, one actor, and a context that is the number of the last write seen.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use starling_causality::{Dot, Hlc, Mint, Payload, Record, VersionVector};
use starling_types::{ActorId, BucketName, ClusterId, Key, NodeId, RequestId, WallTime};
use starling_wire::client::{KvReply, ReadReply, Receipt, SiblingView, WriteReply};
use starling_wire::local::{LocalAsk, LocalPage, LocalRecord};
use starling_wire::{Failure, FailureKind, KvOp, KvRequest, QuorumChoice, Seen};
use tokio::sync::{oneshot, watch};

use crate::listener::Shutdown;
use crate::service::{Door, FrontEvent, FrontLimits, Identity, InfoSection, KvService, ReplyTo};

/// Its wall clock, which stands still unless it is moved.
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;

#[derive(Default)]
pub(crate) struct Fake {
    records: RefCell<BTreeMap<(BucketName, Key), Vec<SiblingView>>>,
    pub(crate) waiting: RefCell<Vec<(KvRequest, ReplyTo)>>,
    /// Every request submitted.
    pub(crate) log: RefCell<Vec<KvRequest>>,
    pub(crate) events: RefCell<Vec<(Door, FrontEvent)>>,
    /// Keeps requests waiting instead of answering them in the next turn.
    pub(crate) held: Cell<bool>,
    /// The answer to every request, if there is one.
    pub(crate) failure: RefCell<Option<Failure>>,
    pub(crate) unready: Cell<bool>,
    /// How far its wall clock was moved.
    pub(crate) ahead_ms: Cell<u64>,
    /// Its receipts say that too few owners were heard.
    pub(crate) partial: Cell<bool>,
    pub(crate) limits: FrontLimits,
    writes: Cell<u64>,
}

impl Fake {
    pub(crate) fn new() -> Rc<Self> {
        Rc::default()
    }

    pub(crate) fn with_limits(limits: FrontLimits) -> Rc<Self> {
        Rc::new(Self { limits, ..Self::default() })
    }

    pub(crate) fn failing(kind: FailureKind) -> Rc<Self> {
        let failure = Failure::unknown(kind, "it went wrong");
        Rc::new(Self { failure: RefCell::new(Some(failure)), ..Self::default() })
    }

    /// Answers what waits, `order` of each chunk of requests at a time.
    pub(crate) fn answer_waiting(&self, order: impl FnOnce(&mut Vec<(KvRequest, ReplyTo)>)) {
        let mut waiting = self.waiting.take();
        order(&mut waiting);
        for (request, reply) in waiting {
            let answer = self.apply(&request);
            reply.send(answer);
        }
    }

    pub(crate) fn quorums(&self) -> Vec<QuorumChoice> {
        self.log.borrow().iter().map(|request| request.quorum).collect()
    }

    pub(crate) fn commands(&self) -> usize {
        self.events.borrow().iter().filter(|(_, event)| matches!(event, FrontEvent::Command(_))).count()
    }

    fn apply(&self, request: &KvRequest) -> KvReply {
        if let Some(failure) = &*self.failure.borrow() {
            return KvReply::Failed(failure.clone());
        }
        let mut records = self.records.borrow_mut();
        let siblings = records.entry((request.bucket.clone(), request.key.clone())).or_default();
        match &request.op {
            KvOp::Get => read(siblings),
            KvOp::Put { value, seen, ttl_ms } => {
                let expires_at = ttl_ms.map(|ms| WallTime::from_millis(NOW_MS + ms));
                self.write(siblings, seen, Some((value.clone(), expires_at)))
            }
            KvOp::Delete { seen } => self.write(siblings, seen, None),
        }
    }

    fn write(
        &self,
        siblings: &mut Vec<SiblingView>,
        seen: &Seen,
        value: Option<(Bytes, Option<WallTime>)>,
    ) -> KvReply {
        let seen = match seen {
            Seen::Nothing => 0,
            Seen::Local | Seen::Quorum => u64::MAX,
            Seen::Context(token) => match token.as_ref().try_into() {
                Ok(number) => u64::from_be_bytes(number),
                Err(_) => {
                    return KvReply::Failed(Failure::refused(FailureKind::BadRequest, "no such context"));
                }
            },
        };
        let existed = !siblings.is_empty();
        siblings.retain(|sibling| sibling.dot.hlc.bits() > seen);
        let number = self.writes.get() + 1;
        self.writes.set(number);
        let dot = Dot { actor: ActorId::from_bits(1), hlc: Hlc::from_bits(number) };
        siblings.extend(value.map(|(value, expires_at)| SiblingView { value, dot, expires_at }));
        let receipt = Receipt {
            dot: Some(dot),
            coordinator: NodeId::from_bits(7),
            acked: 2,
            owners: 2,
            w: 2,
            n: 3,
            durable: true,
            hinted: 0,
            partial: self.partial.get(),
            unvouched: false,
        };
        let context = (siblings.len() <= 1).then(|| token(number));
        KvReply::Written(WriteReply { context, siblings: siblings.len() as u32, existed, receipt })
    }
}

impl Fake {
    /// Its keys as they are, a page at a time; the number of the first of the next is its cursor.
    fn page(&self, ask: &LocalAsk) -> LocalPage {
        let records = self.records.borrow();
        let held = records.iter().map(|((bucket, key), siblings)| (bucket, held(key, siblings)));
        match ask {
            LocalAsk::Key(bucket, key) => {
                let records = held.filter(|(b, held)| *b == bucket && held.key == *key).map(|(_, held)| held);
                LocalPage { records: records.collect(), next: None }
            }
            LocalAsk::Page { bucket, from, limit } => {
                let start = from.as_ref().map_or(0, |from| usize::from(from[0]));
                let all: Vec<_> = held.filter(|(b, _)| *b == bucket).map(|(_, held)| held).collect();
                let end = all.len().min(start + limit);
                let next = (end < all.len()).then(|| Bytes::from(vec![end as u8]));
                LocalPage { records: all[start..end].to_vec(), next }
            }
        }
    }
}

fn held(key: &Key, siblings: &[SiblingView]) -> LocalRecord {
    let unseen = VersionVector::new();
    let record = siblings.iter().fold(Record::default(), |record, sibling| {
        record.write(Mint {
            expires_at: sibling.expires_at,
            ..Mint::plain(&unseen, sibling.dot, Payload::Value(sibling.value.clone()))
        })
    });
    LocalRecord { key: key.clone(), record: record.into(), context: token(siblings.len() as u64) }
}

/// The context that has seen everything up to write `number`.
pub(crate) fn token(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn read(siblings: &[SiblingView]) -> KvReply {
    let context = siblings.iter().map(|sibling| sibling.dot.hlc.bits()).max().map(token);
    KvReply::Read(ReadReply { siblings: siblings.to_vec(), context, deleted: None })
}

impl KvService for Fake {
    fn submit(&self, request: KvRequest, reply: ReplyTo) {
        self.log.borrow_mut().push(request.clone());
        self.waiting.borrow_mut().push((request, reply));
    }

    fn turn(&self) {
        if !self.held.get() {
            self.answer_waiting(|_| ());
        }
    }

    fn draft(&self, bucket: BucketName, key: Key, op: KvOp) -> KvRequest {
        let id = RequestId::from_bits(self.log.borrow().len() as u128);
        KvRequest::new(id, WallTime::from_millis(NOW_MS + self.ahead_ms.get()), bucket, key, op)
    }

    fn ready(&self) -> Result<(), String> {
        if self.unready.get() {
            Err(format!("the cluster has no layout yet: {}", starling_types::remedy::NO_CLUSTER))
        } else {
            Ok(())
        }
    }

    fn status(&self) -> serde_json::Value {
        serde_json::json!({"state": "serving"})
    }

    fn metrics(&self) -> String {
        "starling_requests_total 1\n".into()
    }

    fn ring(&self) -> serde_json::Value {
        serde_json::json!({"partitions": []})
    }

    fn explain(&self, _: BucketName, key: Key) -> Option<serde_json::Value> {
        (!self.unready.get()).then(|| serde_json::json!({ "key_bytes": key.as_bytes().len() }))
    }

    fn local(&self, ask: LocalAsk, answer: oneshot::Sender<Result<LocalPage, Failure>>) {
        let failure = self.failure.borrow().clone();
        // A test that hangs up has no use for it.
        let _ = answer.send(failure.map_or_else(|| Ok(self.page(&ask)), Err));
    }

    fn is_called(&self, host: &str) -> bool {
        ["a", "n1.example"].contains(&host)
    }

    fn identity(&self) -> Identity {
        let port = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Identity {
            node_id: NodeId::from_bits(7),
            cluster_id: ClusterId::from_bits(9),
            name: "n1".into(),
            version: "0.1.0".into(),
            resp: port(7001),
            http: port(7101),
            quic: port(7201),
            data_dir: "data".into(),
        }
    }

    fn info(&self) -> Vec<InfoSection> {
        vec![InfoSection { name: "Keyspace", fields: vec![("keys".into(), "0".into())] }]
    }

    fn limits(&self) -> FrontLimits {
        self.limits.clone()
    }

    fn count(&self, door: Door, event: FrontEvent) {
        self.events.borrow_mut().push((door, event));
    }
}

/// A node that never stops: the sender must live as long as the receiver.
pub(crate) fn running() -> (watch::Sender<bool>, Shutdown) {
    watch::channel(false)
}
