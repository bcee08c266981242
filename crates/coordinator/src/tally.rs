//! Who has answered a write, and what that amounts to.

use starling_types::NodeId;
use starling_types::planted::{self, Bug};

use crate::Verdict;
use crate::plan::Plan;

/// One holder's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Waiting,
    Acked,
    Refused(String),
    /// Silent, or known to be gone.
    Absent,
}

/// A node asked to hold the write.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) node: NodeId,
    pub(crate) state: Holder,
    /// The owner it stands for, if it is a fallback.
    pub(crate) stands_for: Option<NodeId>,
    /// Somebody else was asked in its place, or a hint is kept: once is enough.
    pub(crate) relieved: bool,
}

/// The acks of one write.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) asked: Vec<Asked>,
    need: usize,
    strict: bool,
}

impl Tally {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            asked: Vec::with_capacity(plan.others.len() + 1),
            need: usize::from(plan.quorum) - usize::from(planted::on(Bug::OneAckLess) && plan.quorum > 1),
            strict: plan.strict,
        }
    }

    pub(crate) fn ask(&mut self, node: NodeId, state: Holder, stands_for: Option<NodeId>) {
        self.asked.push(Asked { node, state, stands_for, relieved: false });
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

    /// Records a first answer; `false` if the node was not waited for.
    pub(crate) fn answer(&mut self, node: NodeId, state: Holder) -> bool {
        match self.asked.iter_mut().find(|a| a.node == node) {
            Some(asked) if asked.state == Holder::Waiting || state == Holder::Acked => {
                asked.state = state;
                true
            }
            _ => false,
        }
    }

    /// `spare` more fallbacks could still be asked, each in the place of a node that has not answered.
    pub(crate) fn verdict(&self, me: NodeId, spare: usize) -> Verdict {
        let acked = self.acked();
        let waiting = self.counting().filter(|a| a.state == Holder::Waiting).count();
        let replaceable = |a: &&Asked| a.state == Holder::Waiting && a.node != me && !a.relieved;
        let spare = match self.strict {
            true => 0,
            false => spare.min(self.asked.iter().filter(replaceable).count()),
        };
        if acked >= self.need {
            Verdict::Succeed
        } else if acked + waiting + spare < self.need {
            Verdict::Fail
        } else {
            Verdict::Wait
        }
    }

    pub(crate) fn acked(&self) -> usize {
        self.counting().filter(|a| a.state == Holder::Acked).count()
    }

    pub(crate) fn acked_owners(&self) -> usize {
        self.asked.iter().filter(|a| a.stands_for.is_none() && a.state == Holder::Acked).count()
    }

    pub(crate) fn waiting(&self) -> Vec<NodeId> {
        self.asked.iter().filter(|a| a.state == Holder::Waiting).map(|a| a.node).collect()
    }

    /// Silent fallbacks in whose place nobody was asked.
    pub(crate) fn unrelieved_fallbacks(&self) -> Vec<NodeId> {
        let unrelieved = |a: &&Asked| a.state == Holder::Waiting && a.stands_for.is_some() && !a.relieved;
        self.asked.iter().filter(unrelieved).map(|a| a.node).collect()
    }

    fn counting(&self) -> impl Iterator<Item = &Asked> {
        self.asked
            .iter()
            .filter(|a| !self.strict || a.stands_for.is_none() || planted::on(Bug::FallbackCountsStrict))
    }

    /// For a person: who said what.
    pub(crate) fn story(&self) -> String {
        let word = |a: &Asked| {
            let state = match &a.state {
                Holder::Waiting => "no answer yet".into(),
                Holder::Acked => "acked".into(),
                Holder::Refused(why) => format!("refused ({why})"),
                Holder::Absent => "absent".into(),
            };
            let role = if a.stands_for.is_some() { " as fallback" } else { "" };
            format!("{}{role}: {state}", a.node)
        };
        self.asked.iter().map(word).collect::<Vec<_>>().join(", ")
    }
}
