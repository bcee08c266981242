//! One key's queue: the committed record, the records staged above it, and the tasks that wait.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use starling_causality::{Digest, Record};
use starling_types::planted::{self, Bug};
use starling_wire::replica::Origin;

use starling_types::RequestId;

use crate::event::{ClientWrite, Done, OpId, Ticket};

/// Work on one key, in order of arrival.
#[derive(Debug)]
pub(crate) enum Task {
    Coordinate(OpId, ClientWrite),
    Merge { op: OpId, record: Record, origin: Option<Origin>, lww: bool, durable: bool },
    Read(OpId),
    DropHint(OpId, Digest),
    Discard(OpId),
    Mend(OpId),
}

impl Task {
    pub(crate) const fn op(&self) -> OpId {
        match self {
            Self::Coordinate(op, _)
            | Self::Merge { op, .. }
            | Self::Read(op)
            | Self::DropHint(op, _)
            | Self::Discard(op)
            | Self::Mend(op) => *op,
        }
    }
}

/// A record on its way to disk, and the operations that wait for it.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) ticket: Ticket,
    pub(crate) record: Arc<Record>,
    pub(crate) durable: bool,
    pub(crate) waiters: Vec<OpId>,
    /// The result that the waiters are told.
    pub(crate) done: Done,
    /// The client request it was staged for: forgotten again if the commit fails, or a retry would be told
    /// that a write is there which is not.
    pub(crate) request: Option<RequestId>,
    pub(crate) committed: bool,
}

/// Commits of a key that were on their way when another one failed.
#[derive(Debug)]
pub(crate) struct Unsettled {
    /// Their records.
    pub(crate) commits: BTreeMap<Ticket, Arc<Record>>,
    /// The stored record, as far as they have ended.
    pub(crate) stored: Arc<Record>,
}

/// A key that has work. An idle key is in the cache, or only on disk.
#[derive(Debug, Default)]
pub(crate) struct Cell {
    /// The record that reads see; `None` until it is loaded.
    pub(crate) committed: Option<Arc<Record>>,
    /// Oldest first; each was computed from the one before.
    pub(crate) staged: VecDeque<InFlight>,
    pub(crate) waiting: VecDeque<Task>,
    pub(crate) loading: bool,
    /// The row is not looked at before these commits have ended: another of the key has failed, and what the disk shows
    /// until then may not last.
    pub(crate) unsettled: Option<Unsettled>,
    /// Why the row cannot be read. The committed record is empty then, which is right for merges and wrong for reads.
    pub(crate) damage: Option<String>,
}

impl Cell {
    pub(crate) fn loaded(record: Arc<Record>) -> Self {
        Self { committed: Some(record), ..Self::default() }
    }

    /// The record that the next change starts from; `None` until it is loaded.
    pub(crate) fn base(&self) -> Option<&Arc<Record>> {
        self.staged.back().map(|s| &s.record).or(self.committed.as_ref())
    }

    /// The record that reads see.
    pub(crate) fn shown(&self) -> Option<&Arc<Record>> {
        if planted::on(Bug::StagedShows) {
            return self.base();
        }
        self.committed.as_ref().filter(|_| self.damage.is_none())
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.staged.is_empty() && self.waiting.is_empty() && !self.loading
    }

    /// The newest staged record whose commit satisfies a demand for durability.
    pub(crate) fn newest_in_flight(&mut self, durable: bool) -> Option<&mut InFlight> {
        self.staged.back_mut().filter(|s| s.durable || !durable)
    }

    /// Whether everything staged so far is promised to be fsynced.
    pub(crate) fn is_durable_so_far(&self) -> bool {
        self.staged.iter().all(|s| s.durable)
    }
}
