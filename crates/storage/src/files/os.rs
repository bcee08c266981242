//! The operating system's files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Files, LogFile};
use crate::directory::sync_directory;

/// A directory of the operating system.
#[derive(Debug)]
pub struct OsFiles {
    dir: PathBuf,
    /// Held open to be synced when no descriptor is to be had.
    handle: Option<File>,
}

impl OsFiles {
    /// The files in `dir`, made if it is not there (its parent must be).
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        match fs::create_dir(dir) {
            Ok(()) => sync_directory(&dir.join(".."))?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let handle = if cfg!(windows) { None } else { Some(File::open(dir)?) };
        Ok(Self { dir: dir.into(), handle })
    }

    /// The files in `dir`, which is not touched.
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.into(), handle: None }
    }
}

impl OsFiles {
    /// Makes a file that `fill` gives its length. One that could not be filled is removed.
    fn make(&self, name: &str, fill: impl FnOnce(&OsFile) -> io::Result<()>) -> io::Result<Arc<dyn LogFile>> {
        let path = self.dir.join(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let file = OsFile(file);
        if let Err(error) = fill(&file).and_then(|()| file.0.sync_all()) {
            // Its remains would only take room; the error that counts is the first.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(file))
    }
}

impl Files for OsFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // A name that is no text is not ours.
                names.extend(entry.file_name().into_string());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>> {
        self.make(name, |file| write_zeros(file, length))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>> {
        let path = self.dir.join(name);
        let file = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if is_read_only(&error) => File::open(&path)?,
            opened => opened?,
        };
        Ok(Arc::new(OsFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        match &self.handle {
            Some(handle) => handle.sync_all(),
            None => sync_directory(&self.dir),
        }
    }
}

#[derive(Debug)]
struct OsFile(File);

impl LogFile for OsFile {
    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                written => {
                    offset += written as u64;
                    bytes = &bytes[written..];
                }
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn write_zeros(file: &OsFile, length: u64) -> io::Result<()> {
    let zeros = vec![0; CHUNK.min(length) as usize];
    let mut offset = 0;
    while offset < length {
        let chunk = CHUNK.min(length - offset);
        file.write_at(offset, &zeros[..chunk as usize])?;
        // Piece by piece: another thread's fsync must not wait for all of them.
        file.sync_data()?;
        offset += chunk;
    }
    Ok(())
}

fn is_read_only(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}

/// Zeros are written in pieces of this many bytes.
const CHUNK: u64 = 1 << 20;
