//! The mints of all nodes, seen from outside: the first commit that shows a dot is its minting, and a blind write
//! replaced the record that lay in that cell before. Also records that no node may write.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use starling_causality::{Dot, Payload, Record, Relation, VersionVector};
use starling_node::CommitId;
use starling_types::{ActorId, Instant, PartitionId, RequestId, WallTime};

use crate::judges::{Complaint, Judge};

/// One minting.
#[derive(Debug, Clone)]
pub struct Mint {
    /// The write's dot.
    pub dot: Dot,
    /// When.
    pub at: Instant,
    /// The cluster time of the minting node at that moment.
    pub wall: WallTime,
    /// The node that minted it.
    pub node: usize,
    /// The start count of that node.
    pub life: u64,
    /// The row: which key.
    pub row: Bytes,
    /// The value, or none for a delete.
    pub value: Option<Bytes>,
    /// The siblings that the minting node held.
    pub base: BTreeSet<Dot>,
}

/// The place and moment at which a record is handed to a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handover<'a> {
    pub(crate) at: Instant,
    pub(crate) wall: WallTime,
    pub(crate) node: usize,
    pub(crate) life: u64,
    pub(crate) partition: PartitionId,
    pub(crate) row: &'a Bytes,
}

/// The observations so far.
#[derive(Debug, Default)]
pub struct Observer {
    /// Every minting, by row and dot: one dot may belong to two keys.
    pub mints: BTreeMap<(Bytes, Dot), Mint>,
    /// Which client request made which dots.
    pub origins: BTreeMap<RequestId, BTreeSet<Dot>>,
    /// The actor under which each node last minted in each partition.
    pub actors: BTreeMap<(usize, PartitionId), ActorId>,
    /// Dots that a record covered from the first, without showing a value.
    pub silent: BTreeSet<(Bytes, Dot)>,
    /// The dots that each node has had on its disk of a row at any time.
    pub held: BTreeMap<(usize, Bytes), VersionVector>,
    /// Dots whose commit has failed at the node that minted them.
    pub failed: BTreeSet<(Bytes, Dot)>,
    /// Rows that have been damaged: what a node has of them may be less afterwards.
    pub(crate) rotten: BTreeSet<(usize, Bytes)>,
    /// Acts that no node may commit.
    pub(crate) complaints: Vec<Complaint>,
    pending: BTreeMap<(usize, CommitId), Vec<Pending>>,
    retired: BTreeSet<ActorId>,
    committed: BTreeSet<(Bytes, Dot)>,
}

/// A record on its way to a disk.
#[derive(Debug)]
struct Pending {
    row: Bytes,
    context: VersionVector,
    shown: Vec<Dot>,
    minted: Vec<Dot>,
}

impl Observer {
    /// A node hands a record to its disk; `before` is what it had staged or stored for the row. Says whether
    /// that minted anything.
    pub(crate) fn staged(
        &mut self,
        id: CommitId,
        place: Handover<'_>,
        before: &Record,
        after: &Record,
    ) -> bool {
        let forgets = before.context().compare(after.context());
        let is_rotten = self.rotten.contains(&(place.node, place.row.clone()));
        if matches!(forgets, Relation::Descends | Relation::Concurrent) && !is_rotten {
            let words = format!("n{} replaced a record by one that had seen less", place.node);
            self.complain(Judge::Growth, place, &words);
        }
        let fresh: Vec<_> = after.siblings().iter().filter(|s| !self.is_minted(place.row, s.dot)).collect();
        let minted: Vec<Dot> = fresh.iter().map(|s| s.dot).collect();
        for sibling in fresh {
            let value = match &sibling.payload {
                Payload::Value(value) => Some(value.clone()),
                Payload::Tombstone => None,
            };
            self.minted(place, sibling.dot, value, before);
        }
        self.note_silent(place, before, after);
        let pending = Pending {
            row: place.row.clone(),
            context: after.context().clone(),
            shown: after.siblings().iter().map(|s| s.dot).collect(),
            minted: minted.clone(),
        };
        self.pending.entry((place.node, id)).or_default().push(pending);
        !minted.is_empty()
    }

    /// A node keeps a record for an absent owner.
    pub(crate) fn stashed(&mut self, id: CommitId, node: usize, row: Bytes, record: &Record) {
        let shown = record.siblings().iter().map(|s| s.dot).collect();
        let pending = Pending { row, context: record.context().clone(), shown, minted: Vec::new() };
        self.pending.entry((node, id)).or_default().push(pending);
    }

    /// A node starts with this record on its disk.
    pub(crate) fn found(&mut self, node: usize, row: Bytes, record: &Record) {
        self.committed.extend(record.siblings().iter().map(|s| (row.clone(), s.dot)));
        self.held.entry((node, row)).or_default().join(record.context());
    }

    fn minted(&mut self, place: Handover<'_>, dot: Dot, value: Option<Bytes>, before: &Record) {
        if dot.hlc <= before.context().max_hlc() {
            self.complain(Judge::Mints, place, &format!("{dot} is not above what was there"));
        }
        if self.retired.contains(&dot.actor) {
            self.complain(Judge::Mints, place, &format!("{dot}: a commit had failed under this actor"));
        }
        self.actors.insert((place.node, place.partition), dot.actor);
        let mint = Mint {
            dot,
            at: place.at,
            wall: place.wall,
            node: place.node,
            life: place.life,
            row: place.row.clone(),
            value,
            base: before.siblings().iter().map(|s| s.dot).collect(),
        };
        self.mints.insert((place.row.clone(), dot), mint);
    }

    /// A write that loses at once to another leaves no value, only its dot in the context.
    fn note_silent(&mut self, place: Handover<'_>, before: &Record, after: &Record) {
        for (actor, hlc) in after.context().iter().filter(|&(a, hlc)| hlc > before.context().get(a)) {
            let dot = Dot { actor, hlc };
            if !self.is_minted(place.row, dot) {
                self.silent.insert((place.row.clone(), dot));
            }
        }
    }

    /// A commit has ended at its node.
    pub(crate) fn ended(&mut self, node: usize, id: CommitId, done: bool) {
        for record in self.pending.remove(&(node, id)).into_iter().flatten() {
            if done {
                self.committed.extend(record.shown.into_iter().map(|dot| (record.row.clone(), dot)));
                self.held.entry((node, record.row)).or_default().join(&record.context);
            } else {
                self.retired.extend(record.minted.iter().map(|dot| dot.actor));
                self.failed.extend(record.minted.into_iter().map(|dot| (record.row.clone(), dot)));
            }
        }
    }

    /// A node is gone, with what it waited for.
    pub(crate) fn gone(&mut self, node: usize) {
        self.pending.retain(|&(n, _), _| n != node);
    }

    /// How many nodes, of those given, have ever had a dot of a row on disk.
    pub(crate) fn holders(&self, row: &Bytes, dot: Dot, nodes: impl Iterator<Item = usize>) -> usize {
        let holds = |node: &usize| self.held.get(&(*node, row.clone())).is_some_and(|held| held.covers(dot));
        nodes.filter(holds).count()
    }

    /// Whether any node has a dot's value on disk.
    pub(crate) fn is_committed(&self, row: &Bytes, dot: Dot) -> bool {
        self.committed.contains(&(row.clone(), dot))
    }

    /// Whether a dot of a row has been seen.
    pub(crate) fn is_minted(&self, row: &Bytes, dot: Dot) -> bool {
        self.mints.contains_key(&(row.clone(), dot))
    }

    /// Whether it was covered from the first, without a value.
    pub(crate) fn is_silent(&self, row: &Bytes, dot: Dot) -> bool {
        self.silent.contains(&(row.clone(), dot))
    }

    pub(crate) fn made(&mut self, request: RequestId, dot: Dot) {
        self.origins.entry(request).or_default().insert(dot);
    }

    fn complain(&mut self, judge: Judge, place: Handover<'_>, words: &str) {
        let words = format!("n{} at {:?}: {words}", place.node, place.at);
        self.complaints.push(Complaint { judge, words });
    }
}
