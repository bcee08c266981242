//! Reads of any key during the run.

use std::collections::{BTreeMap, BTreeSet};

use starling_causality::Dot;
use starling_checker::sights::{Ack, Sight, SightHistory, Why};
use starling_checker::{Missight, WriteId};
use starling_types::{Instant, limits};

use super::Ledger;
use crate::history;
use crate::observer::Mint;
use crate::run::Run;

impl Run {
    /// The faults in the reads of every key.
    pub(crate) fn missights(&self, ledger: &Ledger) -> Vec<Missight> {
        let keys = 0..self.options.workload.all_keys();
        let found = keys.flat_map(|key| starling_checker::sights::judge(&self.sights(ledger, key)));
        let is_excused = |missight: &Missight| match missight.why {
            Why::Undead(write, _) => {
                self.may_stand_beside(ledger, write, Instant::from_nanos(missight.began))
            }
            _ => false,
        };
        found.filter(|missight| !is_excused(missight)).collect()
    }

    /// Whether a request that was minted twice may have been forgotten, because so many others were replaced since: then
    /// its second dot may stand beside what replaced the first.
    pub(crate) fn may_stand_beside(&self, ledger: &Ledger, write: WriteId, until: Instant) -> bool {
        let op = usize::try_from(write.0).ok().filter(|&op| op < self.workload.ops.len());
        let Some(op) = op.filter(|&op| ledger.dots[op].len() > 1) else { return false };
        let key = self.workload.ops[op].key;
        let made = ledger.dots[op].iter().map(|&dot| self.mint(ledger, key, dot).at).max();
        let since = |mint: &&Mint| Some(mint.at) > made && mint.at <= until;
        self.mints_of(ledger, key).filter(since).count() > limits::DEAD_IDS
    }

    fn sights(&self, ledger: &Ledger, key: usize) -> SightHistory {
        let dots: Vec<Dot> = self.mints_of(ledger, key).map(|mint| mint.dot).collect();
        let number: BTreeMap<Dot, u64> = dots.iter().copied().zip(0..).collect();
        let writes = || self.ops_of(ledger, key).filter(|(_, op)| op.is_write());
        let acks = writes().filter(|(_, op)| self.is_sure(op)).flat_map(|(index, op)| {
            let acks = op.acks.iter().filter_map(|ack| {
                let effect = *number.get(&ack.receipt.dot?)?;
                Some(Ack {
                    write: WriteId(index as u64),
                    effect,
                    at: ack.at.nanos(),
                    owners: self.lasting_owners(key, ack),
                })
            });
            acks.collect::<Vec<_>>()
        });
        let hides = writes().filter_map(|(index, op)| Some((WriteId(index as u64), self.hides_from(op)?)));
        let reads = self.ops_of(ledger, key).filter_map(|(_, op)| Some((op, op.answer.as_ref()?)));
        let sights = reads.map(|(op, sight)| Sight {
            began: sight.began.nanos(),
            ended: sight.ended.nanos(),
            r: op.r.min(self.copies()),
            strict: op.strict && !self.may_have_been_lost(key, sight),
            shown: sight.shown.iter().map(|(dot, _)| ledger.write_of(key, *dot)).collect(),
            covers: number.iter().filter(|(dot, _)| sight.covers.covers(**dot)).map(|(_, &n)| n).collect(),
        });
        SightHistory {
            key: format!("key-{key}"),
            n: self.copies(),
            keeps_one: self.options.rules.keeps_one(),
            writes: self.writes(ledger, key),
            began: writes().map(|(index, op)| (WriteId(index as u64), op.began.nanos())).collect(),
            hides_from: hides.collect(),
            acks: acks.collect(),
            sights: sights.collect(),
        }
    }

    /// Whether what a read showed was in memory only, and some memory is gone since.
    fn may_have_been_lost(&self, key: usize, sight: &history::Sight) -> bool {
        let owners = self.owners(key);
        let is_gone = |&(node, at): &(usize, Instant)| at >= sight.began && owners.contains(&node);
        self.options.rules.is_loose() && self.world.unclean.iter().any(is_gone)
    }

    /// How many owners hold what was acked for certain: one whose old disk was put back does not know for a while that
    /// it has forgotten something; and one that knows it finds with other owners only what W of them had acked.
    pub(super) fn lasting_owners(&self, key: usize, ack: &history::Ack) -> u8 {
        let receipt = &ack.receipt;
        let is_sloppy = receipt.owners < receipt.w;
        let forgets = |node: &usize| {
            self.world.put_back == Some(*node)
                || (is_sloppy && self.world.troubles.forgets_after(*node, ack.at))
        };
        let forgetful = self.owners(key).iter().any(forgets);
        receipt.owners.saturating_sub(u8::from(forgetful))
    }

    /// The writes that are shown in the end.
    pub(super) fn shown_in_the_end(&self, ledger: &Ledger, key: usize) -> BTreeSet<WriteId> {
        let records = self.replicas(key).into_iter();
        let live = records.flat_map(|(_, _, record)| {
            let live = record.siblings().iter().filter(|s| !s.is_tombstone());
            live.map(|s| ledger.write_of(key, s.dot)).collect::<Vec<_>>()
        });
        live.collect()
    }
}
