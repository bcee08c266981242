//! Other stores, each as its documentation says durable group commit is done.

use std::path::Path;

use anyhow::Result;

use crate::Put;
use crate::serial::Place;

/// fjall 3: a journal over the same tables as ours.
pub struct Fjall {
    database: fjall::Database,
    rows: fjall::Keyspace,
}

impl Fjall {
    /// An empty database in `dir`.
    pub fn create(dir: &Path) -> Result<Self> {
        let database = fjall::Database::builder(dir).open()?;
        let rows = database.keyspace("rows", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, rows })
    }
}

impl Place for Fjall {
    fn commit(&mut self, puts: &[Put]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for put in puts {
            batch.insert(&self.rows, &put.key[..], &put.value[..]);
        }
        Ok(batch.commit()?)
    }
}

const ROWS: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new("rows");

/// redb: a copy-on-write B-tree in one file.
pub struct Redb(redb::Database);

impl Redb {
    /// An empty database at `path`.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self(redb::Database::create(path)?))
    }
}

impl Place for Redb {
    fn commit(&mut self, puts: &[Put]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            for put in puts {
                rows.insert(&put.key[..], &put.value[..])?;
            }
        }
        Ok(transaction.commit()?)
    }
}
