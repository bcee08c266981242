//! The inquiry of a write at the other owners before it is made: was it made before, and what does it mean to replace?
//!
//! `an acked write is held by W owners, so one of any N−W+1 knows of it`
//!
//! - A *blind* write replaces all that was acked before it began. Its context joins what max(R, N−W+1) owners hold.
//! - A try that may not be the first is made only if N−W+1 owners would remember an acked one, and none does. A try
//!   that hung after its mint may be unknown to all of them; its dot and the new one are one value (semantics,
//!   section 3).

use starling_causality::VersionVector;
use starling_types::{Instant, NodeId, WallTime};
use starling_wire::replica::Held;

use crate::plan::{HEDGE_DELAY, Plan, Reach};
use crate::sets::{Membership, Set};
use crate::tally::{Asked, State, Tally, Why};

/// The questions that must be answered before a write is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Questions {
    /// When the request was issued.
    pub issued: WallTime,
    /// Until when a first try may ask, if that is before its patience ends: it is to be made, perhaps in part, before
    /// another try may be under way.
    pub asks_until: Option<Instant>,
    /// It says itself what it replaces: no owner's context is needed.
    pub names_what_it_replaces: bool,
    /// It deletes, and this node could say that it never heard of the key: nothing needs to be stored where no owner did.
    pub deletes: bool,
    /// This node's memory of requests reaches back to when it was issued.
    pub remembers: bool,
    /// This node vouches for the partition.
    pub is_sure: bool,
}

/// The answers found for a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// The joined contexts of the owners that answered.
    pub context: VersionVector,
    /// The owners were asked whether they know the request, as many as it takes.
    pub is_new: bool,
    /// Another owner said that the write was made: it is not made again.
    pub is_known: bool,
    /// Every other owner is sure that it holds no record at all.
    pub is_absent: bool,
    /// Fewer contexts were heard than were needed.
    pub is_partial: bool,
}

/// How an inquiry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// More is to be heard, or may be.
    Open,
    /// All that was needed.
    Enough,
    /// No owner is left to ask: not enough contexts were heard.
    ContextsMissing,
    /// No owner is left to ask: too few would remember an earlier try.
    MemoriesMissing,
}

/// An owner's answer, as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Voice {
    /// Its context is all that was acked there.
    is_sure: bool,
    /// It would remember an earlier try.
    remembers: bool,
}

/// One write's questions and the answers so far.
#[derive(Debug)]
pub(super) struct Inquiry {
    tally: Tally<Voice>,
    needs_contexts: bool,
    /// It is asked as well whether the write was made before.
    is_retry: bool,
    issued: WallTime,
    /// Every owner may yet turn out to be sure that it holds nothing, which would spare the write.
    may_be_absent: bool,
    /// The silent are waited for, though enough have answered: an earlier try may be known to them alone.
    is_patient: bool,
    /// When one owner more is asked.
    hedge: Instant,
    heard: VersionVector,
}

impl Inquiry {
    /// The questions of a write under `plan`: what owners hold, if `contexts`; and whether it was made before, if
    /// `is_retry`.
    pub(super) fn new(plan: &Plan, questions: &Questions, contexts: bool, is_retry: bool) -> Self {
        let mut tally = Tally::new(plan);
        let here = Voice { is_sure: questions.is_sure, remembers: questions.remembers };
        tally.add(plan.me(), plan.owners[0].sets, State::Yes(here));
        for owner in plan.others().iter().filter(|o| o.reach != Reach::Down) {
            tally.add(owner.node, owner.sets, State::Unasked);
        }
        let can_all_answer = plan.others().iter().all(|o| o.reach != Reach::Down);
        let is_blind_delete = questions.deletes && !questions.names_what_it_replaces;
        Self {
            tally,
            needs_contexts: contexts,
            is_retry,
            issued: questions.issued,
            may_be_absent: is_blind_delete && can_all_answer && questions.is_sure,
            is_patient: is_retry,
            hedge: plan.start + plan.hedge_pause,
            heard: VersionVector::new(),
        }
    }

    /// Whether an earlier try is asked about.
    pub(super) const fn is_recall(&self) -> bool {
        self.is_retry
    }

    /// The next owners to ask: as many as could settle it, for a retry and a delete all. `None` if all of those have
    /// been asked.
    pub(super) fn ask_missing(&mut self) -> Option<NodeId> {
        let all = self.is_retry || self.may_be_absent;
        let short = |tally: &Tally<Voice>| {
            tally.short(|set| self.contexts_of(set), |a| a.state == State::Waiting || is_sure(a))
        };
        let sets = if all { Membership::ALL } else { short(&self.tally) };
        self.tally.ask_next(sets)
    }

    /// An owner knows nothing of the request.
    pub(super) fn heard(&mut self, from: NodeId, held: &Held) {
        let voice = Voice { is_sure: held.is_sure, remembers: held.since < self.issued };
        if self.tally.answer(from, State::Yes(voice)).is_some() {
            self.heard.join(&held.context);
            self.may_be_absent &= held.is_empty && held.is_sure;
        }
    }

    /// An owner will not answer; returns the one to ask in its place.
    pub(super) fn lost(&mut self, node: NodeId) -> Option<NodeId> {
        let sets = self.tally.answer(node, State::No(Why::Down))?;
        self.may_be_absent = false;
        self.tally.ask_next(sets)
    }

    /// The owner to ask beside those that are silent, if it is time; from then on a delete waits no more for proof that
    /// there is nothing.
    pub(super) fn hedge(&mut self, now: Instant) -> Option<NodeId> {
        if now < self.hedge {
            return None;
        }
        self.hedge = now + HEDGE_DELAY;
        self.may_be_absent &= !self.is_open();
        self.tally.ask_next(Membership::ALL)
    }

    /// The silent have been waited for long enough.
    pub(super) const fn lose_patience(&mut self) {
        self.is_patient = false;
        self.may_be_absent = false;
    }

    /// When [`Self::hedge`] has something to say.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (self.may_be_absent || self.tally.is_any_unasked()).then_some(self.hedge)
    }

    pub(super) fn standing(&self) -> Standing {
        let remembers = |a: &Asked<Voice>| matches!(&a.state, State::Yes(voice) if voice.remembers);
        let memories = |set: &Set| if self.is_retry { set.meeting() } else { 0 };
        let memories = self.tally.short(memories, remembers) == Membership::NONE;
        let settled = !self.is_patient && !self.may_be_absent;
        match (memories && !self.lacks_contexts(), self.is_open()) {
            (true, _) if settled => Standing::Enough,
            (_, true) => Standing::Open,
            (true, false) => Standing::Enough,
            (false, false) if !memories => Standing::MemoriesMissing,
            (false, false) => Standing::ContextsMissing,
        }
    }

    /// How many contexts, this node's included, of how many.
    pub(super) fn contexts(&self) -> (usize, u8) {
        self.tally.standing(|set| self.contexts_of(set), is_sure)
    }

    /// The findings of the inquiry.
    pub(super) fn end(&mut self) -> Heard {
        Heard {
            is_new: self.is_retry,
            is_known: false,
            is_absent: self.may_be_absent && !self.is_open(),
            is_partial: self.lacks_contexts(),
            context: std::mem::take(&mut self.heard),
        }
    }

    const fn contexts_of(&self, set: &Set) -> u8 {
        if self.needs_contexts { set.contexts } else { 0 }
    }

    fn lacks_contexts(&self) -> bool {
        self.tally.short(|set| self.contexts_of(set), is_sure) != Membership::NONE
    }

    /// More is to be heard, or may be.
    fn is_open(&self) -> bool {
        self.tally.is_any_unasked() || self.tally.waiting().next().is_some()
    }
}

fn is_sure(asked: &Asked<Voice>) -> bool {
    matches!(&asked.state, State::Yes(voice) if voice.is_sure)
}
