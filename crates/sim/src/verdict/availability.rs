//! Requests succeed in time while at most so many owners are troubled that the others make up the quorum; and as long
//! as a majority is up, some of each kind do.

use std::time::Duration;

use starling_types::Instant;
use starling_wire::FailureKind;

use crate::history::{Op, Seen, Try, TryEnd};
use crate::judges::{Complaint, Judge};
use crate::run::Run;

/// Some nodes know of new rules so long before the change is answered.
const CHANGING: Duration = Duration::from_secs(4);
/// Fewest tries of a kind from which a share says anything.
const FEWEST: usize = 40;

/// Tries of one kind that may be expected to succeed now and then, and those that did.
#[derive(Debug, Default, Clone, Copy)]
struct Floor {
    tries: usize,
    done: usize,
}

impl Run {
    pub(crate) fn unavailable(&self) -> Vec<Complaint> {
        if self.options.crowded {
            return Vec::new();
        }
        let owners: Vec<Vec<usize>> =
            (0..self.options.workload.all_keys()).map(|key| self.owners(key)).collect();
        let complain = |words| Complaint { judge: Judge::Availability, words };
        let mut found = Vec::new();
        let mut floors = [("strict reads", Floor::default()), ("writes", Floor::default())];
        let mut retries = Floor::default();
        for (index, op) in self.workload.ops.iter().enumerate() {
            let owners = &owners[op.key];
            for (number, one) in op.tries.iter().enumerate() {
                let done = one.end == TryEnd::Done;
                let until = one.sent + self.options.workload.patience;
                if !done && number == 0 && self.is_fair(op, one, owners, until) {
                    let words = format!("key-{}: w{index} failed at n{}, {:?}", op.key, one.node, one);
                    found.push(complain(words));
                }
                if !self.majority_up(owners, one, until) || one.end == TryEnd::Open {
                    continue;
                }
                if number > 0 {
                    if !self.is_excused(op, one, owners, until) {
                        retries.count(done);
                    }
                } else if op.is_write() || op.strict {
                    floors[usize::from(op.is_write())].1.count(done);
                }
            }
        }
        // Requests that a restarted node no longer knows it does not carry out again: many retries end as unknown, and
        // nearly all where a single ack may have been enough, so that every owner must be asked.
        if self.options.rules.asks_one_ack() {
            retries = Floor::default();
        }
        let floors = floors.into_iter().map(|(name, floor)| (name, floor, 10));
        for (name, floor, share) in floors.chain([("retries", retries, 40)]) {
            if floor.tries >= FEWEST && floor.done * share < floor.tries {
                found.push(complain(format!("{} of {} {name} were done", floor.done, floor.tries)));
            }
        }
        found
    }

    /// Whether a try must be done in its time.
    fn is_fair(&self, op: &Op, one: &Try, owners: &[usize], until: Instant) -> bool {
        let excused = matches!(one.end, TryEnd::Open | TryEnd::Failed(FailureKind::TooManySiblings))
            || (one.end == TryEnd::Failed(FailureKind::BadRequest) && self.asks_too_few(op));
        let troubled = |node: &usize| self.world.troubles.touch(*node, one.sent, until);
        let count = owners.iter().filter(|node| troubled(node)).count();
        // A node that passes it on may pass it on to one that is troubled.
        let spare = if owners.contains(&one.node) { usize::from(self.spare(op)) } else { 0 };
        !excused && !troubled(&one.node) && count <= spare
    }

    /// Whether a retry rightly failed: too few owners are there that would remember the request, or the disk of one is
    /// full, or the node that was asked stops.
    fn is_excused(&self, op: &Op, one: &Try, owners: &[usize], until: Instant) -> bool {
        let troubled = |node: &usize| self.world.troubles.touch(*node, one.sent, until);
        let count = owners.iter().filter(|node| troubled(node)).count();
        match one.end {
            // N-W+1 owners must remember it.
            TryEnd::Failed(FailureKind::QuorumNotReached) => count >= usize::from(op.w),
            TryEnd::Failed(FailureKind::DiskFull) => count > 0,
            TryEnd::Failed(FailureKind::NotReady) => troubled(&one.node),
            _ => false,
        }
    }

    /// A bucket that became strict under way refuses quorums that do not meet.
    fn asks_too_few(&self, op: &Op) -> bool {
        let becomes_strict = self.options.rules.later.is_some_and(|(_, rules)| rules.strict == Some(true));
        let becomes_strict = becomes_strict && self.changed_at.is_some_and(|at| op.began + CHANGING >= at);
        let asked = if op.is_write() { op.w } else { op.r };
        becomes_strict && asked <= self.copies() / 2
    }

    /// How many owners may be troubled.
    fn spare(&self, op: &Op) -> u8 {
        let n = self.copies();
        let quorum = match op.is_write() {
            true if op.strict && op.seen == Seen::Quorum => op.w.max(op.r).max(n + 1 - op.w.min(n)),
            true => op.w,
            // The result of a strict read is held by N-R+1 owners.
            false if op.strict => op.r.max(n + 1 - op.r.min(n)),
            false => op.r,
        };
        n - quorum.min(n)
    }

    /// Whether a majority of owners, and the node that was asked, were up all the time.
    fn majority_up(&self, owners: &[usize], one: &Try, until: Instant) -> bool {
        let up = |node: &usize| !self.world.troubles.absent(*node, one.sent, until);
        let count = owners.iter().filter(|node| up(node)).count();
        up(&one.node) && count > owners.len() / 2
    }
}

impl Floor {
    fn count(&mut self, done: bool) {
        self.tries += 1;
        self.done += usize::from(done);
    }
}
