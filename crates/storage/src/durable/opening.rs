//! Opening the trees: what is damaged is made anew, what the disk does not give is tried again and otherwise left alone.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use starling_types::{Formats, OtherFormat};

use super::failure::Reason;
use super::headroom::Volume;
use super::leaving_out::LeaveOut;
use super::options::Options;
use super::report::OpenReport;
use super::shared::Shared;
use super::surroundings::Surroundings;
use super::tombstones::Tombstones;
use super::tree::Tree;
use super::trees::Trees;
use super::{failure, manifest, salvage, strangers};
use crate::Space;
use crate::directory::DataDirectory;
use crate::error::StorageError;
use crate::marks::Marks;

/// Opens all trees of a store, and makes those anew that are damaged.
pub(super) fn open_trees(
    directory: &DataDirectory,
    options: Options,
    surroundings: &Surroundings,
    marks: &mut Marks,
    report: &mut OpenReport,
) -> Result<Trees, StorageError> {
    let shared = Shared::new(options);
    let mut open = |namespace: Space| {
        let dir = directory.tables().join(namespace.name());
        let opening = Opening { dir: &dir, namespace, shared: &shared, surroundings };
        // As somebody asked before, for the sake of rows that the log still has. Without room for that, what is damaged is
        // mended while the store is open.
        let is_marked = marks.facts().damaged.contains(&namespace);
        let is_to_be_made_anew = is_marked && (namespace == Space::Meta || opening.check_room().is_ok());
        if is_to_be_made_anew || salvage::is_interrupted(&dir) {
            return opening.rebuild(marks, report);
        }
        if let Some(tree) = opening.open()? {
            return Ok(tree);
        }
        if namespace != Space::Meta
            && opening.leave_out(marks, report)?
            && let Some(tree) = opening.open()?
        {
            return Ok(tree);
        }
        opening.rebuild(marks, report)
    };
    let [data, hints, meta] = Space::ALL;
    let trees = [open(data)?, open(hints)?, open(meta)?];
    let tombstones = || {
        let meta = trees[usize::from(Space::Meta.code())].published();
        Tombstones::open(meta, shared.durable_tombstones.clone())
    };
    let tombstones = surroundings.patience.try_while(is_unread, tombstones)?;
    Ok(Trees::new(trees, shared, tombstones))
}

/// The open of one tree.
struct Opening<'a> {
    dir: &'a Path,
    namespace: Space,
    shared: &'a Shared,
    surroundings: &'a Surroundings,
}

impl Opening<'_> {
    /// The tree; none if it is damaged, so that it cannot be opened, or if a person gives up part of it.
    fn open(&self) -> Result<Option<Tree>, StorageError> {
        if self.unread_given_up().is_some() {
            return Ok(None);
        }
        self.surroundings.patience.try_while(is_unread, || self.try_open())
    }

    fn try_open(&self) -> Result<Option<Tree>, StorageError> {
        let failed = |cause: &io::Error| self.read_failed(&cause.to_string());
        strangers::move_aside(self.dir).map_err(|error| failed(&error))?;
        // Without its manifest the library would take the directory for a new tree, and throw away what is in it.
        if !manifest::is_sound(self.dir).map_err(|error| failed(&error))? {
            return Ok(None);
        }
        // The library asserts some properties of its files; a damaged file must not look like a bug of ours.
        let open = || Tree::open(self.dir, self.namespace, self.shared);
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(Ok(tree)) => Ok(Some(tree)),
            // Of a sound manifest that is no damage.
            Ok(Err(lsm_tree::Error::InvalidVersion(found))) => {
                let (found, opens) = (found.into(), Formats { oldest: 3, newest: 3 });
                Err(StorageError::OtherFormat { dir: self.dir.into(), format: OtherFormat { found, opens } })
            }
            Ok(Err(error)) => match Reason::of(&error) {
                Reason::Damage(_) => Ok(None),
                Reason::Unread(cause) => Err(self.read_failed(&cause)),
                Reason::Later(error) => Err(error),
            },
            Err(_) => match self.unread_file() {
                Some(path) => Err(StorageError::ReadFailed { path, cause: "the library panicked".into() }),
                None => Ok(None),
            },
        }
    }

    /// Sets tables aside that cannot be opened, if these are all that is wrong. Says whether there were any.
    fn leave_out(&self, marks: &mut Marks, report: &mut OpenReport) -> Result<bool, StorageError> {
        if self.unread_given_up().is_some() || !manifest::is_sound(self.dir).unwrap_or(false) {
            return Ok(false);
        }
        let out = LeaveOut::of(self.dir, &self.surroundings.patience)?;
        if out.is_empty() {
            return Ok(false);
        }
        let lost = if self.namespace == Space::Data { out.lost_ranges() } else { Vec::new() };
        tracing::error!(namespace = %self.namespace, tables = out.count(), "tables cannot be opened: they are set aside");
        // First: tables that lack something must not look like whole ones.
        marks.add_lost(&lost).map_err(StorageError::during("noting that tables are damaged"))?;
        out.carry_out().map_err(StorageError::during("setting damaged tables aside"))?;
        report.left_out.extend(std::iter::repeat_n(self.namespace, out.count()));
        report.lost_ranges.extend(lost);
        Ok(true)
    }

    /// Makes the tree anew from what can be read of it.
    fn rebuild(&self, marks: &mut Marks, report: &mut OpenReport) -> Result<Tree, StorageError> {
        let Self { dir, namespace, shared, surroundings } = *self;
        tracing::error!(%namespace, "tables are damaged: rebuilding them from what can be read");
        self.check_room()?;
        let (patience, given_up) = (surroundings.patience.clone(), surroundings.given_up.clone());
        let reading = salvage::Reading { patience, given_up };
        let rebuilt = salvage::Rebuilt::make(dir, namespace, shared, &reading)?;
        // First: tables that lack something must not look like whole ones.
        let marked = marks.set_lost(true).and_then(|()| marks.set_damaged(namespace));
        marked.map_err(StorageError::during("noting that tables are damaged"))?;
        report.salvaged.push((namespace, rebuilt.salvage.clone()));
        rebuilt.install()?;
        let tree = Tree::open(dir, namespace, shared);
        tree.map_err(|error| failure::of_write(&error))
    }

    /// The new tables are as large as the old ones at most, and those stay.
    fn check_room(&self) -> Result<(), StorageError> {
        let files = std::fs::read_dir(self.dir.join("tables")).into_iter().flatten().flatten();
        let needed: u64 = files.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
        let free = Volume::free_in(self.dir.parent().unwrap_or(self.dir));
        if free >= needed {
            return Ok(());
        }
        let cause = format!(
            "the tables of {} are damaged in such a way that they must be made anew, which takes {needed} bytes; {free} are \
             free; make room, then start the node again; nothing was changed",
            self.namespace
        );
        Err(StorageError::NoSpace { cause })
    }

    fn read_failed(&self, cause: &str) -> StorageError {
        let path = self.unread_file().unwrap_or_else(|| self.dir.into());
        StorageError::ReadFailed { path, cause: cause.into() }
    }

    /// The first file of the tree that the disk does not give: the library does not say which it was.
    fn unread_file(&self) -> Option<PathBuf> {
        let files = [self.dir.to_path_buf(), self.dir.join("tables")];
        let mut files = files.iter().flat_map(|dir| std::fs::read_dir(dir).into_iter().flatten().flatten());
        files.find_map(|file| {
            let path = file.path();
            let is_unread = file.file_type().is_ok_and(|kind| !kind.is_dir()) && !can_be_read(&path);
            is_unread.then_some(path)
        })
    }

    /// A file of this tree that a person has given up, and that indeed cannot be read.
    fn unread_given_up(&self) -> Option<&PathBuf> {
        let mut files = self.surroundings.given_up.iter().filter(|file| file.starts_with(self.dir));
        files.find(|file| std::fs::symlink_metadata(file).is_ok() && !can_be_read(file))
    }
}

fn can_be_read(path: &Path) -> bool {
    std::fs::File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink())).is_ok()
}

/// Whether the disk did not give what was asked for, so that another try may do.
pub(super) const fn is_unread(error: &StorageError) -> bool {
    use StorageError::{Io, ReadFailed, Scarce, Unread};
    matches!(error, Io { .. } | ReadFailed { .. } | Scarce { .. } | Unread { .. })
}
