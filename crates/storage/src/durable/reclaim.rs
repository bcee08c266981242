//! Compaction leaves dead rows behind, lets others have the processor between rows, and stops before the volume is full.

use std::panic::RefUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use lsm_tree::compaction::filter::{self, CompactionFilter, Context, ItemAccessor, Verdict};

use super::breather::Breather;
use super::headroom::Headroom;
use crate::batch::Namespace;
use crate::graves::Graves;

pub(super) struct Factory {
    namespace: Namespace,
    graves: Arc<RwLock<Graves>>,
    headroom: Headroom,
}

impl Factory {
    pub(super) const fn new(namespace: Namespace, graves: Arc<RwLock<Graves>>, headroom: Headroom) -> Self {
        Self { namespace, graves, headroom }
    }
}

impl RefUnwindSafe for Factory {}

impl filter::Factory for Factory {
    fn name(&self) -> &str {
        "dead generations"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let graves = self.graves.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (breather, headroom) = (Breather::default(), self.headroom.clone());
        Box::new(Reclaim { namespace: self.namespace, graves, breather, headroom })
    }
}

struct Reclaim {
    namespace: Namespace,
    graves: Graves,
    breather: Breather,
    headroom: Headroom,
}

impl CompactionFilter for Reclaim {
    /// A dead row is never written again: its generation never comes back.
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        self.breather.breathe();
        if self.graves.is_dead(self.namespace, item.key()) {
            return Ok(Verdict::Destroy);
        }
        self.headroom.take(item.key().len() + item.value()?.len())?;
        Ok(Verdict::Keep)
    }
}
