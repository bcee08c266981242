//! A write: recall (if it is a retry), coordinate here, replicate, answer at W, linger for the silent ones.

mod asking;
mod inquiry;
mod replication;
mod resend;

use starling_causality::{Dot, Staged};
use starling_types::{BucketName, BucketProps, Instant, Key, NodeId, Outcome, RequestId};
use starling_wire::client::Receipt;
use starling_wire::replica::{Merge, Merged, Origin};
use starling_wire::{Failure, FailureKind};

use crate::plan::{Plan, Reach};
use crate::reply::{no_quorum, too_late};
use crate::sets::Set;
use crate::tally::Why;
use crate::{Answer, Effect, Event};

use self::asking::not_enough_heard;
use self::inquiry::Inquiry;
pub use self::inquiry::{Heard, Questions};
use self::replication::Replication;

/// One write under way.
#[derive(Debug)]
pub struct Put {
    write: Write,
    questions: Questions,
    phase: Phase,
    /// Until when the silent are waited for; `None` once that is over.
    patience: Option<Instant>,
    other_try: OtherTry,
    /// Owners were asked about a context that lies far ahead.
    asked_ahead: bool,
}

/// The write as it is sent to nodes, in every phase.
#[derive(Debug)]
struct Write {
    plan: Plan,
    subject: Subject,
    /// Number of the newest properties of the bucket that it is known to meet.
    props: u64,
}

/// The subject of a write, as far as other nodes need to know it.
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
    /// Asks the other owners for their knowledge of the request and of the key.
    Asking(Inquiry),
    /// Waiting for this node's vnode; what the write replaces was perhaps heard only in part.
    Coordinating { partial: bool },
    /// Sent to the other owners.
    Replicating(Replication),
    /// The client is answered, and nothing is awaited any more.
    Over,
}

/// Another try of the request, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum OtherTry {
    Never,
    /// It may have made the write: from now on it may be there.
    Possible,
    /// The same; but enough owners said that they know of none.
    Unheard,
    /// Another owner said that the write was made.
    Known,
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
        let (other_try, ends) = match tried {
            Tried::Never => (OtherTry::Never, questions.asks_until),
            Tried::Here | Tried::Elsewhere => (OtherTry::Possible, None),
        };
        let patience = plan.start + plan.patience;
        let mut put = Self {
            questions,
            phase: Phase::Coordinating { partial: false },
            patience: Some(ends.map_or(patience, |ends| ends.min(patience))),
            other_try,
            asked_ahead: false,
            write: Write { props: plan.props, plan, subject },
        };
        put.begin(tried, out);
        put
    }

    fn begin(&mut self, tried: Tried, out: &mut Vec<Effect>) {
        if let Some((reach, quorum)) = self.write.plan.out_of_reach() {
            let down = self.write.plan.others().iter().filter(|p| p.reach == Reach::Down);
            let story = down.map(|p| format!("{} is down", p.node)).collect::<Vec<_>>().join(", ");
            let failure = no_quorum(self.outcome(), reach, quorum, "replicas are within reach", &story);
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
            Event::CommittedHere => self.replicate(out, |r, write, _| r.acked(write.plan.me())),
            Event::RefusedHere(failure) => self.refused_here(failure, out),
            Event::MergedHere => self.coordinate(Heard::default(), out),
            Event::Merged(from, answer) => self.merged(from, &answer, out),
            Event::Recalled(from, recalled) => self.recalled(from, recalled, out),
            Event::LateHere => self.late_here(now, out),
            Event::AheadHere(failure) => self.ahead_here(now, failure, out),
            Event::AbsentHere => self.succeed_without_a_write(out),
            Event::PropsChanged(props, number) => self.props_changed(&props, number, out),
            Event::PropsAgree(node) => self.replicate(out, |r, write, out| r.agreed(write, node, out)),
            Event::PeerDown(node) => {
                self.not_heard(node, out);
                self.replicate(out, |r, write, out| r.lost(write, node, Why::Down, out));
            }
            Event::Tick => {}
            _ => return,
        }
        self.check_time(now, out);
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        let next = self.patience.unwrap_or(self.write.plan.deadline);
        match &self.phase {
            Phase::Over => None,
            Phase::Asking(inquiry) => Some(inquiry.next_deadline().map_or(next, |hedge| hedge.min(next))),
            Phase::Coordinating { .. } | Phase::Replicating(_) => Some(next),
        }
    }

    /// Whether nothing is awaited any more.
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn staged(&mut self, now: Instant, staged: Staged, out: &mut Vec<Effect>) {
        let Phase::Coordinating { partial } = self.phase else {
            return;
        };
        // An inquiry or a slow load may have used up the first patience; the replicas get theirs in full.
        self.be_patient(now);
        // No node remembers what the try that made it had heard of.
        let is_unsure = (staged.repeated || staged.in_part) && !self.questions.names_what_it_replaces;
        self.phase = Phase::Replicating(Replication::start(&self.write, staged, partial || is_unsure, out));
        self.replicate(out, |_, _, _| ());
    }

    /// Something happens to a write that was sent out, and is judged.
    fn replicate(
        &mut self,
        out: &mut Vec<Effect>,
        happens: impl FnOnce(&mut Replication, &Write, &mut Vec<Effect>),
    ) {
        let Phase::Replicating(replication) = &mut self.phase else {
            return;
        };
        happens(replication, &self.write, out);
        replication.judge(&self.write, out);
        if replication.is_over(self.patience.is_none()) {
            self.phase = Phase::Over;
        }
    }

    fn be_patient(&mut self, now: Instant) {
        let plan = &self.write.plan;
        self.patience = Some(plan.deadline.min(now + plan.patience));
    }

    fn merged(&mut self, from: NodeId, answer: &Merged, out: &mut Vec<Effect>) {
        self.replicate(out, |replication, write, out| replication.merged(write, from, answer, out));
    }

    fn refused_here(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::Replicating(_) => self.replicate(out, |replication, write, out| {
                replication.lost(write, write.plan.me(), Why::Refused(failure.detail), out);
            }),
            Phase::Asking(_) | Phase::Coordinating { .. } => {
                let is_refused = failure.outcome == Outcome::NotApplied;
                let outcome = if is_refused { self.outcome() } else { failure.outcome };
                self.fail(Failure { outcome, ..failure }, out);
            }
            Phase::Over => {}
        }
    }

    /// A write that meets the newer rules goes on under them: every replica applies them for itself. One that does
    /// not must not be acked as if it did.
    fn props_changed(&mut self, props: &BucketProps, number: u64, out: &mut Vec<Effect>) {
        let meets = self.write.plan.meets(props);
        if meets {
            self.write.props = number;
        }
        match &self.phase {
            Phase::Replicating(_) => {
                self.replicate(out, |replication, write, out| replication.props_changed(write, meets, out));
            }
            // A record staged from now on may rest on writes under the newer rules: it must not go out under the old
            // ones.
            _ if !meets => self.fail(Failure::unknown(FailureKind::NotReady, CHANGED), out),
            _ => {}
        }
    }

    /// The outcome of a write that is not staged here.
    fn outcome(&self) -> Outcome {
        if self.other_try == OtherTry::Never { Outcome::NotApplied } else { Outcome::Unknown }
    }

    fn fail(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        if !self.is_over() {
            self.phase = Phase::Over;
            out.push(Effect::Respond(Answer::Failed(failure)));
        }
    }

    fn check_time(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.patience.is_some_and(|until| now >= until) {
            self.patience = None;
            // At the deadline nothing is begun: it would not be replicated.
            if now < self.write.plan.deadline {
                self.stop_asking(out);
            }
            self.replicate(out, Replication::stop_waiting);
        }
        self.hedge(now, out);
        if now >= self.write.plan.deadline {
            self.time_out(out);
        }
    }

    fn time_out(&mut self, out: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Over => {}
            Phase::Replicating(replication) => {
                replication.end(&self.write, out);
                self.phase = Phase::Over;
            }
            Phase::Asking(inquiry) => {
                let failure = not_enough_heard(inquiry, self.other_try, too_late);
                self.fail(failure, out);
            }
            Phase::Coordinating { .. } => {
                // The vnode here may stage it later, when the load it waits for comes.
                let detail = "time ran out before this node's disk answered; retry with the same request id";
                self.fail(Failure::unknown(FailureKind::Deadline, detail), out);
            }
        }
    }
}

impl Write {
    fn merge(&self, staged: &Staged, stands_for: Option<NodeId>) -> Merge {
        Merge {
            bucket: self.subject.bucket.clone(),
            key: self.subject.key.clone(),
            record: staged.record.clone(),
            props: self.props,
            durable: self.plan.durable,
            origin: Some(Origin { request: self.subject.request, dot: staged.dot }),
            stands_for,
        }
    }

    /// Of a write that so many nodes and owners have acked; with several owner sets, the newest's W and N.
    fn receipt(&self, dot: Option<Dot>, acked: usize, owners: usize) -> Receipt {
        let count = |n| u8::try_from(n).unwrap_or(u8::MAX);
        let Set { quorum: w, n, .. } = *self.plan.sets.first();
        Receipt {
            dot,
            coordinator: self.plan.me(),
            acked: count(acked),
            owners: count(owners),
            w,
            n,
            durable: self.plan.durable,
            hinted: 0,
            partial: false,
            unvouched: false,
        }
    }
}

const CHANGED: &str = "the bucket's properties have changed: write again";
