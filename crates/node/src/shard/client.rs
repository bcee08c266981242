//! Requests of clients: checks, the plan, and the machine that drives the request.

use std::time::Duration;

use starling_causality::{ContextToken, Hlc, Payload, VersionVector};
use starling_coordinator::plan::quorum;
use starling_coordinator::put::Subject;
use starling_coordinator::{Forward, Get, Plan, Put, Request, Terms};
use starling_custody::Word;
use starling_types::planted::{self, Bug};
use starling_types::{BucketProps, Now, PartitionId, QualifiedKey, limits, remedy};
use starling_vnode::{ClientWrite, Replaces};
use starling_wire::client::Seen;
use starling_wire::{Failure, FailureKind, KvOp, KvReply, KvRequest};

use super::requests::InFlight;
use super::timing::Timing;
use super::turn::BUCKET_INCARNATION;
use super::turned_away::{Try, is_refusal, try_of};
use super::{Route, Shard, Turn};

/// A request that was taken in.
struct Taken {
    route: Route,
    key: QualifiedKey,
    request: KvRequest,
    timing: Timing,
}

impl Shard {
    /// Takes a request in, from a client or passed on by a node that is no owner.
    pub(super) fn request(&mut self, turn: &mut Turn<'_>, route: Route, request: KvRequest) {
        self.counters.requests += 1;
        let (is_write, this) = (request.op.is_write(), try_of(&request));
        if let Err(failure) = self.begin(turn, route, request) {
            let reply = KvReply::Failed(failure);
            if is_write {
                self.turn_away(route, this, &reply);
            }
            turn.answer(route, reply);
        }
    }

    /// Remembers what was refused of another node: nothing of that try may be carried out any more.
    pub(super) fn turn_away(&mut self, route: Route, this: Try, reply: &KvReply) {
        if matches!(route, Route::Node(..)) && is_refusal(reply) {
            self.requests.turned_away.note(this);
        }
    }

    fn begin(&mut self, turn: &mut Turn<'_>, route: Route, request: KvRequest) -> Result<(), Failure> {
        if request.op.is_write() && matches!(route, Route::Node(..)) {
            self.requests.turned_away.check(try_of(&request))?;
        }
        if self.requests.joins_its_first_try(route, &request) {
            return Ok(());
        }
        if planted::on(Bug::MostRefused) && !request.forwarded && !request.id.bits().is_multiple_of(10) {
            return Err(behind());
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
        let timing = Timing::of(turn.now, turn.cluster_time(), &request);
        timing.check(turn.now.instant, &request)?;
        // Reads change nothing: one that comes late is answered all the same.
        let limit = if request.op.is_write() { timing.left(turn.now.instant) } else { request.timeout() };
        if request.op.is_write() && self.vnodes.staged_bytes() >= self.pressure.max_staged {
            return Err(behind());
        }
        // A node whose clock is off mints nothing; it still reads.
        // Nor does one that is still pulling what it lost: others have it.
        let may_mint = turn.view.may_coordinate() && self.word(&key) != Word::None;
        let may_drive = may_mint || !request.op.is_write();
        let may_drive = may_drive && !self.passes_on(turn, partition, &request);
        let drives = turn.view.owns(partition) && may_drive;
        if drives {
            self.check_room(turn, &request.op)?;
        }
        self.requests.admission.enter(weight)?;
        let started = if drives {
            let (id, now) = (request.id, turn.now.instant);
            let terms = Terms { props: &props, number, request: id, strict, now, timeout: limit };
            let plan = turn.view.plan(partition, size, &terms).ok_or_else(no_cluster)?;
            self.coordinate(turn, plan, &props, Taken { route, key, request, timing })
        } else {
            self.forward(turn, partition, Taken { route, key, request, timing }, limit)
        };
        if started.is_err() {
            self.requests.admission.leave(weight);
        }
        started
    }

    fn check(&self, turn: &Turn<'_>, request: &KvRequest) -> Result<BucketProps, Failure> {
        request.check().map_err(Failure::from)?;
        let refuse = |kind, detail: String| Err(Failure::refused(kind, detail));
        let Some(props) = turn.view.buckets().props(&request.bucket) else {
            let name = &request.bucket;
            let detail = format!(
                "there is no bucket {name}: create it with `starling bucket create {name}`; `starling bucket list` \
                 shows those there are"
            );
            return refuse(FailureKind::NoSuchBucket, detail);
        };
        match &request.op {
            KvOp::Put { value, .. } if value.len() > self.pressure.max_value => {
                let detail = format!(
                    "the value has {} bytes: at most {} are taken",
                    value.len(),
                    self.pressure.max_value
                );
                refuse(FailureKind::TooLarge, detail)
            }
            _ => Ok(props.clone()),
        }
    }

    /// This node is an owner: it drives the request.
    fn coordinate(
        &mut self,
        turn: &Turn<'_>,
        plan: Plan,
        props: &BucketProps,
        taken: Taken,
    ) -> Result<(), Failure> {
        let Taken { route, key, request, timing } = taken;
        let write = client_write(turn, &key, props, &request, &timing)?;
        let deadline = plan.deadline();
        let mut effects = Vec::new();
        let (bucket, name) = (request.bucket.clone(), request.key.clone());
        let machine = if let Some(write) = &write {
            let tried = self.tried(turn, &request, write, &timing)?;
            let subject = Subject { request: request.id, attempt: request.attempt, bucket, key: name };
            let questions = self.questions(turn, &request, &key, &timing);
            Request::Put(Put::start(plan, subject, tried, questions, &mut effects))
        } else {
            Request::Get(Get::start(plan, bucket, name, &mut effects))
        };
        let mut in_flight = InFlight::new(machine, &request, route, key, deadline);
        in_flight.write = write;
        self.launch(in_flight, effects);
        Ok(())
    }

    /// This node is no owner, or must not coordinate: an owner that can shall, at one hop's distance.
    fn forward(
        &mut self,
        turn: &Turn<'_>,
        partition: PartitionId,
        taken: Taken,
        limit: Duration,
    ) -> Result<(), Failure> {
        let Taken { route, key, request, .. } = taken;
        if request.forwarded {
            let detail = "this node may not coordinate requests for the key; nothing was changed";
            return Err(Failure::refused(FailureKind::NotReady, detail));
        }
        let deadline = turn.now.instant + limit;
        let candidates = turn.view.reachable_owners(partition);
        let mut effects = Vec::new();
        let now = Now { wall: turn.cluster_time(), ..turn.now };
        let machine = Forward::start(now, request.clone(), limit, candidates, &mut effects);
        let in_flight = InFlight::new(Request::Forward(machine), &request, route, key, deadline);
        self.launch(in_flight, effects);
        Ok(())
    }

    fn launch(&mut self, in_flight: InFlight, effects: Vec<starling_coordinator::Effect>) {
        let exchange = self.requests.number();
        self.requests.launch(exchange, in_flight, effects, &mut self.work);
    }
}

fn client_write(
    turn: &Turn<'_>,
    key: &QualifiedKey,
    props: &BucketProps,
    request: &KvRequest,
    timing: &Timing,
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
        replaces: open(turn, key, seen)?,
        // From its issue on, so that two tries of one request expire together.
        expires_at: ttl_ms.map(|ms| timing.issued.after(Duration::from_millis(ms))),
        lww: props.conflict == starling_types::Conflict::Lww,
        durable: props.durable,
        deadline: timing.ends,
        tries: timing.tries(request.attempt),
        is_absent_elsewhere: false,
        vouched: Hlc::ZERO,
    }))
}

/// The versions that the writer means to replace.
fn open(turn: &Turn<'_>, key: &QualifiedKey, seen: &Seen) -> Result<Replaces, Failure> {
    match seen {
        Seen::Nothing => Ok(Replaces::Seen(VersionVector::new())),
        // The versions that others hold are added when they are heard.
        Seen::Local | Seen::Quorum => Ok(Replaces::All(VersionVector::new())),
        Seen::Context(token) => ContextToken::open(token, turn.view.cluster(), BUCKET_INCARNATION, key)
            .map(Replaces::Seen)
            .map_err(|e| Failure::refused(FailureKind::BadRequest, e.to_string())),
    }
}

fn behind() -> Failure {
    let detail = "this node's disk is behind: too much waits to be written; nothing was changed; retry later";
    Failure::refused(FailureKind::Overloaded, detail).retry_after(limits::RPC_TIMEOUT)
}

fn no_cluster() -> Failure {
    let remedy = remedy::NO_CLUSTER;
    let detail = format!("this node belongs to no cluster yet, and nothing was changed: {remedy}");
    Failure::refused(FailureKind::NotReady, detail).retry_after(limits::READ_TIMEOUT)
}
