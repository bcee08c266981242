//! Tables that cannot be opened are left out of a tree that is otherwise whole, before it is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use bytes::Bytes;
use lsm_tree::{Cache, Table};
use starling_types::row::{RowRange, successor};

use super::failure::Reason;
use super::manifest::{self, Levels};
use super::salvage::{Reading, try_open};
use crate::directory::sync_directory;
use crate::error::StorageError;
use crate::files::Patience;
use crate::ruins;

/// The tables of a tree that cannot be opened.
pub(super) struct LeaveOut {
    dir: PathBuf,
    tables: Vec<Unopened>,
}

struct Unopened {
    number: u64,
    /// The keys it may have had.
    keys: RowRange,
}

impl LeaveOut {
    /// Looks for them in the tree in `dir`, whose manifest is sound.
    ///
    /// # Errors
    /// If the disk does not give something.
    pub(super) fn of(dir: &Path, patience: &Patience) -> Result<Self, StorageError> {
        let failed = StorageError::during("reading a manifest");
        let levels = manifest::levels(dir).map_err(failed)?;
        let reading = Reading { patience: patience.clone(), given_up: Default::default() };
        let cache = Arc::new(Cache::with_capacity_bytes(1 << 20));
        let open = |number: u64| {
            let path = dir.join("tables").join(number.to_string());
            match try_open(&path, number, &cache, &reading) {
                Ok(table) => Ok(Some(table)),
                Err(error) => match Reason::of(&error) {
                    Reason::Damage(_) => Ok(None),
                    Reason::Unread(cause) => Err(StorageError::ReadFailed { path, cause }),
                    Reason::Later(error) => Err(error),
                },
            }
        };
        Ok(Self { dir: dir.into(), tables: unopened(&levels, open)? })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub(super) fn count(&self) -> usize {
        self.tables.len()
    }

    /// The rows that may be missing without them.
    pub(super) fn lost_ranges(&self) -> Vec<RowRange> {
        self.tables.iter().map(|table| table.keys.clone()).collect()
    }

    /// Sets their files aside, and puts a manifest in force that does not name them. Can be repeated after a crash.
    pub(super) fn carry_out(&self) -> io::Result<()> {
        let ruin = ruins::free_name(&self.dir, ruins::MARK)?;
        let place = ruin.join("tables");
        for table in &self.tables {
            let file = self.dir.join("tables").join(table.number.to_string());
            if fs::symlink_metadata(&file).is_ok() {
                fs::create_dir_all(&place)?;
                fs::rename(&file, place.join(table.number.to_string()))?;
            }
        }
        if place.exists() {
            sync_directory(&place)?;
            sync_directory(&ruin)?;
        }
        sync_directory(self.dir.parent().unwrap_or(&self.dir))?;
        sync_directory(&self.dir.join("tables"))?;
        let is_out = |number| self.tables.iter().any(|table| table.number == number);
        manifest::rewrite(&self.dir, |number| is_out(number).then(Vec::new)).map(drop)
    }
}

/// In a run the neighbours say between which keys a table lies.
fn unopened(
    levels: &Levels,
    open: impl Fn(u64) -> Result<Option<Table>, StorageError>,
) -> Result<Vec<Unopened>, StorageError> {
    let mut unopened = Vec::new();
    for run in levels.iter().flatten() {
        let (mut after, mut unbounded) = (Bytes::new(), Vec::new());
        for entry in run {
            let Some(table) = open(entry.id)? else {
                unbounded.push((entry.id, after.clone()));
                continue;
            };
            let keys = &table.metadata.key_range;
            let before = Some(Bytes::copy_from_slice(keys.min()));
            unopened.extend(
                unbounded.drain(..).map(|(number, after)| Unopened::between(number, after, before.clone())),
            );
            after = successor(keys.max());
        }
        unopened.extend(unbounded.into_iter().map(|(number, after)| Unopened::between(number, after, None)));
    }
    Ok(unopened)
}

impl Unopened {
    fn between(number: u64, after: Bytes, before: Option<Bytes>) -> Self {
        Self { number, keys: RowRange::new(after, before) }
    }
}
