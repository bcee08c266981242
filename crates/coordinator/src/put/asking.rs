//! The first part of a write's life: the other owners are asked, and then it is made, or is not.

use starling_causality::Record;
use starling_types::{Instant, NodeId, Outcome};
use starling_wire::replica::{Origin, Recall, Recalled};
use starling_wire::{Class, Failure, FailureKind, Message};

use super::inquiry::{Inquiry, Standing};
use super::{Heard, OtherTry, Phase, Put};
use crate::reply::no_quorum;
use crate::{Answer, Effect, Written};

impl Put {
    /// Asks the owners that are needed; a write that needs to know nothing is made at once.
    pub(super) fn inquire(&mut self, is_retry: bool, out: &mut Vec<Effect>) {
        self.begin_inquiry(!self.questions.names_what_it_replaces, is_retry, out);
    }

    fn begin_inquiry(&mut self, contexts: bool, is_retry: bool, out: &mut Vec<Effect>) {
        let inquiry = Inquiry::new(&self.write.plan, &self.questions, contexts, is_retry);
        self.phase = Phase::Asking(inquiry);
        self.ask(None, out);
        self.judge_inquiry(out);
    }

    /// Asks `next`, and as many more as it takes.
    fn ask(&mut self, mut next: Option<NodeId>, out: &mut Vec<Effect>) {
        let Phase::Asking(inquiry) = &mut self.phase else {
            return;
        };
        let subject = &self.write.subject;
        while let Some(owner) = next.take().or_else(|| inquiry.ask_missing()) {
            let recall = Recall {
                bucket: subject.bucket.clone(),
                key: subject.key.clone(),
                request: subject.request,
                attempt: subject.attempt,
            };
            out.push(Effect::Send(owner, Class::Foreground, Message::Recall(recall)));
        }
    }

    pub(super) fn recalled(&mut self, from: NodeId, recalled: Recalled, out: &mut Vec<Effect>) {
        let Phase::Asking(inquiry) = &mut self.phase else {
            return;
        };
        match recalled {
            Recalled::Nothing(held) => {
                inquiry.heard(from, &held);
                self.ask(None, out);
                self.judge_inquiry(out);
            }
            Recalled::Known { dot, shown } => match Record::decode(&shown.record) {
                Ok(record) => {
                    let request = self.write.subject.request;
                    self.known(dot.map(|dot| Origin { request, dot }), record, out);
                }
                Err(_) => self.not_heard(from, out),
            },
            Recalled::Claimed => {
                let detail = "a later try of this request is under way: ask again with the same request id";
                self.fail(Failure::unknown(FailureKind::Deadline, detail), out);
            }
            Recalled::Refused(_) => self.not_heard(from, out),
        }
    }

    /// The merge makes this node's vnode remember the request; coordinating it then writes nothing new.
    fn known(&mut self, origin: Option<Origin>, record: Record, out: &mut Vec<Effect>) {
        self.phase = Phase::Coordinating { partial: false };
        self.other_try = OtherTry::Known;
        out.push(Effect::MergeHere(record, origin));
    }

    /// An owner that will not answer: the next is asked.
    pub(super) fn not_heard(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let Phase::Asking(inquiry) = &mut self.phase else {
            return;
        };
        let next = inquiry.lost(node);
        self.ask(next, out);
        self.judge_inquiry(out);
    }

    /// One owner more is asked while others are silent.
    pub(super) fn hedge(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let Phase::Asking(inquiry) = &mut self.phase else {
            return;
        };
        let next = inquiry.hedge(now);
        self.ask(next, out);
        if now < self.write.plan.deadline {
            self.judge_inquiry(out);
        }
    }

    fn judge_inquiry(&mut self, out: &mut Vec<Effect>) {
        let Phase::Asking(inquiry) = &self.phase else {
            return;
        };
        match inquiry.standing() {
            Standing::Open => {}
            Standing::Enough => self.make(out),
            Standing::ContextsMissing if !self.write.plan.strict => self.make(out),
            Standing::ContextsMissing | Standing::MemoriesMissing => {
                let failure = not_enough_heard(inquiry, self.other_try, no_quorum);
                self.fail(failure, out);
            }
        }
    }

    /// The silent have been waited for long enough. The versions that a blind write replaces may then be found out only
    /// in part, unless it must be strict; whether a retry is one, must be known.
    pub(super) fn stop_asking(&mut self, out: &mut Vec<Effect>) {
        let Phase::Asking(inquiry) = &mut self.phase else {
            return;
        };
        inquiry.lose_patience();
        let may_be_partial = !inquiry.is_recall() && !self.write.plan.strict;
        if may_be_partial || inquiry.standing() == Standing::Enough {
            self.make(out);
        }
    }

    fn make(&mut self, out: &mut Vec<Effect>) {
        let Phase::Asking(inquiry) = &mut self.phase else {
            return;
        };
        let heard = inquiry.end();
        if heard.is_new {
            self.other_try = self.other_try.max(OtherTry::Unheard);
        }
        let partial = heard.is_partial && !self.questions.names_what_it_replaces;
        self.phase = Phase::Coordinating { partial };
        self.coordinate(heard, out);
    }

    pub(super) fn coordinate(&self, mut heard: Heard, out: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Coordinating { .. }) {
            heard.is_new = self.other_try == OtherTry::Unheard;
            heard.is_known = self.other_try == OtherTry::Known;
            out.push(Effect::Coordinate(heard));
        }
    }

    /// Before it was made, the moment passed after which its sender may have tried elsewhere.
    pub(super) fn late_here(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Coordinating { .. }) {
            return;
        }
        if self.other_try == OtherTry::Known {
            let detail =
                "another owner has this write, or had it, and this node could not take it over: read the key";
            return self.fail(Failure::unknown(FailureKind::Storage, detail), out);
        }
        self.other_try = self.other_try.max(OtherTry::Possible);
        self.be_patient(now);
        self.inquire(true, out);
    }

    /// The context that the writer claims lies further ahead than this node can know of. Owners that hold it vouch for
    /// it: data are never refused for their time.
    pub(super) fn ahead_here(&mut self, now: Instant, failure: Failure, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Coordinating { .. }) {
            return;
        }
        if std::mem::replace(&mut self.asked_ahead, true) {
            return self.refused_here(failure, out);
        }
        self.be_patient(now);
        self.begin_inquiry(true, false, out);
    }

    /// All owners hold nothing: a delete has nothing to remember.
    pub(super) fn succeed_without_a_write(&mut self, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Coordinating { .. }) {
            return;
        }
        self.phase = Phase::Over;
        let n = self.write.plan.owners.len();
        let receipt = self.write.receipt(None, n, n);
        let written = Written { context: None, siblings: 0, existed: false, receipt };
        out.push(Effect::Respond(Answer::Written(written)));
    }
}

pub(super) fn not_enough_heard(
    inquiry: &Inquiry,
    other_try: OtherTry,
    words: fn(Outcome, usize, u8, &str, &str) -> Failure,
) -> Failure {
    if inquiry.is_recall() {
        let detail = "too few owners answered that would remember an earlier try of this request: read the key, \
                      or ask again with the same request id";
        return Failure::unknown(FailureKind::QuorumNotReached, detail);
    }
    let (heard, needed) = inquiry.contexts();
    let outcome = if other_try == OtherTry::Never { Outcome::NotApplied } else { Outcome::Unknown };
    words(outcome, heard, needed, "owners said what there is to replace", "the others did not answer")
}
