//! Stories played by hand: the test is the caller and the disk.

mod clocks;
mod failures;
mod hints;
mod random;
mod restart;
mod scans;
mod sizes;
mod tries;
mod writes;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use starling_causality::{Dot, Hlc, Mint, Payload, Record, VersionVector};
use starling_types::row::{CommitFailure, LoadFailure, RowWrite, Space};
use starling_types::{
    ActorId, BucketName, Instant, Key, NodeId, Now, PartitionBits, QualifiedKey, RequestId, WallTime,
};
use starling_wire::replica::Origin;

use crate::event::{
    Changed, ClientWrite, Done, Effect, Event, OpId, Refused, Replaces, Staged, Ticket, Tries,
};
use crate::rows::CellKey;
use crate::vnodes::{Boot, Vnodes};

const NOON: u64 = 1_700_000_000_000;

/// A commit that the disk has not answered.
struct Commit {
    ticket: Ticket,
    rows: Vec<RowWrite>,
    durable: bool,
}

impl Commit {
    /// Whether the clock's ceiling is among its rows.
    fn has_ceiling(&self) -> bool {
        self.rows.iter().any(|row| row.space == Space::Meta)
    }
}

type Rows = BTreeMap<(Space, Bytes), Bytes>;

/// The machine, with a caller and a disk that answer when the story says so.
struct Bench {
    vnodes: Vnodes,
    now: Now,
    loads: VecDeque<CellKey>,
    scans: VecDeque<(OpId, Space, Bytes, Option<Bytes>)>,
    commits: VecDeque<Commit>,
    /// The cells whose record became another, in order.
    changed: Vec<Changed>,
    staged: BTreeMap<OpId, Staged>,
    done: BTreeMap<OpId, Result<Done, Refused>>,
    damaged: Vec<CellKey>,
    /// The rows that a load sees.
    written: Rows,
    /// The rows that a crash leaves.
    synced: Rows,
    next_op: u64,
}

fn boot(actors: BTreeMap<starling_types::PartitionId, ActorId>, ceiling: Hlc, seed: u64) -> Boot {
    Boot { ceiling, actors, started: Instant::ORIGIN, seed, cache_bytes: 1 << 20, max_value: 1 << 10 }
}

impl Bench {
    /// A node that never ran.
    fn new() -> Self {
        Self::over(Rows::new(), boot(BTreeMap::new(), Hlc::ZERO, 1))
    }

    /// The same, past its first lease, so that stories are about something else.
    fn warm() -> Self {
        let mut bench = Self::new();
        bench.put("warm", "up", None);
        bench.settle();
        bench.done.clear();
        bench.staged.clear();
        bench
    }

    fn over(rows: Rows, boot: Boot) -> Self {
        let wall = WallTime::from_millis(NOON);
        // Each run has requests of its own.
        let next_op = boot.seed << 20;
        Self {
            vnodes: Vnodes::new(boot, PartitionBits::DEFAULT),
            now: Now { wall, ..Now::default() },
            loads: VecDeque::new(),
            scans: VecDeque::new(),
            commits: VecDeque::new(),
            changed: Vec::new(),
            staged: BTreeMap::new(),
            done: BTreeMap::new(),
            damaged: Vec::new(),
            written: rows.clone(),
            synced: rows,
            next_op,
        }
    }

    fn handle(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.vnodes.handle(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Load(cell) => self.loads.push_back(cell),
                Effect::Scan { op, space, prefix, from } => self.scans.push_back((op, space, prefix, from)),
                Effect::Commit { ticket, rows, changed, durable } => {
                    self.changed.extend(changed);
                    self.commits.push_back(Commit { ticket, rows, durable });
                }
                Effect::Staged(op, staged) => {
                    assert!(!self.done.contains_key(&op), "staged after its end");
                    assert!(self.staged.insert(op, staged).is_none(), "staged twice");
                }
                Effect::Damaged(cell, _) => self.damaged.push(cell),
                Effect::Done(op, result) => {
                    assert!(self.done.insert(op, result).is_none(), "{op:?} ended twice");
                }
            }
        }
    }

    fn op(&mut self) -> OpId {
        self.next_op += 1;
        OpId(self.next_op)
    }

    /// A write of its own request. `seen: None` is a blind overwrite.
    fn put(&mut self, key: &str, value: &str, seen: Option<VersionVector>) -> OpId {
        let request = RequestId::from_bits(u128::from(self.next_op + 1));
        self.write(client_write(request, key, value, seen))
    }

    fn write(&mut self, write: ClientWrite) -> OpId {
        let op = self.op();
        self.handle(Event::Coordinate(op, write));
        op
    }

    fn merge(&mut self, cell: CellKey, record: Record, origin: Option<Origin>, durable: bool) -> OpId {
        let op = self.op();
        self.handle(Event::Merge { op, cell, record, origin, lww: false, durable });
        op
    }

    fn read(&mut self, cell: CellKey) -> OpId {
        let op = self.op();
        self.handle(Event::Read(op, cell));
        op
    }

    /// The disk answers its oldest load.
    fn load(&mut self) {
        let cell = self.loads.pop_front().expect("a load");
        let row = self.written.get(&cell.row()).cloned();
        self.handle(Event::Loaded(cell, Ok(row)));
    }

    /// The disk answers its oldest commit.
    fn commit(&mut self) {
        let commit = self.commits.pop_front().expect("a commit");
        for row in commit.rows {
            match row.value {
                Some(value) => self.written.insert((row.space, row.key), value),
                None => self.written.remove(&(row.space, row.key)),
            };
        }
        if commit.durable {
            self.synced.clone_from(&self.written);
        }
        self.handle(Event::Committed(commit.ticket, Ok(())));
    }

    /// The disk refuses its oldest commit.
    fn fail_commit(&mut self) {
        let commit = self.commits.pop_front().expect("a commit");
        let poisoned = CommitFailure::Failed("fsync failed".into());
        self.handle(Event::Committed(commit.ticket, Err(poisoned)));
    }

    /// The disk has no room for its oldest commit.
    fn refuse_commit(&mut self) {
        let commit = self.commits.pop_front().expect("a commit");
        self.handle(Event::Committed(commit.ticket, Err(CommitFailure::NoSpace("0 bytes left".into()))));
    }

    /// The disk's oldest load finds other bytes than were written.
    fn find_damage(&mut self) {
        let cell = self.loads.pop_front().expect("a load");
        self.handle(Event::Loaded(cell, Err(LoadFailure::Damaged("bad checksum".into()))));
    }

    /// The disk answers all there is.
    fn settle(&mut self) {
        while !self.loads.is_empty() || !self.commits.is_empty() {
            if self.loads.is_empty() {
                self.commit();
            } else {
                self.load();
            }
        }
    }

    fn is_committed(&self, op: OpId) -> bool {
        matches!(self.done.get(&op), Some(Ok(Done::Committed)))
    }

    fn refusal(&self, op: OpId) -> &Refused {
        match self.done.get(&op) {
            Some(Err(refused)) => refused,
            other => panic!("{op:?} should be refused: {other:?}"),
        }
    }

    /// The record that a finished read showed.
    fn shown(&self, op: OpId) -> Arc<Record> {
        match self.done.get(&op) {
            Some(Ok(Done::Read(record))) => Arc::clone(record),
            other => panic!("{op:?} should be a read: {other:?}"),
        }
    }

    /// Reads with the disk's help.
    fn look(&mut self, key: &str) -> Arc<Record> {
        let op = self.read(data(key));
        while !self.done.contains_key(&op) {
            self.load();
        }
        self.shown(op)
    }

    fn dot(&self, op: OpId) -> Dot {
        self.staged[&op].dot
    }
}

fn qualified(key: &str) -> QualifiedKey {
    let key = Key::new(key.as_bytes().to_vec()).unwrap();
    QualifiedKey::new(7, BucketName::default_bucket(), key)
}

fn data(key: &str) -> CellKey {
    CellKey::data(qualified(key))
}

fn hint(target: u64, key: &str) -> CellKey {
    CellKey::hint(NodeId::from_bits(target), qualified(key))
}

fn value(text: &str) -> Payload {
    Payload::Value(Bytes::copy_from_slice(text.as_bytes()))
}

fn client_write(request: RequestId, key: &str, text: &str, seen: Option<VersionVector>) -> ClientWrite {
    ClientWrite {
        request,
        key: qualified(key),
        payload: value(text),
        replaces: seen.map_or_else(|| Replaces::All(VersionVector::new()), Replaces::Seen),
        expires_at: None,
        lww: false,
        durable: true,
        deadline: Instant::from_nanos(u64::MAX),
        tries: Tries::only(WallTime::from_millis(NOON)),
        is_absent_elsewhere: false,
        vouched: Hlc::ZERO,
    }
}

/// A write of another node: its actor, its clock `ms` after noon.
fn foreign(actor: u64, ms: u64, text: &str) -> Record {
    let dot = Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_parts(NOON + ms, 0) };
    Record::default().write(Mint::plain(&VersionVector::new(), dot, value(text)))
}

fn nothing() -> Option<VersionVector> {
    Some(VersionVector::new())
}

fn values(record: &Record) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let mut values: Vec<String> = record.siblings().iter().filter_map(|s| s.value().map(text)).collect();
    values.sort();
    values
}
