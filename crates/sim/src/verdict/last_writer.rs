//! Where only the last writer is kept: what stays in the end is not older than what was acked.

use std::time::Duration;

use starling_checker::WriteId;
use starling_types::Instant;

use super::Ledger;
use crate::history::{Kind, Op};
use crate::judges::{Complaint, Judge};
use crate::run::Run;

/// Right clocks differ by less, with what a right client's differs from them.
const SLACK: Duration = Duration::from_secs(1);
/// After how long every node that can be reached knows of other rules.
const KNOWN: Duration = Duration::from_secs(2);

impl Run {
    /// Acked writes that lost to none that can have been later.
    pub(crate) fn older_winners(&self, ledger: &Ledger) -> Vec<Complaint> {
        if !self.options.rules.keeps_one() {
            return Vec::new();
        }
        (0..self.options.workload.all_keys()).flat_map(|key| self.older_winner(ledger, key)).collect()
    }

    /// Whether a write began when siblings were kept already, and was acked by some nodes that knew.
    pub(crate) fn is_past_last_writer(&self, op: &Op) -> bool {
        let knew = self.changed_at.is_some_and(|at| op.began > at + KNOWN);
        let n = self.copies();
        let majority = op.acks.iter().all(|ack| ack.receipt.owners > n / 2);
        self.options.rules.grows_siblings() && knew && majority && self.world.len() == usize::from(n)
    }

    fn older_winner(&self, ledger: &Ledger, key: usize) -> Vec<Complaint> {
        let shown = self.shown_in_the_end(ledger, key);
        let slack = SLACK + Duration::from_millis(self.world.worst_clock_ms);
        let ops: Vec<(usize, &Op)> = self.ops_of(ledger, key).filter(|(_, op)| op.is_write()).collect();
        let lasts: Vec<(usize, Instant)> = ops
            .iter()
            .filter(|(index, op)| op.kind == Kind::Delete || shown.contains(&WriteId(*index as u64)))
            .filter_map(|&(index, _)| {
                let mints = ledger.dots[index].iter().map(|&dot| self.mint(ledger, key, dot).at);
                Some((index, mints.max()?))
            })
            .collect();
        let beaten = |&(index, op): &(usize, &Op)| {
            let later = lasts.iter().any(|&(other, at)| other != index && at + slack >= op.began);
            let strays =
                self.mints_of(ledger, key).any(|m| m.value.is_none() && ledger.op_of(key, m.dot).is_none());
            later || strays
        };
        let lost = ops.iter().filter(|(index, op)| {
            op.kind != Kind::Delete && self.is_sure(op) && !shown.contains(&WriteId(*index as u64))
        });
        let complaint = |index: &usize| Complaint {
            judge: Judge::LastWriter,
            words: format!("key-{key}: acked w{index} lost to what was long there: {shown:?}"),
        };
        lost.filter(|op| !beaten(op)).map(|(index, _)| complaint(index)).collect()
    }
}
