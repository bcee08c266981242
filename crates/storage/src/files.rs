//! The files under the log: one flat directory, few operations, so that a test can stand in for the disk.
//!
//! A write is durable after [`LogFile::sync_data`], a file's creation, renaming or removal after
//! [`Files::sync_directory`]; a power cut may take anything else, in any order. [`OsFiles`] is the operating system;
//! [`FaultyFiles`] is a disk in memory that fails on demand.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

mod faulty;
mod os;
mod patience;
mod trouble;

pub use faulty::{FaultyFiles, Unsynced, WriteFault};
pub use os::OsFiles;
pub use patience::Patience;
pub(crate) use trouble::Trouble;

/// The files of one directory, by name.
pub trait Files: Send + Sync + Debug {
    /// The names of all files, in order.
    ///
    /// # Errors
    /// If the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `length` zero bytes, in the place of one that has the name. The zeros are written and synced, so
    /// that what is written over them later needs no room and no change of metadata. After an error, no file of the
    /// name is left.
    ///
    /// # Errors
    /// If the system refuses; [`io::ErrorKind::StorageFull`] if there is no room.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn LogFile>>;

    /// Opens a file that is there. One that may only be read is opened for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn LogFile>>;

    /// Gives a file another name, in the place of one that has it.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not there.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is not there.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes what was created, renamed and removed so far durable.
    ///
    /// # Errors
    /// After one it is unknown what the directory will hold after a power cut.
    fn sync_directory(&self) -> io::Result<()>;
}

/// An open file of fixed length.
pub trait LogFile: Send + Sync + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// If the system refuses.
    fn length(&self) -> io::Result<u64>;

    /// Reads from `offset` on, as many bytes as the system gives at once: none only at the end.
    ///
    /// # Errors
    /// If they cannot be read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    /// After one it is unknown which of the bytes were written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was written so far durable.
    ///
    /// # Errors
    /// After one it is unknown what is durable, and another try may answer yes without cause (Rebello et al., "Can
    /// Applications Recover from fsync Failures?", USENIX ATC 2020): never retry.
    fn sync_data(&self) -> io::Result<()>;
}

/// All bytes of a file.
///
/// # Errors
/// If any of it cannot be read: that says nothing of what it holds.
pub(crate) fn read_all(file: &dyn LogFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = zeros(length)?;
    fill(file, 0, &mut bytes)?;
    Ok(bytes)
}

/// The bytes of a file whose unreadable blocks were given up: zeros are in their place, and checksums will tell.
pub(crate) fn read_what_can_be(file: &dyn LogFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = zeros(length)?;
    for (index, block) in bytes.chunks_mut(BLOCK).enumerate() {
        if let Err(error) = fill(file, index * BLOCK, block) {
            tracing::error!(%error, offset = index * BLOCK, "a block of the log is given up");
            block.fill(0);
        }
    }
    Ok(bytes)
}

/// The first bytes of a file: as many as `buffer` holds, or the file.
pub(crate) fn read_start(file: &dyn LogFile, buffer: &mut [u8]) -> io::Result<()> {
    fill(file, 0, buffer)
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &dyn LogFile, offset: usize, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at((offset + filled) as u64, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Memory is refused as an error, not with the end of the process: a length may be damaged.
fn zeros(length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    bytes.resize(length, 0);
    Ok(bytes)
}

const BLOCK: usize = 4096;

#[cfg(test)]
mod tests;
