//! The data directory as far as the store owns it:
//!
//! ```text
//! DIR/LOCK             held while the store is open; names the process
//! DIR/tables/FORMAT    the store's format and number, written last when it is created
//! DIR/tables/data      a tree of tables for each namespace; also hints and meta
//! DIR/tables.new/      a store under construction; removed at the next open
//! DIR/log/             the commit log
//! DIR/meta/            marks and watermark: facts that must outlive the log they are about
//! ```
//!
//! The tables are made under another name and take their place by one rename, after the other directories are there: a
//! crash leaves a whole store or none, and what is missing later was lost.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use starling_types::Formats;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::StorageError;

/// The formats of stores that this version opens. The number stands for all that lies in the directory: whatever an earlier
/// version could not read there, be it in a row, gives it a new one.
const STORE_FORMATS: Formats = Formats { oldest: 2, newest: 2 };

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

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) fn meta(&self) -> PathBuf {
        self.dir.join("meta")
    }

    /// The number of the store that is here, if one is that this version can open. Changes nothing.
    pub(crate) fn store(&self) -> Result<Option<u64>, StorageError> {
        match fs::read(self.tables().join(FORMAT_FILE)) {
            Ok(text) => self.check_format(&text).map(Some),
            Err(error) if is_absent(&error) => {
                let places = [self.tables(), self.log(), self.meta()];
                places.iter().try_for_each(|place| self.check_vacant(place)).map(|()| None)
            }
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
        // For messages only: on a volume without a byte left it stays empty.
        let _ = file.set_len(0).and_then(|()| writeln!(file, "process {}", std::process::id()));
        Ok(DirectoryLock(file))
    }

    /// An empty place in which to build a store.
    pub(crate) fn construction_site(&self) -> Result<PathBuf, StorageError> {
        let site = self.dir.join("tables.new");
        remove_tree(&site).map_err(StorageError::during("removing a half-made store"))?;
        Ok(site)
    }

    /// Puts the store that was built at `site` in its place, under a number by which its files know each other.
    pub(crate) fn install(&self, site: &Path, number: u64) -> Result<(), StorageError> {
        let install = || {
            create_durably(&self.log())?;
            create_durably(&self.meta())?;
            let mut format = File::create_new(site.join(FORMAT_FILE))?;
            writeln!(format, "{}", identity(STORE_FORMATS.newest, number))?;
            format.sync_all()?;
            sync_directory(site)?;
            remove_if_empty(&self.tables())?;
            fs::rename(site, self.tables())?;
            sync_directory(&self.dir)
        };
        install().map_err(StorageError::during("creating the store"))
    }

    fn check_format(&self, text: &[u8]) -> Result<u64, StorageError> {
        let text = String::from_utf8_lossy(text);
        let mut words = text.strip_prefix(FORMAT_WORDS).unwrap_or_default().split_ascii_whitespace();
        let format = words.next().and_then(|format| format.parse().ok());
        let number = words.next().and_then(|number| u64::from_str_radix(number, 16).ok());
        match (format, number) {
            (Some(found), _) if let Err(format) = STORE_FORMATS.check(found) => {
                Err(StorageError::OtherFormat { dir: self.dir.clone(), format })
            }
            (Some(format), Some(number)) if text.trim_end() == identity(format, number) => Ok(number),
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

/// A store's statement of itself: a damaged number would make its log another store's.
pub(crate) fn identity(format: u32, number: u64) -> String {
    let words = format!("{FORMAT_WORDS} {format} {number:016x}");
    let sum = xxh3_64(words.as_bytes());
    format!("{words} {sum:016x}")
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

/// Removes a directory and all in it, if it is there.
pub(crate) fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
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
pub(crate) fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Directories cannot be synced here; the file system orders their changes itself.
#[cfg(windows)]
pub(crate) fn sync_directory(_dir: &Path) -> io::Result<()> {
    Ok(())
}

const LOCK_FILE: &str = "LOCK";
const FORMAT_FILE: &str = "FORMAT";
const FORMAT_WORDS: &str = "starling store";
