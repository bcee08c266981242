//! What the judge is told: the history of each key in terms of dots.
//!
//! A write is a dot, not an operation: a retry may mint a second one, and a reader that saw the first has not
//! seen the second. What a writer had seen is what its reads returned; for a blind write it is what the minting
//! node held at that moment, as [`crate::observer`] saw it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_causality::{Dot, Record, VersionVector};
use starling_checker::{
    KeyHistory, Look, RegisterHistory, Replica, Store, Version, Write, WriteId, WriteOutcome,
};
use starling_types::{BucketName, Instant, QualifiedKey};
use starling_vnode::CellKey;

use crate::history::{Kind, Op, Seen};
use crate::observer::Mint;
use crate::run::Run;
use crate::workload::key_name;

impl Run {
    /// Each key's history, and who minted what of it.
    pub(crate) fn histories(&self) -> Vec<(KeyHistory, Vec<String>)> {
        (0..self.options.workload.all_keys()).map(|key| self.history(key)).collect()
    }

    /// Equal values are not enough: the whole records must be equal on all owners.
    pub(crate) fn compare_records(&mut self) {
        for key in 0..self.options.workload.all_keys() {
            let records = self.replicas(key);
            if records.windows(2).any(|pair| pair[0].1 != pair[1].1) {
                self.unrest.push(format!("key {key}: the owners' records differ: {records:?}"));
            }
        }
    }

    /// What was written to and read from each single-writer key.
    pub(crate) fn registers(&self) -> Vec<RegisterHistory> {
        let workload = &self.options.workload;
        (workload.keys..workload.all_keys()).map(|key| self.register(key)).collect()
    }

    /// Versions are the numbers of operations: one client's writes begin in their order.
    fn register(&self, key: usize) -> RegisterHistory {
        let (mut stores, mut looks, mut versions) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (number, op) in self.workload.ops.iter().enumerate().filter(|(_, op)| op.key == key) {
            let (version, began) = (Version(number as u64 + 1), op.began.nanos());
            if let Kind::Put(value) = &op.kind {
                versions.insert(value, version);
                stores.push(Store { version, began, acked: op.acked_at.map(Instant::nanos) });
            } else if let Some((ended, values)) = &op.answer {
                looks.push((values, began, ended.nanos()));
            }
        }
        // A value that nobody wrote is newer than all.
        let newest = |values: &[Bytes]| {
            let of = |value| versions.get(value).copied().unwrap_or(Version(u64::MAX));
            values.iter().map(of).max().unwrap_or_default()
        };
        let looks = looks.into_iter();
        let looks =
            looks.map(|(values, began, ended)| Look { version: newest(values), began, ended }).collect();
        RegisterHistory { key: format!("key-{key}"), stores, looks }
    }

    fn history(&self, key: usize) -> (KeyHistory, Vec<String>) {
        let mut names = Names::default();
        let row = self.row(key);
        let (mut writes, mut story) = (Vec::new(), Vec::new());
        for mint in self.world.observer.mints.values().filter(|m| Some(&m.row) == row.as_ref()) {
            let write = self.write(&mut names, mint);
            story.push(format!("{} is {} by n{} at {:?}", write.id, mint.dot, mint.node, mint.at));
            writes.push(write);
        }
        for op in self.workload.ops.iter().filter(|op| op.key == key) {
            writes.extend(self.unnamed_delete(&mut names, op));
        }
        let replicas = self.replicas(key).into_iter().map(|(name, record)| Replica {
            name,
            live: record.siblings().iter().filter(|s| !s.is_tombstone()).map(|s| names.of(s.dot)).collect(),
        });
        let history = KeyHistory { key: format!("key-{key}"), replicas: replicas.collect(), writes };
        (history, story)
    }

    fn write(&self, names: &mut Names, mint: &Mint) -> Write {
        let op = self.op_of(mint);
        let outcome = match op {
            Some(op) if op.acked.contains(&mint.dot) => WriteOutcome::Acked,
            Some(op) if op.certainly_refused() => WriteOutcome::Refused,
            _ => WriteOutcome::Unknown,
        };
        let seen = match op.map(|op| &op.seen) {
            Some(Seen::Nothing) => BTreeSet::new(),
            Some(Seen::Dots(dots, context)) => self.with_twins(dots, context),
            Some(Seen::Local) | None => mint.base.clone(),
        };
        Write {
            id: names.of(mint.dot),
            deletes: mint.value.is_none(),
            outcome,
            seen: seen.into_iter().map(|dot| names.of(dot)).collect(),
        }
    }

    /// The operation behind a dot: values are unique, deletes are known by the request that travels with them.
    fn op_of(&self, mint: &Mint) -> Option<&Op> {
        let made = |op: &&Op| match (&op.kind, &mint.value) {
            (Kind::Put(value), Some(minted)) => value == minted,
            (Kind::Delete, None) => {
                let origin = self.world.observer.origins.get(&op.request);
                op.acked.contains(&mint.dot) || origin.is_some_and(|dots| dots.contains(&mint.dot))
            }
            _ => false,
        };
        self.workload.ops.iter().find(made)
    }

    /// A delete that may have been minted under a dot that cannot be traced to it excuses what it had seen.
    fn unnamed_delete(&self, names: &mut Names, op: &Op) -> Option<Write> {
        let Seen::Dots(dots, context) = &op.seen else {
            return None;
        };
        let untraced = op.kind == Kind::Delete && op.acked.is_empty() && !op.certainly_refused();
        untraced.then(|| Write {
            id: names.fresh(),
            deletes: true,
            outcome: WriteOutcome::Unknown,
            seen: self.with_twins(dots, context).into_iter().map(|dot| names.of(dot)).collect(),
        })
    }

    /// Equal values are shown once, under their highest dot: a reader has seen the others too, if its context
    /// covers them.
    fn with_twins(&self, dots: &BTreeSet<Dot>, context: &VersionVector) -> BTreeSet<Dot> {
        let mints = &self.world.observer.mints;
        let values: BTreeSet<&Bytes> = dots.iter().filter_map(|d| mints.get(d)?.value.as_ref()).collect();
        let twins = mints.values().filter(|m| m.value.as_ref().is_some_and(|v| values.contains(v)));
        let twins = twins.map(|m| m.dot).filter(|&d| context.covers(d));
        dots.iter().copied().chain(twins).collect()
    }

    fn row(&self, key: usize) -> Option<Bytes> {
        let cluster = self.world.node(0)?.view().cluster();
        let key = QualifiedKey::new(cluster.hash_seed(), BucketName::default_bucket(), key_name(key));
        Some(CellKey::data(key).row().1)
    }

    /// What each owner has on disk.
    fn replicas(&self, key: usize) -> Vec<(String, Record)> {
        let (Some(row), Some(machine)) = (self.row(key), self.world.node(0)) else {
            return Vec::new();
        };
        let owners = (0..self.world.len()).filter(|&node| {
            let token = row.first_chunk::<8>().map(|t| u64::from_be_bytes(*t));
            machine.view().layout().zip(token).is_some_and(|(layout, token)| {
                let partition = layout.partition_of(starling_types::Token::from_bits(token));
                layout.owns(self.world.id(node), partition)
            })
        });
        owners.map(|node| (format!("n{node}"), self.world.stored(node, &row).unwrap_or_default())).collect()
    }
}

/// Short names for dots.
#[derive(Default)]
struct Names {
    known: BTreeMap<Dot, WriteId>,
    used: u64,
}

impl Names {
    fn of(&mut self, dot: Dot) -> WriteId {
        if let Some(&id) = self.known.get(&dot) {
            return id;
        }
        let id = self.fresh();
        self.known.insert(dot, id);
        id
    }

    fn fresh(&mut self) -> WriteId {
        self.used += 1;
        WriteId(self.used)
    }
}
