//! The writes that a blind write had seen: for certain, and perhaps.

use std::collections::BTreeSet;
use std::time::Duration;

use starling_causality::Dot;
use starling_checker::WriteId;
use starling_types::{WallTime, limits};

use super::Ledger;
use crate::history::{Op, Seen};
use crate::observer::Mint;
use crate::run::Run;

impl Run {
    /// Of what a blind write had seen: what for certain, and what perhaps.
    pub(super) fn blind(
        &self,
        ledger: &Ledger,
        index: usize,
        op: &Op,
    ) -> (BTreeSet<WriteId>, BTreeSet<WriteId>) {
        let mints: Vec<&Mint> =
            ledger.dots[index].iter().map(|&dot| self.mint(ledger, op.key, dot)).collect();
        let mut certain = mints.iter().map(|mint| {
            // A node believes no date from further ahead of its own time.
            let issued = op.issued.min(mint.wall.after(limits::REQUEST_MAX_LEAD));
            let sure = mint.base.iter().filter(|dot| dot.hlc.millis() < issued.millis());
            sure.map(|&dot| ledger.write_of(op.key, dot)).collect::<BTreeSet<WriteId>>()
        });
        let first = certain.next().unwrap_or_default();
        let mut seen = certain.fold(first, |all, base| all.intersection(&base).copied().collect());
        if op.seen == Seen::Quorum {
            seen.extend(self.acked_before(ledger, index, op));
        }
        let held = mints.iter().flat_map(|mint| &mint.base).copied();
        let heard = self.may_have_heard(ledger, index, op);
        let perhaps = held.chain(heard).filter(|&dot| !self.is_later(ledger, op, dot));
        (seen, perhaps.map(|dot| ledger.write_of(op.key, dot)).collect())
    }

    /// The dots that owners may have told it of: all that there were when it was minted.
    fn may_have_heard(&self, ledger: &Ledger, index: usize, op: &Op) -> Vec<Dot> {
        let mints = ledger.dots[index].iter().map(|&dot| self.mint(ledger, op.key, dot).at);
        let last = mints.max();
        let earlier = self.mints_of(ledger, op.key).filter(|mint| last.is_some_and(|last| mint.at <= last));
        earlier.map(|mint| mint.dot).collect()
    }

    /// Whether a write began only when a blind one's client was through with it, and its last moment had passed: then
    /// the blind one must not replace it, however late it is made.
    fn is_later(&self, ledger: &Ledger, op: &Op, dot: Dot) -> bool {
        let end = op.issued.after(limits::FIRST_TRY_WINDOW + limits::MAX_SKEW);
        let Some(other) = ledger.op_of(op.key, dot).map(|other| &self.workload.ops[other]) else {
            return false;
        };
        op.ended.is_some_and(|ended| other.began > ended) && WallTime::from_millis(dot.hlc.millis()) > end
    }

    /// The writes acked by so many owners, before it began, that it must have seen them.
    fn acked_before(&self, ledger: &Ledger, index: usize, op: &Op) -> Vec<WriteId> {
        let n = self.copies();
        let whole = !op.acks.is_empty() && op.acks.iter().all(|ack| !ack.receipt.partial);
        let w = op.acks.iter().map(|ack| ack.receipt.w).min().unwrap_or_default();
        if !whole || w + op.r <= n {
            return Vec::new();
        }
        // A try that may not be the first replaces nothing younger than the request, and lies above the first's window.
        let window = op.issued.after(limits::FIRST_TRY_WINDOW);
        let is_first =
            op.tries.len() == 1 && ledger.dots[index].iter().all(|dot| dot.hlc.millis() < window.millis());
        let reach = if is_first { limits::FIRST_TRY_WINDOW } else { Duration::ZERO };
        let most = op.issued.after(reach).millis();
        let met = self.ops_of(ledger, op.key).filter(|&(other, write)| {
            other != index
                && self.is_sure(write)
                && write.acks.iter().any(|ack| {
                    let is_within = ack.receipt.dot.is_some_and(|dot| dot.hlc.millis() < most);
                    ack.at < op.began && self.lasting_owners(op.key, ack) >= w && is_within
                })
        });
        met.map(|(other, _)| WriteId(other as u64)).collect()
    }
}
