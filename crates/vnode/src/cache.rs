//! Records kept in memory for reads: least recently used first out, bounded in bytes.

use std::sync::Arc;

use lru::LruCache;
use starling_causality::Record;
use starling_types::hash::TokenHashBuilder;

use crate::rows::CellKey;

#[derive(Debug)]
pub(crate) struct RecordCache {
    records: LruCache<CellKey, Arc<Record>, TokenHashBuilder>,
    bytes: usize,
    limit: usize,
}

impl RecordCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { records: LruCache::unbounded_with_hasher(TokenHashBuilder::default()), bytes: 0, limit }
    }

    pub(crate) fn get(&mut self, key: &CellKey) -> Option<&Arc<Record>> {
        self.records.get(key)
    }

    /// As [`Self::get`], for a caller that is no reader.
    pub(crate) fn peek(&self, key: &CellKey) -> Option<&Arc<Record>> {
        self.records.peek(key)
    }

    pub(crate) fn take(&mut self, key: &CellKey) -> Option<Arc<Record>> {
        let record = self.records.pop(key)?;
        self.bytes -= weight(key, &record);
        Some(record)
    }

    pub(crate) fn put(&mut self, key: CellKey, record: Arc<Record>) {
        self.bytes += weight(&key, &record);
        if let Some((key, old)) = self.records.push(key, record) {
            self.bytes -= weight(&key, &old);
        }
        while self.bytes > self.limit {
            let Some((key, old)) = self.records.pop_lru() else {
                break;
            };
            self.bytes -= weight(&key, &old);
        }
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Memory that an entry occupies: the record, its key, and the table's own share.
fn weight(key: &CellKey, record: &Record) -> usize {
    const ENTRY: usize = 160;
    ENTRY + key.key.key().as_bytes().len() + record.weight()
}
