//! The nodes that a request has asked, their answers, and what these amount to in each of its owner sets.

use starling_types::NodeId;
use starling_types::planted::{self, Bug};

use crate::Verdict;
use crate::plan::Plan;
use crate::sets::{Membership, Set, Sets};

/// How it stands with a node; a yes brings along what the request wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State<Yes> {
    /// It may be asked yet.
    Unasked,
    Waiting,
    Yes(Yes),
    /// It counts towards nothing.
    No(Why),
}

/// Why a node counts towards nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Why {
    Down,
    Refused(String),
    CannotVouch,
    /// The same: what it has may be less than it once had.
    MayHaveLost,
}

/// A node of which something is asked.
#[derive(Debug)]
pub(crate) struct Asked<Yes> {
    pub(crate) node: NodeId,
    pub(crate) state: State<Yes>,
    /// The sets in which it counts: those of the owner that it is, or stands for.
    sets: Membership,
    /// The owner it stands for, if it is a fallback.
    pub(crate) stands_for: Option<NodeId>,
    /// Another was asked in its place, or a hint is kept: once is enough.
    relieved: bool,
}

/// The answers to one question of a request.
#[derive(Debug)]
pub(crate) struct Tally<Yes> {
    asked: Vec<Asked<Yes>>,
    sets: Sets,
    strict: bool,
}

impl<Yes: PartialEq> Tally<Yes> {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self { asked: Vec::with_capacity(plan.owners.len()), sets: plan.sets, strict: plan.strict }
    }

    pub(crate) fn add(&mut self, node: NodeId, sets: Membership, state: State<Yes>) {
        self.asked.push(Asked { node, state, sets, stands_for: None, relieved: false });
    }

    /// A fallback is asked to hold the copy of an absent owner: it counts where the owner would.
    pub(crate) fn add_fallback(&mut self, node: NodeId, owner: NodeId) {
        let sets = self.asked.iter().find(|a| a.node == owner).map_or(Membership::NONE, |a| a.sets);
        let state = State::Waiting;
        self.asked.push(Asked { node, state, sets, stands_for: Some(owner), relieved: false });
    }

    /// The next node in `sets` that was not asked; it is waited for from now on.
    pub(crate) fn ask_next(&mut self, sets: Membership) -> Option<NodeId> {
        let next = self.asked.iter_mut().find(|a| a.state == State::Unasked && a.sets.meets(sets))?;
        next.state = State::Waiting;
        Some(next.node)
    }

    /// Takes an answer down, if the node was asked.
    pub(crate) fn set(&mut self, node: NodeId, state: State<Yes>) {
        if let Some(asked) = self.asked.iter_mut().find(|a| a.node == node && a.state != State::Unasked) {
            asked.state = state;
        }
    }

    /// Takes an answer down that is waited for: the sets in which it counts, `None` if it is not.
    pub(crate) fn answer(&mut self, node: NodeId, state: State<Yes>) -> Option<Membership> {
        let asked = self.asked.iter_mut().find(|a| a.node == node && a.state == State::Waiting)?;
        asked.state = state;
        Some(asked.sets)
    }

    /// Whose copy must be kept by another because `node` does not: the owner that `node` is or stands for;
    /// `None` if that has been seen to.
    pub(crate) fn relieve(&mut self, node: NodeId) -> Option<NodeId> {
        let asked = self.asked.iter_mut().find(|a| a.node == node && !a.relieved)?;
        asked.relieved = true;
        Some(asked.stands_for.unwrap_or(node))
    }

    /// The absent owner whose copy the node was asked to hold.
    pub(crate) fn stands_for(&self, node: NodeId) -> Option<NodeId> {
        self.asked.iter().find(|a| a.node == node)?.stands_for
    }

    pub(crate) fn is_waiting_for(&self, node: NodeId) -> bool {
        self.waiting().any(|asked| asked.node == node)
    }

    /// Nodes that were asked and have not answered.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Asked<Yes>> {
        self.asked.iter().filter(|a| a.state == State::Waiting)
    }

    /// Silent fallbacks in whose place no other was asked.
    pub(crate) fn unrelieved_fallbacks(&self) -> impl Iterator<Item = NodeId> {
        self.waiting().filter(|a| a.stands_for.is_some() && !a.relieved).map(|a| a.node)
    }

    pub(crate) fn is_any_unasked(&self) -> bool {
        self.asked.iter().any(|a| a.state == State::Unasked)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Asked<Yes>> {
        self.asked.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Asked<Yes>> {
        self.asked.iter_mut()
    }

    /// Where it stands if `need` says how many must have said yes in each set. `spare` more fallbacks could still be
    /// asked, each in the place of a node other than `me` that has not answered.
    pub(crate) fn verdict(&self, need: impl Fn(&Set) -> u8, me: NodeId, spare: usize) -> Verdict {
        if self.short(&need, Asked::is_yes) == Membership::NONE {
            return Verdict::Succeed;
        }
        let spare = if self.strict { 0 } else { spare };
        let replaceable = |a: &Asked<Yes>| a.state == State::Waiting && a.node != me && !a.relieved;
        let is_lost = |(sets, set): (Membership, &Set)| {
            let spare = if spare == 0 { 0 } else { spare.min(self.count(sets, replaceable)) };
            self.count(sets, |a| !matches!(a.state, State::No(_))) + spare < usize::from(need(set))
        };
        if self.sets.each().any(is_lost) { Verdict::Fail } else { Verdict::Wait }
    }

    /// The sets in which fewer than `need` are as `is` says.
    pub(crate) fn short(&self, need: impl Fn(&Set) -> u8, is: impl Fn(&Asked<Yes>) -> bool) -> Membership {
        let mut short = Membership::NONE;
        for (sets, set) in self.sets.each() {
            if self.count(sets, &is) < usize::from(need(set)) {
                short.add(sets);
            }
        }
        short
    }

    /// How many are as `is` says, of how many, in the first set that is short of them, or the first of all.
    pub(crate) fn standing(
        &self,
        need: impl Fn(&Set) -> u8,
        is: impl Fn(&Asked<Yes>) -> bool,
    ) -> (usize, u8) {
        let mut all = self.sets.each().map(|(sets, set)| (self.count(sets, &is), need(set)));
        let first = all.next().unwrap_or_default();
        std::iter::once(first).chain(all).find(|&(got, need)| got < usize::from(need)).unwrap_or(first)
    }

    /// How many nodes of these sets are as `is` says; in a strict request owners alone.
    pub(crate) fn count(&self, sets: Membership, is: impl Fn(&Asked<Yes>) -> bool) -> usize {
        let counts = |a: &&Asked<Yes>| !self.strict || a.is_owner() || planted::on(Bug::FallbackCountsStrict);
        self.asked.iter().filter(|a| a.sets.meets(sets) && is(a)).filter(counts).count()
    }

    /// For an operator: which node said what, with `yes` as the text for a yes.
    pub(crate) fn story(&self, yes: &str) -> String {
        let word = |a: &Asked<Yes>| {
            let state = match &a.state {
                State::Unasked => return None,
                State::Waiting => "no answer yet".into(),
                State::Yes(_) => yes.into(),
                State::No(Why::Down) => "is down".into(),
                State::No(Why::Refused(why)) => format!("refused ({why})"),
                State::No(Why::CannotVouch) => "cannot vouch for the key".into(),
                State::No(Why::MayHaveLost) => {
                    "may have lost the key: `starling cluster status` there says what it waits for".into()
                }
            };
            let role = if a.is_owner() { "" } else { " as fallback" };
            Some(format!("{}{role}: {state}", a.node))
        };
        self.asked.iter().filter_map(word).collect::<Vec<String>>().join(", ")
    }
}

impl<Yes> Asked<Yes> {
    pub(crate) const fn is_yes(&self) -> bool {
        matches!(self.state, State::Yes(_))
    }

    /// It has said yes, or may yet.
    pub(crate) const fn is_promising(&self) -> bool {
        matches!(self.state, State::Waiting | State::Yes(_))
    }

    pub(crate) const fn is_owner(&self) -> bool {
        self.stands_for.is_none()
    }
}
