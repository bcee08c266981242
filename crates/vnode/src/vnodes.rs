//! The machine: routes events to key queues, keeps tickets, loads, leases and the cache.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use starling_causality::{Dot, Hlc, Record};
use starling_types::hash::TokenMap;
use starling_types::row::{RowWrite, Space};
use starling_types::{ActorId, Instant, NodeId, Now, PartitionBits, PartitionId, RequestId, Token};

use crate::cache::RecordCache;
use crate::cell::{Cell, InFlight, Task};
use crate::counters::Counters;
use crate::event::{CellKind, Changed, Done, Effect, Event, OpId, Ticket};
use crate::mint::{Mint, Minting};
use crate::recall::RequestMemory;
use crate::rows::{self, CellKey};
use crate::write::Incoming;

/// The knowledge that a start has of the stop before it.
#[derive(Debug)]
pub struct Boot {
    /// The durable ceiling of the hybrid logical clock.
    pub ceiling: Hlc,
    /// The actors of a clean stop; empty after any other. They go on only after [`Vnodes::inherit_actors`].
    pub actors: BTreeMap<PartitionId, ActorId>,
    /// When this run began: all that came before it is not remembered.
    pub started: Instant,
    /// Seed of the machine's randomness.
    pub seed: u64,
    /// Bytes of records to keep for reads.
    pub cache_bytes: usize,
    /// Largest value; twice this is the most a record's siblings may weigh before writes must resolve them.
    pub max_value: usize,
}

/// The tally of the hints kept for one absent owner.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct HintTally {
    /// Rows.
    pub rows: u64,
    /// About how many bytes.
    pub bytes: u64,
}

/// All vnodes of one shard.
#[derive(Debug)]
pub struct Vnodes {
    pub(crate) bits: PartitionBits,
    pub(crate) cells: TokenMap<CellKey, Cell>,
    pub(crate) cache: RecordCache,
    pub(crate) mint: Mint,
    pub(crate) requests: RequestMemory,
    pub(crate) counters: Counters,
    pub(crate) max_record: usize,
    /// Largest record, encoded, that a client's write may leave.
    pub(crate) max_written: usize,
    pub(crate) hints: BTreeMap<NodeId, HintTally>,
    pub(crate) staged_bytes: usize,
    pub(crate) tickets: TokenMap<Ticket, Pending>,
    pub(crate) scans: BTreeMap<OpId, Space>,
    /// The seed that the cluster's keys are hashed with.
    pub(crate) seed: u64,
    next_ticket: u64,
    /// When the last mint was far ahead of the wall for its key's sake, and by how much.
    pub(crate) outlying: Option<(Instant, Duration)>,
    /// The last commit that need not be fsynced.
    unsynced: Ticket,
    /// The last commit that is fsynced, and with it all before it.
    pub(crate) synced: Ticket,
}

#[derive(Debug)]
pub(crate) enum Pending {
    Lease(Hlc),
    Cell { key: CellKey, durable: bool, bytes: usize, ceiling: Option<Hlc> },
}

impl Vnodes {
    /// The vnodes of a node that just started.
    pub fn new(boot: Boot, bits: PartitionBits) -> Self {
        Self {
            bits,
            cells: TokenMap::default(),
            cache: RecordCache::new(boot.cache_bytes),
            mint: Mint::new(boot.ceiling, boot.actors, boot.seed),
            requests: RequestMemory::new(boot.started),
            counters: Counters::default(),
            max_record: boot.max_value.saturating_mul(2),
            max_written: starling_types::limits::max_written(boot.max_value),
            hints: BTreeMap::new(),
            staged_bytes: 0,
            tickets: TokenMap::default(),
            scans: BTreeMap::new(),
            seed: 0,
            next_ticket: 0,
            outlying: None,
            unsynced: Ticket(0),
            synced: Ticket(0),
        }
    }

    /// The one entrance.
    pub fn handle(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Coordinate(op, write) => {
                let cell = CellKey::data(write.key.clone());
                self.enqueue(now, cell, Task::Coordinate(op, write), out);
            }
            Event::Merge { op, cell, record, origin, lww, durable } => {
                self.enqueue(now, cell, Task::Merge { op, record, origin, lww, durable }, out);
            }
            Event::Read(op, cell) => self.read(now, op, cell, out),
            Event::Scan(op, range, from) => self.scan(op, range, from, out),
            Event::Scanned(op, page) => self.scanned(op, page, out),
            Event::DropHint { op, cell, digest } => self.enqueue(now, cell, Task::DropHint(op, digest), out),
            Event::Discard(op, cell) => self.enqueue(now, cell, Task::Discard(op), out),
            Event::Mend(op, cell) => self.enqueue(now, cell, Task::Mend(op), out),
            Event::Loaded(cell, row) => self.loaded(now, cell, row, out),
            Event::Committed(ticket, result) => self.committed(now, ticket, result, out),
        }
    }

    /// Adopts the number of partitions of the layout in force, and what its cluster's keys are hashed with.
    pub const fn set_layout(&mut self, bits: PartitionBits, seed: u64) {
        self.bits = bits;
        self.seed = seed;
    }

    /// The clean stop that this start goes by was the node's last: its actors go on.
    pub fn inherit_actors(&mut self) {
        self.mint.inherit();
    }

    /// Acked writes of the vnode may be forgotten: it mints under another name from now on.
    pub fn retire_actor(&mut self, partition: PartitionId) {
        self.mint.retire(partition);
    }

    /// Which dot a client request made, if it is still remembered.
    pub fn recall(&self, request: RequestId, token: Token) -> Option<Dot> {
        self.requests.dot(request, token)
    }

    /// Whether anything of the key is under way: what reads see of it may be about to change.
    pub fn is_busy(&self, key: &CellKey) -> bool {
        self.cells.contains_key(key)
    }

    /// A try of a request asks whether it is the first; `false` if a higher one has asked before.
    pub fn claim(&mut self, now: Now, request: RequestId, token: Token, attempt: u8) -> bool {
        self.requests.claim(now, request, token, attempt)
    }

    /// How long ago the last request arrived that may have been forgotten: all since then are remembered.
    pub fn remembers_for(&self, now: Now) -> Duration {
        self.requests.reaches_back(now.instant)
    }

    /// Whether nothing is staged or under way: a clean stop may be sealed.
    pub fn is_quiet(&self) -> bool {
        self.tickets.is_empty() && self.cells.is_empty()
    }

    /// The rows that make a stop clean; to be committed when nothing is under way.
    pub fn seal(&self) -> Vec<RowWrite> {
        let ceiling = self.mint.clock().last();
        let actors = rows::encode_actors(self.mint.actors());
        vec![ceiling_row(ceiling), meta_row(rows::META_CLEAN_STOP, Some(actors))]
    }

    /// The row whose commit makes the mark of a clean stop disappear, before the first mint.
    pub fn unseal() -> RowWrite {
        meta_row(rows::META_CLEAN_STOP, None)
    }

    /// Bytes of records on their way to disk.
    pub const fn staged_bytes(&self) -> usize {
        self.staged_bytes
    }

    /// Counts since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes in the record cache.
    pub const fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// How far the node's hybrid clock is ahead of the wall.
    pub fn clock_lead(&self, now: Now) -> Duration {
        self.mint.clock().lead(now)
    }

    /// When the last mint was far ahead of the wall because its key's record or context was, and by how much.
    pub const fn outlying(&self) -> Option<(Instant, Duration)> {
        self.outlying
    }

    pub(crate) fn enqueue(&mut self, now: Now, key: CellKey, task: Task, out: &mut Vec<Effect>) {
        let cell = match self.cells.get_mut(&key) {
            Some(cell) => cell,
            None => {
                let fresh = match self.cache.take(&key) {
                    Some(record) => Cell::loaded(record),
                    None => {
                        out.push(Effect::Load(key.clone()));
                        Cell { loading: true, ..Cell::default() }
                    }
                };
                self.cells.entry(key.clone()).or_insert(fresh)
            }
        };
        cell.waiting.push_back(task);
        if !cell.loading {
            self.run(now, &key, out);
        }
    }

    /// Works off a key's queue, and puts the record to rest when nothing is left. A key that
    /// is being loaded (again, after a commit that failed) stays as it is: its record is not known.
    pub(crate) fn run(&mut self, now: Now, key: &CellKey, out: &mut Vec<Effect>) {
        if self.cells.get(key).is_none_or(|cell| cell.loading) {
            return;
        }
        let Some(mut cell) = self.cells.remove(key) else {
            return;
        };
        while let Some(task) = cell.waiting.pop_front() {
            self.perform(now, key, &mut cell, task, out);
        }
        self.put_back(key, cell);
    }

    pub(crate) fn put_back(&mut self, key: &CellKey, mut cell: Cell) {
        match cell.committed.take() {
            Some(record) if cell.is_idle() => {
                // Hint rows are visited once; they would only push out what readers want. A damaged row is looked at
                // again: it may have been written anew.
                if key.kind == CellKind::Data && cell.damage.is_none() {
                    self.cache.put(key.clone(), record);
                }
            }
            committed => {
                cell.committed = committed;
                if !cell.is_idle() {
                    self.cells.insert(key.clone(), cell);
                }
            }
        }
    }

    fn perform(&mut self, now: Now, key: &CellKey, cell: &mut Cell, task: Task, out: &mut Vec<Effect>) {
        match task {
            Task::Read(op) => self.show(cell, op, out),
            Task::Coordinate(op, write) => self.coordinate(now, key, cell, op, write, out),
            Task::Merge { op, record, origin, lww, durable } => {
                self.merge(now, key, cell, Incoming { op, record, origin, lww, durable }, out);
            }
            Task::DropHint(op, digest) => self.drop_hint(key, cell, op, digest, out),
            Task::Discard(op) => self.discard(key, cell, op, out),
            Task::Mend(op) => self.mend(key, cell, op, out),
        }
    }

    /// Issues the commit of a cell's new record and lets `waiter` know when it is done.
    pub(crate) fn stage(&mut self, key: &CellKey, cell: &mut Cell, stage: Stage, out: &mut Vec<Effect>) {
        self.stage_with(key, cell, stage, None, out);
    }

    /// As [`Self::stage`], with the clock's ceiling in the same batch if one is due. Nothing is acked that rests on a
    /// ceiling that is not durable, so a batch that must carry one is fsynced, even where the bucket asks for none.
    pub(crate) fn stage_minted(
        &mut self,
        key: &CellKey,
        cell: &mut Cell,
        mut stage: Stage,
        minting: Minting,
        out: &mut Vec<Effect>,
    ) {
        stage.durable |= minting.needed.is_some();
        let due = if stage.durable { minting.needed.or_else(|| self.mint.lease_due()) } else { None };
        self.stage_with(key, cell, stage, due, out);
        self.renew_lease(out);
    }

    fn stage_with(
        &mut self,
        key: &CellKey,
        cell: &mut Cell,
        stage: Stage,
        ceiling: Option<Hlc>,
        out: &mut Vec<Effect>,
    ) {
        let bytes = stage.row.as_ref().map_or(0, Bytes::len);
        self.staged_bytes += bytes;
        self.count_hint(key, cell, &stage.record);
        let changed = Changed::new(key.clone(), cell.base().cloned(), Arc::clone(&stage.record));
        let ticket = self.ticket(Pending::Cell { key: key.clone(), durable: stage.durable, bytes, ceiling });
        cell.staged.push_back(InFlight {
            ticket,
            record: stage.record,
            durable: stage.durable,
            waiters: vec![stage.waiter],
            done: stage.done,
            request: stage.request,
            committed: false,
        });
        if !stage.durable {
            self.unsynced = ticket;
        }
        let mut rows = vec![key.write(stage.row)];
        rows.extend(ceiling.map(ceiling_row));
        self.counters.leases += u64::from(ceiling.is_some());
        out.push(Effect::Commit { ticket, rows, changed: Some(changed), durable: stage.durable });
    }

    pub(crate) fn count_hint(&mut self, key: &CellKey, cell: &Cell, after: &Record) {
        if let CellKind::Hint(_) = key.kind {
            self.tally_hint(key, &cell.base().cloned().unwrap_or_default(), after);
        }
    }

    /// The row of a hint becomes another.
    pub(crate) fn tally_hint(&mut self, key: &CellKey, before: &Record, after: &Record) {
        let CellKind::Hint(target) = key.kind else { return };
        let weight = |r: &Record| if r.is_empty() { 0 } else { r.weight() as u64 };
        let tally = self.hints.entry(target).or_default();
        tally.rows =
            (tally.rows + u64::from(!after.is_empty())).saturating_sub(u64::from(!before.is_empty()));
        tally.bytes = (tally.bytes + weight(after)).saturating_sub(weight(before));
        if tally.rows == 0 {
            self.hints.remove(&target);
        }
    }

    /// Counts a hint row found after a start.
    pub fn found_hint(&mut self, target: NodeId, record: &Record) {
        let tally = self.hints.entry(target).or_default();
        tally.rows += 1;
        tally.bytes += record.weight() as u64;
    }

    /// Counts a hint row that cannot be read, until its load finds that out.
    pub fn found_damaged_hint(&mut self, target: NodeId) {
        self.hints.entry(target).or_default().rows += 1;
    }

    /// A hint row that could not be read goes, however large it was.
    pub(crate) fn discount_hint(&mut self, key: &CellKey) {
        let CellKind::Hint(target) = key.kind else { return };
        if let Some(tally) = self.hints.get_mut(&target) {
            tally.rows = tally.rows.saturating_sub(1);
        }
        self.hints.retain(|_, tally| tally.rows > 0);
    }

    /// The tally of hints by target.
    pub const fn hints(&self) -> &BTreeMap<NodeId, HintTally> {
        &self.hints
    }

    /// Whether a record that is committed may still be only in memory.
    pub(crate) fn may_be_unsynced(&self) -> bool {
        self.unsynced > self.synced
    }

    fn ticket(&mut self, pending: Pending) -> Ticket {
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        self.tickets.insert(ticket, pending);
        ticket
    }

    /// Raises the ceiling ahead of need, in a commit of its own that no operation waits for.
    fn renew_lease(&mut self, out: &mut Vec<Effect>) {
        let Some(ceiling) = self.mint.lease_due() else {
            return;
        };
        self.counters.leases += 1;
        let ticket = self.ticket(Pending::Lease(ceiling));
        let rows = vec![ceiling_row(ceiling)];
        out.push(Effect::Commit { ticket, rows, changed: None, durable: true });
    }
}

/// A new record for a cell.
pub(crate) struct Stage {
    pub(crate) record: Arc<Record>,
    /// Its encoding; `None` deletes the row.
    pub(crate) row: Option<Bytes>,
    pub(crate) durable: bool,
    pub(crate) waiter: OpId,
    pub(crate) request: Option<RequestId>,
    pub(crate) done: Done,
}

fn meta_row(name: &'static [u8], value: Option<Bytes>) -> RowWrite {
    RowWrite { space: Space::Meta, key: Bytes::from_static(name), value }
}

fn ceiling_row(ceiling: Hlc) -> RowWrite {
    meta_row(rows::META_HLC_CEILING, Some(Bytes::copy_from_slice(&ceiling.bits().to_be_bytes())))
}
