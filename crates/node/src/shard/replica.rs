//! Requests of other nodes to this one's replicas, and their answers to its own.

use starling_antientropy::Errand;
use starling_causality::{Digest, Record};
use starling_coordinator::Event;
use starling_custody::Word;
use starling_handoff as handoff;
use starling_types::planted::{self, Bug};
use starling_types::{BucketName, ExchangeId, Key, NodeId, QualifiedKey, RequestId, limits};
use starling_vnode::{self as vnode, CellKey, Done, Refused};
use starling_wire::replica::{Held, Merge, Merged, Read, ReadAnswer, Recall, Recalled, Refusal, Shown};
use starling_wire::sync::Compared;
use starling_wire::{Class, Envelope, Failure, FailureKind, KvReply, Message};

use super::{Ask, Context, Remote, Route, Shard, Turn};
use crate::change::Change;

/// Operations on the vnodes that may wait for the disk before other nodes' are refused.
pub(super) const MAX_OPERATIONS: usize = 4 * limits::DEFAULT_MAX_IN_FLIGHT;

impl Shard {
    /// A frame of the data plane.
    pub(super) fn peer_message(&mut self, turn: &mut Turn<'_>, from: NodeId, envelope: Envelope) {
        let exchange = envelope.exchange;
        let ask = Ask { from, exchange, epoch: envelope.epoch };
        match envelope.message {
            Message::Merge(merge) => {
                let verdict = self.admit_replica(turn, ask, &merge.bucket, &merge.key);
                match verdict.and_then(|key| self.remote_merge(turn, ask, key, merge)) {
                    Ok(()) => {}
                    Err(why) => self.refuse_merge(turn, ask, why),
                }
            }
            Message::Read(read) => match self.admit_replica(turn, ask, &read.bucket, &read.key) {
                Ok(key) => self.remote_read(turn, ask, key, &read),
                Err(why) => {
                    self.counters.remote_refused += 1;
                    turn.reply(ask, Message::ReadAnswer(ReadAnswer::Refused(why)));
                }
            },
            Message::Recall(recall) => match self.admit_replica(turn, ask, &recall.bucket, &recall.key) {
                Ok(key) if self.owns(turn, &key) => self.remote_recall(turn, ask, key, &recall),
                Ok(_) => refuse_recall(turn, ask, Refusal::NotOwner(turn.view.epoch().0)),
                Err(why) => refuse_recall(turn, ask, why),
            },
            Message::Request(request) => self.request(turn, Route::Node(from, exchange), request),
            Message::Merged(answer) => self.merge_answered(turn, from, exchange, answer),
            Message::ReadAnswer(answer) => {
                if let ReadAnswer::Record(shown) | ReadAnswer::Partial(shown) = &answer {
                    self.knows_rules_of(turn, from, exchange, shown.props);
                }
                self.tell(turn, exchange, Event::Answered(from, answer));
            }
            Message::Recalled(answer) => self.recalled(turn, from, exchange, answer),
            Message::Reply(reply) => {
                self.tell(turn, exchange, Event::Replied(from, reply));
            }
            // A sweep's: control messages never come here.
            message => self.sweep_message(turn, ask, message),
        }
    }

    fn refuse_merge(&mut self, turn: &mut Turn<'_>, ask: Ask, why: Refusal) {
        self.counters.remote_refused += 1;
        turn.reply(ask, Message::Merged(Merged::Refused(why)));
    }

    /// The fence: a sender with another layout than ours is not served (semantics, section 3).
    pub(super) fn admit_replica(
        &self,
        turn: &Turn<'_>,
        ask: Ask,
        bucket: &BucketName,
        key: &Key,
    ) -> Result<QualifiedKey, Refusal> {
        let layout = turn.view.layout().ok_or(Refusal::NotReady)?;
        if self.calls.len() >= MAX_OPERATIONS || self.vnodes.staged_bytes() >= self.pressure.max_staged {
            return Err(Refusal::Overloaded);
        }
        let ours = layout.version().0;
        match ask.epoch.0.cmp(&ours) {
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
        ask: Ask,
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
        self.check_props(turn, ask.from, &merge)?;
        self.check_room_for(&merge, &record)?;
        self.counters.remote_merges += 1;
        let (lww, durable) = (turn.view.buckets().is_lww(&merge.bucket), merge.durable);
        let stands_for = merge.stands_for;
        let remote = Remote::Merge { durable, stands_for };
        let op = self.calls.begin(Context::Remote(ask, remote));
        // A fallback is no owner: it would be asked neither for the request nor for its dot.
        let origin = merge.origin.filter(|_| merge.stands_for.is_none());
        self.vnode(turn, vnode::Event::Merge { op, cell, record, origin, lww, durable });
        Ok(())
    }

    /// Rules of a bucket are applied by those who have the newest ones. A replica that is behind would drop siblings
    /// that must stay; a coordinator that is behind would ack what the bucket does not allow any more. Records that
    /// no client waits for (hints, repairs) may come from behind: the newer rules are applied here.
    ///
    /// So a vnode holds nothing from rules that its node does not know. That is what makes it safe to settle, and to
    /// cover, by one's own: only what was written under these or older ones can be dropped by it.
    fn check_props(&self, turn: &mut Turn<'_>, from: NodeId, merge: &Merge) -> Result<(), Refusal> {
        let ours = turn.view.buckets().number(&merge.bucket);
        let is_client_s = merge.origin.is_some();
        if merge.props == 0 || merge.props == ours || (merge.props < ours && !is_client_s) {
            return Ok(());
        }
        turn.changes.push_back(Change::PropsDiffer(from));
        Err(Refusal::StaleProps(ours))
    }

    fn remote_read(&mut self, turn: &mut Turn<'_>, ask: Ask, key: QualifiedKey, read: &Read) {
        if !self.owns(turn, &key) {
            let why = Refusal::NotOwner(turn.view.epoch().0);
            let answer = Message::ReadAnswer(ReadAnswer::Refused(why));
            return turn.reply(ask, answer);
        }
        self.counters.remote_reads += 1;
        let remote = Remote::Read { key: key.clone(), digest: read.digest };
        let op = self.calls.begin(Context::Remote(ask, remote));
        self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
    }

    /// The knowledge that another owner needs before it makes a write.
    fn remote_recall(&mut self, turn: &mut Turn<'_>, ask: Ask, key: QualifiedKey, recall: &Recall) {
        let (request, token) = (recall.request, key.token());
        if self.vnodes.recall(request, token).is_some() {
            return self.settle_recall(turn, ask, key, request);
        }
        if !self.vnodes.claim(turn.now, request, token, recall.attempt) {
            return turn.reply(ask, Message::Recalled(Recalled::Claimed));
        }
        self.read_for_recall(turn, ask, key, request, false);
    }

    fn read_for_recall(
        &mut self,
        turn: &Turn<'_>,
        ask: Ask,
        key: QualifiedKey,
        request: RequestId,
        settled: bool,
    ) {
        let remote = Remote::Recall { key: key.clone(), request, settled };
        let op = self.calls.begin(Context::Remote(ask, remote));
        self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
    }

    /// A remembered write is shown only when it is committed here: the asker will ack it because of our answer.
    fn settle_recall(&mut self, turn: &Turn<'_>, ask: Ask, key: QualifiedKey, request: RequestId) {
        let lww = turn.view.buckets().is_lww(key.bucket());
        let cell = CellKey::data(key.clone());
        let op = self.calls.begin(Context::Remote(ask, Remote::RecallSettle { key, request }));
        let record = Record::default();
        self.vnode(turn, vnode::Event::Merge { op, cell, record, origin: None, lww, durable: true });
    }

    /// This node's knowledge of a request, and the record that it holds of its key. The record itself outlives the
    /// memory of ids. `None` if the write is remembered and not in the record: it is on its way to disk.
    fn knowledge(
        &self,
        turn: &Turn<'_>,
        key: &QualifiedKey,
        request: RequestId,
        record: &Record,
    ) -> Option<Recalled> {
        // It may have come while the record was loaded.
        let remembered = self.vnodes.recall(request, key.token());
        if remembered.is_some_and(|dot| !record.context().covers(dot)) {
            return None;
        }
        let dot = remembered.or_else(|| record.dot_of(request));
        if dot.is_some() || record.is_superseded(request) {
            return Some(Recalled::Known { dot, shown: shown(turn, key.bucket(), record) });
        }
        let word = self.word(key);
        let holds_nothing = record.is_empty() && !self.vnodes.is_busy(&CellKey::data(key.clone()));
        Some(Recalled::Nothing(Held {
            since: self.forgotten_until(turn),
            context: record.context().clone(),
            is_empty: holds_nothing && word == Word::Full,
            is_sure: word != Word::None,
        }))
    }

    /// Another owner remembers the request, or does not. Under rules that this node has yet to learn it cannot take the
    /// record; and to mint anew would be to make the write twice.
    fn recalled(&mut self, turn: &mut Turn<'_>, from: NodeId, exchange: ExchangeId, answer: Recalled) {
        let props = if let Recalled::Known { shown, .. } = &answer { shown.props } else { 0 };
        if self.knows_rules_of(turn, from, exchange, props) {
            return self.tell(turn, exchange, Event::Recalled(from, answer));
        }
        let detail = "an earlier try is known to another owner, under rules of the bucket that this node is just \
                      learning: send the same request again";
        let failure = Failure::unknown(FailureKind::NotReady, detail);
        self.tell(turn, exchange, Event::RefusedHere(failure));
    }

    /// Whether this node knows the rules under which another shows a record; if it does not, it asks for them.
    fn knows_rules_of(&self, turn: &mut Turn<'_>, from: NodeId, exchange: ExchangeId, props: u64) -> bool {
        let bucket = self.requests.get(exchange).map(|request| request.key.bucket());
        let knows = bucket.is_none_or(|bucket| props <= turn.view.buckets().number(bucket));
        if !knows {
            turn.changes.push_back(Change::PropsDiffer(from));
        }
        knows
    }

    pub(super) fn remote_done(
        &mut self,
        turn: &mut Turn<'_>,
        ask: Ask,
        remote: Remote,
        result: Result<Done, Refused>,
    ) {
        let message = match (remote, result) {
            (Remote::Merge { durable, stands_for }, Ok(_)) => {
                // This node may take the owner for up, or it may come back before any peer says so again.
                if let Some(owner) = stands_for {
                    self.hint_kept(turn, owner);
                }
                Message::Merged(Merged::Done { durable })
            }
            (Remote::Merge { .. }, Err(Refused::NoSpace(_) | Refused::Full(_))) => {
                Message::Merged(Merged::Refused(Refusal::DiskFull))
            }
            (Remote::Merge { .. }, Err(e)) => {
                Message::Merged(Merged::Refused(Refusal::Storage(e.to_string())))
            }
            // Not found would be a lie, and equal to less is less.
            (Remote::Read { key, digest }, Ok(Done::Read(record))) => {
                let answer = match self.word(&key).counts(!record.is_empty()) {
                    true => compared(turn, key.bucket(), digest, &record),
                    false => {
                        self.counters.reads_partial += 1;
                        ReadAnswer::Partial(shown(turn, key.bucket(), &record))
                    }
                };
                Message::ReadAnswer(answer)
            }
            (Remote::Read { key, digest }, _) if planted::on(Bug::UnreadableIsAbsent) => {
                Message::ReadAnswer(compared(turn, key.bucket(), digest, &Record::default()))
            }
            (Remote::Read { .. }, _) => Message::ReadAnswer(ReadAnswer::Unknown),
            (Remote::Fetch { bucket, digest }, Ok(Done::Read(record))) => {
                let answer = compared(turn, &bucket, digest, &record);
                return turn.send(ask.exchange, ask.from, Class::Background, 0, Message::Fetched(answer));
            }
            (Remote::Fetch { .. }, _) => Message::Fetched(ReadAnswer::Unknown),
            (Remote::RecallSettle { key, request }, Ok(_)) => {
                return self.read_for_recall(turn, ask, key, request, true);
            }
            (Remote::Recall { key, request, settled }, Ok(Done::Read(record))) => {
                match self.knowledge(turn, &key, request, &record) {
                    Some(knowledge) => Message::Recalled(knowledge),
                    None if !settled => return self.settle_recall(turn, ask, key, request),
                    None => {
                        let why = "the write was made here, and is not on its disk";
                        Message::Recalled(Recalled::Refused(Refusal::Storage(why.into())))
                    }
                }
            }
            (Remote::Recall { .. } | Remote::RecallSettle { .. }, result) => {
                let why = result.err().map(|refused| refused.to_string()).unwrap_or_default();
                Message::Recalled(Recalled::Refused(Refusal::Storage(why)))
            }
        };
        turn.reply(ask, message);
    }

    fn merge_answered(&mut self, turn: &mut Turn<'_>, from: NodeId, exchange: ExchangeId, answer: Merged) {
        if let Some((target, key)) = self.hints.delivered(exchange) {
            let done = matches!(answer, Merged::Done { durable: true });
            return self.hint_event(turn, handoff::Event::Delivered { target, key, done });
        }
        if self.swept_there(turn, Errand { peer: from, exchange }, &answer) {
            return;
        }
        self.tell(turn, exchange, Event::Merged(from, answer));
    }
}

fn refuse_recall(turn: &mut Turn<'_>, ask: Ask, why: Refusal) {
    turn.reply(ask, Message::Recalled(Recalled::Refused(why)));
}

/// The records of a vnode were written under rules that this node knows.
fn shown(turn: &Turn<'_>, bucket: &BucketName, record: &Record) -> Shown {
    Shown { record: record.encode(), props: turn.view.buckets().number(bucket) }
}

fn compared(turn: &Turn<'_>, bucket: &BucketName, digest: Option<Digest>, record: &Record) -> ReadAnswer {
    match digest == Some(record.digest()) {
        true => ReadAnswer::Same,
        false => ReadAnswer::Record(shown(turn, bucket, record)),
    }
}

/// An answer to a request that this node cannot take at all.
pub(crate) fn not_ready(turn: &mut Turn<'_>, ask: Ask, message: &Message, why: &str) {
    let refusal = Refusal::NotReady;
    let answer = match message {
        Message::Merge(_) => Message::Merged(Merged::Refused(refusal)),
        Message::Read(_) => Message::ReadAnswer(ReadAnswer::Refused(refusal)),
        Message::Recall(_) => Message::Recalled(Recalled::Refused(refusal)),
        Message::Compare(_) => Message::Compared(Compared::Refused(refusal)),
        Message::Fetch(_) => Message::Fetched(ReadAnswer::Refused(refusal)),
        Message::Request(_) => {
            let failure = Failure::refused(FailureKind::NotReady, why);
            Message::Reply(KvReply::Failed(failure))
        }
        _ => return,
    };
    turn.reply(ask, answer);
}
