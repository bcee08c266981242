//! The data directory of a node that does not run: look at it, mend it, restore a backup into it.
//!
//! A command that only looks works on a shadow: a second directory with links to the table files, which never change,
//! and copies of all else. The changes that opening a store makes (cutting a torn tail, rebuilding damaged tables)
//! happen to the shadow.

mod check;
mod dump;
mod repair;
mod restore;
mod rows;
mod shadow;
mod take_back;
#[cfg(test)]
mod tests;
mod unreadable;

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use starling_backup::BackupError;
use starling_node::boot::BootError;
use starling_node::{Boot, Losses};
use starling_storage::{DurableEngine, Engine, OpenReport, Options, ScanLimit, StorageError};
use starling_types::row::{Page, RowRange, Space};
use starling_types::{ClusterId, NodeId};

pub use check::{Check, SpaceCheck, check};
pub use dump::{Filter, dump};
pub use repair::{Mended, Repair, repair};
pub use restore::{Counters, Restore, Restored, restore};
pub use rows::{Flaw, FlawedRow, Held, judge};
pub use take_back::{TakenBack, take_back};
pub use unreadable::{GivenUp, give_up};

use crate::home::{HomeError, Inhabitant};

/// Why the work could not be done.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// There is no store.
    #[error("{} holds no store: name the data directory of a node (the one with node.json in it)", dir.display())]
    NoStore {
        /// The directory.
        dir: PathBuf,
    },
    /// A node runs there, or another command works on it.
    #[error("{} is in use by a running node or by another command: stop that first; nothing was changed", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A file that is to be given up is no part of the store.
    #[error("{} is not a file below tables, log or meta of {}: name one that a start says it cannot read; nothing was changed", file.display(), dir.display())]
    NoPart {
        /// The file.
        file: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
    /// A file that is to be given up can be read.
    #[error("{} can be read: there is nothing to give up; start the node; nothing was changed", file.display())]
    Readable {
        /// The file.
        file: PathBuf,
    },
    /// The store.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// `node.json`.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backup's rows about the node.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The backup is not all that was there.
    #[error("{why}: use another backup, or --incomplete to restore what there is; nothing was changed")]
    Incomplete {
        /// The missing part.
        why: String,
    },
    /// The backup is another node's.
    #[error(
        "the backup is of node {backup} of cluster {backup_cluster}, and {} is of node {here} of cluster {here_cluster}: a backup goes back to its own node; nothing was changed",
        dir.display()
    )]
    OtherNode {
        /// The directory.
        dir: PathBuf,
        /// Whose backup.
        backup: NodeId,
        /// Of which cluster.
        backup_cluster: ClusterId,
        /// Whose directory.
        here: NodeId,
        /// Of which cluster.
        here_cluster: ClusterId,
    },
}

impl OfflineError {
    fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path: path.clone(), source }
    }
}

/// The findings of a store's open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// In words.
    pub words: String,
    /// Whether rows that were acknowledged may be missing, or be there in an older version.
    pub has_losses: bool,
    /// Whether that was found before, and all that is left to do is to start the node.
    pub is_known: bool,
}

impl Opened {
    fn of(report: &OpenReport) -> Self {
        let before = OpenReport { lost_before: false, ..report.clone() };
        let is_known = report.lost_before && !before.has_losses();
        Self { words: report.to_string(), has_losses: report.has_losses(), is_known }
    }
}

/// Opens the store in `dir`, or makes one.
fn open(dir: &Path) -> Result<(DurableEngine, Opened), OfflineError> {
    let engine = DurableEngine::open(dir, Options { log_segment_bytes: SEGMENT, ..Options::default() })?;
    let opened = Opened::of(engine.report());
    Ok((engine, opened))
}

/// The cluster a store belongs to: by its layout, or else by `node.json`.
fn cluster_of(engine: &DurableEngine, inhabitant: Option<&Inhabitant>) -> Option<ClusterId> {
    let meta = crate::losses::meta_rows(engine).unwrap_or_default();
    let boot = Boot::read(&meta, &Losses::NONE).ok();
    boot.and_then(|boot| boot.cluster()).or(inhabitant?.cluster_id)
}

/// Shows all rows of a namespace, page by page.
fn walk(
    engine: &DurableEngine,
    namespace: Space,
    mut look: impl FnMut(Page) -> Result<(), OfflineError>,
) -> Result<(), OfflineError> {
    walk_while(engine, namespace, |page| look(page).map(ControlFlow::Continue)).map(|_| ())
}

/// The same, as long as `look` wants to see more.
fn walk_while(
    engine: &DurableEngine,
    namespace: Space,
    mut look: impl FnMut(Page) -> Result<ControlFlow<()>, OfflineError>,
) -> Result<ControlFlow<()>, OfflineError> {
    let mut range = RowRange::all();
    loop {
        let mut page = engine.scan(namespace, &range, PAGE)?;
        let next = page.next.take();
        if look(page)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        match next {
            Some(next) => range = range.resume(next),
            None => return Ok(ControlFlow::Continue(())),
        }
    }
}

/// A row that the disk does not give is not replaced: it may be newer than the one that would take its place.
fn all_read(namespace: Space, page: &Page) -> Result<(), OfflineError> {
    match page.unread.first() {
        None => Ok(()),
        Some(range) => {
            let (key, cause) = (range.start().clone(), "the disk does not give it".into());
            Err(StorageError::Unread { namespace, key, cause }.into())
        }
    }
}

/// Files of the log that a command begins; the node goes back to its own size.
const SEGMENT: u64 = 4 << 20;
const PAGE: ScanLimit = ScanLimit { rows: 1_024, bytes: 4 << 20 };
