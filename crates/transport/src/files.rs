//! Small files that must be whole or absent, and some of them private.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::identity::IdentityError;

/// The users that may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Its owner alone (mode 0600).
    Owner,
    /// All users (mode 0644).
    Everybody,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everybody => 0o644,
        }
    }
}

/// Reads a whole file; `advice` tells a person what to do if it is not there.
pub(crate) fn read(path: &Path, advice: &'static str) -> Result<Vec<u8>, IdentityError> {
    std::fs::read(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => IdentityError::Missing { path: path.into(), advice },
        _ => IdentityError::Io { path: path.into(), source },
    })
}

/// Writes a whole file: after a crash it is there with all its bytes, or as it was before.
pub(crate) fn write(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), IdentityError> {
    replace(path, bytes, readers).map_err(|source| IdentityError::Io { path: path.into(), source })
}

fn replace(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let staged = staged(path);
    remove_leftover(&staged)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(readers.mode()).open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&staged, path)?;
    sync_parent(path)
}

/// The process id keeps two processes apart; a leftover of the same id is from a dead one.
fn staged(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".new-{}", std::process::id()));
    path.with_file_name(name)
}

fn remove_leftover(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Makes the directory if need be and holds it against other processes until the guard is dropped; a crash
/// releases it.
pub(crate) fn lock_dir(dir: &Path) -> Result<File, IdentityError> {
    let lock = || {
        std::fs::create_dir_all(dir)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(LOCK))?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|source| IdentityError::Io { path: dir.into(), source })
}

const LOCK: &str = ".lock";
