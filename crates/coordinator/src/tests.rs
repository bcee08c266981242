//! Stories: what happens on the left of a line, what the machine wants on the right, in words.

mod forward;
mod get;
mod inquiry;
mod joint;
mod plan;
mod put;
mod random;

use std::time::Duration;

use bytes::Bytes;
use starling_causality::{Dot, Hlc, Mint, Payload, Record, Staged, VersionVector};
use starling_types::{ActorId, BucketName, BucketProps, Instant, Key, NodeId, RequestId, WallTime, limits};
use starling_wire::replica::{Merge, Merged, Refusal, Shown};
use starling_wire::{Failure, FailureKind, Message};

use crate::plan::{Plan, Reach, Terms};
use crate::put::{Questions, Subject};
use crate::{Answer, Effect};

const ME: u64 = 1;
const UP: Reach = Reach::Up;
const DOWN: Reach = Reach::Down;
const SUSPECT: Reach = Reach::Suspect;

fn node(n: u64) -> NodeId {
    NodeId::from_bits(n)
}

fn at(ms: u64) -> Instant {
    Instant::ORIGIN + Duration::from_millis(ms)
}

/// Two of this node and `others` needed, of one alone, two seconds, and half a second for the silent.
fn plan(others: &[(u64, Reach)], fallbacks: &[u64]) -> Plan {
    let owners: Vec<u64> = std::iter::once(ME).chain(others.iter().map(|&(n, _)| n)).collect();
    let quorum = owners.len().min(2) as u8;
    plan_over(&[(&owners, quorum)], others, fallbacks)
}

/// Counts over several sets of owners, each with its quorum.
fn plan_over(sets: &[(&[u64], u8)], reach: &[(u64, Reach)], fallbacks: &[u64]) -> Plan {
    let sets = sets.iter().map(|&(owners, quorum)| (owners.iter().map(|&n| node(n)), quorum));
    let reach = |of: NodeId| reach.iter().find(|&&(n, _)| node(n) == of).map_or(UP, |&(_, reach)| reach);
    let fallbacks = fallbacks.iter().map(|&n| node(n)).collect();
    let plan = Plan::new(node(ME), sets, reach, fallbacks, &terms(&BucketProps::default()));
    Plan { patience: limits::RPC_TIMEOUT, ..plan }
}

fn terms(props: &BucketProps) -> Terms<'_> {
    Terms {
        props,
        number: 1,
        request: request(),
        strict: false,
        now: Instant::ORIGIN,
        timeout: Duration::from_secs(2),
    }
}

fn strict(plan: Plan) -> Plan {
    Plan { strict: true, ..plan }
}

impl Plan {
    fn needing(mut self, quorum: u8) -> Self {
        self.sets.each_mut().for_each(|set| set.quorum = quorum);
        self
    }
}

fn bucket() -> BucketName {
    BucketName::default_bucket()
}

fn key() -> Key {
    Key::new("k").unwrap()
}

/// As a replica with the rules of [`plan`] shows it.
fn held(record: &Record) -> Shown {
    Shown { record: record.encode(), props: 1 }
}

fn request() -> RequestId {
    RequestId::from_bits(77)
}

fn subject() -> Subject {
    Subject { request: request(), attempt: 0, bucket: bucket(), key: key() }
}

/// Of a write that says itself what it replaces, on a node that knows what it is asked.
fn no_questions() -> Questions {
    Questions {
        issued: WallTime::from_millis(5_000),
        asks_until: None,
        names_what_it_replaces: true,
        deletes: false,
        remembers: true,
        is_sure: true,
    }
}

/// One value, written by `actor`.
fn record(actor: u64, text: &str) -> Record {
    let dot = Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_parts(1_000, 0) };
    let value = Payload::Value(Bytes::copy_from_slice(text.as_bytes()));
    Record::default().write(Mint::plain(&VersionVector::new(), dot, value))
}

fn staged() -> Staged {
    let record = record(ME, "v");
    Staged {
        dot: record.siblings()[0].dot,
        record: record.encode(),
        context: Some(record.context().clone()),
        siblings: 1,
        existed: false,
        repeated: false,
        in_part: false,
    }
}

const DONE: Merged = Merged::Done { durable: true };

fn refused() -> Merged {
    Merged::Refused(Refusal::Overloaded)
}

/// The effects of a machine, in words.
fn words(effects: Vec<Effect>) -> Vec<String> {
    effects.into_iter().map(|e| word(&e)).collect()
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::Send(to, _, message) => format!("{} {}", sent(message), to.bits()),
        Effect::Coordinate(heard) => {
            let mut word = "coordinate".to_owned();
            word += if heard.is_new { " as new" } else { "" };
            word += if heard.is_absent { " where nobody holds anything" } else { "" };
            word += if heard.is_partial { " in part" } else { "" };
            word + &heard
                .context
                .iter()
                .map(|(actor, _)| format!(" over {}", actor.bits()))
                .collect::<String>()
        }
        Effect::ReadHere => "read here".into(),
        Effect::MergeHere(record, origin) => {
            let known = origin.map_or("", |_| " with its request");
            format!("merge {} here{known}", values(record))
        }
        Effect::KeepHint(owner, _) => format!("hint for {}", owner.bits()),
        Effect::Respond(answer) => said(answer),
    }
}

fn sent(message: &Message) -> String {
    match message {
        Message::Merge(Merge { stands_for: Some(owner), .. }) => format!("for {}: merge at", owner.bits()),
        Message::Merge(merge) => {
            let record = Record::decode(&merge.record).unwrap();
            format!("merge {} at", values(&record))
        }
        Message::Read(read) if read.digest.is_some() => "compare".into(),
        Message::Read(_) => "read".into(),
        Message::Recall(_) => "recall".into(),
        Message::Request(request) => format!("try {} at", request.attempt),
        other => other.name().into(),
    }
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Read(record) => format!("says {}", values(record)),
        Answer::Written(w) => {
            let r = &w.receipt;
            let what = if r.dot.is_some() { "written" } else { "nothing to write" };
            let partial = if r.partial { " in part" } else { "" };
            format!("{what}{partial}: acked {} owners {} hinted {}", r.acked, r.owners, r.hinted)
        }
        Answer::Relayed(_) => "relays".into(),
        Answer::Failed(f) => format!("{} {}", f.kind.as_str(), f.outcome),
    }
}

fn values(record: &Record) -> String {
    let value = |v: &Bytes| String::from_utf8_lossy(v).into_owned();
    let values = record.siblings().iter().filter_map(|s| s.value().map(value));
    values.collect::<Vec<_>>().join("+")
}

fn failure(effects: &[Effect]) -> &Failure {
    let failed = effects.iter().find_map(|e| match e {
        Effect::Respond(Answer::Failed(failure)) => Some(failure),
        _ => None,
    });
    failed.expect("a failure")
}

fn local_failure() -> Failure {
    Failure::refused(FailureKind::Storage, "the disk says no")
}
