//! The writes to and reads from each single-writer key.

use std::collections::BTreeMap;

use starling_checker::{Look, RegisterHistory, Store, Version};
use starling_types::Instant;

use super::Ledger;
use crate::history::{Ack, Kind, Op, Sight};
use crate::run::Run;

impl Run {
    pub(crate) fn registers(&self, ledger: &Ledger) -> Vec<RegisterHistory> {
        let workload = &self.options.workload;
        (workload.keys..workload.all_keys()).map(|key| self.register(ledger, key)).collect()
    }

    /// Versions are the numbers of operations: one client's writes begin in their order.
    fn register(&self, ledger: &Ledger, key: usize) -> RegisterHistory {
        let (mut stores, mut looks, mut versions) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (number, op) in self.ops_of(ledger, key) {
            let (version, began) = (Version(number as u64 + 1), op.began.nanos());
            if let Kind::Put(value) = &op.kind {
                versions.insert(value, version);
            }
            let did_nothing = !op.acks.is_empty() && op.acked.is_empty();
            if op.is_write() && !did_nothing {
                let acked = op.acked_at.filter(|_| self.is_sure(op) && self.meets_reads(op));
                let acked = acked.map(Instant::nanos);
                stores.push(Store { version, began, acked });
            }
            if let Some(sight) = &op.answer {
                looks.push(sight);
            }
        }
        // A value that no client wrote is newer than all.
        let of = |value| versions.get(value).copied().unwrap_or(Version(u64::MAX));
        let looks = looks.into_iter().map(|sight| {
            let values = sight.shown.iter().map(|(_, value)| of(value));
            let version = values.max().unwrap_or_else(|| self.newest_delete(ledger, key, sight));
            Look { version, began: sight.began.nanos(), ended: sight.ended.nanos() }
        });
        RegisterHistory { key: format!("key-{key}"), looks: looks.collect(), stores }
    }

    /// Whether every strict read hears one of those that acked, W may be one by the rules of the bucket; and sees by it
    /// what was written: a delete that was held back hides nothing.
    fn meets_reads(&self, op: &Op) -> bool {
        let n = self.copies();
        let hides = |ack: &Ack| op.kind != Kind::Delete || !ack.receipt.partial;
        op.acks.iter().any(|ack| ack.receipt.owners + (n / 2 + 1) > n && hides(ack))
    }

    /// The version that a read without a value shows: the newest delete that it has seen. If a delete cannot be traced
    /// to its operation, any may be meant.
    fn newest_delete(&self, ledger: &Ledger, key: usize, sight: &Sight) -> Version {
        let mut strays = self.mints_of(ledger, key).filter(|mint| ledger.op_of(key, mint.dot).is_none());
        let any = strays.any(|mint| mint.value.is_none() && sight.covers.covers(mint.dot));
        let saw = |number: usize, op: &Op| {
            let mut dots = ledger.dots[number].iter().chain(&op.acked);
            op.kind == Kind::Delete && (any || dots.any(|&dot| sight.covers.covers(dot)))
        };
        let seen =
            self.ops_of(ledger, key).filter(|&(number, op)| op.began <= sight.ended && saw(number, op));
        seen.map(|(number, _)| Version(number as u64 + 1)).max().unwrap_or_default()
    }
}
