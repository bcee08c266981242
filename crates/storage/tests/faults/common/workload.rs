//! A script for many writers, of which every row can be computed again.
//!
//! Writer w commits its batches 1, 2, 3 .. in order, on rows of its own, so that the state of its rows after a crash
//! must be that after one of its batches. Each batch also writes the writer's *mark*, whose value says which batch that
//! is, and the *hot* row, which all writers share: it must hold the last batch of the writer that wrote it, because
//! batches are kept whole and in order.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use starling_storage::Batch;
use starling_types::row::Space;

/// A row of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub namespace: Space,
    pub slot: u8,
}

/// Rows of a writer per namespace.
const SLOTS: u8 = 6;
/// The writer's mark.
pub const MARK: Cell = Cell { namespace: Space::Meta, slot: 0xfe };
/// The row all writers share.
pub const HOT: Cell = Cell { namespace: Space::Data, slot: 0xff };

/// How large values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizes {
    /// Under 1 KiB, but for one in eight: up to 40 KiB, so that write buffers fill and become tables.
    Mixed,
    /// The same, large ones in the smallest write buffer alone: tables come of little data.
    LargeMeta,
}

impl Sizes {
    fn of(self, cell: Cell, dice: u64) -> Range<usize> {
        let may_be_large = match self {
            Self::Mixed => cell != HOT,
            Self::LargeMeta => cell.namespace == MARK.namespace,
        };
        if may_be_large && dice.is_multiple_of(8) { 8 << 10..40 << 10 } else { 30..1000 }
    }
}

/// The script. Numbers of batches count from 1; 0 is the state before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    pub seed: u64,
    pub writers: u16,
    pub sizes: Sizes,
}

/// The change that one batch makes to one row of its writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub cell: Cell,
    pub is_put: bool,
}

impl Workload {
    /// Batch `n` of a writer.
    pub fn batch(&self, writer: u16, n: u64) -> Batch {
        let mut batch = Batch::new();
        for Change { cell, is_put } in self.changes(writer, n) {
            let key = key(writer, cell);
            match is_put {
                true => batch.put(cell.namespace, key, self.value(writer, n, cell)),
                false => batch.delete(cell.namespace, key),
            }
        }
        batch
    }

    /// The changes of batch `n` of a writer, in order.
    pub fn changes(&self, writer: u16, n: u64) -> impl Iterator<Item = Change> + use<> {
        let dice = self.dice(writer, n);
        let rows = (0..1 + dice % 3).map(move |row| {
            let dice = mix(dice ^ row);
            let namespace = Space::ALL[(dice % 3) as usize];
            let slot = (dice >> 8) as u8 % SLOTS;
            Change { cell: Cell { namespace, slot }, is_put: !(dice >> 16).is_multiple_of(5) }
        });
        rows.chain([MARK, HOT].map(|cell| Change { cell, is_put: true }))
    }

    /// The value that batch `n` writes to a row: its name, and bytes that follow from it.
    pub fn value(&self, writer: u16, n: u64, cell: Cell) -> Bytes {
        let dice = mix(self.dice(writer, n) ^ u64::from(cell.namespace.code()) << 8 ^ u64::from(cell.slot));
        let mut rng = SmallRng::seed_from_u64(dice);
        let bytes = rng.random_range(self.sizes.of(cell, dice >> 8));
        let mut value = Vec::with_capacity(HEADER + bytes);
        value.extend_from_slice(&writer.to_be_bytes());
        value.extend_from_slice(&n.to_be_bytes());
        value.extend_from_slice(&[cell.namespace.code(), cell.slot]);
        value.resize(HEADER + bytes, 0);
        rng.fill_bytes(&mut value[HEADER..]);
        value.into()
    }

    /// The batch that wrote `value` to `cell`; none if no batch ever did.
    pub fn origin(&self, cell: Cell, value: &[u8]) -> Option<(u16, u64)> {
        let (header, _) = value.split_first_chunk::<HEADER>()?;
        let writer = u16::from_be_bytes([header[0], header[1]]);
        let n = u64::from_be_bytes(header[2..10].try_into().ok()?);
        let wrote = self.changes(writer, n).any(|change| change.is_put && change.cell == cell);
        (wrote && self.value(writer, n, cell) == value).then_some((writer, n))
    }

    /// The rows of a writer after its batch `n`, and which batch each is of; without the hot row.
    pub fn rows_after(&self, writer: u16, n: u64) -> BTreeMap<Cell, u64> {
        let mut rows = BTreeMap::new();
        for n in 1..=n {
            for Change { cell, is_put } in self.changes(writer, n).filter(|change| change.cell != HOT) {
                match is_put {
                    true => rows.insert(cell, n),
                    false => rows.remove(&cell),
                };
            }
        }
        rows
    }

    /// A random number that belongs to a batch.
    pub fn dice(&self, writer: u16, n: u64) -> u64 {
        mix(self.seed ^ u64::from(writer) << 48 ^ n)
    }
}

/// All rows a writer may have, the hot row aside.
pub fn cells() -> impl Iterator<Item = Cell> {
    let slots = |namespace| (0..SLOTS).map(move |slot| Cell { namespace, slot });
    Space::ALL.into_iter().flat_map(slots).chain([MARK])
}

/// The key of a writer's row. Those of data begin with a token and a generation, as records' do.
pub fn key(writer: u16, cell: Cell) -> Bytes {
    let writer = if cell == HOT { u16::MAX } else { writer };
    let name = [&writer.to_be_bytes()[..], &[cell.slot]].concat();
    let token = mix(u64::from(writer) << 8 | u64::from(cell.slot));
    match cell.namespace {
        Space::Data => [&token.to_be_bytes()[..], &1u32.to_be_bytes(), &name].concat().into(),
        Space::Hints | Space::Meta => [b"row ", &name[..]].concat().into(),
    }
}

/// The row of a key, and its writer.
pub fn cell_of(namespace: Space, key_found: &[u8]) -> Option<(u16, Cell)> {
    let (_, name) = key_found.split_last_chunk::<3>()?;
    let writer = u16::from_be_bytes([name[0], name[1]]);
    let cell = Cell { namespace, slot: name[2] };
    (key(writer, cell) == key_found).then_some((writer, cell))
}

/// Writer, batch, namespace and slot.
const HEADER: usize = 12;

/// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
