//! Compaction leaves dead rows behind, and lets others have the processor between rows.

use std::panic::RefUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};

use lsm_tree::compaction::filter::{self, CompactionFilter, Context, ItemAccessor, Verdict};

use super::breather::Breather;
use crate::batch::Namespace;
use crate::graves::Graves;

pub(super) struct Factory {
    namespace: Namespace,
    graves: Arc<RwLock<Graves>>,
}

impl Factory {
    pub(super) const fn new(namespace: Namespace, graves: Arc<RwLock<Graves>>) -> Self {
        Self { namespace, graves }
    }
}

impl RefUnwindSafe for Factory {}

impl filter::Factory for Factory {
    fn name(&self) -> &str {
        "dead generations"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        let graves = self.graves.read().unwrap_or_else(PoisonError::into_inner).clone();
        Box::new(Reclaim { namespace: self.namespace, graves, breather: Breather::default() })
    }
}

struct Reclaim {
    namespace: Namespace,
    graves: Graves,
    breather: Breather,
}

impl CompactionFilter for Reclaim {
    /// A dead row is never written again: its generation never comes back.
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> lsm_tree::Result<Verdict> {
        self.breather.breathe();
        let dead = self.graves.is_dead(self.namespace, item.key());
        Ok(if dead { Verdict::Destroy } else { Verdict::Keep })
    }
}
