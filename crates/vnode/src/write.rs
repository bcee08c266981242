//! The writing half of the waist: `coordinate` for a client's write, `merge` for everything that replicates.
//!
//! `coordinate` (semantics, section 2): drop what the context covers, mint one dot, add the value; the context
//! grows by what was seen and by the dot. `merge` never mints.

use std::sync::Arc;
use std::time::Duration;

use starling_causality::{Digest, Dot, Payload, Record, VersionVector};
use starling_types::{Now, WallTime, limits};
use starling_wire::replica::Origin;

use crate::cell::{Cell, Task};
use crate::event::{ClientWrite, Done, Effect, OpId, Refused, Staged};
use crate::rows::CellKey;
use crate::size;
use crate::vnodes::{Stage, Vnodes};

/// How far in the future a context may lie that this replica's own record does not already cover.
const CONTEXT_LEAD: Duration = Duration::from_secs(60);

impl Vnodes {
    /// Gives the task back if the clock's ceiling must rise first.
    pub(crate) fn coordinate(
        &mut self,
        now: Now,
        key: &CellKey,
        cell: &mut Cell,
        op: OpId,
        write: ClientWrite,
        out: &mut Vec<Effect>,
    ) -> Option<Task> {
        if now.instant > write.deadline {
            out.push(Effect::Done(op, Err(Refused::TooLate)));
            return None;
        }
        if let Some(why) = &cell.damage {
            out.push(Effect::Done(op, Err(Refused::Damaged(why.clone()))));
            return None;
        }
        let base = cell.base().cloned().unwrap_or_default();
        match self.requests.dot(write.request, key.key.token()) {
            Some(dot) if base.context().covers(dot) => {
                self.repeat(key, cell, op, dot, &write, &base, now, out);
                return None;
            }
            // The commit that brought the dot here failed: to repeat would be to ack what is not there.
            Some(_) => self.requests.forget(write.request, key.key.token()),
            None => {}
        }
        if let Err(refused) = self.admit(now.wall, key, &base, &write) {
            out.push(Effect::Done(op, Err(refused)));
            return None;
        }
        let above =
            base.context().max_hlc().max(write.seen.as_ref().map(VersionVector::max_hlc).unwrap_or_default());
        if self.mint.is_spent(above) {
            let lead = WallTime::from_millis(above.millis()).since(now.wall);
            out.push(Effect::Done(op, Err(too_far_ahead(lead))));
            return None;
        }
        let partition = self.bits.partition_of(key.key.token());
        let dot = match self.mint.dot(partition, now.wall, above) {
            Ok(dot) => dot,
            Err(ceiling) => {
                self.counters.lease_waits += 1;
                self.ask_lease(now.wall, Some(ceiling), out);
                return Some(Task::Coordinate(op, write));
            }
        };
        self.counters.minted += 1;
        self.requests.remember(now, write.request, key.key.token(), dot);
        let record = apply(&base, &write, dot, now.wall);
        let staged = describe(&record, &base, dot, now.wall, false);
        self.warn_of_siblings(&record);
        let row = Some(staged.record.clone());
        out.push(Effect::Staged(op, staged));
        let stage = Stage {
            record: Arc::new(record),
            row,
            durable: write.durable,
            waiter: op,
            request: Some(write.request),
            done: Done::Committed,
        };
        self.stage(key, cell, stage, out);
        self.ask_lease(now.wall, None, out);
        None
    }

    /// A retry: nothing is written again, the current record is shipped and awaited.
    #[expect(clippy::too_many_arguments, reason = "one private call, all of it needed")]
    fn repeat(
        &mut self,
        key: &CellKey,
        cell: &mut Cell,
        op: OpId,
        dot: Dot,
        write: &ClientWrite,
        base: &Arc<Record>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.counters.repeats += 1;
        out.push(Effect::Staged(op, describe(base, base, dot, now.wall, true)));
        self.await_base(key, cell, op, write.durable, out);
    }

    fn admit(
        &self,
        wall: WallTime,
        key: &CellKey,
        base: &Record,
        write: &ClientWrite,
    ) -> Result<(), Refused> {
        if let Some(seen) = &write.seen {
            self.check_context(wall, key, base, seen)?;
        }
        let drops = write.seen.as_ref().map_or(base.siblings().len(), |seen| base.drops(seen));
        let crowded = base.value_count() >= limits::SIBLINGS_CAP || base.value_bytes() >= self.max_record;
        if crowded && drops == 0 && matches!(write.payload, Payload::Value(_)) {
            return Err(Refused::TooManySiblings(base.value_count()));
        }
        size::check(base, write, self.max_written)
    }

    fn check_context(
        &self,
        wall: WallTime,
        key: &CellKey,
        base: &Record,
        seen: &VersionVector,
    ) -> Result<(), Refused> {
        let partition = self.bits.partition_of(key.key.token());
        if self.mint.claimed(partition).is_some_and(|(actor, last)| seen.get(actor) > last) {
            return Err(Refused::ForgedContext);
        }
        let lead = WallTime::from_millis(seen.max_hlc().millis()).since(wall);
        if lead > CONTEXT_LEAD && seen.max_hlc() > base.context().max_hlc() {
            return Err(too_far_ahead(lead));
        }
        Ok(())
    }

    /// Joins a record into the cell; acked once what it says is committed here.
    pub(crate) fn merge(
        &mut self,
        now: Now,
        key: &CellKey,
        cell: &mut Cell,
        incoming: Incoming,
        out: &mut Vec<Effect>,
    ) {
        let Incoming { op, record, origin, lww, durable } = incoming;
        if let Some(origin) = origin {
            self.requests.remember(now, origin.request, key.key.token(), origin.dot);
        }
        self.mint.observe(record.context().max_hlc(), now.wall);
        let base = cell.base().cloned().unwrap_or_default();
        let merge = base.merge(&record);
        self.counters.conflicts += u64::from(merge.conflict);
        let record = if lww { merge.record.settle_lww() } else { merge.record };
        if record == *base {
            self.counters.merged_nothing_new += 1;
            return self.await_base(key, cell, op, durable, out);
        }
        self.counters.merged += 1;
        self.warn_of_siblings(&record);
        let row = record.encode();
        self.counters.outsized += u64::from(row.len() > self.max_written);
        let row = Some(row);
        let request = origin.map(|o| o.request);
        let record = Arc::new(record);
        self.stage(
            key,
            cell,
            Stage { record, row, durable, waiter: op, request, done: Done::Committed },
            out,
        );
    }

    /// Answers when the newest staged record is committed as demanded; at once if there is none.
    fn await_base(&mut self, key: &CellKey, cell: &mut Cell, op: OpId, durable: bool, out: &mut Vec<Effect>) {
        if let Some(in_flight) = cell.newest_in_flight(durable) {
            in_flight.waiters.push(op);
        } else if cell.is_durable_so_far() && !(durable && self.may_be_unsynced()) {
            out.push(Effect::Done(op, Ok(Done::Committed)));
        } else {
            let record = cell.base().cloned().unwrap_or_default();
            let row = (!record.is_empty()).then(|| record.encode());
            let done = Done::Committed;
            self.stage(key, cell, Stage { record, row, durable, waiter: op, request: None, done }, out);
        }
    }

    /// Deletes a delivered hint, unless it has grown since.
    pub(crate) fn drop_hint(
        &mut self,
        key: &CellKey,
        cell: &mut Cell,
        op: OpId,
        digest: Digest,
        out: &mut Vec<Effect>,
    ) {
        let base = cell.base().cloned().unwrap_or_default();
        if base.is_empty() || base.digest() != digest {
            out.push(Effect::Done(op, Ok(Done::HintDropped(base.is_empty()))));
            return;
        }
        let stage = Stage {
            record: Arc::default(),
            row: None,
            durable: true,
            waiter: op,
            request: None,
            done: Done::HintDropped(true),
        };
        self.stage(key, cell, stage, out);
    }

    fn warn_of_siblings(&mut self, record: &Record) {
        self.counters.many_siblings += u64::from(record.value_count() >= limits::SIBLINGS_WARN);
    }
}

/// A record to be merged.
pub(crate) struct Incoming {
    pub(crate) op: OpId,
    pub(crate) record: Record,
    pub(crate) origin: Option<Origin>,
    pub(crate) lww: bool,
    pub(crate) durable: bool,
}

fn too_far_ahead(lead: Duration) -> Refused {
    Refused::FutureContext(u64::try_from(lead.as_millis()).unwrap_or(u64::MAX))
}

fn apply(base: &Record, write: &ClientWrite, dot: Dot, wall: WallTime) -> Record {
    let expires_at = write.ttl_ms.map(|ms| wall.after(Duration::from_millis(ms)));
    let seen = write.seen.as_ref().unwrap_or(base.context());
    let record = base.write(starling_causality::Mint {
        expires_at,
        ..starling_causality::Mint::plain(seen, dot, write.payload.clone())
    });
    if write.lww { record.settle_lww() } else { record }
}

fn describe(record: &Record, before: &Record, dot: Dot, wall: WallTime, repeated: bool) -> Staged {
    let sole = record.is_sole(dot);
    let deleted = record.siblings().iter().any(|s| s.dot == dot && s.is_tombstone());
    let siblings = record.value_count() + usize::from(deleted);
    Staged {
        dot,
        record: record.encode(),
        context: sole.then(|| record.context().clone()),
        siblings: u32::try_from(siblings).unwrap_or(u32::MAX),
        existed: !before.live(wall).is_empty(),
        repeated,
    }
}
