//! The writing half of the waist: `coordinate` for a client's write, `merge` for everything that replicates.
//!
//! `coordinate` (semantics, section 2): drop what the context covers, mint one dot, add the value; the context
//! grows by what was seen and by the dot. `merge` never mints.

use std::borrow::Cow;
use std::sync::Arc;

use starling_causality::{Digest, Dot, Hlc, Mint, Payload, Record, Relation, Sibling, VersionVector};
use starling_types::planted::{self, Bug};
use starling_types::{ActorId, Now, RequestId, Token, WallTime, limits};
use starling_wire::replica::Origin;

use crate::cell::Cell;
use crate::context::too_far_ahead;
use crate::event::{CellKind, ClientWrite, Done, Effect, OpId, Refused, Replaces, Staged};
use crate::rows::CellKey;
use crate::size;
use crate::vnodes::{Stage, Vnodes};

impl Vnodes {
    /// Makes a client's write here, or says why not.
    pub(crate) fn coordinate(
        &mut self,
        now: Now,
        key: &CellKey,
        cell: &mut Cell,
        op: OpId,
        write: ClientWrite,
        out: &mut Vec<Effect>,
    ) {
        if now.instant > write.deadline {
            out.push(Effect::Done(op, Err(Refused::TooLate)));
            return;
        }
        if let Some(why) = &cell.damage {
            out.push(Effect::Done(op, Err(Refused::Damaged(why.clone()))));
            return;
        }
        let base = cell.base().cloned().unwrap_or_default();
        match self.made_before(&write, &base) {
            Some(Ok(dot)) => {
                self.repeat(key, cell, op, dot, &write, &base, now, out);
                return;
            }
            Some(Err(refused)) => {
                out.push(Effect::Done(op, Err(refused)));
                return;
            }
            None => {}
        }
        let first = write.tries.is_surely_first(now.instant);
        if !first && !write.tries.is_new {
            out.push(Effect::Done(op, Err(Refused::Late)));
            return;
        }
        if write.is_absent_elsewhere && base.is_empty() && write.payload == Payload::Tombstone {
            self.counters.deletes_of_nothing += 1;
            out.push(Effect::Done(op, Ok(Done::Absent)));
            return;
        }
        if is_dropped(&write, &base) {
            let dot = Dot { actor: ActorId::from_bits(1), hlc: Hlc::from_bits(1) };
            return self.repeat(key, cell, op, dot, &write, &base, now, out);
        }
        let replaced = replaced(&write, &base, first, now.wall).into_owned();
        let in_part = is_held_back(&write, &base, &replaced);
        if write.lww && in_part && is_outranked(&write, &base, &replaced, first) {
            self.counters.outranked += 1;
            out.push(Effect::Done(op, Err(Refused::Outranked)));
            return;
        }
        if let Err(refused) = self.admit(now.wall, key, &base, &write, &replaced) {
            out.push(Effect::Done(op, Err(refused)));
            return;
        }
        let above = base.context().max_hlc().max(replaced.max_hlc()).max(write.tries.floor(first));
        let partition = self.bits.partition_of(key.key.token());
        let Some(minting) = self.mint.dot(partition, now, above) else {
            let lead = WallTime::from_millis(above.millis()).since(now.wall);
            out.push(Effect::Done(op, Err(too_far_ahead(lead))));
            return;
        };
        self.count_outlying(now, minting);
        let dot = minting.dot;
        self.counters.minted += 1;
        self.requests.remember(now, write.request, key.key.token(), dot);
        let record = apply(&base, &write, &replaced, dot, first);
        let staged = Staged { in_part, ..describe(&record, &base, dot, now.wall, false) };
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
        self.stage_minted(key, cell, stage, minting, out);
    }

    /// The knowledge here of other tries of the request: the dot that one made, or why this one may not be.
    fn made_before(&mut self, write: &ClientWrite, base: &Record) -> Option<Result<Dot, Refused>> {
        let (request, token) = (write.request, write.key.token());
        let remembered = self.requests.dot(request, token);
        match remembered {
            Some(dot) if base.context().covers(dot) || planted::on(Bug::FailedCommitAcked) => {
                return Some(Ok(dot));
            }
            // The commit that brought the dot here failed: to repeat would be to ack what is not there.
            Some(_) => self.requests.forget(request, token),
            None => {}
        }
        if let Some(dot) = base.dot_of(request) {
            return Some(Ok(dot));
        }
        if base.is_superseded(request) {
            return Some(Err(Refused::Superseded));
        }
        if self.requests.is_claimed_above(request, token, write.tries.attempt) {
            return Some(Err(Refused::Claimed));
        }
        // It may have reached others before that.
        (remembered.is_some() && !write.tries.is_new).then_some(Err(Refused::Late))
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
        replaced: &VersionVector,
    ) -> Result<(), Refused> {
        if let Replaces::Seen(seen) = &write.replaces {
            self.check_context(wall, key, base, seen, write.vouched)?;
        }
        let crowded = base.value_count() >= limits::SIBLINGS_CAP || base.value_bytes() >= self.max_record;
        if crowded && base.drops(replaced) == 0 && matches!(write.payload, Payload::Value(_)) {
            return Err(Refused::TooManySiblings(base.value_count()));
        }
        size::check(base, write, replaced, self.max_written)
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
        self.remember_made(now, key.key.token(), &record, origin);
        self.mint.observe(record.context().max_hlc(), now);
        let base = cell.base().cloned().unwrap_or_default();
        let base = if has_faded(&base, now.wall) { Arc::default() } else { base };
        let mut merge = base.merge(&record);
        if planted::on(Bug::RepairOverwrites) && origin.is_none() && !record.is_empty() {
            merge.record = record.clone();
        }
        self.counters.conflicts += u64::from(merge.conflict);
        let supersedes = matches!(key.kind, CellKind::Hint(_)) && !base.is_empty();
        self.counters.hints_superseded += u64::from(supersedes);
        let record = if lww { merge.record.settle_lww() } else { merge.record };
        let record = self.without_replaced(record, key.key.token());
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

    /// Hints, repairs and sweeps say nothing of requests beyond the record itself: its values' ids. A replica that
    /// answers for having heard of no try must know them too, also when many others have been replaced since.
    fn remember_made(&mut self, now: Now, token: Token, record: &Record, origin: Option<Origin>) {
        // Nearly every record of a client's write has that write alone, which is remembered already.
        let told = origin.map(|origin| origin.dot);
        for sibling in record.siblings().iter().filter(|sibling| Some(sibling.dot) != told) {
            let age = now.wall.since(WallTime::from_millis(sibling.dot.hlc.millis()));
            if let Some(id) = sibling.id.filter(|_| age < limits::REQUEST_MEMORY) {
                self.requests.remember(now, id, token, sibling.dot);
            }
        }
    }

    /// A late dot of a request whose write is known here to be replaced is replaced with it.
    fn without_replaced(&self, record: Record, token: Token) -> Record {
        let is_replaced = |id: &RequestId| self.requests.is_replaced(*id, token, &record);
        let replaced: Vec<RequestId> =
            record.siblings().iter().filter_map(|s| s.id).filter(is_replaced).collect();
        if replaced.is_empty() { record } else { record.supersede(replaced) }
    }

    /// Answers when the newest staged record is committed as demanded; at once if there is none.
    fn await_base(&mut self, key: &CellKey, cell: &mut Cell, op: OpId, durable: bool, out: &mut Vec<Effect>) {
        if planted::on(Bug::AckBeforeBase) {
            out.push(Effect::Done(op, Ok(Done::Committed)));
        } else if let Some(in_flight) = cell.newest_in_flight(durable) {
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
        let has_grown = base.digest() != digest && !planted::on(Bug::HintDroppedUnseen);
        if base.is_empty() || has_grown {
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

/// The versions that the write replaces: those its writer has seen; or, if it is blind, those that others were heard to
/// hold together with those of this replica at this moment.
fn replaced<'w>(
    write: &'w ClientWrite,
    base: &'w Record,
    first: bool,
    wall: WallTime,
) -> Cow<'w, VersionVector> {
    match &write.replaces {
        Replaces::Seen(_)
            if planted::on(Bug::DeleteIgnoresContext) && write.payload == Payload::Tombstone =>
        {
            Cow::Borrowed(base.context())
        }
        Replaces::Seen(seen) => Cow::Borrowed(seen),
        Replaces::All(heard) => {
            let all = match base.context().compare(heard) {
                Relation::Equal | Relation::Descends => Cow::Borrowed(base.context()),
                _ => Cow::Owned(base.context().joined(heard)),
            };
            write.tries.bounded(first, all, wall)
        }
    }
}

/// Whether a blind write does not replace all that it found.
fn is_held_back(write: &ClientWrite, base: &Record, replaced: &VersionVector) -> bool {
    match &write.replaces {
        Replaces::Seen(_) => false,
        Replaces::All(heard) => {
            let covers =
                |seen: &VersionVector| matches!(replaced.compare(seen), Relation::Equal | Relation::Descends);
            !covers(base.context()) || !covers(heard)
        }
    }
}

/// Whether a blind write would lose at once to what it may not replace, here or as far as others were heard.
fn is_outranked(write: &ClientWrite, base: &Record, replaced: &VersionVector, first: bool) -> bool {
    let rank = write.tries.highest_rank(first, replaced.max_hlc());
    let Replaces::All(heard) = &write.replaces else { return false };
    let is_elsewhere = |(actor, hlc): (ActorId, Hlc)| {
        let dot = Dot { actor, hlc };
        !replaced.covers(dot) && !base.context().covers(dot) && hlc > rank
    };
    let is_above = |sibling: &Sibling| !replaced.covers(sibling.dot) && sibling.rank().0 > rank;
    base.siblings().iter().any(is_above) || heard.iter().any(is_elsewhere)
}

fn apply(base: &Record, write: &ClientWrite, seen: &VersionVector, dot: Dot, first: bool) -> Record {
    let is_value = matches!(write.payload, Payload::Value(_));
    let id = (is_value && !write.lww).then_some(write.request);
    let rank = if write.lww { write.tries.rank(first, dot.hlc, seen.max_hlc()) } else { None };
    let (payload, expires_at) = (write.payload.clone(), write.expires_at);
    let record = base.write(Mint { seen, dot, payload, expires_at, id, rank });
    if write.lww { record.settle_lww() } else { record }
}

fn describe(record: &Record, before: &Record, dot: Dot, wall: WallTime, repeated: bool) -> Staged {
    let sole = record.is_sole(dot);
    let deleted = record.siblings().iter().any(|s| s.dot == dot && s.is_tombstone());
    let siblings = record.value_count() + usize::from(deleted);
    Staged {
        dot,
        record: record.encode(),
        context: (sole || planted::on(Bug::UnearnedContext)).then(|| record.context().clone()),
        siblings: u32::try_from(siblings).unwrap_or(u32::MAX),
        existed: !before.live(wall).is_empty(),
        repeated,
        in_part: false,
    }
}

/// Planted: a write that is acked and not made.
fn is_dropped(write: &ClientWrite, base: &Record) -> bool {
    let is_blind = matches!(write.replaces, Replaces::All(_)) && write.request.bits().is_multiple_of(4);
    (planted::on(Bug::BlindWriteDropped) && is_blind)
        || (planted::on(Bug::DeleteOfNothing) && base.is_empty() && write.payload == Payload::Tombstone)
}

/// Planted: a tombstone that is forgotten.
fn has_faded(base: &Record, wall: WallTime) -> bool {
    planted::on(Bug::TombstonesFade)
        && base.is_tombstone(wall)
        && base.context().max_hlc().millis() + 3_000 < wall.millis()
}
