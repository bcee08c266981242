//! The watch over the volume and the store: a node that is only read would not notice that its disk is full, sick or
//! damaged.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use starling_node::{Disk, Room};
use starling_storage::{DurableEngine, Engine, Sizes, Supply};

use crate::disk_space::{DiskSpace, Space};
use crate::metrics;
use crate::reactor::Reactor;

/// The disk is looked at this often: less often, a small reserve would be gone between two looks.
const EVERY: Duration = Duration::from_millis(100);
/// A group of commits that waits for the disk for longer is taken for one that hangs.
const STALLED: Duration = Duration::from_secs(5);
/// A read that failed is told of for so many looks.
const FAILED_LOOKS: u32 = 1_200;

/// Looks, for ever. A volume that cannot be looked at is left alone: commits find out.
pub(crate) async fn keep(volume: DiskSpace, reactor: Rc<Reactor>, engine: Arc<DurableEngine>) {
    let mut every = tokio::time::interval(EVERY);
    let mut watch = Watch {
        volume,
        reactor,
        engine,
        space: Space::default(),
        was: Disk::default(),
        failures: 0,
        failed: 0,
    };
    loop {
        every.tick().await;
        watch.look();
    }
}

struct Watch {
    volume: DiskSpace,
    reactor: Rc<Reactor>,
    engine: Arc<DurableEngine>,
    space: Space,
    was: Disk,
    /// Reads that failed, when last looked.
    failures: u64,
    /// Looks for which they are told of.
    failed: u32,
}

impl Watch {
    fn look(&mut self) {
        if let Some(failure) = self.engine.failure() {
            self.reactor.store_failed(&failure);
        }
        // First: what is told now is not noted yet.
        if self.reactor.take_damage_noted() {
            self.engine.damage_noted();
        }
        let damage = self.engine.take_damage();
        if !damage.is_empty() {
            self.reactor.damaged(damage);
        }
        let sizes = self.engine.sizes();
        match self.volume.look(sizes.unflushed_bytes, self.reactor.take_refusal()) {
            Ok(space) => {
                metrics::space(space);
                self.space = space;
                self.engine.note_supply(match space.room {
                    Room::Enough => Supply::Ample,
                    Room::Low => Supply::Low,
                    Room::Full | Room::Spent => Supply::Short,
                });
            }
            Err(error) => tracing::debug!(%error, "the volume of the data directory cannot be looked at"),
        }
        self.tell(&sizes);
    }

    fn tell(&mut self, sizes: &Sizes) {
        let stalled = self.engine.stalled_for().unwrap_or_default();
        let has_failed = std::mem::replace(&mut self.failures, sizes.read_failures) != sizes.read_failures;
        self.failed = if has_failed { FAILED_LOOKS } else { self.failed.saturating_sub(1) };
        let disk = Disk {
            room: self.space.room,
            short_of: self.space.short_of,
            is_stalled: stalled >= STALLED,
            fails_reads: self.failed > 0,
            damaged_tables: sizes.damaged_tables,
        };
        metrics::disk(stalled, &disk);
        if std::mem::replace(&mut self.was, disk) != disk {
            self.reactor.disk_is(disk);
        }
    }
}
