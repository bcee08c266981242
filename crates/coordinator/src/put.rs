//! A write: recall (if it is a retry), coordinate here, replicate, answer at W, linger for the silent ones.

mod resend;

use starling_causality::Record;
use starling_types::{BucketName, BucketProps, Instant, Key, NodeId, Outcome, RequestId, limits};
use starling_wire::client::Receipt;
use starling_wire::replica::{Merge, Merged, Origin, Recall, Recalled, Refusal};
use starling_wire::{Class, Failure, FailureKind, Message};

use crate::plan::{Plan, Reach};
use crate::reply::{no_quorum, too_late};
use crate::tally::{Holder, Tally};
use crate::{Answer, Effect, Staged, Verdict, Written};

use self::resend::Resend;

/// What happens to a write.
#[derive(Debug)]
pub enum Event {
    /// The vnode here has a dot for it.
    Staged(Staged),
    /// The vnode here has committed it as demanded.
    CommittedHere,
    /// The vnode here refused; the failure says whether anything was staged.
    RefusedHere(Failure),
    /// A merge asked of this node's vnode (after a recall) is committed.
    MergedHere,
    /// Another node answered a merge.
    Merged(NodeId, Merged),
    /// Another owner answered a recall.
    Recalled(NodeId, Recalled),
    /// This node knows newer properties of the bucket, and their number.
    PropsChanged(BucketProps, u64),
    /// Another node knows the same properties as this one now.
    PropsAgree(NodeId),
    /// A node is gone.
    PeerDown(NodeId),
    /// Time has passed.
    Tick,
}

/// One write under way.
#[derive(Debug)]
pub struct Put {
    plan: Plan,
    request: RequestId,
    bucket: BucketName,
    key: Key,
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
    /// Another owner remembers an earlier try: whatever happens now, the write may be there.
    known_elsewhere: bool,
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

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// A retry: do the others know the request?
    Recalling(Vec<NodeId>),
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
        request: RequestId,
        bucket: BucketName,
        key: Key,
        tried: Tried,
        out: &mut Vec<Effect>,
    ) -> Self {
        let mut put = Self {
            tally: Tally::new(&plan),
            spare: plan.fallbacks.clone(),
            plan,
            request,
            bucket,
            key,
            phase: Phase::Coordinating,
            staged: None,
            resend: Resend::default(),
            outdated: false,
            hinted: 0,
            answered: false,
            patience_over: false,
            known_elsewhere: false,
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
        let known = self.plan.others.iter().filter(|p| p.reach != Reach::Down).map(|p| p.node);
        let owners: Vec<NodeId> = if tried == Tried::Elsewhere { known.collect() } else { Vec::new() };
        for &owner in &owners {
            let recall = Recall { bucket: self.bucket.clone(), key: self.key.clone(), request: self.request };
            out.push(Effect::Send(owner, Class::Foreground, Message::Recall(recall)));
        }
        self.phase = Phase::Recalling(owners);
        self.coordinate_unless_recalling(out);
    }

    /// The one entrance.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Staged(staged) => self.staged(now, staged, out),
            Event::CommittedHere => self.answer(self.plan.me, Holder::Acked, out),
            Event::RefusedHere(failure) => self.refused_here(failure, out),
            Event::MergedHere => self.coordinate(out),
            Event::Merged(from, answer) => self.merged(from, &answer, out),
            Event::Recalled(from, recalled) => self.recalled(from, recalled, out),
            Event::PropsChanged(props, number) => self.props_changed(&props, number, out),
            Event::PropsAgree(node) => {
                if self.resend.agreed(node) {
                    self.send_again(node, out);
                }
            }
            Event::PeerDown(node) => self.gone(node, out),
            Event::Tick => {}
        }
        self.check_time(now, out);
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match (&self.phase, self.patience_over, self.answered) {
            (Phase::Over, ..) => None,
            (_, false, _) => Some(self.plan.patience),
            (_, true, _) => Some(self.plan.deadline),
        }
    }

    /// Whether nothing is awaited any more.
    pub fn is_over(&self) -> bool {
        self.answered && self.phase == Phase::Over
    }

    fn staged(&mut self, now: Instant, staged: Staged, out: &mut Vec<Effect>) {
        if self.phase != Phase::Coordinating {
            return;
        }
        self.phase = Phase::Replicating;
        // A recall or a slow load may have used up the first patience; the replicas get theirs in full.
        self.plan.patience = self.plan.deadline.min(now + limits::RPC_TIMEOUT);
        self.patience_over = false;
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

    fn merge(&self, staged: &Staged, stands_for: Option<NodeId>) -> Merge {
        Merge {
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            record: staged.record.clone(),
            props: self.plan.props,
            durable: self.plan.durable,
            origin: Some(Origin { request: self.request, dot: staged.dot }),
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
        if let Phase::Recalling(waiting) = &mut self.phase {
            waiting.retain(|&n| n != node);
            self.coordinate_unless_recalling(out);
        }
        self.lost(node, Holder::Absent, out);
    }

    fn recalled(&mut self, from: NodeId, recalled: Recalled, out: &mut Vec<Effect>) {
        let Phase::Recalling(waiting) = &mut self.phase else {
            return;
        };
        waiting.retain(|&n| n != from);
        let known = recalled.dot.zip(recalled.record.and_then(|r| Record::decode(&r).ok()));
        if let Some((dot, record)) = known {
            self.phase = Phase::Coordinating;
            self.known_elsewhere = true;
            let origin = Origin { request: self.request, dot };
            // The merge makes this node's vnode remember the request; coordinating it then writes nothing new.
            out.push(Effect::MergeHere(record, Some(origin)));
            return;
        }
        self.coordinate_unless_recalling(out);
    }

    fn coordinate_unless_recalling(&mut self, out: &mut Vec<Effect>) {
        if matches!(&self.phase, Phase::Recalling(waiting) if waiting.is_empty()) {
            self.phase = Phase::Coordinating;
            self.coordinate(out);
        }
    }

    fn coordinate(&self, out: &mut Vec<Effect>) {
        if self.phase == Phase::Coordinating && !self.answered {
            out.push(Effect::Coordinate);
        }
    }

    fn refused_here(&mut self, failure: Failure, out: &mut Vec<Effect>) {
        if self.staged.is_some() {
            self.lost(self.plan.me, Holder::Refused(failure.detail), out);
        } else {
            let outcome = match self.known_elsewhere {
                true => Outcome::Unknown,
                false => failure.outcome,
            };
            self.fail(Failure { outcome, ..failure }, out);
        }
    }

    /// Before it is staged nobody has been asked, which is no failure.
    fn judge(&mut self, out: &mut Vec<Effect>) {
        if self.phase != Phase::Replicating {
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
            dot: staged.dot,
            coordinator: self.plan.me,
            acked: count(self.tally.acked()),
            owners: count(self.tally.acked_owners()),
            w: self.plan.quorum,
            n: self.plan.n,
            durable: self.plan.durable,
            hinted: self.hinted,
            partial: false,
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
        let outcome = if self.staged.is_some() { Outcome::Unknown } else { Outcome::NotApplied };
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
        if now >= self.plan.deadline && self.phase != Phase::Over {
            let failure = self.time_out();
            self.respond(Answer::Failed(failure), out);
            self.keep_for_silent_fallbacks(out);
            self.phase = Phase::Over;
        }
    }

    /// Silent owners are treated as absent; this node's own disk is waited for until the deadline.
    fn lose_patience(&mut self, now: Instant, out: &mut Vec<Effect>) {
        // At the deadline nothing is begun: who would replicate it?
        if let Phase::Recalling(waiting) = &mut self.phase
            && now < self.plan.deadline
        {
            waiting.clear();
            self.coordinate_unless_recalling(out);
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
