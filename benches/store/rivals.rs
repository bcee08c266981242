//! Other stores, with the same memory for reads.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use redb::{Durability, ReadableDatabase, ReadableTable};

use crate::Store;
use crate::system::linger;

/// Memory for reads.
const CACHE: u64 = 64 << 20;

/// fjall 3.
pub struct Fjall {
    database: fjall::Database,
    rows: fjall::Keyspace,
}

impl Store for Fjall {
    fn open(dir: &Path) -> Result<Self> {
        let database = fjall::Database::builder(dir).cache_size(CACHE).open()?;
        let rows = database.keyspace("rows", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, rows })
    }

    fn put(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut batch = self.database.batch();
        for (key, value) in rows {
            batch.insert(&self.rows, key.as_slice(), value.as_slice());
        }
        Ok(batch.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.rows.get(key)?.map(|value| value.len()))
    }

    fn scan(&self) -> Result<u64> {
        let mut rows = 0;
        for row in self.rows.iter() {
            row.into_inner()?;
            rows += 1;
        }
        Ok(rows)
    }

    fn settle(&mut self) -> Result<()> {
        self.rows.rotate_memtable_and_wait()?;
        // It cannot be asked whether compaction is done; its files stop changing.
        let mut before = 0;
        while before != self.rows.disk_space() {
            before = self.rows.disk_space();
            linger(Duration::from_secs(2));
        }
        Ok(())
    }
}

const ROWS: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("rows");

/// redb.
pub struct Redb(redb::Database);

impl Store for Redb {
    fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self(redb::Builder::new().set_cache_size(CACHE as usize).create(dir.join("redb"))?))
    }

    fn put(&mut self, rows: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(Durability::None)?;
        {
            let mut table = transaction.open_table(ROWS)?;
            for (key, value) in rows {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        let table = self.0.begin_read()?.open_table(ROWS)?;
        Ok(table.get(key)?.map(|value| value.value().len()))
    }

    fn scan(&self) -> Result<u64> {
        let table = self.0.begin_read()?.open_table(ROWS)?;
        let mut rows = 0;
        for row in table.iter()? {
            row?;
            rows += 1;
        }
        Ok(rows)
    }

    fn settle(&mut self) -> Result<()> {
        // A durable commit frees what earlier ones left.
        let transaction = self.0.begin_write()?;
        Ok(transaction.commit()?)
    }
}
