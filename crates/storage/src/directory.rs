//! The data directory as far as the store owns it:
//!
//! ```text
//! DIR/LOCK             held while the store is open; names the process
//! DIR/tables/FORMAT    the store's format, written last when it is created
//! DIR/tables/          everything else in here belongs to the tables' library
//! DIR/tables.new/      a store under construction; removed at the next open
//! ```
//!
//! A store is built under another name and takes its place by one rename, so that a crash leaves a whole store
//! or none: a half-made one could neither be opened nor told from a damaged one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::error::StorageError;

/// The format of stores that this version writes, and the newest it reads.
pub(crate) const STORE_FORMAT: u32 = 1;

/// The paths of a data directory.
#[derive(Debug, Clone)]
pub(crate) struct DataDirectory {
    dir: PathBuf,
}

/// Held while a store is open; the operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock(#[expect(dead_code, reason = "held for its lock")] File);

impl DataDirectory {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn tables(&self) -> PathBuf {
        self.dir.join("tables")
    }

    /// Whether a store is here that this version can open. Changes nothing.
    pub(crate) fn has_store(&self) -> Result<bool, StorageError> {
        let tables = self.tables();
        match fs::read(tables.join(FORMAT_FILE)) {
            Ok(text) => self.check_format(&text).map(|()| true),
            Err(error) if is_absent(&error) => self.check_vacant(&tables).map(|()| false),
            Err(error) => Err(StorageError::io("reading the store's format", &error)),
        }
    }

    /// Makes the directory, with its parents, so that it outlives a power cut.
    pub(crate) fn create(&self) -> Result<(), StorageError> {
        create_durably(&self.dir).map_err(StorageError::during("creating the data directory"))
    }

    pub(crate) fn lock(&self) -> Result<DirectoryLock, StorageError> {
        let failed = StorageError::during("locking the data directory");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(self.dir.join(LOCK_FILE)).map_err(&failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.locked_by(&mut file)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0).map_err(&failed)?;
        writeln!(file, "process {}", std::process::id()).map_err(&failed)?;
        Ok(DirectoryLock(file))
    }

    /// An empty place in which to build a store.
    pub(crate) fn construction_site(&self) -> Result<PathBuf, StorageError> {
        let site = self.dir.join("tables.new");
        match fs::remove_dir_all(&site) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StorageError::io("removing a half-made store", &error))
            }
            _ => Ok(site),
        }
    }

    /// Puts the store that was built at `site` in its place.
    pub(crate) fn install(&self, site: &Path) -> Result<(), StorageError> {
        let install = || {
            let mut format = File::create_new(site.join(FORMAT_FILE))?;
            writeln!(format, "{FORMAT_WORDS} {STORE_FORMAT}")?;
            format.sync_all()?;
            sync_directory(site)?;
            remove_if_empty(&self.tables())?;
            fs::rename(site, self.tables())?;
            sync_directory(&self.dir)
        };
        install().map_err(StorageError::during("creating the store"))
    }

    fn check_format(&self, text: &[u8]) -> Result<(), StorageError> {
        let text = String::from_utf8_lossy(text);
        let format = text.strip_prefix(FORMAT_WORDS).and_then(|rest| rest.trim().parse().ok());
        match format {
            Some(found) if found > STORE_FORMAT => {
                Err(StorageError::FormatTooNew { dir: self.dir.clone(), found, supported: STORE_FORMAT })
            }
            Some(STORE_FORMAT) => Ok(()),
            _ => Err(StorageError::Foreign {
                path: self.tables(),
                detail: format!("{FORMAT_FILE} says {:?}", text.chars().take(40).collect::<String>()),
            }),
        }
    }

    /// No store, and nothing in the place of one.
    fn check_vacant(&self, tables: &Path) -> Result<(), StorageError> {
        let foreign = |detail: &str| StorageError::Foreign { path: tables.into(), detail: detail.into() };
        match fs::read_dir(tables) {
            Ok(mut entries) => match entries.next() {
                None => Ok(()),
                Some(_) => Err(foreign("it has files but no FORMAT")),
            },
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Err(foreign("no directory")),
            Err(error) => Err(StorageError::io("reading the data directory", &error)),
        }
    }

    fn locked_by(&self, lock: &mut File) -> StorageError {
        let mut holder = String::new();
        // Best effort: some systems refuse to read what is locked.
        let _ = lock.take(64).read_to_string(&mut holder);
        let holder = match holder.trim() {
            "" => "another process".into(),
            named => named.into(),
        };
        StorageError::Locked { dir: self.dir.clone(), holder }
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// `mkdir -p` that survives a power cut: each new directory's parent is synced.
fn create_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_durably(parent)?;
    match fs::create_dir(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

fn remove_if_empty(dir: &Path) -> io::Result<()> {
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the entries of a directory durable.
#[cfg(not(windows))]
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Directories cannot be synced here; the file system orders their changes itself.
#[cfg(windows)]
fn sync_directory(_dir: &Path) -> io::Result<()> {
    Ok(())
}

const LOCK_FILE: &str = "LOCK";
const FORMAT_FILE: &str = "FORMAT";
const FORMAT_WORDS: &str = "starling store";
