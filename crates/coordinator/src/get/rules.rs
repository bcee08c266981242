//! The bucket's rules, where nodes differ about them.
//!
//! A node holds only what was written under rules that it knows: so whatever it settles or covers by its own was
//! written under these or older ones, and may be sent on under their number. A read alone sees more. It shows that, and
//! passes it on under the number that came with it; this replica takes it once it knows the rules.

use starling_causality::Record;
use starling_types::{BucketProps, Conflict};

use super::asked::State;
use super::{Get, Phase};
use crate::Effect;

impl Get {
    /// What the client sees. Under rules that this node does not know nothing is hidden.
    pub(super) fn settled(&self) -> Record {
        match self.plan.lww && self.may_be_kept_here() {
            true => self.merged.clone().settle_lww(),
            false => self.merged.clone(),
        }
    }

    pub(super) const fn may_be_kept_here(&self) -> bool {
        self.rules <= self.plan.props
    }

    /// This node has learned rules: what it could not take before, it takes now if a strict read waits for it.
    pub(super) fn props_changed(&mut self, props: &BucketProps, number: u64, out: &mut Vec<Effect>) {
        self.plan.lww = props.conflict == Conflict::Lww;
        self.plan.props = number;
        self.rules = self.rules.max(number);
        if self.phase == Phase::Securing && self.lacks_some_here() {
            self.send_repair(self.plan.me, out);
        }
    }

    /// How many of those who answered, this replica or nobody, cannot take what a strict read has found.
    pub(super) fn cannot_take(&self) -> usize {
        usize::from(!self.may_be_kept_here() && self.lacks_some_here())
    }

    fn lacks_some_here(&self) -> bool {
        let target = self.merged.digest();
        let lacks = |state: State| matches!(state, State::Holds(digest) if digest != target);
        self.asked.iter().any(|asked| asked.node == self.plan.me && lacks(asked.state))
    }
}
