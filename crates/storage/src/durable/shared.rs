//! Resources that the trees of a store share.

use std::sync::{Arc, RwLock};

use lsm_tree::{Cache, DescriptorTable};

use super::making::Making;
use super::options::Options;
use crate::range_tombstones::RangeTombstones;

/// Shared by all trees.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) cache: Arc<Cache>,
    pub(super) files: Arc<DescriptorTable>,
    pub(super) options: Options,
    pub(super) making: Arc<Making>,
    /// The range tombstones that are durable: compaction may act upon them.
    pub(super) durable_tombstones: Arc<RwLock<RangeTombstones>>,
}

impl Shared {
    pub(super) fn new(options: Options) -> Self {
        Self {
            cache: Arc::new(Cache::with_capacity_bytes(options.cache_bytes)),
            files: Arc::new(DescriptorTable::new(options.open_files)),
            options,
            making: Arc::default(),
            durable_tombstones: Arc::default(),
        }
    }

    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache.size()
    }
}
