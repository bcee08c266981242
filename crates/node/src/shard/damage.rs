//! Rows that cannot be read: where they show up, and what becomes of them.

use starling_types::row::{RowRange, Space};
use starling_vnode::{self as vnode, CellKey, CellKind, RecordPage};

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
                // Once: until it is pulled, every read of it finds the same.
                if !self.custody.is_unsure(cell.key.token()) {
                    turn.out.push(Effect::Log(Log::Alarm(format!("a stored record is damaged: {why}"))));
                }
                self.rows_damaged(turn, vec![RowRange::row(&cell.row().1)]);
            }
        }
    }

    /// A hint is the copy of an owner's record: the disk's report of damage is reason enough to drop it.
    fn discard_hint(&mut self, turn: &Turn<'_>, cell: CellKey) {
        let op = self.calls.begin(Context::Discard);
        self.vnode(turn, vnode::Event::Discard(op, cell));
    }

    /// Drops what of a page of hints is damaged. `counted` tells whether they were before.
    pub(super) fn discard_damaged_hints(&mut self, turn: &Turn<'_>, page: &RecordPage, counted: bool) {
        let rows = page.damaged.iter().filter_map(RowRange::single);
        let damaged: Vec<_> = rows.filter_map(|row| self.vnodes.cell_of(Space::Hints, row)).collect();
        for cell in damaged {
            if let (false, CellKind::Hint(target)) = (counted, cell.kind) {
                self.vnodes.found_damaged_hint(target);
            }
            self.discard_hint(turn, cell);
        }
    }
}
