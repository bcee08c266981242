//! A read: this replica's record and R−1 others', merged; the stale are repaired, before the answer if the
//! read is strict and after it otherwise. It lingers for those who were asked and have not answered: their answers
//! cost nothing more, and may show a replica to be stale.
//!
//! The causal join alone is merged, and repairs. Only the record that is shown is settled by the bucket's rule.

mod rules;

use starling_causality::{Digest, Record};
use starling_types::planted::{self, Bug};
use starling_types::{BucketName, Instant, Key, NodeId, Outcome};
use starling_wire::replica::{Merge, Merged, Read, ReadAnswer, Shown};
use starling_wire::{Class, Message};

use crate::plan::{Plan, Reach};
use crate::reply::{no_quorum, too_late};
use crate::sets::{Membership, Set};
use crate::tally::{Asked, State, Tally, Why};
use crate::{Answer, Effect, Event, Verdict};

/// One read under way.
#[derive(Debug)]
pub struct Get {
    plan: Plan,
    bucket: BucketName,
    key: Key,
    /// The owners, and the digest of the record that each holds.
    tally: Tally<Digest>,
    merged: Record,
    /// Number of the newest rules under which any of that is held.
    rules: u64,
    /// Number of the newest rules that this node knows.
    props: u64,
    /// By these the last writer wins.
    lww: bool,
    digest_here: Option<Digest>,
    phase: Phase,
    /// When one node more is asked.
    hedge: Instant,
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
        let mut tally = Tally::new(&plan);
        tally.add(plan.me(), plan.owners[0].sets, State::Waiting);
        // Preference decides among those equally reachable.
        for reach in [Reach::Up, Reach::Suspect, Reach::Down] {
            let state = || if reach == Reach::Down { State::No(Why::Down) } else { State::Unasked };
            let owners = plan.others().iter().filter(|owner| owner.reach == reach);
            owners.for_each(|owner| tally.add(owner.node, owner.sets, state()));
        }
        let mut get = Self {
            tally,
            rules: plan.props,
            props: plan.props,
            lww: plan.lww,
            hedge: plan.start + plan.hedge_pause,
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
                self.partly(self.plan.me(), Some((&record, self.props)), out);
            }
            Event::UnreadHere(_) => self.partly(self.plan.me(), None, out),
            Event::MergedHere => self.repaired(self.plan.me(), out),
            Event::Answered(from, answer) => self.answered(from, answer, out),
            Event::Merged(from, Merged::Done { durable }) if durable || !self.plan.durable => {
                self.repaired(from, out);
            }
            Event::Merged(from, _) => self.will_not_hold(from, Why::CannotVouch, out),
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
        match self.phase {
            Phase::Over => None,
            Phase::Lingering => Some(self.linger_until()),
            _ if self.tally.is_any_unasked() => Some(self.hedge.min(self.plan.deadline)),
            _ => Some(self.plan.deadline),
        }
    }

    /// Whether the client is answered, and no answer is waited for.
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
            return self.late(self.plan.me(), digest, Some((&record, self.props)), out);
        }
        self.digest_here = Some(digest);
        self.tally.set(self.plan.me(), State::Yes(digest));
        // Joined, not put in place: a hedge may have been answered before this replica's disk.
        self.join(&record, self.props);
        self.ask_until_enough(out);
    }

    /// A node that was asked answers after the verdict: what is being secured stays as it is, what was answered already
    /// may grow by `more`.
    fn late(&mut self, node: NodeId, digest: Digest, more: Option<(&Record, u64)>, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::Securing => {
                self.tally.set(node, State::Yes(digest));
                if digest != self.merged.digest() {
                    self.send_repair(node, out);
                }
                self.secure(out);
            }
            Phase::Lingering if self.tally.is_waiting_for(node) => {
                self.tally.set(node, State::Yes(digest));
                more.into_iter().for_each(|(record, props)| self.join(record, props));
                self.repair(out);
                self.trust_repairs();
            }
            _ => {}
        }
    }

    /// Asks as many owners as the quorum still needs.
    fn ask_until_enough(&mut self, out: &mut Vec<Effect>) {
        while self.phase == Phase::Reading {
            let short = self.tally.short(|set| set.quorum, Asked::is_promising);
            if !self.ask_next(short, out) {
                break;
            }
        }
    }

    fn ask_next(&mut self, sets: Membership, out: &mut Vec<Effect>) -> bool {
        let Some(node) = self.tally.ask_next(sets) else {
            return false;
        };
        let read = Read { bucket: self.bucket.clone(), key: self.key.clone(), digest: self.digest_here };
        out.push(Effect::Send(node, Class::Foreground, Message::Read(read)));
        true
    }

    fn answered(&mut self, from: NodeId, answer: ReadAnswer, out: &mut Vec<Effect>) {
        if self.phase != Phase::Reading {
            return self.answered_late(from, answer, out);
        }
        let digest = match answer {
            ReadAnswer::Same => self.digest_here,
            ReadAnswer::Record(shown) => Record::decode(&shown.record).ok().map(|record| {
                self.join(&record, shown.props);
                record.digest()
            }),
            ReadAnswer::Partial(shown) => return self.shown_partly(from, &shown, out),
            ReadAnswer::Unknown | ReadAnswer::Refused(_) => None,
        };
        self.tally.set(from, digest.map_or(State::No(Why::CannotVouch), State::Yes));
        self.ask_until_enough(out);
    }

    /// One that cannot vouch for the key: another must, and its record joins what the others say.
    fn partly(&mut self, node: NodeId, record: Option<(&Record, u64)>, out: &mut Vec<Effect>) {
        let why = if record.is_some() { Why::MayHaveLost } else { Why::CannotVouch };
        if self.tally.answer(node, State::No(why)).is_none() {
            return;
        }
        match self.phase {
            Phase::Reading => {
                record.into_iter().for_each(|(record, props)| self.join(record, props));
                self.ask_until_enough(out);
            }
            Phase::Securing => self.secure(out),
            // Answered already: nodes that answered with less are repaired by it.
            Phase::Lingering => {
                record.into_iter().for_each(|(record, props)| self.join(record, props));
                self.repair(out);
                self.trust_repairs();
            }
            Phase::Over => {}
        }
    }

    fn answered_late(&mut self, from: NodeId, answer: ReadAnswer, out: &mut Vec<Effect>) {
        if !self.tally.is_waiting_for(from) {
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
                self.tally.set(from, State::No(Why::CannotVouch));
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
        if self.tally.answer(node, State::No(Why::Down)).is_some() {
            self.ask_until_enough(out);
        }
        self.will_not_hold(node, Why::Down, out);
    }

    /// A strict read counted on this node's repair: another owner must do.
    fn will_not_hold(&mut self, node: NodeId, why: Why, out: &mut Vec<Effect>) {
        let held = State::Yes(self.merged.digest());
        if self.phase == Phase::Securing && !self.tally.iter().any(|a| a.node == node && a.state == held) {
            self.tally.set(node, State::No(why));
            self.secure(out);
        } else if self.phase == Phase::Lingering {
            self.tally.answer(node, State::No(why));
        }
    }

    fn repaired(&mut self, node: NodeId, out: &mut Vec<Effect>) {
        let held = State::Yes(self.merged.digest());
        if self.phase == Phase::Securing {
            self.tally.set(node, held);
            self.secure(out);
        } else if self.phase == Phase::Lingering {
            self.tally.answer(node, held);
        }
    }

    fn judge(&mut self, out: &mut Vec<Effect>) {
        if self.phase != Phase::Reading {
            return;
        }
        match self.tally.verdict(need, self.plan.me(), 0) {
            Verdict::Wait => {}
            Verdict::Fail => self.fail(no_quorum, out),
            Verdict::Succeed => {
                self.phase = Phase::Securing;
                self.repair(out);
                self.secure(out);
            }
        }
    }

    /// Sends what was found to those that answered with less.
    fn repair(&mut self, out: &mut Vec<Effect>) {
        let target = self.merged.digest();
        let may_take = |node: NodeId| node != self.plan.me() || self.may_be_kept_here();
        let stale =
            |a: &&Asked<_>| matches!(a.state, State::Yes(digest) if digest != target && may_take(a.node));
        let stale: Vec<NodeId> = self.tally.iter().filter(stale).map(|a| a.node).collect();
        for node in stale {
            self.repairs += 1;
            self.send_repair(node, out);
        }
    }

    /// A repair is sent once: only if more is found its target is stale again.
    fn trust_repairs(&mut self) {
        let target = self.merged.digest();
        self.tally.iter_mut().filter(|a| a.is_yes()).for_each(|a| a.state = State::Yes(target));
    }

    fn send_repair(&self, node: NodeId, out: &mut Vec<Effect>) {
        if node == self.plan.me() {
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
        let target = State::Yes(self.merged.digest());
        let needed = |set: &Set| if planted::on(Bug::ReadsUnsecured) { 1 } else { set.meeting() };
        if self.plan.strict && self.tally.short(needed, |a| a.state == target) != Membership::NONE {
            let cannot_take = self.cannot_take();
            let may_take = |a: &Asked<_>| a.is_promising() && cannot_take != Some(a.node);
            while let Some(node) = self.tally.ask_next(self.tally.short(needed, may_take)) {
                self.send_repair(node, out);
            }
            return;
        }
        self.phase = Phase::Lingering;
        self.trust_repairs();
        out.push(Effect::Respond(Answer::Read(self.settled())));
    }

    /// A node that is silent until the time at which it is taken for absent is not waited for.
    fn end_linger(&mut self, now: Instant) {
        let is_waiting = self.tally.waiting().next().is_some();
        if self.phase == Phase::Lingering && (!is_waiting || now >= self.linger_until()) {
            self.phase = Phase::Over;
        }
    }

    fn linger_until(&self) -> Instant {
        self.plan.start + self.plan.patience
    }

    fn check_time(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Lingering | Phase::Over) {
            return;
        }
        if now >= self.hedge && self.tally.is_any_unasked() {
            self.hedge = now + self.plan.hedge_pause;
            if self.phase == Phase::Reading {
                self.ask_next(Membership::ALL, out);
            } else if let Some(node) = self.tally.ask_next(Membership::ALL) {
                // A strict read whose repairs are slow tries the remaining owner as well.
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
        let (holding, needed) = self.tally.standing(|set| set.quorum, Asked::is_yes);
        let story = self.tally.story("answered");
        let failure = words(Outcome::NotApplied, holding, needed, "replicas answered", &story);
        out.push(Effect::Respond(Answer::Failed(failure)));
    }
}

fn need(set: &Set) -> u8 {
    if planted::on(Bug::ReadsHearOne) { 1 } else { set.quorum }
}
