//! Rows that can be read of a ruin, to be merged as writes: a ruin is never put back in its place, because what was
//! written since would be forgotten.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::salvage;
use crate::Space;
use crate::directory::DataDirectory;
use crate::error::StorageError;
use crate::files::{Files as _, OsFiles, Patience};
use crate::{log, payload, row};

/// The yield of a ruin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Excavation {
    /// Rows that were whole.
    pub rows: u64,
    /// Places in it that are damaged: table files, or runs of bytes of a log segment.
    pub damaged: u64,
}

/// Shows the rows that a ruin of the store in `dir` still has: the directory of a namespace's tables, or a segment of the
/// log. The same row may be shown more than once. Changes nothing.
///
/// # Errors
/// [`StorageError::Foreign`] if it is no ruin of this store; [`StorageError::ReadFailed`] if the disk does not give some of
/// it; what `show` answers.
pub fn excavate<E: From<StorageError>>(
    dir: &Path,
    ruin: &Path,
    show: &mut dyn FnMut(Space, Bytes, Bytes) -> Result<(), E>,
) -> Result<Excavation, E> {
    let directory = DataDirectory::new(dir);
    let foreign = |detail: &str| StorageError::Foreign { path: PathBuf::from(ruin), detail: detail.into() };
    let number = directory.store()?.ok_or_else(|| foreign("there is no store in its directory"))?;
    let name = ruin.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if ruin.is_dir() {
        let namespace =
            Space::ALL.into_iter().find(|namespace| name.split('.').next() == Some(namespace.name()));
        let namespace = namespace.ok_or_else(|| foreign("no tables are called so"))?;
        return tables(ruin, namespace, show);
    }
    if !name.contains(".log") {
        return Err(foreign("it is neither tables nor a segment of the log").into());
    }
    segment(ruin, number, show)
}

fn tables<E: From<StorageError>>(
    ruin: &Path,
    namespace: Space,
    show: &mut dyn FnMut(Space, Bytes, Bytes) -> Result<(), E>,
) -> Result<Excavation, E> {
    let mut found = Excavation::default();
    let salvage = salvage::read(ruin, namespace, &mut |key: Bytes, value: Bytes| {
        found.rows += 1;
        show(namespace, key, value)
    })?;
    found.damaged = salvage.damaged_tables as u64;
    Ok(found)
}

fn segment<E: From<StorageError>>(
    ruin: &Path,
    store: u64,
    show: &mut dyn FnMut(Space, Bytes, Bytes) -> Result<(), E>,
) -> Result<Excavation, E> {
    let (dir, name) = (ruin.parent().unwrap_or(ruin), ruin.file_name().unwrap_or_default());
    let failed =
        |error: std::io::Error| StorageError::ReadFailed { path: ruin.into(), cause: error.to_string() };
    let files = OsFiles::at(dir);
    let bytes = Patience::default().try_read(|| {
        let file = files.open(&name.to_string_lossy())?;
        crate::files::read_all(&*file)
    });
    let bytes = Bytes::from(bytes.map_err(failed)?);
    let mut found = Excavation::default();
    let (payloads, damaged) = log::whole_payloads(store, &bytes);
    found.damaged = damaged;
    for op in payloads.into_iter().flat_map(payload::ops) {
        let Some(stored) = op.row else { continue };
        if let Ok(value) = row::decode(op.namespace, &op.key, stored) {
            found.rows += 1;
            show(op.namespace, op.key, value)?;
        }
    }
    Ok(found)
}
