//! A second directory with the same store, on which anything may be tried.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use starling_storage::{DurableEngine, StorageError};

use super::{OfflineError, Opened};
use crate::home::{HomeError, Inhabitant};

/// Held while a command works on a directory beside its store: no node can start there.
#[derive(Debug)]
pub(super) struct Held(#[expect(dead_code, reason = "held for its lock")] File);

/// Takes the lock that a running node holds.
pub(super) fn hold(dir: &Path) -> Result<Held, OfflineError> {
    let path = dir.join("LOCK");
    let failed = OfflineError::io("locking", &path);
    if !dir.join("tables").is_dir() {
        return Err(OfflineError::NoStore { dir: dir.into() });
    }
    if let Err(error @ HomeError::OtherFormat { .. }) = Inhabitant::of(dir) {
        return Err(error.into());
    }
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    // A directory that may only be read can still be looked at.
    let file = options.open(&path).or_else(|_| File::open(&path)).map_err(&failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Held(file)),
        Err(TryLockError::WouldBlock) => Err(OfflineError::InUse { dir: dir.into() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// A shadow, removed when it is no longer needed.
#[derive(Debug)]
pub(super) struct Shadow {
    at: PathBuf,
}

impl Shadow {
    /// Of the store in `dir`, inside `scratch`, or else inside the data directory itself.
    pub(super) fn cast(dir: &Path, scratch: Option<&Path>) -> Result<Self, OfflineError> {
        let at = scratch.unwrap_or(dir).join(format!("shadow-{}", std::process::id()));
        remove_left_over(scratch.unwrap_or(dir));
        let shadow = Self { at };
        keep(dir, &shadow.at)?;
        Ok(shadow)
    }

    /// Opens it; errors speak of the directory that it is the shadow of.
    pub(super) fn open(&self, dir: &Path) -> Result<(DurableEngine, Opened), OfflineError> {
        super::open(&self.at).map_err(|error| match error {
            OfflineError::Storage(StorageError::OtherFormat { dir: part, format }) => {
                let part = part.strip_prefix(&self.at).unwrap_or(&part).to_owned();
                StorageError::OtherFormat { dir: dir.join(part).components().collect(), format }.into()
            }
            OfflineError::Storage(StorageError::Unreadable { cause, .. }) => {
                StorageError::Unreadable { dir: dir.into(), cause }.into()
            }
            OfflineError::Storage(StorageError::ReadFailed { path, cause }) => {
                let part = path.strip_prefix(&self.at).unwrap_or(&path).to_owned();
                StorageError::ReadFailed { path: dir.join(part), cause }.into()
            }
            OfflineError::Storage(StorageError::Foreign { path, detail }) => {
                let part = path.strip_prefix(&self.at).unwrap_or(&path).to_owned();
                StorageError::Foreign { path: dir.join(part), detail }.into()
            }
            other => other,
        })
    }
}

impl Drop for Shadow {
    fn drop(&mut self) {
        // A rest that stays behind does no harm.
        let _ = fs::remove_dir_all(&self.at);
    }
}

/// Shadows of commands that were killed. The caller holds the lock: none of them is in use.
fn remove_left_over(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let of = name.to_str().and_then(|name| name.strip_prefix("shadow-"));
        // A directory that only begins so is not ours.
        if of.is_some_and(|process| process.parse::<u32>().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Makes `to` a copy of the store in `dir`.
pub(super) fn keep(dir: &Path, to: &Path) -> Result<(), OfflineError> {
    keep_but(dir, to, &BTreeSet::new())
}

/// The same without some files.
pub(super) fn keep_but(dir: &Path, to: &Path, without: &BTreeSet<PathBuf>) -> Result<(), OfflineError> {
    fs::create_dir_all(to).map_err(OfflineError::io("creating", to))?;
    for part in ["tables", "log", "meta"] {
        let (from, to) = (dir.join(part), to.join(part));
        if from.is_dir() {
            copy(&from, &to, without)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path, without: &BTreeSet<PathBuf>) -> Result<(), OfflineError> {
    let failed = OfflineError::io("copying", from);
    fs::create_dir(to).map_err(&failed)?;
    // Tables and blobs are written once; everything else may be written to in place.
    let is_linked =
        ["tables", "blobs"].iter().any(|name| from.ends_with(name) && !from.join("FORMAT").exists());
    for entry in fs::read_dir(from).map_err(&failed)? {
        let entry = entry.map_err(&failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Files that the log has yet to use, and what was set aside before.
        if name.starts_with("spare-") || name.contains(".ruin-") || without.contains(&entry.path()) {
            continue;
        }
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(&failed)?.is_dir() {
            copy(&from, &to, without)?;
        } else if !is_linked || fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).map_err(OfflineError::io("copying", &from))?;
        }
    }
    Ok(())
}
