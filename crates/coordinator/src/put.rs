//! A write: recall (if it is a retry), coordinate here, replicate, answer at W, linger for the silent ones.

mod asking;
mod inquiry;
mod resend;

use starling_causality::Staged;
use starling_types::planted::{self, Bug};
use starling_types::{BucketName, Instant, Key, NodeId, Outcome, RequestId, limits};
use starling_wire::client::Receipt;
use starling_wire::replica::{Merge, Merged, Origin, Refusal};
use starling_wire::{Class, Failure, FailureKind, Message};

use crate::plan::{Plan, Reach};
use crate::reply::{no_quorum, too_late};
use crate::tally::{Holder, Tally};
use crate::{Answer, Effect, Event, Verdict, Written};

use self::inquiry::Inquiry;
pub use self::inquiry::{Heard, Questions};
use self::resend::Resend;

/// One write under way.
#[derive(Debug)]
pub struct Put {
    plan: Plan,
    subject: Subject,
    questions: Questions,
    tally: Tally,
    phase: Phase,
    staged: Option<Staged>,
    spare: Vec<NodeId>,
    resend: Resend,
    /// The bucket demands more by now than this write can give.
    outdated: bool,
    hinted: u8,
    answered: bool,
    patience_over: bool,
    /// Another try may have made the write: whatever happens now, it may be there.
    in_doubt: bool,
    /// Another owner said that the write was made.
    is_known: bool,
    /// Enough owners said that they know no other try.
    is_new: bool,
    /// Owners were asked about a context that lies far ahead.
    asked_ahead: bool,
    /// It replaces what fewer owners than needed were heard to hold.
    partial: bool,
}

/// What is written, as far as other nodes need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The client's request.
    pub request: RequestId,
    /// Which try of it this is.
    pub attempt: u8,
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: Key,
}

/// Whether a write was tried before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// No: nothing has been staged anywhere.
    Never,
    /// Yes, and this node remembers it.
    Here,
    /// Yes, and this node knows nothing of it: the other owners are asked first.
    Elsewhere,
}

#[derive(Debug)]
enum Phase {
    /// What do the other owners know of the request, and hold of the key?
    Asking(Inquiry),
    /// Waiting for this node's vnode.
    Coordinating,
    /// Sent to the other owners.
    Replicating,
    /// Nothing is awaited any more.
    Over,
}

impl Put {
    /// Starts a write.
    pub fn start(
        plan: Plan,
        subject: Subject,
        tried: Tried,
        questions: Questions,
        out: &mut Vec<Effect>,
    ) -> Self {
        let mut put = Self {
            tally: Tally::new(&plan),
            spare: plan.fallbacks.clone(),
            plan,
            subject,
            questions,
            phase: Phase::Coordinating,
            staged: None,
            resend: Resend::default(),
            outdated: false,
            hinted: 0,
            answered: false,
            patience_over: false,
            in_doubt: tried != Tried::Never,
            is_known: false,
            is_new: false,
            asked_ahead: false,
            partial: false,
        };
        put.begin(tried, out);
        put
    }

    fn begin(&mut self, tried: Tried, out: &mut Vec<Effect>) {
        let reach = self.plan.within_reach();
        if reach < usize::from(self.plan.quorum) {
            let down = self.plan.others.iter().filter(|p| p.reach == Reach::Down);
            let story = down.map(|p| format!("{} is down", p.node)).collect::<Vec<_>>().join(", ");
            let outcome = if tried == Tried::Never { Outcome::NotApplied } else { Outcome::Unknown };
            let failure = no_quorum(outcome, reach, self.plan.quorum, "replicas are within reach", &story);
            return self.fail(failure, out);
        }
        match tried {
            Tried::Here => self.coordinate(Heard::default(), out),
            Tried::Elsewhere => self.inquire(true, out),
            Tried::Never => self.inquire(false, out),
        }
    }

    /// The one entrance.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Staged(staged) => self.staged(now, staged, out),
            Event::CommittedHere => self.answer(self.plan.me, Holder::Acked, out),
            Event::RefusedHere(failure) => self.refused_here(failure, out),
            Event::MergedHere => self.coordinate(Heard::default(), out),
            Event::Merged(from, answer) => self.merged(from, &answer, out),
            Event::Recalled(from, recalled) => self.recalled(from, recalled, out),
            Event::LateHere => self.late_here(now, out),
            Event::AheadHere(failure) => self.ahead_here(now, failure, out),
            Event::AbsentHere => self.succeed_without_a_write(out),
            Event::PropsChanged(props, number) => self.props_changed(&props, number, out),
            Event::PropsAgree(node) => {
                if self.resend.agreed(node) {
                    self.send_again(node, out);
                }
            }
            Event::PeerDown(node) => self.gone(node, out),
            Event::Tick => {}
            _ => return,
        }
        self.check_time(now, out);
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let next = match (&self.phase, self.patience_over) {
            (Phase::Over, _) => return None,
            (_, false) => self.plan.patience,
            (_, true) => self.plan.deadline,
        };
        let hedge = if let Phase::Asking(inquiry) = &self.phase { inquiry.next_deadline() } else { None };
        Some(hedge.map_or(next, |hedge| hedge.min(next)))
    }

    /// Whether nothing is awaited any more.
    pub const fn is_over(&self) -> bool {
        self.answered && matches!(self.phase, Phase::Over)
    }

    fn staged(&mut self, now: Instant, staged: Staged, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Coordinating) {
            return;
        }
        self.phase = Phase::Replicating;
        // An inquiry or a slow load may have used up the first patience; the replicas get theirs in full.
        self.be_patient(now);
        // What the try that made it had heard of, nobody remembers.
        self.partial |= (staged.repeated || staged.in_part) && !self.questions.names_what_it_replaces;
        let merge = self.merge(&staged, None);
        self.staged = Some(staged);
        self.tally.ask(self.plan.me, Holder::Waiting, None);
        let others = self.plan.others.clone();
        for peer in &others {
            if peer.reach == Reach::Down {
                self.tally.ask(peer.node, Holder::Absent, None);
            } else {
                self.tally.ask(peer.node, Holder::Waiting, None);
                out.push(Effect::Send(peer.node, Class::Foreground, Message::Merge(merge.clone())));
            }
        }
        for peer in others.iter().filter(|p| p.reach == Reach::Down) {
            self.relieve(peer.node, out);
        }
        self.judge(out);
    }

    fn be_patient(&mut self, now: Instant) {
        self.plan.patience = self.plan.deadline.min(now + limits::RPC_TIMEOUT);
        self.patience_over = false;
    }

    fn merge(&self, staged: &Staged, stands_for: Option<NodeId>) -> Merge {
        Merge {
            bucket: self.subject.bucket.clone(),
            key: self.subject.key.clone(),
            record: staged.record.clone(),
            props: self.plan.props,
            durable: self.plan.durable,
            origin: Some(Origin { request: self.subject.request, dot: staged.dot }),
            stands_for,
        }
    }

    fn relieve(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if let Some(owner) = self.tally.relieve(node) {
            self.stand_in_for(owner, out);
        }
    }

    /// An absent owner's copy goes to the next fallback, or stays here as a hint.
    fn stand_in_for(&mut self, owner: NodeId, out: &mut Vec<Effect>) {
        let Some(staged) = &self.staged else { return };
        if self.spare.is_empty() {
            self.hinted += 1;
            out.push(Effect::KeepHint(owner, staged.record.clone()));
            if planted::on(Bug::HintCounts) {
                self.tally.answer(owner, Holder::Acked);
            }
            return;
        }
        let fallback = self.spare.remove(0);
        let merge = self.merge(staged, Some(owner));
        self.tally.ask(fallback, Holder::Waiting, Some(owner));
        out.push(Effect::Send(fallback, Class::Foreground, Message::Merge(merge)));
    }

    fn merged(&mut self, from: NodeId, answer: &Merged, out: &mut Vec<Effect>) {
        match answer {
            Merged::Done { durable } if *durable || !self.plan.durable => {
                self.answer(from, Holder::Acked, out);
            }
            Merged::Done { .. } => self.lost(from, Holder::Refused("not fsynced".into()), out),
            Merged::Refused(Refusal::StaleProps(theirs)) => self.stale(from, *theirs, out),
            Merged::Refused(why) => self.lost(from, Holder::Refused(why.to_string()), out),
        }
    }

    fn answer(&mut self, node: NodeId, state: Holder, out: &mut Vec<Effect>) {
        if self.tally.answer(node, state) {
            self.judge(out);
        }
    }

    /// A holder that will not hold it: somebody else must, for the owner it is or stands for.
    fn lost(&mut self, node: NodeId, state: Holder, out: &mut Vec<Effect>) {
        if !self.tally.waiting().contains(&node) || !self.tally.answer(node, state) {
            return;
        }
        if node != self.plan.me {
            self.relieve(node, out);
        }
        self.judge(out);
    }

    fn gone(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        self.not_heard(node, out);
        self.lost(node, Holder::Absent, out);
    }

    fn refused_here(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        if self.staged.is_some() {
            self.lost(self.plan.me, Holder::Refused(failure.detail), out);
        } else {
            let is_refused = failure.outcome == Outcome::NotApplied;
            let outcome = if self.in_doubt && is_refused { Outcome::Unknown } else { failure.outcome };
            self.fail(Failure { outcome, ..failure }, out);
        }
    }

    /// Before it is staged nobody has been asked, which is no failure.
    fn judge(&mut self, out: &mut Vec<Effect>) {
        if !matches!(self.phase, Phase::Replicating) {
            return;
        }
        match self.tally.verdict(self.plan.me, self.spare.len()) {
            _ if self.answered => {}
            Verdict::Wait => {}
            Verdict::Succeed => self.succeed(out),
            Verdict::Fail => {
                let failure = self.failure(no_quorum);
                self.respond(Answer::Failed(failure), out);
            }
        }
        if self.answered && !self.worth_waiting() {
            self.phase = Phase::Over;
        }
    }

    /// Before patience runs out for whoever is silent; after that only for fallbacks, whose silence would
    /// leave an absent owner without a copy.
    fn worth_waiting(&self) -> bool {
        if self.patience_over {
            !self.tally.unrelieved_fallbacks().is_empty()
        } else {
            !self.tally.waiting().is_empty()
        }
    }

    fn succeed(&mut self, out: &mut Vec<Effect>) {
        let Some(staged) = &self.staged else { return };
        let receipt = Receipt {
            dot: Some(staged.dot),
            coordinator: self.plan.me,
            acked: count(self.tally.acked()),
            owners: count(self.tally.acked_owners()),
            w: self.plan.quorum,
            n: self.plan.n,
            durable: self.plan.durable,
            hinted: self.hinted,
            partial: self.partial,
            unvouched: self.plan.quorum < self.plan.least_w,
        };
        let written = Written {
            context: staged.context.clone(),
            siblings: staged.siblings,
            existed: staged.existed,
            receipt,
        };
        self.respond(Answer::Written(written), out);
    }

    fn failure(&self, words: fn(Outcome, usize, u8, &str, &str) -> Failure) -> Failure {
        let is_staged = self.staged.is_some() && !planted::on(Bug::UnknownDenied);
        let outcome = if is_staged { Outcome::Unknown } else { Outcome::NotApplied };
        words(outcome, self.tally.acked(), self.plan.quorum, "replicas acked", &self.tally.story())
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        self.phase = Phase::Over;
        self.respond(Answer::Failed(failure), out);
    }

    fn respond(&mut self, answer: Answer, out: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.answered, true) {
            out.push(Effect::Respond(answer));
        }
    }

    fn check_time(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if now >= self.plan.patience && !self.patience_over {
            self.patience_over = true;
            self.lose_patience(now, out);
        }
        self.hedge(now, out);
        if now >= self.plan.deadline && !matches!(self.phase, Phase::Over) {
            let failure = self.time_out();
            self.respond(Answer::Failed(failure), out);
            self.keep_for_silent_fallbacks(out);
            self.phase = Phase::Over;
        }
    }

    /// Silent owners are treated as absent; this node's own disk is waited for until the deadline.
    fn lose_patience(&mut self, now: Instant, out: &mut Vec<Effect>) {
        // At the deadline nothing is begun: who would replicate it?
        if now < self.plan.deadline {
            self.stop_asking(out);
        }
        for node in self.tally.waiting() {
            if node != self.plan.me {
                // It may still answer, and then counts; its copy is safe elsewhere meanwhile.
                self.relieve(node, out);
            }
        }
        self.judge(out);
    }

    fn keep_for_silent_fallbacks(&mut self, out: &mut Vec<Effect>) {
        self.spare.clear();
        for fallback in self.tally.unrelieved_fallbacks() {
            self.relieve(fallback, out);
        }
    }

    fn time_out(&self) -> Failure {
        match self.staged {
            Some(_) => self.failure(too_late),
            None if matches!(self.phase, Phase::Asking(_)) => self.not_enough_heard(too_late),
            None => Failure {
                kind: FailureKind::Deadline,
                // The vnode here may stage it later, when the load it waits for comes.
                outcome: Outcome::Unknown,
                detail: "time ran out before this node's disk answered; retry with the same request id"
                    .into(),
                retry_after_ms: None,
            },
        }
    }
}

fn count(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}
