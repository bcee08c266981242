//! The second part of a write's life: it goes to the other owners, or to those that stand in for them, and is acked.

use starling_causality::Staged;
use starling_types::planted::{self, Bug};
use starling_types::{NodeId, Outcome};
use starling_wire::client::Receipt;
use starling_wire::replica::{Merged, Refusal};
use starling_wire::{Class, Failure, Message};

use super::resend::{Refused, Resend};
use super::{CHANGED, Write};
use crate::plan::Reach;
use crate::reply::{no_quorum, too_late};
use crate::sets::{Membership, Set};
use crate::tally::{Asked, State, Tally, Why};
use crate::{Answer, Effect, Verdict, Written};

/// A write that was staged here and sent out.
#[derive(Debug)]
pub(super) struct Replication {
    staged: Staged,
    /// It replaces what fewer owners than needed were heard to hold.
    partial: bool,
    tally: Tally<()>,
    /// How many of the plan's fallbacks have been asked.
    fallbacks: usize,
    hinted: u8,
    resend: Resend,
    /// The bucket demands more by now than this write can give.
    outdated: bool,
    answered: bool,
}

impl Replication {
    /// Sends a write to the other owners.
    pub(super) fn start(write: &Write, staged: Staged, partial: bool, out: &mut Vec<Effect>) -> Self {
        let mut replication = Self {
            tally: Tally::new(&write.plan),
            staged,
            partial,
            fallbacks: 0,
            hinted: 0,
            resend: Resend::default(),
            outdated: false,
            answered: false,
        };
        for owner in &write.plan.owners {
            let state = if owner.reach == Reach::Down { State::No(Why::Down) } else { State::Waiting };
            replication.tally.add(owner.node, owner.sets, state);
        }
        for owner in write.plan.others().iter().filter(|o| o.reach != Reach::Down) {
            replication.send(write, owner.node, None, out);
        }
        for owner in write.plan.others().iter().filter(|o| o.reach == Reach::Down) {
            replication.relieve(write, owner.node, out);
        }
        replication
    }

    fn send(&self, write: &Write, node: NodeId, stands_for: Option<NodeId>, out: &mut Vec<Effect>) {
        let merge = write.merge(&self.staged, stands_for);
        out.push(Effect::Send(node, Class::Foreground, Message::Merge(merge)));
    }

    /// The copy of an absent owner goes to the next fallback, or stays here as a hint.
    fn relieve(&mut self, write: &Write, node: NodeId, out: &mut Vec<Effect>) {
        let Some(owner) = self.tally.relieve(node) else { return };
        let Some(&fallback) = write.plan.fallbacks.get(self.fallbacks) else {
            self.hinted += 1;
            out.push(Effect::KeepHint(owner, self.staged.record.clone()));
            if planted::on(Bug::HintCounts) {
                self.acked(owner);
            }
            return;
        };
        self.fallbacks += 1;
        self.tally.add_fallback(fallback, owner);
        self.send(write, fallback, Some(owner), out);
    }

    /// A node holds it as demanded; one that was given up on may say so late.
    pub(super) fn acked(&mut self, node: NodeId) {
        self.tally.set(node, State::Yes(()));
    }

    pub(super) fn merged(&mut self, write: &Write, from: NodeId, answer: &Merged, out: &mut Vec<Effect>) {
        match answer {
            Merged::Done { durable } if *durable || !write.plan.durable => self.acked(from),
            Merged::Done { .. } => self.lost(write, from, Why::Refused("not fsynced".into()), out),
            Merged::Refused(Refusal::StaleProps(theirs)) => self.stale(write, from, *theirs, out),
            Merged::Refused(why) => self.lost(write, from, Why::Refused(why.to_string()), out),
        }
    }

    /// A holder that will not hold it: another node must, for the owner it is or stands for.
    pub(super) fn lost(&mut self, write: &Write, node: NodeId, why: Why, out: &mut Vec<Effect>) {
        let was_waited_for = self.tally.answer(node, State::No(why)).is_some();
        if was_waited_for && node != write.plan.me() {
            self.relieve(write, node, out);
        }
    }

    /// A replica knows other properties of the bucket: it is still waited for, until both know the same.
    fn stale(&mut self, write: &Write, from: NodeId, theirs: u64, out: &mut Vec<Effect>) {
        match self.resend.refused(from, theirs, write.props) {
            _ if self.outdated => self.lost(write, from, outdated(), out),
            Refused::Again => self.send(write, from, self.tally.stands_for(from), out),
            Refused::Wait => {}
            Refused::Lost => {
                self.lost(write, from, Why::Refused(Refusal::StaleProps(theirs).to_string()), out);
            }
        }
    }

    /// A replica knows the same properties as this node now.
    pub(super) fn agreed(&mut self, write: &Write, node: NodeId, out: &mut Vec<Effect>) {
        if self.resend.agreed(node) {
            self.send(write, node, self.tally.stands_for(node), out);
        }
    }

    /// The bucket has other properties, which the write meets or does not.
    pub(super) fn props_changed(&mut self, write: &Write, meets: bool, out: &mut Vec<Effect>) {
        self.outdated = !meets;
        if self.outdated {
            for node in self.resend.take() {
                self.lost(write, node, outdated(), out);
            }
        }
    }

    /// Silent owners are treated as absent; this node's own disk is waited for until the deadline.
    pub(super) fn stop_waiting(&mut self, write: &Write, out: &mut Vec<Effect>) {
        let silent: Vec<NodeId> = self.tally.waiting().map(|asked| asked.node).collect();
        for node in silent.into_iter().filter(|&node| node != write.plan.me()) {
            // It may still answer, and then counts; its copy is safe elsewhere meanwhile.
            self.relieve(write, node, out);
        }
    }

    pub(super) fn judge(&mut self, write: &Write, out: &mut Vec<Effect>) {
        if self.answered {
            return;
        }
        let spare = write.plan.fallbacks.len() - self.fallbacks;
        match self.tally.verdict(need, write.plan.me(), spare) {
            Verdict::Wait => {}
            Verdict::Succeed => self.respond(self.written(write), out),
            Verdict::Fail => self.respond(Answer::Failed(self.failure(no_quorum)), out),
        }
    }

    /// Before patience runs out the silent are waited for; after that only fallbacks, whose silence would
    /// leave an absent owner without a copy.
    pub(super) fn is_over(&self, patience_is_over: bool) -> bool {
        self.answered
            && match patience_is_over {
                true => self.tally.unrelieved_fallbacks().next().is_none(),
                false => self.tally.waiting().next().is_none(),
            }
    }

    /// Time is out: what only silent fallbacks would hold is kept here.
    pub(super) fn end(&mut self, write: &Write, out: &mut Vec<Effect>) {
        self.respond(Answer::Failed(self.failure(too_late)), out);
        self.fallbacks = write.plan.fallbacks.len();
        let silent: Vec<NodeId> = self.tally.unrelieved_fallbacks().collect();
        for fallback in silent {
            self.relieve(write, fallback, out);
        }
    }

    fn respond(&mut self, answer: Answer, out: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.answered, true) {
            out.push(Effect::Respond(answer));
        }
    }

    fn written(&self, write: &Write) -> Answer {
        let acked = self.tally.count(Membership::ALL, Asked::is_yes);
        let owners = self.tally.count(Membership::ALL, |asked| asked.is_yes() && asked.is_owner());
        let receipt = Receipt {
            hinted: self.hinted,
            partial: self.partial,
            unvouched: write.plan.unvouched,
            ..write.receipt(Some(self.staged.dot), acked, owners)
        };
        Answer::Written(Written {
            context: self.staged.context.clone(),
            siblings: self.staged.siblings,
            existed: self.staged.existed,
            receipt,
        })
    }

    fn failure(&self, words: fn(Outcome, usize, u8, &str, &str) -> Failure) -> Failure {
        let outcome = if planted::on(Bug::UnknownDenied) { Outcome::NotApplied } else { Outcome::Unknown };
        let (acked, needed) = self.tally.standing(need, Asked::is_yes);
        words(outcome, acked, needed, "replicas acked", &self.tally.story("acked"))
    }
}

fn need(set: &Set) -> u8 {
    set.quorum - u8::from(planted::on(Bug::OneAckLess) && set.quorum > 1)
}

fn outdated() -> Why {
    Why::Refused(CHANGED.into())
}
