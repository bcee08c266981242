//! News between the watch over the disk and the node.

use std::cell::Cell;

use starling_node::{Disk, Event};
use starling_types::row::RowRange;

use super::Reactor;

/// Between the watch over the disk and the node.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// A write was refused for want of space.
    refused: Cell<bool>,
    /// The number under which damage was told last.
    told: Cell<u64>,
    /// All that was told is noted.
    noted: Cell<bool>,
}

impl Watch {
    pub(super) fn note_refusal(&self) {
        self.refused.set(true);
    }

    /// The damage told up to `number` is noted durably. That told since is not, and the store knows no difference.
    pub(super) fn damage_noted(&self, number: u64) {
        self.noted.set(number == self.told.get());
    }
}

impl Reactor {
    /// The disk is in another state than before.
    pub(crate) fn disk_is(&self, disk: Disk) {
        self.push(Event::Disk(disk));
        self.turn();
    }

    /// Whether a write was refused for want of space since this was last asked.
    pub(crate) fn take_refusal(&self) -> bool {
        self.watch.refused.take()
    }

    /// Data rows cannot be read, as a read that no request needed found.
    pub(crate) fn damaged(&self, ranges: Vec<RowRange>) {
        let number = self.watch.told.get() + 1;
        self.watch.told.set(number);
        self.push(Event::Damaged(ranges, number));
        self.turn();
    }

    /// Whether all damage that was told is noted durably, as became known since this was last asked.
    pub(crate) fn take_damage_noted(&self) -> bool {
        self.watch.noted.take()
    }
}
