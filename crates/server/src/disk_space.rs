//! How full the data directory's volume is, and whether the node must stop taking new values because of it.

use std::io;
use std::path::PathBuf;

/// Unless configured: this part of the volume,
const RESERVE_PART: u64 = 20;
/// and at most this many bytes.
const RESERVE_MOST: u64 = 1 << 30;

/// Watches one volume.
#[derive(Debug)]
pub struct DiskSpace {
    dir: PathBuf,
    reserve: Option<u64>,
    is_full: bool,
}

/// The space of the volume as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes that a process may still use.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    /// Whether less is free than must be kept in reserve.
    pub is_full: bool,
}

impl DiskSpace {
    /// Watches the volume of `dir`, of which `reserve` bytes are to stay free, or a share if none are named.
    pub const fn new(dir: PathBuf, reserve: Option<u64>) -> Self {
        Self { dir, reserve, is_full: false }
    }

    /// Looks.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn look(&mut self) -> io::Result<Room> {
        let volume = rustix::fs::statvfs(&self.dir)?;
        let (free, total) = (volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize);
        let reserve = self.reserve.unwrap_or((total / RESERVE_PART).min(RESERVE_MOST));
        self.is_full = is_full(free, reserve, self.is_full);
        Ok(Room { free, total, is_full: self.is_full })
    }
}

/// A volume that was full is so until a tenth more than the reserve is free: it would go back and forth otherwise.
const fn is_full(free: u64, reserve: u64, was_full: bool) -> bool {
    free < if was_full { reserve + reserve / 10 } else { reserve }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_volume_needs_some_room_to_be_taken_for_free() {
        assert!(!is_full(100, 100, false));
        assert!(is_full(99, 100, false));
        assert!(is_full(105, 100, true));
        assert!(!is_full(110, 100, true));
        assert!(!is_full(0, 0, true), "no reserve is never missed");
    }

    #[test]
    fn the_volume_of_a_directory_can_be_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let space = DiskSpace::new(dir.path().into(), Some(1)).look().unwrap();
        assert!(space.total >= space.free && space.free > 0 && !space.is_full, "{space:?}");
        let space = DiskSpace::new(dir.path().into(), Some(u64::MAX / 2)).look().unwrap();
        assert!(space.is_full, "{space:?}");
        assert!(DiskSpace::new("/nowhere/at/all".into(), None).look().is_err());
    }
}
