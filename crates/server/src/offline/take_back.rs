//! Rows that were lost and can be read after all come back as writes, merged with those that are there.

use std::path::Path;

use starling_backup::Row;
use starling_node::{Boot, Losses};
use starling_storage::{Batch, Durability, Engine, Excavation, excavate};
use starling_types::row::Space;
use starling_vnode::rows::META_CLEAN_STOP;

use super::restore::{Counters, Work};
use super::rows::FlawedRow;
use super::{OfflineError, cluster_of, open};
use crate::home::Inhabitant;
use crate::losses::meta_rows;

/// The result of taking back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenBack {
    /// The rows that could be read.
    pub found: Excavation,
    /// Records of owned keys.
    pub data: Counters,
    /// Records kept for others.
    pub hints: Counters,
    /// Rows that no record can be made of, as far as they fit.
    pub flawed: Vec<FlawedRow>,
}

/// Merges the rows that can be read of a ruin into the store of a node that does not run: the directory of a
/// namespace's tables, or a segment of the log. Newer rows there stay; rows deleted since stay deleted. The ruin is not
/// touched.
///
/// # Errors
/// If it is no ruin of this store; if a node runs there; if the disk does not give some of the ruin, or the operating
/// system refuses. Running it again is safe.
pub fn take_back(dir: &Path, ruin: &Path) -> Result<TakenBack, OfflineError> {
    let inhabitant = Inhabitant::of(dir)?;
    if !dir.join("tables").is_dir() {
        return Err(OfflineError::NoStore { dir: dir.into() });
    }
    let (engine, _) = open(dir)?;
    let boot = Boot::read(&meta_rows(&engine)?, &Losses::NONE)?;
    // The next start must not take what it remembers of its stop for all that is here.
    let mut mark = Batch::new();
    mark.delete(Space::Meta, META_CLEAN_STOP);
    engine.commit(&[mark], Durability::Synced)?;
    let mut work = Work::new(&engine, boot, cluster_of(&engine, inhabitant.as_ref()));
    let found = excavate(dir, ruin, &mut |namespace, key, value| work.take(Row { namespace, key, value }))?;
    work.merge()?;
    let ([data, hints], flawed) = work.into_counts();
    engine.commit(&[], Durability::Synced)?;
    engine.close()?;
    Ok(TakenBack { found, data, hints, flawed })
}
