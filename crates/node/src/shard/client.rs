//! What clients ask: checks, the plan, and the machine that drives the request.

use starling_causality::{ContextToken, Payload, VersionVector};
use starling_coordinator::plan::quorum;
use starling_coordinator::put::Tried;
use starling_coordinator::{Forward, Get, Plan, Put};
use starling_types::{BucketProps, Instant, PartitionId, QualifiedKey, RequestId, limits};
use starling_vnode::ClientWrite;
use starling_wire::client::Seen;
use starling_wire::{Failure, FailureKind, KvOp, KvReply, KvRequest};

use super::turn::BUCKET_INCARNATION;
use super::{Asked, InFlight, Machine, Route, Shard, Turn, Work};

impl Shard {
    /// Takes a request in, from a client or passed on by a node that is no owner.
    pub(crate) fn request(&mut self, turn: &mut Turn<'_>, route: Route, request: KvRequest) {
        self.counters.requests += 1;
        if let Err(failure) = self.begin(turn, route, request) {
            turn.answer(route, KvReply::Failed(failure));
        }
        self.pump(turn);
    }

    fn begin(&mut self, turn: &mut Turn<'_>, route: Route, request: KvRequest) -> Result<(), Failure> {
        if self.joins_its_first_try(route, &request) {
            return Ok(());
        }
        let layout = turn.view.layout().ok_or_else(no_cluster)?;
        let props = self.check(turn, &request)?;
        let key =
            QualifiedKey::new(layout.cluster().hash_seed(), request.bucket.clone(), request.key.clone());
        let partition = layout.partition_of(key.token());
        let (size, strict) = quorum(&props, &request.quorum, layout.n(), request.op.is_write())
            .map_err(|e| Failure::refused(FailureKind::BadRequest, e.to_string()))?;
        let number = turn.view.buckets().number(&request.bucket);
        let weight = request.weight();
        if request.op.is_write() && self.vnodes.staged_bytes() >= self.max_staged {
            return Err(behind());
        }
        // A node whose clock is off mints nothing; it still reads.
        // Nor does one that may have forgotten what it acked.
        let may_mint = turn.view.may_coordinate() && self.vouches(turn, key.token());
        let may_drive = may_mint || !request.op.is_write();
        let drives = turn.view.owns(partition) && may_drive;
        if drives {
            self.check_room(turn, &request.op)?;
        }
        self.admission.enter(weight)?;
        let started = if drives {
            let plan = turn.view.plan(partition, size, strict).ok_or_else(no_cluster)?;
            let plan = plan.with_bucket(&props, number).starting(turn.now.instant, request.timeout());
            self.coordinate(turn, route, plan, &props, key, request)
        } else {
            self.forward(turn, route, partition, key, request)
        };
        if started.is_err() {
            self.admission.leave(weight);
        }
        started
    }

    /// A retry that arrives while its first try is unanswered waits for the same answer.
    fn joins_its_first_try(&mut self, route: Route, request: &KvRequest) -> bool {
        let Some(exchange) = self.by_client.get(&request.id) else {
            return false;
        };
        match self.in_flight.get_mut(exchange) {
            Some(first) if !first.routes.is_empty() && first.is_tried_again_by(request) => {
                first.routes.push(route);
                true
            }
            _ => false,
        }
    }

    fn check(&self, turn: &Turn<'_>, request: &KvRequest) -> Result<BucketProps, Failure> {
        let refuse = |kind, detail: String| Err(Failure::refused(kind, detail));
        let Some(props) = turn.view.buckets().props(&request.bucket) else {
            let name = &request.bucket;
            let detail = format!(
                "there is no bucket {name}: create it with `starling bucket create {name}`; `starling bucket list` \
                 shows those there are"
            );
            return refuse(FailureKind::NoSuchBucket, detail);
        };
        let wall = turn.view.cluster_wall(turn.now);
        let age = wall.since(request.issued);
        if age > limits::REQUEST_MEMORY {
            let detail = format!(
                "the request was issued {} s ago by the client's clock, and request ids are remembered for {} s: \
                 issue it anew, and check the client's clock",
                age.as_secs(),
                limits::REQUEST_MEMORY.as_secs()
            );
            return refuse(FailureKind::BadRequest, detail);
        }
        let lead = request.issued.since(wall);
        if lead > limits::REQUEST_MAX_LEAD {
            let detail = format!(
                "the request is dated {} s ahead of this node's clock, at most {} s are taken: check the client's \
                 clock",
                lead.as_secs(),
                limits::REQUEST_MAX_LEAD.as_secs()
            );
            return refuse(FailureKind::BadRequest, detail);
        }
        match &request.op {
            KvOp::Put { value, .. } if value.len() > self.max_value => {
                let detail =
                    format!("the value has {} bytes: at most {} are taken", value.len(), self.max_value);
                refuse(FailureKind::TooLarge, detail)
            }
            _ => Ok(props.clone()),
        }
    }

    /// This node is an owner: it drives the request.
    fn coordinate(
        &mut self,
        turn: &mut Turn<'_>,
        route: Route,
        plan: Plan,
        props: &BucketProps,
        key: QualifiedKey,
        request: KvRequest,
    ) -> Result<(), Failure> {
        let write = client_write(turn, &key, props, &request, plan.deadline)?;
        let (exchange, deadline) = (self.exchange(), plan.deadline);
        let mut effects = Vec::new();
        let machine = if write.is_some() {
            self.vouch(&request, &key)?;
            let is_retry = request.attempt > 0;
            let ask_first = is_retry && self.vnodes.recall(request.id, key.token()).is_none();
            let (bucket, key) = (request.bucket.clone(), request.key.clone());
            Machine::Put(Put::start(plan, request.id, bucket, key, tried(is_retry, ask_first), &mut effects))
        } else {
            Machine::Get(Get::start(plan, request.bucket.clone(), request.key.clone(), &mut effects))
        };
        let in_flight = InFlight {
            machine,
            key,
            write,
            routes: vec![route],
            client: request.id,
            asked: Asked::of(&request),
            weight: request.weight(),
            deadline,
            timer: None,
        };
        self.launch(exchange, in_flight, effects);
        Ok(())
    }

    /// A retry whose first try may have been known here and forgotten since must not be made again.
    fn vouch(&self, request: &KvRequest, key: &QualifiedKey) -> Result<(), Failure> {
        let is_known = self.vnodes.recall(request.id, key.token()).is_some();
        if request.attempt == 0 || is_known || !self.vnodes.may_have_forgotten(request.issued) {
            return Ok(());
        }
        let detail = "too many requests have passed since the first try to tell whether it took place: read the key, \
                      then write anew";
        Err(Failure::unknown(FailureKind::Deadline, detail))
    }

    /// This node is no owner, or must not coordinate: an owner that can shall, at one hop's distance.
    fn forward(
        &mut self,
        turn: &mut Turn<'_>,
        route: Route,
        partition: PartitionId,
        key: QualifiedKey,
        request: KvRequest,
    ) -> Result<(), Failure> {
        if request.forwarded {
            let detail = "this node may not coordinate requests for the key; nothing was changed";
            return Err(Failure::refused(FailureKind::NotReady, detail));
        }
        let (exchange, weight, client) = (self.exchange(), request.weight(), request.id);
        let asked = Asked::of(&request);
        let deadline = turn.now.instant + request.timeout();
        let candidates = turn.view.reachable_owners(partition);
        let mut effects = Vec::new();
        let machine = Machine::Forward(Forward::start(turn.now.instant, request, candidates, &mut effects));
        let in_flight = InFlight {
            machine,
            key,
            write: None,
            routes: vec![route],
            client,
            asked,
            weight,
            deadline,
            timer: None,
        };
        self.launch(exchange, in_flight, effects);
        Ok(())
    }

    fn launch(
        &mut self,
        exchange: RequestId,
        in_flight: InFlight,
        effects: Vec<starling_coordinator::Effect>,
    ) {
        self.by_client.insert(in_flight.client, exchange);
        self.in_flight.insert(exchange, in_flight);
        self.work.extend(effects.into_iter().map(|e| Work::Request(exchange, e)));
        self.reschedule(exchange);
    }
}

const fn tried(is_retry: bool, ask_first: bool) -> Tried {
    match (is_retry, ask_first) {
        (false, _) => Tried::Never,
        (true, true) => Tried::Elsewhere,
        (true, false) => Tried::Here,
    }
}

fn client_write(
    turn: &Turn<'_>,
    key: &QualifiedKey,
    props: &BucketProps,
    request: &KvRequest,
    deadline: Instant,
) -> Result<Option<ClientWrite>, Failure> {
    let (payload, seen, ttl_ms) = match &request.op {
        KvOp::Get => return Ok(None),
        KvOp::Put { value, seen, ttl_ms } => (Payload::Value(value.clone()), seen, ttl_ms.or(props.ttl_ms)),
        KvOp::Delete { seen } => (Payload::Tombstone, seen, None),
    };
    Ok(Some(ClientWrite {
        request: request.id,
        key: key.clone(),
        payload,
        seen: open(turn, key, seen)?,
        ttl_ms,
        lww: props.conflict == starling_types::Conflict::Lww,
        durable: props.durable,
        deadline,
    }))
}

/// What the writer has seen; `None` for whatever the coordinating replica holds.
fn open(turn: &Turn<'_>, key: &QualifiedKey, seen: &Seen) -> Result<Option<VersionVector>, Failure> {
    match seen {
        Seen::Nothing => Ok(Some(VersionVector::new())),
        Seen::Local | Seen::Quorum => Ok(None),
        Seen::Context(token) => ContextToken::open(token, turn.view.cluster(), BUCKET_INCARNATION, key)
            .map(Some)
            .map_err(|e| Failure::refused(FailureKind::BadRequest, e.to_string())),
    }
}

impl InFlight {
    fn is_tried_again_by(&self, request: &KvRequest) -> bool {
        let same_key = *self.key.bucket() == request.bucket && *self.key.key() == request.key;
        same_key && self.asked == Asked::of(request)
    }
}

fn behind() -> Failure {
    let detail = "this node's disk is behind: too much waits to be written; nothing was changed; retry later";
    Failure::refused(FailureKind::Overloaded, detail).retry_after(limits::RPC_TIMEOUT)
}

fn no_cluster() -> Failure {
    let detail =
        "this node belongs to no cluster yet: run `starling cluster init --nodes A,B,C`; nothing was changed";
    Failure::refused(FailureKind::NotReady, detail).retry_after(limits::READ_TIMEOUT)
}
