//! Replies of the machine as a RESP client expects them, by the command it asked with.

use bytes::Bytes;
use starling_types::Outcome;
use starling_wire::client::{Field, Grounds, KvReply, ReadReply, WriteReply};
use starling_wire::{Failure, FailureKind};

use super::reply::Reply;
use crate::context;
use crate::service::mismatched;

/// Of a command with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// GET: the newest value.
    Value,
    /// STRLEN: its length.
    Length,
    /// SET: OK.
    Stored,
    /// STARLING.GET: context and all values.
    Siblings,
    /// STARLING.PUT and STARLING.DEL: context, if the writer has seen all, and number of siblings.
    Written,
    /// The same with RECEIPT: what was done as well.
    Receipt(Grounds),
}

impl Shape {
    /// The reply.
    pub fn reply(self, reply: KvReply) -> Reply {
        match (self, reply) {
            (_, KvReply::Failed(failure)) => failed(&failure),
            (Self::Value, KvReply::Read(read)) => newest(&read).map_or(Reply::Null, Reply::Bulk),
            (Self::Length, KvReply::Read(read)) => Reply::count(newest(&read).map_or(0, |value| value.len())),
            (Self::Siblings, KvReply::Read(read)) => siblings(read),
            (Self::Stored, KvReply::Written(_)) => Reply::OK,
            (Self::Written, KvReply::Written(written)) => Reply::Array(written_parts(&written)),
            (Self::Receipt(grounds), KvReply::Written(written)) => receipt(&written, grounds),
            (_, other) => failed(&mismatched(&other)),
        }
    }
}

/// The result that a command with several keys collects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harvest {
    /// MGET: the newest value of each.
    Values,
    /// EXISTS, DEL: how many there were.
    Found,
}

/// The replies so far to a command with several keys.
#[derive(Debug)]
pub struct Gathering {
    harvest: Harvest,
    values: Vec<Option<Bytes>>,
    found: usize,
    written: usize,
    missing: usize,
    failure: Option<Failure>,
}

impl Gathering {
    /// For `parts` keys.
    pub fn new(harvest: Harvest, parts: usize) -> Self {
        let values = if harvest == Harvest::Values { vec![None; parts] } else { Vec::new() };
        Self { harvest, values, found: 0, written: 0, missing: parts, failure: None }
    }

    /// Replies still to come.
    pub fn parts(&self) -> usize {
        self.missing
    }

    /// Takes the reply for one key; gives the reply for all when it was the last.
    pub fn add(&mut self, part: usize, reply: KvReply) -> Option<Reply> {
        match (self.harvest, reply) {
            (_, KvReply::Failed(failure)) => self.fail(failure),
            (Harvest::Values, KvReply::Read(read)) => self.keep(part, newest(&read)),
            (Harvest::Found, KvReply::Read(read)) => self.found += usize::from(newest(&read).is_some()),
            (Harvest::Found, KvReply::Written(written)) => {
                self.written += 1;
                self.found += usize::from(written.existed);
            }
            (Harvest::Values, other) => self.fail(mismatched(&other)),
        }
        self.missing -= 1;
        (self.missing == 0).then(|| self.reply())
    }

    fn keep(&mut self, part: usize, value: Option<Bytes>) {
        if let Some(place) = self.values.get_mut(part) {
            *place = value;
        }
    }

    /// The first failure speaks for all, but an unknown outcome outweighs a known one.
    fn fail(&mut self, failure: Failure) {
        let graver = self.failure.as_ref().is_none_or(|first| {
            first.outcome == Outcome::NotApplied && failure.outcome != Outcome::NotApplied
        });
        if graver {
            self.failure = Some(failure);
        }
    }

    fn reply(&mut self) -> Reply {
        match self.failure.take() {
            Some(failure) => failed(&self.partly(failure)),
            None if self.harvest == Harvest::Found => Reply::count(self.found),
            None => {
                let values = std::mem::take(&mut self.values);
                Reply::Array(values.into_iter().map(|value| value.map_or(Reply::Null, Reply::Bulk)).collect())
            }
        }
    }

    /// A command that wrote some keys and not others was neither applied nor not.
    fn partly(&self, mut failure: Failure) -> Failure {
        if self.written > 0 {
            failure.outcome = Outcome::Unknown;
            failure.detail =
                format!("{} keys were written, another was not: {}", self.written, failure.detail);
        }
        failure
    }
}

/// A failure as an error reply: a prefix for programs, words for people, what became of the data for both.
pub fn failed(failure: &Failure) -> Reply {
    let retry = failure.retry_after_ms.map(|ms| format!(" retry_after_ms={ms}")).unwrap_or_default();
    let text = format!("{} {} outcome={}{retry}", prefix(failure.kind), failure.detail, failure.outcome);
    Reply::Error(text.into())
}

/// Redis' own prefix where it has one with this meaning.
const fn prefix(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::BadRequest | FailureKind::TooLarge => "ERR",
        FailureKind::NoSuchBucket => "NOBUCKET",
        FailureKind::TooManySiblings => "SIBLINGS",
        FailureKind::Overloaded => "BUSY",
        FailureKind::NotReady => "LOADING",
        FailureKind::QuorumNotReached => "NOQUORUM",
        FailureKind::Deadline => "TIMEOUT",
        FailureKind::Storage => "STORAGE",
        FailureKind::DiskFull => "DISKFULL",
    }
}

fn newest(read: &ReadReply) -> Option<Bytes> {
    read.newest().map(|sibling| sibling.value.clone())
}

fn siblings(read: ReadReply) -> Reply {
    let values = read.siblings.into_iter().map(|sibling| Reply::Bulk(sibling.value)).collect();
    Reply::Array(vec![context_of(read.context.as_ref()), Reply::Array(values)])
}

fn written_parts(written: &WriteReply) -> Vec<Reply> {
    vec![context_of(written.context.as_ref()), Reply::Integer(written.siblings.into())]
}

fn receipt(written: &WriteReply, grounds: Grounds) -> Reply {
    let shown = |field| match field {
        Field::Text(text) => Reply::bulk(text),
        Field::Number(number) => Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX)),
        Field::Flag(flag) => Reply::bulk(if flag { "yes" } else { "no" }),
        Field::Nothing => Reply::Null,
    };
    let fields = written.receipt.fields(grounds).map(|(name, field)| (name, shown(field)));
    let mut parts = written_parts(written);
    parts.push(Reply::Map(fields.into()));
    Reply::Array(parts)
}

fn context_of(token: Option<&Bytes>) -> Reply {
    token.map_or(Reply::Null, |token| Reply::bulk(context::to_text(token)))
}
