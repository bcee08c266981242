//! Answers of the disk: rows, or why there are none; commits, or why they were not made.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use starling_causality::Record;
use starling_types::Now;
use starling_types::planted::{self, Bug};

use crate::cell::{Cell, Task, Unsettled};
use crate::event::{CellKind, Done, Effect, OpId, Refused, Ticket};
use crate::rows::CellKey;
use crate::vnodes::{Pending, Stage, Vnodes};
use starling_types::row::{CommitFailure, LoadFailure};

impl Vnodes {
    pub(crate) fn loaded(
        &mut self,
        now: Now,
        key: CellKey,
        row: Result<Option<Bytes>, LoadFailure>,
        out: &mut Vec<Effect>,
    ) {
        // The answer to a load from before a failed commit may find a key that is loaded by now.
        if self.cells.get(&key).is_none_or(|cell| !cell.loading || cell.unsettled.is_some()) {
            return;
        }
        let (record, damage) = match decode(row) {
            Ok(record) => (record, None),
            Err(LoadFailure::Damaged(why)) => (Record::default(), Some(why)),
            Err(LoadFailure::Failed(why)) => {
                self.counters.load_errors += 1;
                return self.unread(&key, &Refused::Load(why), out);
            }
            Err(LoadFailure::Busy) => return self.unread(&key, &Refused::Busy, out),
            Err(LoadFailure::Unwanted) => return self.unread(&key, &Refused::Unwanted, out),
        };
        if let Some(cell) = self.cells.get_mut(&key) {
            cell.loading = false;
            cell.committed = Some(Arc::new(record));
            cell.damage.clone_from(&damage);
        }
        if let Some(why) = damage {
            self.damaged(&key, why, out);
        }
        self.run(now, &key, out);
    }

    /// The vnode has forgotten what the row held: it goes on under another name (semantics, section 2).
    fn damaged(&mut self, key: &CellKey, why: String, out: &mut Vec<Effect>) {
        self.counters.load_errors += 1;
        self.counters.damaged += 1;
        match key.kind {
            CellKind::Data => self.mint.retire(self.bits.partition_of(key.key.token())),
            CellKind::Hint(_) => self.discount_hint(key),
        }
        out.push(Effect::Damaged(key.clone(), why));
    }

    fn unread(&mut self, key: &CellKey, why: &Refused, out: &mut Vec<Effect>) {
        if let Some(cell) = self.cells.remove(key) {
            let fail = |task: Task| Effect::Done(task.op(), Err(why.clone()));
            out.extend(cell.waiting.into_iter().map(fail));
        }
    }

    /// Writes a row as it is in memory.
    pub(crate) fn mend(&mut self, key: &CellKey, cell: &mut Cell, op: OpId, out: &mut Vec<Effect>) {
        let record = cell.shown().filter(|record| !record.is_empty() && cell.staged.is_empty()).cloned();
        let Some(record) = record else {
            // There is nothing to write, or it is being written.
            return out.push(Effect::Done(op, Ok(Done::Committed)));
        };
        let row = Some(record.encode());
        let stage = Stage { record, row, durable: true, waiter: op, request: None, done: Done::Committed };
        self.stage(key, cell, stage, out);
    }

    /// Deletes a row that cannot be read.
    pub(crate) fn discard(&mut self, key: &CellKey, cell: &mut Cell, op: OpId, out: &mut Vec<Effect>) {
        // The write under way, if there is one, takes the damaged row's place.
        if cell.damage.is_none() || !cell.staged.is_empty() {
            return out.push(Effect::Done(op, Ok(Done::Discarded(false))));
        }
        self.counters.discarded += 1;
        let stage = Stage {
            record: Arc::default(),
            row: None,
            durable: true,
            waiter: op,
            request: None,
            done: Done::Discarded(true),
        };
        self.stage(key, cell, stage, out);
    }

    pub(crate) fn committed(
        &mut self,
        now: Now,
        ticket: Ticket,
        result: Result<(), CommitFailure>,
        out: &mut Vec<Effect>,
    ) {
        if matches!(result, Err(CommitFailure::NoSpace(_))) {
            self.counters.no_space += 1;
        }
        match (self.tickets.remove(&ticket), result) {
            (None, _) => {}
            (Some(Pending::Lease(ceiling)), Ok(())) => {
                self.synced = self.synced.max(ticket);
                self.mint.leased(ceiling);
            }
            (Some(Pending::Lease(_)), Err(_)) => self.mint.lease_failed(),
            (Some(Pending::Cell { key, durable, bytes, ceiling }), Ok(())) => {
                ceiling.into_iter().for_each(|ceiling| self.mint.leased(ceiling));
                self.staged_bytes = self.staged_bytes.saturating_sub(bytes);
                if durable {
                    self.synced = self.synced.max(ticket);
                }
                if !self.is_unsettled(&key, ticket, true, out) {
                    self.settle(now, &key, ticket, out);
                }
            }
            (Some(Pending::Cell { key, bytes, ceiling, .. }), Err(failure)) => {
                if ceiling.is_some() {
                    self.mint.lease_failed();
                }
                self.staged_bytes = self.staged_bytes.saturating_sub(bytes);
                if !self.is_unsettled(&key, ticket, false, out) {
                    self.commit_failed(&key, &failure, out);
                }
            }
        }
    }

    /// Whether another commit of the key has failed while this one was on its way. The last of these lets the row be
    /// looked at.
    fn is_unsettled(&mut self, key: &CellKey, ticket: Ticket, done: bool, out: &mut Vec<Effect>) -> bool {
        let Some(cell) = self.cells.get_mut(key) else { return false };
        let is_wanted = !cell.waiting.is_empty();
        let Some(unsettled) = &mut cell.unsettled else { return false };
        let Some(record) = unsettled.commits.remove(&ticket) else { return false };
        let is_last = unsettled.commits.is_empty();
        let after = if done { record } else { unsettled.stored.clone() };
        let before = std::mem::replace(&mut unsettled.stored, after.clone());
        match (is_last, is_wanted) {
            (true, true) => {
                cell.unsettled = None;
                out.push(Effect::Load(key.clone()));
            }
            (true, false) => drop(self.cells.remove(key)),
            (false, _) => {}
        }
        self.tally_hint(key, &before, &after);
        true
    }

    fn settle(&mut self, now: Now, key: &CellKey, ticket: Ticket, out: &mut Vec<Effect>) {
        let Some(cell) = self.cells.get_mut(key) else { return };
        if let Some(staged) = cell.staged.iter_mut().find(|s| s.ticket == ticket) {
            staged.committed = true;
        }
        while let Some(staged) = cell.staged.pop_front_if(|s| s.committed) {
            out.extend(staged.waiters.into_iter().map(|op| Effect::Done(op, Ok(staged.done.clone()))));
            cell.committed = Some(staged.record);
            cell.damage = None;
        }
        self.run(now, key, out);
    }

    /// The dots of this cell's staged writes may be on other nodes while this one forgot them: the vnode's actor mints
    /// no more, and the next access reads the disk, once all of them have ended.
    fn commit_failed(&mut self, key: &CellKey, failure: &CommitFailure, out: &mut Vec<Effect>) {
        if key.kind == CellKind::Data && !planted::on(Bug::ActorNotRetired) {
            self.mint.retire(self.bits.partition_of(key.key.token()));
        }
        let Some(cell) = self.cells.remove(key) else {
            return;
        };
        let stored = cell.committed.clone().unwrap_or_default();
        self.count_hint(key, &cell, &stored);
        let others = cell.staged.iter().filter(|staged| self.tickets.contains_key(&staged.ticket));
        let commits: BTreeMap<_, _> = others.map(|s| (s.ticket, s.record.clone())).collect();
        if !commits.is_empty() {
            let unsettled = Some(Unsettled { commits, stored });
            self.cells.insert(key.clone(), Cell { loading: true, unsettled, ..Cell::default() });
        }
        for staged in cell.staged {
            let request = staged.request.filter(|_| !planted::on(Bug::FailedCommitAcked));
            request.into_iter().for_each(|request| self.requests.forget(request, key.key.token()));
            let refuse = |op| Effect::Done(op, Err(refused(failure)));
            out.extend(staged.waiters.into_iter().map(refuse));
        }
        let waiting = cell.waiting.into_iter();
        let why = match failure {
            CommitFailure::NoSpace(why) => Refused::Full(why.clone()),
            CommitFailure::Failed(why) => Refused::Load(why.clone()),
        };
        out.extend(waiting.map(|t| Effect::Done(t.op(), Err(why.clone()))));
    }
}

/// A record whose bytes are as they were written, and yet no record, is damaged like any other.
fn decode(row: Result<Option<Bytes>, LoadFailure>) -> Result<Record, LoadFailure> {
    match row? {
        None => Ok(Record::default()),
        Some(bytes) => Record::decode(&bytes).map_err(|e| LoadFailure::Damaged(e.to_string())),
    }
}

fn refused(failure: &CommitFailure) -> Refused {
    match failure {
        CommitFailure::NoSpace(why) => Refused::NoSpace(why.clone()),
        CommitFailure::Failed(why) => Refused::Commit(why.clone()),
    }
}
