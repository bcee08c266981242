//! A write buffer: rows in key order, written by one thread, read by many while it is written.
//!
//! It is cut into parts by the first bits of the keys, each a B-tree behind a lock of its own, held for one row or a few.
//! Rows of data begin with their token, so they are spread evenly. (The library's own buffer is a skip list: it needs no
//! locks, but five times as long for a row. ADR 012.)

use std::borrow::Borrow;
use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::sync::atomic::{self, AtomicU64};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::thread::yield_now;

use lsm_tree::Slice;

use starling_types::row::RowRange;

/// Parts, a power of two.
const PARTS: usize = 64;
/// Bytes that a row takes besides its key and value: its place in a B-tree whose nodes are two thirds full.
const PLACE: usize = 120;
/// Rows that are read under one lock.
const CHUNK: usize = 64;

/// The state of a key: its row, or none if it was deleted.
pub(super) type Entry = Option<Slice>;

#[derive(Default)]
pub(super) struct Buffer {
    parts: Parts,
    bytes: AtomicU64,
}

struct Parts([Part; PARTS]);

type Part = RwLock<Tree>;
type Tree = BTreeMap<Version, Entry>;

impl Default for Parts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Part::default()))
    }
}

impl Buffer {
    /// Adds a version of a row, above all that it has. Older ones stay, for snapshots that read below.
    pub(super) fn insert(&self, key: Slice, number: u64, entry: Entry) {
        let bytes = key.len() + entry.as_ref().map_or(0, |row| row.len()) + PLACE;
        let prefix = prefix(&key);
        let part = &self.parts.0[part(prefix)];
        // A write of it does not panic.
        let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
        part.insert(Version { prefix, key, number: Reverse(number) }, entry);
        self.bytes.fetch_add(bytes as u64, atomic::Ordering::Relaxed);
    }

    /// The newest version of a row below a number.
    pub(super) fn get(&self, key: &[u8], below: u64) -> Option<Entry> {
        let from = At::new(key, below);
        let part = self.read(part(from.prefix));
        let (version, entry) = behind(&part, &from).next()?;
        (version.key[..] == *key).then(|| entry.clone())
    }

    /// The newest version below a number of every row in a range, in key order.
    pub(super) fn rows(self: &Arc<Self>, range: &RowRange, below: u64) -> Rows {
        Rows {
            buffer: self.clone(),
            range: range.clone(),
            below,
            part: part(prefix(range.start())),
            last_part: range.end().map_or(PARTS - 1, |end| part(prefix(end))),
            last: None,
            chunk: Vec::new().into_iter(),
        }
    }

    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(atomic::Ordering::Relaxed)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    fn read(&self, part: usize) -> RwLockReadGuard<'_, Tree> {
        self.parts.0[part].read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Buffer {
    /// A hundred thousand rows take some milliseconds: others may have the processor in between.
    fn drop(&mut self) {
        for part in &mut self.parts.0 {
            drop(std::mem::take(part.get_mut().unwrap_or_else(PoisonError::into_inner)));
            yield_now();
        }
    }
}

/// One version of a row in a [`Buffer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) key: Slice,
    /// Which version.
    pub(super) number: u64,
    pub(super) entry: Entry,
}

/// Walks over a buffer. Rows that are written meanwhile may be seen, if they lie ahead and below the number.
pub(super) struct Rows {
    buffer: Arc<Buffer>,
    range: RowRange,
    below: u64,
    /// The part that is read, and the last to be read.
    part: usize,
    last_part: usize,
    /// The last key that was read.
    last: Option<Slice>,
    chunk: std::vec::IntoIter<Row>,
}

impl Rows {
    fn read_on(&mut self) {
        while self.part <= self.last_part && self.chunk.len() == 0 {
            let chunk = self.read_part();
            self.part += usize::from(chunk.len() < CHUNK);
            self.last = chunk.last().map(|row| row.key.clone()).or_else(|| self.last.take());
            self.chunk = chunk.into_iter();
        }
    }

    /// The next rows of the part; fewer than [`CHUNK`] if there are no more.
    fn read_part(&self) -> Vec<Row> {
        let part = self.buffer.read(self.part);
        // Versions lie newest first: above all of the first key, or behind all of the last.
        let from = match &self.last {
            Some(last) => At::new(last, 0),
            None => At::new(self.range.start(), u64::MAX),
        };
        let mut rows: Vec<Row> = Vec::new();
        let mut versions = behind(&part, &from);
        while let Some((version, entry)) = versions.next() {
            if rows.len() == CHUNK || self.range.end().is_some_and(|end| version.key[..] >= end[..]) {
                break;
            }
            // Of a key that is written all the time there are many more.
            if version.number.0 >= self.below {
                versions = behind(&part, &At::new(&version.key, self.below));
            } else if rows.last().is_some_and(|row| row.key == version.key) {
                versions = behind(&part, &At::new(&version.key, 0));
            } else {
                rows.push(Row { key: version.key.clone(), number: version.number.0, entry: entry.clone() });
            }
        }
        rows
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.chunk.len() == 0 {
            self.read_on();
        }
        self.chunk.next()
    }
}

/// A version of a row: in the order of the keys, and of one key the newest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    /// The first bytes of the key: few comparisons have to look further.
    prefix: u64,
    key: Slice,
    number: Reverse<u64>,
}

/// Where a version stands, or would stand.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct At<'a> {
    prefix: u64,
    key: &'a [u8],
    number: Reverse<u64>,
}

impl<'a> At<'a> {
    fn new(key: &'a [u8], number: u64) -> Self {
        Self { prefix: prefix(key), key, number: Reverse(number) }
    }
}

/// The versions behind a place.
fn behind<'a>(tree: &'a Tree, place: &At<'_>) -> btree_map::Range<'a, Version, Entry> {
    tree.range::<dyn Position, _>((Bound::Excluded(place as &dyn Position), Bound::Unbounded))
}

/// So that a version can be looked for without its key being copied.
trait Position {
    fn at(&self) -> At<'_>;
}

impl Position for At<'_> {
    fn at(&self) -> At<'_> {
        At { ..*self }
    }
}

impl Position for Version {
    fn at(&self) -> At<'_> {
        At { prefix: self.prefix, key: &self.key, number: self.number }
    }
}

impl<'a> Borrow<dyn Position + 'a> for Version {
    fn borrow(&self) -> &(dyn Position + 'a) {
        self
    }
}

impl Ord for dyn Position + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.at().cmp(&other.at())
    }
}

impl PartialOrd for dyn Position + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for dyn Position + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.at() == other.at()
    }
}

impl Eq for dyn Position + '_ {}

/// The first eight bytes of a key, zeros where it is shorter: in the order of the keys, though different ones may have the
/// same.
fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let known = key.len().min(8);
    first[..known].copy_from_slice(&key[..known]);
    u64::from_be_bytes(first)
}

const fn part(prefix: u64) -> usize {
    (prefix >> (u64::BITS - PARTS.ilog2())) as usize
}

#[cfg(test)]
mod tests;
