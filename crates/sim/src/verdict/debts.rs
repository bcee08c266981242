//! The debts of hints and repairs are paid before sweeps or reads of all owners pay them: an acked write reaches every
//! owner, unless its coordinator fell before it could write down its debt.

use std::time::Duration;

use super::Ledger;
use crate::history::{Ack, Op};
use crate::judges::{Complaint, Judge};
use crate::run::Run;

/// How long a coordinator waits for silent owners before it keeps hints for them, and for its disk to keep them.
const LINGERS: Duration = Duration::from_secs(4);

impl Run {
    /// Judged once hints are quiet, and before copies are compared.
    pub(crate) fn unpaid(&self, ledger: &Ledger) -> Vec<Complaint> {
        if self.options.faults.forget() {
            // Hints are forgotten with the rest.
            return Vec::new();
        }
        let mut found = Vec::new();
        for key in 0..self.options.workload.all_keys() {
            let replicas = self.replicas(key);
            for (index, op) in self.ops_of(ledger, key).filter(|(_, op)| self.is_sure(op)) {
                for ack in op.acks.iter().filter(|ack| self.keeps_hints(op, ack)) {
                    let Some(dot) = ack.receipt.dot else { continue };
                    let minted = ledger.op_of(key, dot).is_some();
                    let lacks = replicas.iter().find(|(_, _, record)| !record.context().covers(dot));
                    found.extend(lacks.filter(|_| minted).map(|(_, name, _)| Complaint {
                        judge: Judge::Debts,
                        words: format!("key-{key}: {name} was never sent w{index}, {dot}"),
                    }));
                }
            }
        }
        found
    }

    /// Whether nothing kept its coordinator from writing down the owners that lack it.
    fn keeps_hints(&self, op: &Op, ack: &Ack) -> bool {
        let Some(node) = (0..self.world.len()).find(|&node| self.world.id(node) == ack.receipt.coordinator)
        else {
            return false;
        };
        // One that stood still comes to it afterwards.
        let until = self.world.troubles.back(node, op.began, ack.at + LINGERS);
        !self.fell(node, op.began, until) && !self.world.was_full(node)
    }
}
