//! A read: this replica's record and R−1 others', merged; the stale are repaired, before the answer if the
//! read is strict and after it otherwise. It lingers for those who were asked and have not answered: their answers
//! cost nothing more, and may show somebody to be stale.
//!
//! What is merged, and what repairs, is the causal join alone. Only what is shown is settled by the bucket's rule.

mod asked;
mod rules;

use starling_causality::{Digest, Record};
use starling_types::planted::{self, Bug};
use starling_types::{BucketName, Instant, Key, NodeId, Outcome};
use starling_wire::replica::{Merge, Merged, Read, ReadAnswer, Shown};
use starling_wire::{Class, Message};

use self::asked::{Asked, State};
use crate::plan::{Peer, Plan, Reach};
use crate::reply::{no_quorum, too_late};
use crate::{Answer, Effect, Event, Verdict};

/// One read under way.
#[derive(Debug)]
pub struct Get {
    plan: Plan,
    bucket: BucketName,
    key: Key,
    asked: Vec<Asked>,
    /// The owners not asked yet, most preferred last.
    unasked: Vec<NodeId>,
    merged: Record,
    /// Number of the newest rules under which any of that is held.
    rules: u64,
    digest_here: Option<Digest>,
    phase: Phase,
    /// Data repaired by this read, for the metrics.
    repairs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Reading,
    /// Strict: enough owners must hold what is about to be answered.
    Securing,
    /// Answered; some of those asked may yet answer.
    Lingering,
    Over,
}

impl Get {
    /// Starts a read.
    pub fn start(plan: Plan, bucket: BucketName, key: Key, out: &mut Vec<Effect>) -> Self {
        let (down, mut unasked): (Vec<Peer>, Vec<Peer>) =
            plan.others.iter().rev().partition(|p| p.reach == Reach::Down);
        // Popped from the end: stable, so preference decides among those equally reachable.
        unasked.sort_by_key(|p| std::cmp::Reverse(p.reach));
        let mut asked = vec![Asked { node: plan.me, state: State::Waiting }];
        asked.extend(down.into_iter().map(|p| Asked { node: p.node, state: State::Down }));
        let mut get = Self {
            asked,
            unasked: unasked.into_iter().map(|p| p.node).collect(),
            rules: plan.props,
            plan,
            bucket,
            key,
            merged: Record::default(),
            digest_here: None,
            phase: Phase::Reading,
            repairs: 0,
        };
        get.judge(out);
        if !get.is_over() {
            out.push(Effect::ReadHere);
        }
        get
    }

    /// The one entrance.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::ReadHere(record) => self.read_here(record, out),
            Event::ReadHerePartly(record) => {
                self.partly(self.plan.me, Some((&record, self.plan.props)), out);
            }
            Event::UnreadHere(_) => self.partly(self.plan.me, None, out),
            Event::MergedHere => self.repaired(self.plan.me, out),
            Event::Answered(from, answer) => self.answered(from, answer, out),
            Event::Merged(from, Merged::Done { durable }) if durable || !self.plan.durable => {
                self.repaired(from, out);
            }
            Event::Merged(from, _) => self.will_not_hold(from, State::CannotVouch, out),
            Event::PropsChanged(props, number) => self.props_changed(&props, number, out),
            Event::PeerDown(node) => self.gone(node, out),
            Event::Tick => {}
            _ => return,
        }
        self.check_time(now, out);
        self.judge(out);
        self.end_linger(now);
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match (self.phase, self.unasked.is_empty()) {
            (Phase::Over, _) => None,
            (Phase::Lingering, _) => Some(self.linger_until()),
            (_, false) => Some(self.plan.hedge.min(self.plan.deadline)),
            (_, true) => Some(self.plan.deadline),
        }
    }

    /// Whether the client is answered, and nobody is waited for.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Replicas that this read repairs.
    pub const fn repairs(&self) -> u32 {
        self.repairs
    }

    fn read_here(&mut self, record: Record, out: &mut Vec<Effect>) {
        let digest = record.digest();
        if self.phase != Phase::Reading {
            return self.late(self.plan.me, digest, Some((&record, self.plan.props)), out);
        }
        self.digest_here = Some(digest);
        self.set(self.plan.me, State::Holds(digest));
        // Joined, not put in place: a hedge may have been answered before this replica's disk.
        self.join(&record, self.plan.props);
        self.ask_until_enough(out);
    }

    /// Somebody who was asked answers after the verdict: what is being secured stays as it is, what was answered
    /// already may grow by `more`.
    fn late(&mut self, node: NodeId, digest: Digest, more: Option<(&Record, u64)>, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::Securing => {
                self.set(node, State::Holds(digest));
                if digest != self.merged.digest() {
                    self.send_repair(node, out);
                }
                self.secure(out);
            }
            Phase::Lingering if self.is_waiting_for(node) => {
                self.set(node, State::Holds(digest));
                more.into_iter().for_each(|(record, props)| self.join(record, props));
                self.repair(out);
                self.trust_repairs();
            }
            _ => {}
        }
    }

    /// Asks as many owners as the quorum still needs.
    fn ask_until_enough(&mut self, out: &mut Vec<Effect>) {
        while self.phase == Phase::Reading && self.promising() < usize::from(self.plan.quorum) {
            if !self.ask_next(out) {
                break;
            }
        }
    }

    fn ask_next(&mut self, out: &mut Vec<Effect>) -> bool {
        let Some(node) = self.unasked.pop() else {
            return false;
        };
        self.asked.push(Asked { node, state: State::Waiting });
        let read = Read { bucket: self.bucket.clone(), key: self.key.clone(), digest: self.digest_here };
        out.push(Effect::Send(node, Class::Foreground, Message::Read(read)));
        true
    }

    fn answered(&mut self, from: NodeId, answer: ReadAnswer, out: &mut Vec<Effect>) {
        if self.phase != Phase::Reading {
            return self.answered_late(from, answer, out);
        }
        match answer {
            ReadAnswer::Same => match self.digest_here {
                Some(digest) => self.set(from, State::Holds(digest)),
                None => self.set(from, State::CannotVouch),
            },
            ReadAnswer::Record(shown) => match Record::decode(&shown.record) {
                Ok(record) => {
                    self.set(from, State::Holds(record.digest()));
                    self.join(&record, shown.props);
                }
                Err(_) => self.set(from, State::CannotVouch),
            },
            ReadAnswer::Partial(shown) => return self.shown_partly(from, &shown, out),
            ReadAnswer::Unknown | ReadAnswer::Refused(_) => self.set(from, State::CannotVouch),
        }
        self.ask_until_enough(out);
    }

    /// One that cannot vouch for the key: somebody else must, and what it has joins what they say.
    fn partly(&mut self, node: NodeId, record: Option<(&Record, u64)>, out: &mut Vec<Effect>) {
        if !self.is_waiting_for(node) {
            return;
        }
        self.set(node, if record.is_some() { State::MayHaveLost } else { State::CannotVouch });
        match self.phase {
            Phase::Reading => {
                record.into_iter().for_each(|(record, props)| self.join(record, props));
                self.ask_until_enough(out);
            }
            Phase::Securing => self.secure(out),
            // Answered already: those who answered with less are repaired by it.
            Phase::Lingering => {
                record.into_iter().for_each(|(record, props)| self.join(record, props));
                self.repair(out);
                self.trust_repairs();
            }
            Phase::Over => {}
        }
    }

    fn answered_late(&mut self, from: NodeId, answer: ReadAnswer, out: &mut Vec<Effect>) {
        if !self.is_waiting_for(from) {
            return;
        }
        let record = match answer {
            ReadAnswer::Record(shown) => Record::decode(&shown.record).ok().map(|r| (r, shown.props)),
            // It holds what this replica held when it was asked: part of what was found.
            ReadAnswer::Same => match self.digest_here {
                Some(digest) => return self.late(from, digest, None, out),
                None => None,
            },
            ReadAnswer::Partial(shown) => return self.shown_partly(from, &shown, out),
            ReadAnswer::Unknown | ReadAnswer::Refused(_) => None,
        };
        match record {
            Some((record, props)) => self.late(from, record.digest(), Some((&record, props)), out),
            None => {
                self.set(from, State::CannotVouch);
                if self.phase == Phase::Securing {
                    self.secure(out);
                }
            }
        }
    }

    fn shown_partly(&mut self, node: NodeId, shown: &Shown, out: &mut Vec<Effect>) {
        let record = Record::decode(&shown.record).ok();
        self.partly(node, record.as_ref().map(|record| (record, shown.props)), out);
    }

    fn join(&mut self, record: &Record, props: u64) {
        self.merged = self.merged.merge(record).record;
        self.rules = self.rules.max(props);
    }

    fn gone(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if self.is_waiting_for(node) {
            self.set(node, State::Down);
            self.ask_until_enough(out);
        }
        self.will_not_hold(node, State::Down, out);
    }

    /// A strict read counted on this node's repair: another owner must do.
    fn will_not_hold(&mut self, node: NodeId, state: State, out: &mut Vec<Effect>) {
        let held = State::Holds(self.merged.digest());
        if self.phase == Phase::Securing && !self.asked.iter().any(|a| a.node == node && a.state == held) {
            self.set(node, state);
            self.secure(out);
        } else if self.phase == Phase::Lingering && self.is_waiting_for(node) {
            self.set(node, state);
        }
    }

    fn repaired(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        if self.phase == Phase::Securing {
            self.set(node, State::Holds(self.merged.digest()));
            self.secure(out);
        } else if self.phase == Phase::Lingering && self.is_waiting_for(node) {
            self.set(node, State::Holds(self.merged.digest()));
        }
    }

    fn judge(&mut self, out: &mut Vec<Effect>) {
        if self.phase != Phase::Reading {
            return;
        }
        match self.verdict() {
            Verdict::Wait => {}
            Verdict::Fail => self.fail(no_quorum, out),
            Verdict::Succeed => {
                self.phase = Phase::Securing;
                self.repair(out);
                self.secure(out);
            }
        }
    }

    fn verdict(&self) -> Verdict {
        let need = if planted::on(Bug::ReadsHearOne) { 1 } else { usize::from(self.plan.quorum) };
        if self.holding() >= need {
            Verdict::Succeed
        } else if self.promising() + self.unasked.len() < need {
            Verdict::Fail
        } else {
            Verdict::Wait
        }
    }

    /// Sends what was found to those that answered with less.
    fn repair(&mut self, out: &mut Vec<Effect>) {
        let target = self.merged.digest();
        let may_take = |node: NodeId| node != self.plan.me || self.may_be_kept_here();
        let stale =
            |a: &&Asked| matches!(a.state, State::Holds(digest) if digest != target && may_take(a.node));
        let stale: Vec<NodeId> = self.asked.iter().filter(stale).map(|a| a.node).collect();
        for node in stale {
            self.repairs += 1;
            self.send_repair(node, out);
        }
    }

    /// A repair is sent once: only if more is found its target is stale again.
    fn trust_repairs(&mut self) {
        let target = State::Holds(self.merged.digest());
        let answered = self.asked.iter_mut().filter(|a| matches!(a.state, State::Holds(_)));
        answered.for_each(|a| a.state = target);
    }

    fn send_repair(&self, node: NodeId, out: &mut Vec<Effect>) {
        if node == self.plan.me {
            if self.may_be_kept_here() {
                out.push(Effect::MergeHere(self.merged.clone(), None));
            }
            return;
        }
        let class = if self.plan.strict { Class::Foreground } else { Class::Background };
        let merge = Merge {
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            record: self.merged.encode(),
            props: self.rules,
            durable: self.plan.durable,
            origin: None,
            stands_for: None,
        };
        out.push(Effect::Send(node, class, Message::Merge(merge)));
    }

    /// Answers: at once if sloppy; if strict, when N−R+1 owners hold the record, so that every later read
    /// quorum meets one of them.
    fn secure(&mut self, out: &mut Vec<Effect>) {
        if planted::on(Bug::StrictReadsHang) && self.plan.strict {
            return;
        }
        let target = self.merged.digest();
        let safe = self.asked.iter().filter(|a| a.state == State::Holds(target)).count();
        let needed = usize::from(self.plan.n - self.plan.quorum) + 1;
        let needed = if planted::on(Bug::ReadsUnsecured) { 1 } else { needed };
        if self.plan.strict && safe < needed {
            while self.promising() - self.cannot_take() < needed {
                let Some(node) = self.unasked.pop() else { break };
                self.asked.push(Asked { node, state: State::Waiting });
                self.send_repair(node, out);
            }
            return;
        }
        self.phase = Phase::Lingering;
        self.trust_repairs();
        out.push(Effect::Respond(Answer::Read(self.settled())));
    }

    /// Who has not answered by the time at which a silent replica is taken for absent, is not waited for.
    fn end_linger(&mut self, now: Instant) {
        let is_waiting = self.asked.iter().any(|a| a.state == State::Waiting);
        if self.phase == Phase::Lingering && (!is_waiting || now >= self.linger_until()) {
            self.phase = Phase::Over;
        }
    }

    fn linger_until(&self) -> Instant {
        self.plan.patience.min(self.plan.deadline)
    }

    fn is_waiting_for(&self, node: NodeId) -> bool {
        self.asked.iter().any(|a| a.node == node && a.state == State::Waiting)
    }

    fn check_time(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Lingering | Phase::Over) {
            return;
        }
        if now >= self.plan.hedge && !self.unasked.is_empty() {
            self.plan.hedge = now + self.plan.hedge_pause;
            if self.phase == Phase::Reading {
                self.ask_next(out);
            } else if let Some(node) = self.unasked.pop() {
                // A strict read whose repairs are slow tries the remaining owner as well.
                self.asked.push(Asked { node, state: State::Waiting });
                self.send_repair(node, out);
            }
        }
        if now >= self.plan.deadline {
            self.fail(too_late, out);
        }
    }

    fn fail(
        &mut self,
        words: fn(Outcome, usize, u8, &str, &str) -> starling_wire::Failure,
        out: &mut Vec<Effect>,
    ) {
        self.phase = Phase::Over;
        let story = self.asked.iter().map(Asked::story).collect::<Vec<_>>().join(", ");
        let failure =
            words(Outcome::NotApplied, self.holding(), self.plan.quorum, "replicas answered", &story);
        out.push(Effect::Respond(Answer::Failed(failure)));
    }

    fn set(&mut self, node: NodeId, state: State) {
        if let Some(asked) = self.asked.iter_mut().find(|a| a.node == node) {
            asked.state = state;
        }
    }

    fn holding(&self) -> usize {
        self.asked.iter().filter(|a| matches!(a.state, State::Holds(_))).count()
    }

    fn promising(&self) -> usize {
        self.asked.iter().filter(|a| matches!(a.state, State::Waiting | State::Holds(_))).count()
    }
}
