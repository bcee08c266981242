//! Every ack names a mint of its operation, or rests on a proof of absence; and no node mints an operation again
//! that it has, or could have been told of.

use std::time::Duration;

use starling_types::Instant;

use super::Ledger;
use crate::history::{Ack, Kind, Op, Seen};
use crate::judges::{Complaint, Judge};
use crate::observer::Mint;
use crate::run::Run;

/// A node remembers at least so long what it has minted.
const REMEMBERED: Duration = Duration::from_secs(30);
/// A question to an owner, and its answer, take no longer in any weather.
const TOLD: Duration = Duration::from_millis(400);

impl Run {
    pub(crate) fn false_acks(&self, ledger: &Ledger) -> Vec<Complaint> {
        let mut found = Vec::new();
        for (index, op) in self.workload.ops.iter().enumerate() {
            for ack in &op.acks {
                let words = self.falsehoods(ledger, index, op, ack);
                found.extend(words.into_iter().map(|words| Complaint {
                    judge: Judge::Acks,
                    words: format!("key-{}: the ack of w{index}, {:?}, {words}", op.key, ack.receipt.dot),
                }));
            }
        }
        found
    }

    fn falsehoods(&self, ledger: &Ledger, index: usize, op: &Op, ack: &Ack) -> Vec<&'static str> {
        let receipt = &ack.receipt;
        let row = ledger.rows.get(&op.key);
        let is_minted = |dot| ledger.op_of(op.key, dot) == Some(index);
        let is_silent = |dot| row.is_some_and(|row| self.world.observer.is_silent(row, dot));
        let keeps_one = self.options.rules.keeps_one();
        let owners_suffice = !op.strict || receipt.owners >= receipt.w;
        let mut words = Vec::new();
        match receipt.dot {
            Some(dot) if is_minted(dot) || (keeps_one && is_silent(dot)) => {}
            Some(_) => words.push("names no mint of it"),
            None if self.was_absent(ledger, op) => return words,
            None => words.push("says that there was nothing, and there was"),
        }
        if receipt.acked < receipt.w || !owners_suffice {
            words.push("rests on too few acks");
        }
        words
    }

    /// Whether a blind delete may have stored nothing: as far as its client can know no owner had anything.
    fn was_absent(&self, ledger: &Ledger, op: &Op) -> bool {
        let stored = |other: &Op| {
            let owned = |ack: &Ack| ack.at < op.began && ack.receipt.owners > 0 && ack.receipt.dot.is_some();
            other.is_write() && self.is_sure(other) && other.acks.iter().any(owned)
        };
        op.kind == Kind::Delete
            && op.seen == Seen::Quorum
            && !self.ops_of(ledger, op.key).any(|(_, other)| stored(other))
    }

    /// Operations that were minted more than once.
    pub(crate) fn doubles(&self, ledger: &Ledger) -> usize {
        ledger.dots.iter().filter(|dots| dots.len() > 1).count()
    }

    pub(crate) fn needless_mints(&self, ledger: &Ledger) -> Vec<Complaint> {
        let mut found = Vec::new();
        for (index, dots) in ledger.dots.iter().enumerate().filter(|(_, dots)| dots.len() > 1) {
            let mints: Vec<&Mint> =
                dots.iter().map(|&dot| self.mint(ledger, self.workload.ops[index].key, dot)).collect();
            for (number, later) in mints.iter().enumerate().skip(1) {
                let why = mints[..number].iter().find_map(|earlier| self.needless(earlier, later));
                found.extend(why.map(|words| Complaint {
                    judge: Judge::Doubles,
                    words: format!(
                        "key-{}: w{index} was minted again by n{} at {:?}, {words}",
                        self.workload.ops[index].key, later.node, later.at
                    ),
                }));
            }
        }
        found
    }

    /// Why the second of two mints of one operation need not have been.
    fn needless(&self, earlier: &Mint, later: &Mint) -> Option<&'static str> {
        let observer = &self.world.observer;
        if observer.failed.contains(&(earlier.row.clone(), earlier.dot)) {
            return None;
        }
        let soon = later.at.since(earlier.at) < REMEMBERED;
        // Only values carry the request that made them.
        if later.base.contains(&earlier.dot) && later.value.is_some() && !self.options.rules.keeps_one() {
            return Some("beside its own value");
        }
        if (earlier.node, earlier.life) == (later.node, later.life) && soon {
            return Some("which had minted it before");
        }
        let well = |node| !self.world.troubles.touch(node, earlier.at, later.at);
        let could_ask = later.at.since(earlier.at) > TOLD && well(earlier.node) && well(later.node);
        (could_ask && soon && earlier.node != later.node).then_some("though who had minted it could be asked")
    }

    /// When a node stopped without having been asked to, or its disk failed, between two moments.
    pub(super) fn fell(&self, node: usize, from: Instant, to: Instant) -> bool {
        self.world.unclean.iter().any(|&(fallen, at)| fallen == node && from <= at && at <= to)
    }
}
