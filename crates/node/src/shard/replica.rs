//! What other nodes ask of this one's replicas, and their answers to what this one asked.

use starling_antientropy::Errand;
use starling_causality::{Dot, Record};
use starling_coordinator::{forward, get, put};
use starling_handoff as handoff;
use starling_types::{BucketName, Key, NodeId, QualifiedKey, RequestId, Token, limits};
use starling_vnode::{self as vnode, CellKey, Done, Refused};
use starling_wire::replica::{Held, Merge, Merged, Read, ReadAnswer, Recall, Recalled, Refusal};
use starling_wire::sync::Compared;
use starling_wire::{Class, Envelope, KvReply, Message};

use super::{Context, Input, Machine, Remote, Route, Shard, Turn};

/// Operations on the vnodes that may wait for the disk before other nodes' are refused.
pub(super) const MAX_OPERATIONS: usize = 4 * limits::DEFAULT_MAX_IN_FLIGHT;

impl Shard {
    /// A frame of the data plane.
    pub(crate) fn peer_message(&mut self, turn: &mut Turn<'_>, from: NodeId, envelope: Envelope) {
        let exchange = envelope.request;
        match envelope.message {
            Message::Merge(merge) => {
                let verdict = self.admit_replica(turn, envelope.epoch.0, &merge.bucket, &merge.key);
                match verdict.and_then(|key| self.remote_merge(turn, from, exchange, key, merge)) {
                    Ok(()) => {}
                    Err(why) => self.refuse_merge(turn, from, exchange, why),
                }
            }
            Message::Read(read) => {
                match self.admit_replica(turn, envelope.epoch.0, &read.bucket, &read.key) {
                    Ok(key) => self.remote_read(turn, from, exchange, key, &read),
                    Err(why) => {
                        self.counters.remote_refused += 1;
                        let answer = Message::ReadAnswer(ReadAnswer::Refused(why));
                        turn.send(exchange, from, Class::Foreground, 0, answer);
                    }
                }
            }
            Message::Recall(recall) => {
                match self.admit_replica(turn, envelope.epoch.0, &recall.bucket, &recall.key) {
                    Ok(key) if self.owns(turn, &key) => {
                        self.remote_recall(turn, from, exchange, key, &recall)
                    }
                    Ok(_) => refuse_recall(turn, from, exchange, Refusal::NotOwner(turn.view.epoch().0)),
                    Err(why) => refuse_recall(turn, from, exchange, why),
                }
            }
            Message::Request(request) => self.request(turn, Route::Node(from, exchange), request),
            Message::Merged(answer) => self.merge_answered(turn, from, exchange, answer),
            Message::ReadAnswer(answer) => {
                self.input(turn, exchange, Input::Get(get::Event::Answered(from, answer)));
            }
            Message::Recalled(answer) => {
                self.input(turn, exchange, Input::Put(put::Event::Recalled(from, answer)));
            }
            Message::Reply(reply) => {
                self.input(turn, exchange, Input::Forward(forward::Event::Replied(from, reply)));
            }
            // A sweep's: control messages never come here.
            message => self.sweep_message(turn, from, exchange, envelope.epoch.0, message),
        }
        self.pump(turn);
    }

    fn refuse_merge(&mut self, turn: &mut Turn<'_>, from: NodeId, exchange: RequestId, why: Refusal) {
        self.counters.remote_refused += 1;
        turn.send(exchange, from, Class::Foreground, 0, Message::Merged(Merged::Refused(why)));
    }

    /// The fence: a sender with another layout than ours is not served (semantics, section 3).
    pub(super) fn admit_replica(
        &self,
        turn: &Turn<'_>,
        epoch: u64,
        bucket: &BucketName,
        key: &Key,
    ) -> Result<QualifiedKey, Refusal> {
        let layout = turn.view.layout().ok_or(Refusal::NotReady)?;
        if self.contexts.len() >= MAX_OPERATIONS || self.vnodes.staged_bytes() >= self.max_staged {
            return Err(Refusal::Overloaded);
        }
        let ours = layout.version().0;
        match epoch.cmp(&ours) {
            std::cmp::Ordering::Less => Err(Refusal::StaleEpoch(ours)),
            std::cmp::Ordering::Greater => Err(Refusal::NotReady),
            std::cmp::Ordering::Equal => {
                Ok(QualifiedKey::new(layout.cluster().hash_seed(), bucket.clone(), key.clone()))
            }
        }
    }

    fn remote_merge(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        exchange: RequestId,
        key: QualifiedKey,
        merge: Merge,
    ) -> Result<(), Refusal> {
        let layout = turn.view.layout().ok_or(Refusal::NotReady)?;
        let partition = layout.partition_of(key.token());
        let cell = match merge.stands_for {
            None if turn.view.owns(partition) => CellKey::data(key),
            // Only a hint for an owner makes sense; this node being one, it needs no hint.
            Some(owner) if layout.owns(owner, partition) && !turn.view.owns(partition) => {
                // It would count towards W, and may then never be dropped: better refused now.
                if !self.has_room_for_hints() {
                    return Err(Refusal::Overloaded);
                }
                CellKey::hint(owner, key)
            }
            _ => return Err(Refusal::NotOwner(layout.version().0)),
        };
        let record = Record::decode(&merge.record).map_err(|_| Refusal::Damaged)?;
        self.check_props(turn, from, &merge)?;
        self.check_room_for(&merge, &record)?;
        self.counters.remote_merges += 1;
        let (lww, durable) = (turn.view.buckets().is_lww(&merge.bucket), merge.durable);
        let stands_for = merge.stands_for;
        let remote = Remote::Merge { durable, stands_for };
        let op = self.op(Context::Remote(from, exchange, remote));
        // A fallback is no owner: it would be asked neither for the request nor for its dot.
        let origin = merge.origin.filter(|_| merge.stands_for.is_none());
        self.vnode(turn, vnode::Event::Merge { op, cell, record, origin, lww, durable });
        Ok(())
    }

    /// Rules of a bucket are applied by those who have the newest ones. A replica that is behind would drop siblings
    /// that must stay; a coordinator that is behind would ack what the bucket does not allow any more. Records that
    /// nobody waits for (hints, repairs) may come from behind: the newer rules are applied here.
    fn check_props(&mut self, turn: &Turn<'_>, from: NodeId, merge: &Merge) -> Result<(), Refusal> {
        let ours = turn.view.buckets().number(&merge.bucket);
        let is_client_s = merge.origin.is_some();
        if merge.props == 0 || merge.props == ours || (merge.props < ours && !is_client_s) {
            return Ok(());
        }
        self.differing = Some(from);
        Err(Refusal::StaleProps(ours))
    }

    fn remote_read(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        exchange: RequestId,
        key: QualifiedKey,
        read: &Read,
    ) {
        if !self.owns(turn, &key) {
            let why = Refusal::NotOwner(turn.view.epoch().0);
            let answer = Message::ReadAnswer(ReadAnswer::Refused(why));
            return turn.send(exchange, from, Class::Foreground, 0, answer);
        }
        self.counters.remote_reads += 1;
        let remote = Remote::Read { token: key.token(), digest: read.digest };
        let op = self.op(Context::Remote(from, exchange, remote));
        self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
    }

    /// What another owner needs to know before it makes a write.
    fn remote_recall(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        exchange: RequestId,
        key: QualifiedKey,
        recall: &Recall,
    ) {
        let (request, token) = (recall.request, key.token());
        if let Some(dot) = self.vnodes.recall(request, token) {
            return self.settle_recall(turn, from, exchange, key, dot);
        }
        if !self.vnodes.claim(turn.now, request, token, recall.attempt) {
            return turn.send(exchange, from, Class::Foreground, 0, Message::Recalled(Recalled::Claimed));
        }
        let op = self.op(Context::Remote(from, exchange, Remote::Recall { request, token }));
        self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
    }

    /// A remembered write is shown only when it is committed here: the asker will ack it on our word.
    fn settle_recall(
        &mut self,
        turn: &Turn<'_>,
        from: NodeId,
        exchange: RequestId,
        key: QualifiedKey,
        dot: Dot,
    ) {
        let lww = turn.view.buckets().is_lww(key.bucket());
        let cell = CellKey::data(key);
        let remote = Remote::RecallSettle { cell: cell.clone(), dot };
        let op = self.op(Context::Remote(from, exchange, remote));
        let record = Record::default();
        self.vnode(turn, vnode::Event::Merge { op, cell, record, origin: None, lww, durable: true });
    }

    /// What the record itself says of a request: it outlives the memory of ids.
    fn recalled(&self, turn: &Turn<'_>, request: RequestId, token: Token, record: &Record) -> Recalled {
        // It may have come while the record was loaded.
        let dot = self.vnodes.recall(request, token).filter(|&dot| record.context().covers(dot));
        let dot = dot.or_else(|| record.dot_of(request));
        if dot.is_some() || record.is_superseded(request) {
            return Recalled::Known { dot, record: record.encode() };
        }
        Recalled::Nothing(Held {
            since: self.forgotten_until(turn),
            context: record.context().clone(),
            is_empty: record.is_empty(),
            is_sure: self.vouches(turn, token),
        })
    }

    pub(super) fn remote_done(
        &mut self,
        turn: &mut Turn<'_>,
        from: NodeId,
        exchange: RequestId,
        remote: Remote,
        result: Result<Done, Refused>,
    ) {
        let message = match (remote, result) {
            (Remote::Merge { durable, stands_for }, Ok(_)) => {
                // The owner may be up in this node's eyes, or come back before anybody says so again.
                if let Some(owner) = stands_for {
                    self.hint_kept(turn, owner);
                }
                Message::Merged(Merged::Done { durable })
            }
            (Remote::Merge { .. }, Err(Refused::NoSpace(_))) => {
                Message::Merged(Merged::Refused(Refusal::DiskFull))
            }
            (Remote::Merge { .. }, Err(e)) => {
                Message::Merged(Merged::Refused(Refusal::Storage(e.to_string())))
            }
            // Not found would be a lie, and equal to less is less.
            (Remote::Read { token, .. }, Ok(Done::Read(record))) if !self.vouches(turn, token) => {
                self.counters.reads_partial += 1;
                Message::ReadAnswer(ReadAnswer::Partial(record.encode()))
            }
            (Remote::Read { digest, .. }, Ok(Done::Read(record))) => {
                let same = digest == Some(record.digest());
                let answer = if same { ReadAnswer::Same } else { ReadAnswer::Record(record.encode()) };
                Message::ReadAnswer(answer)
            }
            (Remote::Read { .. }, _) => Message::ReadAnswer(ReadAnswer::Unknown),
            (Remote::Fetch { digest }, Ok(Done::Read(record))) => {
                let same = digest == Some(record.digest());
                let answer = if same { ReadAnswer::Same } else { ReadAnswer::Record(record.encode()) };
                return turn.send(exchange, from, Class::Background, 0, Message::Fetched(answer));
            }
            (Remote::Fetch { .. }, _) => Message::Fetched(ReadAnswer::Unknown),
            (Remote::RecallSettle { cell, dot }, Ok(_)) => {
                let op = self.op(Context::Remote(from, exchange, Remote::RecallRead { dot }));
                return self.vnode(turn, vnode::Event::Read(op, cell));
            }
            (Remote::RecallRead { dot }, Ok(Done::Read(record))) => {
                Message::Recalled(Recalled::Known { dot: Some(dot), record: record.encode() })
            }
            (Remote::Recall { request, token }, Ok(Done::Read(record))) => {
                Message::Recalled(self.recalled(turn, request, token, &record))
            }
            (Remote::Recall { .. } | Remote::RecallSettle { .. } | Remote::RecallRead { .. }, result) => {
                let why = result.err().map(|refused| refused.to_string()).unwrap_or_default();
                Message::Recalled(Recalled::Refused(Refusal::Storage(why)))
            }
        };
        turn.send(exchange, from, Class::Foreground, 0, message);
    }

    fn merge_answered(&mut self, turn: &mut Turn<'_>, from: NodeId, exchange: RequestId, answer: Merged) {
        if let Some((target, key)) = self.deliveries.remove(&exchange) {
            let done = matches!(answer, Merged::Done { durable: true });
            return self.hint_event(turn, handoff::Event::Delivered { target, key, done });
        }
        if self.swept_there(turn, Errand { peer: from, exchange }, &answer) {
            return;
        }
        let Some(request) = self.in_flight.get(&exchange) else {
            return;
        };
        let input = match request.machine {
            Machine::Put(_) => Input::Put(put::Event::Merged(from, answer)),
            Machine::Get(_) => Input::Get(get::Event::Merged(from, answer)),
            Machine::Forward(_) => return,
        };
        self.input(turn, exchange, input);
    }
}

fn refuse_recall(turn: &mut Turn<'_>, from: NodeId, exchange: RequestId, why: Refusal) {
    turn.send(exchange, from, Class::Foreground, 0, Message::Recalled(Recalled::Refused(why)));
}

/// An answer to a request that this node cannot take at all.
pub(crate) fn not_ready(
    turn: &mut Turn<'_>,
    from: NodeId,
    exchange: RequestId,
    message: &Message,
    why: &str,
) {
    let refusal = Refusal::NotReady;
    let answer = match message {
        Message::Merge(_) => Message::Merged(Merged::Refused(refusal)),
        Message::Read(_) => Message::ReadAnswer(ReadAnswer::Refused(refusal)),
        Message::Recall(_) => Message::Recalled(Recalled::Refused(refusal)),
        Message::Compare(_) => Message::Compared(Compared::Refused(refusal)),
        Message::Fetch(_) => Message::Fetched(ReadAnswer::Refused(refusal)),
        Message::Request(_) => {
            let failure = starling_wire::Failure::refused(starling_wire::FailureKind::NotReady, why);
            Message::Reply(KvReply::Failed(failure))
        }
        _ => return,
    };
    turn.send(exchange, from, Class::Foreground, 0, answer);
}
