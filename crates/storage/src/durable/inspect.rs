//! A look at a store from outside, which changes nothing.

use std::path::Path;

use crate::directory::DataDirectory;
use crate::error::StorageError;
use crate::files::OsFiles;
use crate::log::{Findings, Known, Log, LogError, Reading, Watermark};
use crate::marks::Marks;

/// The findings that an open of the store in `dir` would give of its log. Of the tables nothing is read: batches that
/// they hold and the log no longer has are known from the marks alone.
///
/// # Errors
/// [`StorageError::Foreign`] if there is no store; as [`super::DurableEngine::open`] otherwise. A store in use is
/// refused: its log is being written.
pub fn inspect_log(dir: &Path) -> Result<Findings, StorageError> {
    let directory = DataDirectory::new(dir);
    let none = || StorageError::Foreign { path: dir.into(), detail: "there is no store in it".into() };
    let number = directory.store()?.ok_or_else(none)?;
    let _lock = directory.lock()?;
    let in_meta = |error: LogError| StorageError::from(error).in_directory(dir, "meta");
    let marks = Marks::open(&directory.meta(), &Reading::default()).map_err(in_meta)?;
    let acknowledged = Watermark::inspect(&OsFiles::at(&directory.meta()), number).map_err(in_meta)?;
    let known = Known { flushed: marks.flushed(), acknowledged, ..Known::default() };
    let found = Log::inspect(&OsFiles::at(&directory.log()), number, known);
    found.map_err(|error| StorageError::from(error).in_directory(dir, "log"))
}
