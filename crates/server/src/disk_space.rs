//! How full the data directory's volume is, and whether the node must stop taking new values because of it.

use std::io;
use std::path::PathBuf;

use starling_node::{Lack, Room};
use starling_storage::Options;

/// Unless configured: this part of the volume,
const RESERVE_PART: u64 = 20;
/// and at most this many bytes.
const RESERVE_MOST: u64 = 1 << 30;
/// Files (inodes) that a node keeps free: this part of what the volume has,
const FILES_PART: u64 = 20;
/// but no more than this,
const FILES_MOST: u64 = 256;
/// and no fewer: tables and segments are made before others go.
const FILES_LEAST: u64 = 16;
/// A warning comes when less than so many times the reserve is free.
const WARNING: u64 = 2;
/// When less than this part of the reserve is left, it is for deletes alone.
const LAST_PART: u64 = 4;
/// After a refused write so many looks pass before the volume is taken for free again, if it looks so.
const REFUSED_LOOKS: u32 = 50;

/// Watches one volume.
#[derive(Debug)]
pub struct DiskSpace {
    dir: PathBuf,
    reserve: Option<u64>,
    options: Options,
    was_full: bool,
    /// Looks for which a refused write counts.
    refused_for: u32,
}

/// The space of the volume as it was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that a process may still use.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes below which new values are refused.
    pub reserve: u64,
    /// Files that can still be made, where the file system has a limit.
    pub free_files: Option<u64>,
    /// How much room is left.
    pub room: Room,
    /// The resource of which there is least.
    pub short_of: Lack,
}

impl DiskSpace {
    /// Watches the volume of `dir`, of which `reserve` bytes are to stay free, or a share if none are named; in any case
    /// as much as a store with these options needs for deletes.
    pub const fn new(dir: PathBuf, reserve: Option<u64>, options: Options) -> Self {
        Self { dir, reserve, options, was_full: false, refused_for: 0 }
    }

    /// Looks. `in_memory`: bytes that the store has yet to write to the volume. `refused`: it refused a write for want of
    /// space since the last look.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn look(&mut self, in_memory: u64, refused: bool) -> io::Result<Space> {
        self.refused_for = if refused { REFUSED_LOOKS } else { self.refused_for.saturating_sub(1) };
        let volume = rustix::fs::statvfs(&self.dir)?;
        let (free, total) = (volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize);
        let files = (volume.f_files > 0).then_some((volume.f_favail, volume.f_files));
        let reserve = self.reserve_of(total);
        let bytes = of_bytes(free.saturating_sub(in_memory), reserve, self.was_full);
        let files_left = of_files(files, self.was_full);
        let by_refusal = if self.refused_for > 0 { Room::Full } else { Room::Enough };
        let room = bytes.max(files_left).max(by_refusal);
        let short_of = match room {
            _ if bytes == room => Lack::Bytes,
            _ if files_left == room => Lack::Files,
            _ => Lack::Refused,
        };
        self.was_full = bytes.max(files_left) >= Room::Full;
        Ok(Space { free, total, reserve, free_files: files.map(|(free, _)| free), room, short_of })
    }

    fn reserve_of(&self, total: u64) -> u64 {
        let least = self.options.on_volume_of(total).working_room();
        self.reserve.unwrap_or((total / RESERVE_PART).min(RESERVE_MOST)).max(least)
    }
}

/// A volume that was full is so until a tenth more than the reserve is free: it would go back and forth otherwise.
const fn of_bytes(free: u64, reserve: u64, was_full: bool) -> Room {
    let enough = if was_full { reserve.saturating_add(reserve / 10) } else { reserve };
    if free < reserve / LAST_PART {
        Room::Spent
    } else if free < enough {
        Room::Full
    } else if free < reserve.saturating_mul(WARNING) {
        Room::Low
    } else {
        Room::Enough
    }
}

/// Deletes need hardly any files: the reserve of these is never spent.
fn of_files(files: Option<(u64, u64)>, was_full: bool) -> Room {
    let Some((free, total)) = files else { return Room::Enough };
    let reserve = (total / FILES_PART).clamp(FILES_LEAST, FILES_MOST);
    of_bytes(free, reserve, was_full).min(Room::Full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_before_the_reserve_and_the_last_of_it_is_for_deletes() {
        let of = |free| of_bytes(free, 100, false);
        assert_eq!([of(200), of(199), of(100)], [Room::Enough, Room::Low, Room::Low]);
        assert_eq!([of(99), of(25), of(24), of(0)], [Room::Full, Room::Full, Room::Spent, Room::Spent]);
        assert_eq!([of_bytes(105, 100, true), of_bytes(110, 100, true)], [Room::Full, Room::Low]);
        assert_eq!(of_bytes(0, 0, true), Room::Enough, "no reserve is never missed");
    }

    #[test]
    fn files_count_where_they_have_a_limit() {
        let of = |free, total| of_files(Some((free, total)), false);
        assert_eq!(of_files(None, false), Room::Enough);
        assert_eq!(
            [of(0, 400), of(19, 400), of(20, 400), of(40, 400)],
            [Room::Full, Room::Full, Room::Low, Room::Enough]
        );
        assert_eq!([of(255, 1 << 40), of(512, 1 << 40)], [Room::Full, Room::Enough]);
    }

    #[test]
    fn a_volume_on_which_a_write_was_refused_is_full_for_a_while() {
        let dir = tempfile::tempdir().unwrap();
        let mut space = DiskSpace::new(dir.path().into(), Some(1), Options::default());
        let seen = space.look(0, false).unwrap();
        assert!(seen.total >= seen.free && seen.room == Room::Enough && seen.reserve >= 32 << 20, "{seen:?}");
        let refused = space.look(0, true).unwrap();
        assert_eq!((refused.room, refused.short_of), (Room::Full, Lack::Refused));
        let rooms: Vec<Room> = (0..REFUSED_LOOKS).map(|_| space.look(0, false).unwrap().room).collect();
        let (last, before) = rooms.split_last().unwrap();
        assert!(before.iter().all(|room| *room == Room::Full) && *last == Room::Enough, "{rooms:?}");
        let free = space.look(0, false).unwrap().free;
        assert_eq!(space.look(free, false).unwrap().room, Room::Spent, "it is promised to what is in memory");
        let mut kept = DiskSpace::new(dir.path().into(), Some(u64::MAX / 2), Options::default());
        assert_eq!(kept.look(0, false).unwrap().room, Room::Spent);
        assert!(DiskSpace::new("/nowhere/at/all".into(), None, Options::default()).look(0, false).is_err());
    }
}
