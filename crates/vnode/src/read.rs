//! The reading half of the waist: what is committed, and nothing that is only staged.

use std::sync::Arc;

use starling_causality::Record;
use starling_types::Now;

use crate::cell::{Cell, Task};
use crate::event::{Done, Effect, OpId, Refused};
use crate::rows::CellKey;
use crate::vnodes::Vnodes;

impl Vnodes {
    /// Answers from memory if it can, and queues a load otherwise.
    pub(crate) fn read(&mut self, now: Now, op: OpId, key: CellKey, out: &mut Vec<Effect>) {
        if let Some(record) = self.cache.get(&key) {
            self.counters.cache_hits += 1;
            out.push(Effect::Done(op, Ok(Done::Read(Arc::clone(record)))));
            return;
        }
        if let Some(record) = self.cells.get(&key).and_then(Cell::shown) {
            self.counters.cache_hits += 1;
            out.push(Effect::Done(op, Ok(Done::Read(Arc::clone(record)))));
            return;
        }
        self.counters.cache_misses += 1;
        self.enqueue(now, key, Task::Read(op), out);
    }

    /// The committed record, if it is in memory. Of a row that is not, what is on disk is committed.
    pub fn in_memory(&self, key: &CellKey) -> Option<&Arc<Record>> {
        self.cells.get(key).and_then(Cell::shown).or_else(|| self.cache.peek(key))
    }

    /// The operations that wait for the load of a row.
    pub fn waiting(&self, key: &CellKey) -> impl Iterator<Item = OpId> {
        self.cells.get(key).into_iter().flat_map(|cell| cell.waiting.iter().map(Task::op))
    }

    /// A read whose load has come.
    pub(crate) fn show(&self, cell: &Cell, op: OpId, out: &mut Vec<Effect>) {
        let shown = match &cell.damage {
            Some(why) => Err(Refused::Damaged(why.clone())),
            None => Ok(Done::Read(cell.committed.clone().unwrap_or_default())),
        };
        out.push(Effect::Done(op, shown));
    }
}
