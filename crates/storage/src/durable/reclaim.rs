//! Compaction leaves the rows of dropped ranges behind, gives way to others, and stops before the volume is full.
//!
//! Nothing in production drops a range yet: the transfer of partitions, after a change of the layout, will. Until then
//! no row is left behind, and the filter only paces and watches the room.

use std::panic::RefUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use lsm_tree::compaction::filter::{self, CompactionFilter, Context, ItemAccessor, Verdict};

use super::headroom::Headroom;
use super::pace::{Pace, Steps};
use super::yielder::Yielder;
use crate::Space;
use crate::range_tombstones::RangeTombstones;

pub(super) struct Factory {
    namespace: Space,
    tombstones: Arc<RwLock<RangeTombstones>>,
    headroom: Headroom,
    pace: Arc<Pace>,
}

impl Factory {
    pub(super) const fn new(
        namespace: Space,
        tombstones: Arc<RwLock<RangeTombstones>>,
        headroom: Headroom,
        pace: Arc<Pace>,
    ) -> Self {
        Self { namespace, tombstones, headroom, pace }
    }
}

impl RefUnwindSafe for Factory {}

impl filter::Factory for Factory {
    fn name(&self) -> &str {
        "dead generations"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let tombstones = self.tombstones.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::new(Reclaim {
            namespace: self.namespace,
            tombstones,
            yielder: Yielder::default(),
            steps: Steps::default(),
            pace: self.pace.clone(),
            headroom: self.headroom.clone(),
        })
    }
}

struct Reclaim {
    namespace: Space,
    tombstones: RangeTombstones,
    yielder: Yielder,
    steps: Steps,
    pace: Arc<Pace>,
    headroom: Headroom,
}

impl CompactionFilter for Reclaim {
    /// A dead row is never written again: its generation never comes back.
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        #[cfg(test)]
        if let code @ 1.. = self.pace.fails_with.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(std::io::Error::from_raw_os_error(code).into());
        }
        self.yielder.row_done();
        if self.tombstones.cover(self.namespace, item.key()) {
            return Ok(Verdict::Destroy);
        }
        let bytes = item.key().len() + item.value()?.len();
        self.steps.done(bytes, &self.pace);
        self.headroom.take(bytes)?;
        Ok(Verdict::Keep)
    }
}
