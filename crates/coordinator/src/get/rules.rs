//! The bucket's rules, where nodes differ about them.
//!
//! A node holds only what was written under rules that it knows: so all that it settles or covers by its own was
//! written under these or older ones, and may be sent on under their number. A read alone sees more. It shows that, and
//! passes it on under the number that came with it; this replica takes it once it knows the rules.

use starling_causality::Record;
use starling_types::{BucketProps, Conflict, NodeId};

use super::{Get, Phase};
use crate::Effect;
use crate::tally::State;

impl Get {
    /// The record that the client sees. Under rules that this node does not know nothing is hidden.
    pub(super) fn settled(&self) -> Record {
        match self.lww && self.may_be_kept_here() {
            true => self.merged.clone().settle_lww(),
            false => self.merged.clone(),
        }
    }

    pub(super) const fn may_be_kept_here(&self) -> bool {
        self.rules <= self.props
    }

    /// This node has learned rules: what it could not take before, it takes now if a strict read waits for it.
    pub(super) fn props_changed(&mut self, props: &BucketProps, number: u64, out: &mut Vec<Effect>) {
        self.lww = props.conflict == Conflict::Lww;
        self.props = number;
        self.rules = self.rules.max(number);
        if self.phase == Phase::Securing && self.lacks_some_here() {
            self.send_repair(self.plan.me(), out);
        }
    }

    /// This replica, if it answered and cannot take what a strict read has found.
    pub(super) fn cannot_take(&self) -> Option<NodeId> {
        (!self.may_be_kept_here() && self.lacks_some_here()).then_some(self.plan.me())
    }

    fn lacks_some_here(&self) -> bool {
        let target = self.merged.digest();
        let lacks = |state: &State<_>| matches!(state, State::Yes(digest) if *digest != target);
        self.tally.iter().any(|asked| asked.node == self.plan.me() && lacks(&asked.state))
    }
}
