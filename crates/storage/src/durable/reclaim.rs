//! Compaction leaves dead rows behind, lets others go first, and stops before the volume is full.

use std::panic::RefUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use lsm_tree::compaction::filter::{self, CompactionFilter, Context, ItemAccessor, Verdict};

use super::breather::Breather;
use super::headroom::Headroom;
use super::pace::{Pace, Steps};
use crate::batch::Namespace;
use crate::graves::Graves;

pub(super) struct Factory {
    namespace: Namespace,
    graves: Arc<RwLock<Graves>>,
    headroom: Headroom,
    pace: Arc<Pace>,
}

impl Factory {
    pub(super) const fn new(
        namespace: Namespace,
        graves: Arc<RwLock<Graves>>,
        headroom: Headroom,
        pace: Arc<Pace>,
    ) -> Self {
        Self { namespace, graves, headroom, pace }
    }
}

impl RefUnwindSafe for Factory {}

impl filter::Factory for Factory {
    fn name(&self) -> &str {
        "dead generations"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let graves = self.graves.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::new(Reclaim {
            namespace: self.namespace,
            graves,
            breather: Breather::default(),
            steps: Steps::default(),
            pace: self.pace.clone(),
            headroom: self.headroom.clone(),
        })
    }
}

struct Reclaim {
    namespace: Namespace,
    graves: Graves,
    breather: Breather,
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
        self.breather.breathe();
        if self.graves.is_dead(self.namespace, item.key()) {
            return Ok(Verdict::Destroy);
        }
        let bytes = item.key().len() + item.value()?.len();
        self.steps.done(bytes, &self.pace);
        self.headroom.take(bytes)?;
        Ok(Verdict::Keep)
    }
}
