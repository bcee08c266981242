//! Rows that cannot be read: where they show up, and what becomes of them.

use bytes::Bytes;
use starling_causality::Record;
use starling_types::row::{Page, RowRange};
use starling_vnode::{self as vnode, CellKey, CellKind, rows};

use super::{Context, Shard, Turn};
use crate::event::{Effect, Log};

impl Shard {
    /// A row turned out to be damaged when it was loaded.
    pub(super) fn row_damaged(&mut self, turn: &mut Turn<'_>, cell: CellKey, why: &str) {
        match cell.kind {
            CellKind::Hint(_) => {
                self.counters.hints_damaged += 1;
                self.discard_hint(turn, cell);
            }
            CellKind::Data => {
                // Once: until it is pulled, whoever reads it finds the same.
                if !self.suspects(turn, cell.key.token()) {
                    turn.out.push(Effect::Log(Log::Alarm(format!("a stored record is damaged: {why}"))));
                }
                self.rows_damaged(turn, &[RowRange::row(&cell.row().1)]);
            }
        }
    }

    /// A hint is the copy of an owner's record: it is not worth more than the word of its disk.
    fn discard_hint(&mut self, turn: &mut Turn<'_>, cell: CellKey) {
        let op = self.op(Context::Discard);
        self.vnode(turn, vnode::Event::Discard(op, cell));
    }

    /// The whole hints of a page; the damaged are dropped. `counted` tells whether they were before.
    pub(super) fn whole_hints(
        &mut self,
        turn: &mut Turn<'_>,
        page: &Page,
        counted: bool,
    ) -> Vec<(CellKey, Bytes, Record)> {
        let seed = turn.view.cluster().hash_seed();
        let ranges = page.damaged.iter().filter_map(RowRange::single);
        let mut damaged: Vec<CellKey> = ranges.filter_map(|row| rows::parse_hint(seed, row)).collect();
        let mut whole = Vec::new();
        for (key, bytes) in &page.rows {
            let Some(cell) = rows::parse_hint(seed, key) else { continue };
            match Record::decode(bytes) {
                Ok(record) => whole.push((cell, bytes.clone(), record)),
                Err(_) => damaged.push(cell),
            }
        }
        for cell in damaged {
            if let (false, CellKind::Hint(target)) = (counted, cell.kind) {
                self.vnodes.found_damaged_hint(target);
            }
            self.discard_hint(turn, cell);
        }
        whole
    }
}
