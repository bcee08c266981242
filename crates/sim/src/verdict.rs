//! The input of the judges: the history of each key in terms of operations.
//!
//! A write is an operation over all its tries: a retry may mint a second dot, and the two are one value (semantics,
//! section 3). A writer had seen what its reads returned. For a blind write it is what had been acked before it began,
//! and what its minting node held at that moment, as [`crate::observer`] saw it: as far as its bound lets it for
//! certain, beyond that perhaps.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_causality::{Dot, Record, VersionVector};
use starling_checker::{KeyHistory, Replica, Write, WriteId, WriteOutcome};
use starling_types::{BucketName, QualifiedKey};
use starling_vnode::CellKey;

use crate::history::{Ack, Kind, Op, Seen};
use crate::observer::Mint;
use crate::run::Run;
use crate::workload::key_name;

mod acks;
mod availability;
mod blind;
mod debts;
mod last_writer;
mod registers;
mod sights;

/// Which operation made which dot.
pub(crate) struct Ledger {
    of: BTreeMap<(usize, Dot), usize>,
    /// The dots of each operation, in the order of their minting.
    pub(crate) dots: Vec<Vec<Dot>>,
    rows: BTreeMap<usize, Bytes>,
    /// The dots of each key, in their order.
    mints: BTreeMap<usize, Vec<Dot>>,
    /// The operations on each key.
    ops: BTreeMap<usize, Vec<usize>>,
}

impl Ledger {
    /// Values are unique; deletes are known by the request that travels with them, and by their acks.
    pub(crate) fn new(run: &Run) -> Self {
        let (ops, observer) = (&run.workload.ops, &run.world.observer);
        let mut puts = BTreeMap::new();
        let mut deletes = BTreeMap::new();
        for (index, op) in ops.iter().enumerate() {
            match &op.kind {
                Kind::Put(value) => drop(puts.insert(value, index)),
                Kind::Delete => {
                    let made = observer.origins.get(&op.request).into_iter().flatten();
                    deletes.extend(made.chain(&op.acked).map(|&dot| ((op.key, dot), index)));
                }
                Kind::Get => {}
            }
        }
        let keys = 0..run.options.workload.all_keys();
        let rows: BTreeMap<usize, Bytes> = keys.filter_map(|key| Some((key, run.row(key)?))).collect();
        let mut ledger = Self {
            of: BTreeMap::new(),
            dots: vec![Vec::new(); ops.len()],
            mints: BTreeMap::new(),
            ops: BTreeMap::new(),
            rows,
        };
        ops.iter().enumerate().for_each(|(index, op)| ledger.ops.entry(op.key).or_default().push(index));
        let keys: BTreeMap<Bytes, usize> = ledger.rows.iter().map(|(&key, row)| (row.clone(), key)).collect();
        for mint in observer.mints.values() {
            if let Some(&key) = keys.get(&mint.row) {
                ledger.mints.entry(key).or_default().push(mint.dot);
            }
        }
        let mut mints: Vec<&Mint> = observer.mints.values().collect();
        mints.sort_by_key(|mint| mint.at);
        for mint in mints {
            // One dot may belong to two keys.
            let op = match (&mint.value, keys.get(&mint.row)) {
                (Some(value), _) => puts.get(value),
                (None, Some(&key)) => deletes.get(&(key, mint.dot)),
                (None, None) => None,
            };
            if let Some(&op) = op.filter(|&&op| ledger.rows.get(&ops[op].key) == Some(&mint.row)) {
                ledger.of.insert((ops[op].key, mint.dot), op);
                ledger.dots[op].push(mint.dot);
            }
        }
        ledger
    }

    /// The write behind a dot. A delete whose operation is not found is a write of its own.
    pub(crate) fn write_of(&self, key: usize, dot: Dot) -> WriteId {
        self.of.get(&(key, dot)).map_or_else(|| stray(dot), |&op| WriteId(op as u64))
    }

    /// The operation behind a dot.
    pub(crate) fn op_of(&self, key: usize, dot: Dot) -> Option<usize> {
        self.of.get(&(key, dot)).copied()
    }
}

/// Operations are numbered from 0; these are far above.
const fn stray(dot: Dot) -> WriteId {
    WriteId(dot.hlc.bits() | 1 << 63)
}

impl Run {
    /// Each key's history.
    pub(crate) fn histories(&self, ledger: &Ledger) -> Vec<KeyHistory> {
        (0..self.options.workload.all_keys()).map(|key| self.history(ledger, key)).collect()
    }

    /// For each key, what happened to it, for a person.
    pub(crate) fn stories(&self, ledger: &Ledger) -> Vec<Vec<String>> {
        (0..self.options.workload.all_keys()).map(|key| self.story(ledger, key)).collect()
    }

    /// Equal values are not enough: the whole records must be equal on all owners.
    pub(crate) fn compare_records(&mut self) {
        for key in 0..self.options.workload.all_keys() {
            let records: Vec<_> = self.replicas(key).into_iter().map(|(_, _, record)| record).collect();
            if records.windows(2).any(|pair| pair[0].digest() != pair[1].digest()) {
                self.unrest.push(format!("key {key}: the owners' records differ: {records:?}"));
            }
        }
    }

    fn history(&self, ledger: &Ledger, key: usize) -> KeyHistory {
        let live = |record: &Record| {
            let live = record.siblings().iter().filter(|s| !s.is_tombstone());
            live.map(|s| ledger.write_of(key, s.dot)).collect()
        };
        let replicas = self.replicas(key);
        let replicas = replicas.into_iter().map(|(_, name, record)| Replica { name, live: live(&record) });
        KeyHistory {
            key: format!("key-{key}"),
            replicas: replicas.collect(),
            writes: self.writes(ledger, key),
        }
    }

    fn story(&self, ledger: &Ledger, key: usize) -> Vec<String> {
        let mints = self.mints_of(ledger, key);
        let told = mints.map(|m| {
            let write = ledger.write_of(key, m.dot);
            format!("{write} is {} by n{} (life {}) at {:?}", m.dot, m.node, m.life, m.at)
        });
        let ops = self.ops_of(ledger, key).map(|(index, op)| {
            let tries: Vec<String> =
                op.tries.iter().map(|t| format!("n{} {:?} {:?}", t.node, t.sent, t.end)).collect();
            let kind = match &op.kind {
                Kind::Get => "get",
                Kind::Put(_) => "put",
                Kind::Delete => "delete",
            };
            let acks: Vec<String> = op.acks.iter().map(|a| format!("{:?} {:?}", a.at, a.receipt)).collect();
            let shown = op.answer.as_ref().map(|a| {
                let shown: Vec<_> = a.shown.iter().map(|(dot, _)| ledger.write_of(key, *dot)).collect();
                format!("{shown:?} covers {:?}", a.covers)
            });
            let seen = match &op.seen {
                Seen::Dots(..) => "context",
                Seen::Nothing => "nothing",
                Seen::Local => "local",
                Seen::Quorum => "quorum",
            };
            format!(
                "w{index} {kind} of c{} ({seen}, issued {:?}, r {} strict {}) at {:?}: {tries:?} acks {acks:?} \
                 shown {shown:?}",
                op.client, op.issued, op.r, op.strict, op.began
            )
        });
        told.chain(ops).collect()
    }

    /// The mints of a key.
    pub(crate) fn mints_of<'a>(&'a self, ledger: &'a Ledger, key: usize) -> impl Iterator<Item = &'a Mint> {
        let dots = ledger.mints.get(&key).into_iter().flatten();
        dots.map(move |&dot| self.mint(ledger, key, dot))
    }

    /// A minting that there was.
    pub(crate) fn mint(&self, ledger: &Ledger, key: usize, dot: Dot) -> &Mint {
        &self.world.observer.mints[&(ledger.rows[&key].clone(), dot)]
    }

    /// The operations on a key, by their numbers.
    pub(crate) fn ops_of<'a>(
        &'a self,
        ledger: &'a Ledger,
        key: usize,
    ) -> impl Iterator<Item = (usize, &'a Op)> {
        let ops = ledger.ops.get(&key).into_iter().flatten();
        ops.map(|&index| (index, &self.workload.ops[index]))
    }

    /// All writes of a key.
    pub(crate) fn writes(&self, ledger: &Ledger, key: usize) -> Vec<Write> {
        let ops = self.ops_of(ledger, key).filter(|(_, op)| op.is_write());
        let mut writes: Vec<Write> = ops.map(|(index, op)| self.write(ledger, index, op)).collect();
        let strays = self.mints_of(ledger, key).filter(|mint| ledger.op_of(key, mint.dot).is_none());
        writes.extend(strays.map(|mint| Write {
            id: stray(mint.dot),
            deletes: mint.value.is_none(),
            outcome: if mint.value.is_none() { WriteOutcome::Unknown } else { WriteOutcome::Refused },
            seen: BTreeSet::new(),
            perhaps: mint.base.iter().map(|&dot| ledger.write_of(key, dot)).collect(),
        }));
        writes
    }

    fn write(&self, ledger: &Ledger, index: usize, op: &Op) -> Write {
        let id = WriteId(index as u64);
        let outcome = match op {
            _ if self.is_sure(op) => WriteOutcome::Acked,
            _ if op.certainly_refused() => WriteOutcome::Refused,
            _ => WriteOutcome::Unknown,
        };
        let (mut seen, mut perhaps) = match &op.seen {
            Seen::Nothing => (BTreeSet::new(), BTreeSet::new()),
            Seen::Dots(dots, covers) => (
                dots.iter().map(|&dot| ledger.write_of(op.key, dot)).collect(),
                self.expired_among(ledger, op, covers),
            ),
            Seen::Local | Seen::Quorum => self.blind(ledger, index, op),
        };
        seen.remove(&id);
        perhaps.remove(&id);
        Write { id, deletes: op.kind == Kind::Delete, outcome, seen, perhaps }
    }

    /// Values that had expired before a read: it does not show them, and a write with its context replaces them.
    fn expired_among(&self, ledger: &Ledger, writer: &Op, covers: &VersionVector) -> BTreeSet<WriteId> {
        let expired = |(index, op): &(usize, &Op)| {
            let is_covered = ledger.dots[*index].iter().any(|&dot| covers.covers(dot));
            is_covered && self.hides_from(op).is_some_and(|at| at <= writer.began.nanos())
        };
        self.ops_of(ledger, writer.key).filter(expired).map(|(index, _)| WriteId(index as u64)).collect()
    }

    /// From when on a value that expires may be hidden, for any time of its minting and any reading of that clock.
    fn hides_from(&self, op: &Op) -> Option<u64> {
        let expires = op.began.nanos().saturating_add(op.ttl_ms?.saturating_sub(1_000) * 1_000_000);
        Some(if self.world.worst_clock_ms > 500 { 0 } else { expires })
    }

    /// Whether it was acked, and what its acks rest on cannot have been lost with a disk's unsynced part.
    pub(crate) fn is_sure(&self, op: &Op) -> bool {
        let owners = self.owners(op.key);
        let forgets = |at| owners.iter().any(|&node| self.world.troubles.forgets_after(node, at));
        // An ack below the bucket's least W is not vouched for when a disk is lost.
        let lasts = |ack: &Ack| ack.receipt.durable && !(ack.receipt.unvouched && forgets(ack.at));
        let durable = op.acks.iter().any(lasts);
        let crashed = || self.world.unclean.iter().any(|&(_, at)| at >= op.began);
        !op.acks.is_empty() && (durable || !crashed())
    }

    pub(crate) fn row(&self, key: usize) -> Option<Bytes> {
        let cluster = self.world.cluster?;
        let key = QualifiedKey::new(cluster.hash_seed(), BucketName::default_bucket(), key_name(key));
        Some(CellKey::data(key).row().1)
    }

    /// The nodes that own a key.
    pub(crate) fn owners(&self, key: usize) -> Vec<usize> {
        self.row(key).map(|row| self.world.owners_of(&row)).unwrap_or_default()
    }

    /// The record of each owner on its disk.
    pub(crate) fn replicas(&self, key: usize) -> Vec<(usize, String, Record)> {
        let Some(row) = self.row(key) else { return Vec::new() };
        let stored = |node| (node, format!("n{node}"), self.world.stored(node, &row).unwrap_or_default());
        self.world.owners_of(&row).into_iter().map(stored).collect()
    }
}
