//! Volumes to be maltreated.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::mount::{run, unmount_at_last};
use crate::shutdown::shut_down_file_system;

/// This machine, or this user, cannot make such a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no volume for faults ({reason}): run as root on Linux, with mount and mkfs.ext4")]
pub struct Unavailable {
    /// The missing part, in the words of the tool.
    pub reason: String,
}

impl From<io::Error> for Unavailable {
    fn from(error: io::Error) -> Self {
        Self { reason: error.to_string() }
    }
}

/// The volume that a test wants, or none, with the reason printed: then the test is skipped. With `STARLING_FAULTS=required`
/// in the environment it fails.
///
/// # Panics
/// If it is required and cannot be made.
pub fn or_skip<T>(made: Result<T, Unavailable>) -> Option<T> {
    let why = match made {
        Ok(volume) => return Some(volume),
        Err(why) => why,
    };
    let required = std::env::var("STARLING_FAULTS").is_ok_and(|word| word == "required");
    assert!(!required, "{why}");
    // Straight to the stream: the output of a test that passes is not shown. Without it the skip is silent, no more.
    let _ = writeln!(io::stderr(), "skipped: {why}");
    None
}

/// An ext4 file system in a file, whose power can be cut.
#[derive(Debug)]
pub struct LoopVolume {
    mounted: Mounted,
}

impl LoopVolume {
    /// Makes an empty one of `bytes` and mounts it.
    ///
    /// # Errors
    /// [`Unavailable`] without the privileges or the tools.
    pub fn create(bytes: u64) -> Result<Self, Unavailable> {
        let place = MountDir::new()?;
        let image = place.image();
        File::create_new(&image)?.set_len(bytes)?;
        run("mkfs.ext4", [OsStr::new("-q"), OsStr::new("-F"), image.as_os_str()])?;
        mount_image(&place)?;
        Ok(Self { mounted: Mounted(place) })
    }

    /// Its root directory.
    pub fn root(&self) -> &Path {
        self.mounted.0.root()
    }

    /// From now on the volume keeps nothing more, and what was not synced is lost. Calls on it fail until
    /// [`LoopVolume::restore_power`].
    ///
    /// A sync that is under way meanwhile may return without an error although its data are lost (seen on Linux 6.18,
    /// in about one cut of ten): only one that returned before this call counts as done.
    ///
    /// # Errors
    /// The error of the system.
    pub fn cut_power(&self) -> io::Result<()> {
        shut_down_file_system(&File::open(self.root())?)
    }

    /// Mounts the volume again, which replays its journal. No file on it may be open.
    ///
    /// # Errors
    /// If it is in use, or its file system is beyond repair.
    pub fn restore_power(&self) -> io::Result<()> {
        run("umount", [self.root()])?;
        mount_image(&self.mounted.0)
    }
}

/// A file system in memory whose size and mode can be changed while it is in use.
#[derive(Debug)]
pub struct MemoryVolume {
    mounted: Mounted,
}

impl MemoryVolume {
    /// Makes an empty one of `bytes`.
    ///
    /// # Errors
    /// [`Unavailable`] without the privileges.
    pub fn create(bytes: u64) -> Result<Self, Unavailable> {
        let place = MountDir::new()?;
        let size = format!("size={bytes}");
        let options = ["-t", "tmpfs", "-o", &size, "tmpfs"].map(OsStr::new);
        run("mount", options.into_iter().chain([place.root().as_os_str()]))?;
        Ok(Self { mounted: Mounted(place) })
    }

    /// Its root directory.
    pub fn root(&self) -> &Path {
        self.mounted.0.root()
    }

    /// Gives it another size.
    ///
    /// # Errors
    /// If it already holds more.
    pub fn resize(&self, bytes: u64) -> io::Result<()> {
        self.remount(&format!("size={bytes}"))
    }

    /// From now on every write is refused.
    ///
    /// # Errors
    /// If a file on it is open for writing.
    pub fn make_read_only(&self) -> io::Result<()> {
        self.remount("ro")
    }

    /// Takes back [`MemoryVolume::make_read_only`].
    ///
    /// # Errors
    /// The error of the system.
    pub fn make_writable(&self) -> io::Result<()> {
        self.remount("rw")
    }

    fn remount(&self, option: &str) -> io::Result<()> {
        let option = format!("remount,{option}");
        run("mount", [OsStr::new("-o"), OsStr::new(&option), self.root().as_os_str()])
    }
}

/// A directory with a mount point in it, and room for an image beside.
#[derive(Debug)]
struct MountDir {
    dir: TempDir,
    root: PathBuf,
}

impl MountDir {
    fn new() -> io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("volume");
        fs::create_dir(&root)?;
        Ok(Self { dir, root })
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }
}

/// A place on which something is mounted.
#[derive(Debug)]
struct Mounted(MountDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        // A drop cannot report a failure: `restore_power` may have left nothing mounted.
        let _ = unmount_at_last(self.0.root());
    }
}

/// The loop device goes with the mount.
fn mount_image(place: &MountDir) -> io::Result<()> {
    let image = place.image();
    run("mount", [OsStr::new("-o"), OsStr::new("loop"), image.as_os_str(), place.root().as_os_str()])
}

#[cfg(test)]
mod tests;
