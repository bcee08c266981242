//! Room on the volume that is left to others. Compaction needs room for a while before it gives back more: what it took
//! without measure, the commit log would lack meanwhile.

use std::fmt;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use super::options::Options;

/// Bytes that are read and written between two looks at the volume.
const PIECE: u64 = 1 << 20;
/// Not more than this part of a volume is left alone: less than what a node keeps free by default, so that there is some
/// room for compaction when it takes no more values.
const LARGEST_PART: u64 = 32;

/// Bytes of a volume that are free, and that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) free: u64,
    pub(super) total: u64,
}

impl Volume {
    /// Of the volume of `dir`; none if it does not say.
    pub(super) fn of(dir: &Path) -> Option<Self> {
        let volume = rustix::fs::statvfs(dir).ok()?;
        let bytes = |blocks| blocks * volume.f_frsize;
        Some(Self { free: bytes(volume.f_bavail), total: bytes(volume.f_blocks) })
    }

    /// Bytes that are free on the volume of `dir`. One that does not say how full it is counts as full.
    pub(super) fn free_in(dir: &Path) -> u64 {
        Self::of(dir).map_or(0, |space| space.free)
    }
}

/// Watches one piece of work, and stops it before it takes the last room. (The library does not show it deletions on their
/// way through compaction; they are small.)
#[derive(Debug, Clone)]
pub(super) struct Headroom {
    dir: PathBuf,
    /// Bytes to be left free.
    kept: u64,
    /// Bytes since the last look.
    since: u64,
}

impl Headroom {
    /// On the volume of `dir` a segment of the log and two write buffers must find room beside the work.
    pub(super) fn new(dir: &Path, options: &Options) -> Self {
        let kept = options.working_room() / 2;
        // The first look is at the beginning.
        Self { dir: dir.into(), kept, since: PIECE }
    }

    /// So many bytes more are about to be written.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`] if they leave too little room.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Error> {
        self.since += bytes as u64;
        if self.since < PIECE {
            return Ok(());
        }
        self.since = 0;
        match Volume::of(&self.dir) {
            Some(space) => check(space, bytes as u64, self.kept),
            None => Ok(()),
        }
    }
}

/// Whether `wanted` bytes of a volume leave enough of it.
fn check(Volume { free, total }: Volume, wanted: u64, kept: u64) -> Result<(), Error> {
    let kept = kept.min(total / LARGEST_PART);
    match free.saturating_sub(wanted) < kept {
        true => Err(Error::new(ErrorKind::StorageFull, Exhausted { free, kept })),
        false => Ok(()),
    }
}

/// Why the work stops.
#[derive(Debug)]
struct Exhausted {
    free: u64,
    kept: u64,
}

impl std::error::Error for Exhausted {}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes are free on the volume, and {} are kept for the commit log", self.free, self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_kept_is_not_taken_and_is_no_large_part_of_a_small_volume() {
        let is_refused = |free, total| check(Volume { free, total }, 0, 64 * MIB).is_err();
        assert!(is_refused(64 * MIB - 1, 1 << 40));
        assert!(!is_refused(64 * MIB, 1 << 40));
        assert!(is_refused(4 * MIB - 1, 128 * MIB));
        assert!(!is_refused(4 * MIB, 128 * MIB));
        let is_refused = |wanted| check(Volume { free: 70 * MIB, total: 1 << 40 }, wanted, 64 * MIB).is_err();
        assert!(is_refused(6 * MIB + 1) && is_refused(100 * MIB), "one large row");
        assert!(!is_refused(6 * MIB));
    }

    #[test]
    fn the_volume_is_looked_at_first_and_then_piece_by_piece() {
        let dir = tempfile::tempdir().unwrap();
        let nothing_to_keep = Options { log_segment_bytes: 0, write_buffer_bytes: 0, ..Options::default() };
        let mut headroom = Headroom::new(dir.path(), &nothing_to_keep);
        let mut left = |bytes| {
            headroom.take(bytes).unwrap();
            headroom.since
        };
        let piece = PIECE as usize;
        assert_eq!([left(1), left(piece - 1), left(1), left(3)], [0, PIECE - 1, 0, 3]);
    }
}
