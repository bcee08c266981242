//! Who is asked again: replicas that knew other properties of the bucket than the write was made under.
//!
//! Such a replica refuses and tells its properties; either it or this node then learns the newer ones and makes
//! them durable. The write waits for that as it waits for any slow replica, and goes out once more.

use std::collections::{BTreeMap, BTreeSet};

use starling_types::{BucketProps, NodeId};
use starling_wire::replica::Refusal;
use starling_wire::{Class, Failure, FailureKind, Message};

use super::Put;
use crate::Effect;
use crate::tally::Holder;

/// How often one node is asked again: its properties, and this node's, may change meanwhile.
const MOST: u8 = 2;

impl Put {
    /// A replica knows other properties of the bucket: it is still waited for, until both know the same.
    pub(super) fn stale(&mut self, from: NodeId, theirs: u64, out: &mut Vec<Effect>) {
        match self.resend.refused(from, theirs, self.plan.props) {
            _ if self.outdated => self.lost(from, outdated(), out),
            Refused::Again => self.send_again(from, out),
            Refused::Wait => {}
            Refused::Lost => {
                self.lost(from, Holder::Refused(Refusal::StaleProps(theirs).to_string()), out);
            }
        }
    }

    pub(super) fn send_again(&self, node: NodeId, out: &mut Vec<Effect>) {
        let stands_for = self.tally.stands_for(node);
        if let Some(merge) = self.staged.as_ref().map(|staged| self.merge(staged, stands_for)) {
            out.push(Effect::Send(node, Class::Foreground, Message::Merge(merge)));
        }
    }

    /// A write that meets the newer rules goes on under them: every replica applies them for itself. One that does
    /// not must not be acked as if it did.
    pub(super) fn props_changed(&mut self, props: &BucketProps, number: u64, out: &mut Vec<Effect>) {
        self.outdated = !self.plan.meets(props);
        if !self.outdated {
            self.plan.props = number;
            return;
        }
        if self.staged.is_none() && !self.answered {
            // What is staged from now on may rest on writes under the newer rules: it must not go out under the old ones.
            return self.fail(Failure::unknown(FailureKind::NotReady, CHANGED), out);
        }
        for node in self.resend.take() {
            self.lost(node, outdated(), out);
        }
    }
}

const CHANGED: &str = "the bucket's properties have changed: write again";

fn outdated() -> Holder {
    Holder::Refused(CHANGED.into())
}

/// What to do about a node that refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// Ask it again now.
    Again,
    /// Until both know the same.
    Wait,
    /// It has been asked often enough.
    Lost,
}

/// The stale replicas of one write.
#[derive(Debug, Default)]
pub(super) struct Resend {
    refused: BTreeMap<NodeId, u8>,
    waiting: BTreeSet<NodeId>,
    agreed: BTreeSet<NodeId>,
}

impl Resend {
    /// A node refused: it went by the properties numbered `theirs`, the write by `ours`.
    pub(super) fn refused(&mut self, node: NodeId, theirs: u64, ours: u64) -> Refused {
        let times = self.refused.entry(node).or_default();
        *times += 1;
        if *times > MOST {
            return Refused::Lost;
        }
        // Words overtake each other: this node may have learned of the newer ones, or of the agreement, before.
        if theirs == ours || self.agreed.remove(&node) {
            return Refused::Again;
        }
        self.waiting.insert(node);
        Refused::Wait
    }

    /// A node knows the same properties as this one now; whether it is to be asked again.
    pub(super) fn agreed(&mut self, node: NodeId) -> bool {
        let waited = self.waiting.remove(&node);
        if !waited {
            self.agreed.insert(node);
        }
        waited
    }

    /// All that wait, who need not any more.
    pub(super) fn take(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.waiting)
    }
}
