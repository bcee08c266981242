//! What a write asks of the other owners before it is made: whether it was made before, and what it means to replace.
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

/// What a write must know before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Questions {
    /// When the request was issued.
    pub issued: WallTime,
    /// Owners of which one has every acked write, whoever the others are.
    pub owners: u8,
    /// It says itself what it replaces: no owner's context is needed.
    pub names_what_it_replaces: bool,
    /// It deletes, and this node could say that it never heard of the key: nothing needs to be stored where no owner did.
    pub deletes: bool,
    /// This node's memory of requests reaches back to when it was issued.
    pub remembers: bool,
    /// This node vouches for the partition.
    pub is_sure: bool,
}

/// What was found out for a write.
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
    /// Nobody is left to ask: not enough contexts were heard.
    ContextsMissing,
    /// Nobody is left to ask: too few would remember an earlier try.
    MemoriesMissing,
}

/// One write's questions and the answers so far.
#[derive(Debug)]
pub(super) struct Inquiry {
    needs_contexts: usize,
    needs_memories: usize,
    issued: WallTime,
    /// Owners in the order in which they are asked, those not yet asked.
    unasked: Vec<NodeId>,
    waiting: Vec<NodeId>,
    contexts: usize,
    memories: usize,
    /// Other owners that are sure to hold nothing; counted while that can still spare the write.
    absent: Option<usize>,
    others: usize,
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
        let reachable = plan.others.iter().filter(|p| p.reach != Reach::Down).map(|p| p.node);
        let unasked: Vec<NodeId> = reachable.collect();
        let memories = usize::from(plan.n.saturating_sub(plan.quorum)) + 1;
        let may_be_absent = questions.deletes
            && !questions.names_what_it_replaces
            && unasked.len() + 1 == usize::from(plan.n);
        Self {
            needs_contexts: if contexts { usize::from(questions.owners) } else { 0 },
            needs_memories: if is_retry { memories } else { 0 },
            issued: questions.issued,
            waiting: Vec::new(),
            contexts: usize::from(questions.is_sure),
            memories: usize::from(questions.remembers),
            absent: (may_be_absent && questions.is_sure).then_some(0),
            others: usize::from(plan.n.saturating_sub(1)),
            is_patient: is_retry,
            hedge: plan.hedge,
            heard: VersionVector::new(),
            unasked,
        }
    }

    /// Whether an earlier try is asked about.
    pub(super) const fn is_recall(&self) -> bool {
        self.needs_memories > 0
    }

    /// Whom to ask now: as many as could settle it, a retry and a delete everybody.
    pub(super) fn begin(&mut self) -> Vec<NodeId> {
        let everybody = self.is_recall() || self.absent.is_some();
        let enough = self.needs_contexts.saturating_sub(self.contexts);
        let count = if everybody { self.unasked.len() } else { enough.min(self.unasked.len()) };
        self.waiting = self.unasked.drain(..count).collect();
        self.waiting.clone()
    }

    /// An owner knows nothing of the request; whom to ask beside it, if its word does not count.
    pub(super) fn heard(&mut self, from: NodeId, held: &Held) -> Option<NodeId> {
        if !self.take(from) {
            return None;
        }
        self.heard.join(&held.context);
        self.contexts += usize::from(held.is_sure);
        self.memories += usize::from(held.since < self.issued);
        match &mut self.absent {
            Some(count) if held.is_empty && held.is_sure => *count += 1,
            absent => *absent = None,
        }
        if self.contexts + self.waiting.len() < self.needs_contexts { self.ask_next() } else { None }
    }

    /// An owner will not answer; whom to ask in its place.
    pub(super) fn lost(&mut self, node: NodeId) -> Option<NodeId> {
        if !self.take(node) {
            return None;
        }
        self.absent = None;
        self.ask_next()
    }

    /// Whom to ask beside those that are silent, if it is time; from then on a delete waits no more for proof that
    /// there is nothing.
    pub(super) fn hedge(&mut self, now: Instant) -> Option<NodeId> {
        if now < self.hedge {
            return None;
        }
        self.hedge = now + HEDGE_DELAY;
        self.absent = self.absent.filter(|&count| count == self.others);
        self.ask_next()
    }

    /// The silent have been waited for long enough.
    pub(super) const fn lose_patience(&mut self) {
        self.is_patient = false;
        self.absent = None;
    }

    /// When [`Self::hedge`] has something to say.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (self.absent.is_some() || !self.unasked.is_empty()).then_some(self.hedge)
    }

    pub(super) fn standing(&self) -> Standing {
        let contexts = self.contexts >= self.needs_contexts;
        let memories = self.memories >= self.needs_memories;
        let settled = !self.is_patient && self.absent.is_none_or(|count| count == self.others);
        match (contexts && memories, self.waiting.is_empty() && self.unasked.is_empty()) {
            (true, _) if settled => Standing::Enough,
            (_, false) => Standing::Open,
            (true, true) => Standing::Enough,
            (false, true) if !memories => Standing::MemoriesMissing,
            (false, true) => Standing::ContextsMissing,
        }
    }

    /// How many contexts, this node's included, of how many.
    pub(super) const fn contexts(&self) -> (usize, usize) {
        (self.contexts, self.needs_contexts)
    }

    /// What came of it.
    pub(super) fn end(self) -> Heard {
        Heard {
            is_new: self.is_recall(),
            is_known: false,
            is_absent: self.absent.is_some_and(|count| count == self.others),
            is_partial: self.contexts < self.needs_contexts,
            context: self.heard,
        }
    }

    fn take(&mut self, node: NodeId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|&n| n != node);
        self.waiting.len() < before
    }

    fn ask_next(&mut self) -> Option<NodeId> {
        let next = (!self.unasked.is_empty()).then(|| self.unasked.remove(0));
        self.waiting.extend(next);
        next
    }
}
