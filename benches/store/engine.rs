//! The subject.

use std::path::Path;

use anyhow::{Result, ensure};
use starling_storage::{Batch, Durability, DurableEngine, Engine, Options, ScanLimit};
use starling_types::row::{RowRange, Space};

use crate::Store;

/// The durable engine, as a node with the default memory limit runs it.
pub struct Subject(DurableEngine);

impl Store for Subject {
    fn open(dir: &Path) -> Result<Self> {
        let options = Options { cache_bytes: 64 << 20, ..Options::default() };
        Ok(Self(DurableEngine::open(dir, options)?))
    }

    fn open_hoarding(dir: &Path) -> Result<Option<Self>> {
        let options = Options { write_buffer_bytes: 4 << 30, log_bytes: 4 << 30, ..Options::default() };
        Ok(Some(Self(DurableEngine::open(dir, options)?)))
    }

    fn put(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut batch = Batch::new();
        rows.iter().for_each(|(key, value)| batch.put(Space::Data, key.clone(), value.clone()));
        Ok(self.0.commit(&[batch], Durability::Buffered)?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.0.get(Space::Data, key)?.map(|value| value.len()))
    }

    fn scan(&self) -> Result<u64> {
        let (all, limit) = (RowRange::all(), ScanLimit { rows: 1_024, bytes: 4 << 20 });
        let (mut rest, mut rows) = (all.clone(), 0);
        loop {
            let page = self.0.scan(Space::Data, &rest, limit)?;
            ensure!(page.damaged.is_empty(), "{:?}", page.damaged);
            rows += page.rows.len() as u64;
            match page.next {
                Some(next) => rest = all.resume(next),
                None => return Ok(rows),
            }
        }
    }

    fn settle(&mut self) -> Result<()> {
        self.0.flush()?;
        Ok(self.0.compact()?)
    }
}
