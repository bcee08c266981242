//! Ballast: a file that holds room on the volume and nothing else. It is thrown out when the volume is full to the last
//! byte, so that the store can be opened, and deletes can be logged and merged, which gives back more.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::headroom::Volume;
use super::options::Options;
use crate::directory::sync_directory;

/// The ballast of one store.
#[derive(Debug)]
pub(super) struct Ballast {
    dir: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// Of the store in `dir`: as much as a segment of the log and a write buffer.
    pub(super) fn new(dir: &Path, options: &Options) -> Self {
        Self { dir: dir.into(), bytes: options.log_segment_bytes + options.write_buffer_bytes }
    }

    /// Throws it out before the store is opened, if that needs the room.
    pub(super) fn make_way(&self) {
        let _ = fs::remove_file(self.unfinished());
        if Volume::free_in(&self.dir) < self.bytes {
            self.throw_out();
        }
    }

    /// Whether there is any.
    pub(super) fn is_there(&self) -> bool {
        self.file().exists()
    }

    /// Whether there was any, and the room is free now.
    pub(super) fn throw_out(&self) -> bool {
        let gone = fs::remove_file(self.file()).is_ok();
        if gone {
            tracing::warn!(
                bytes = self.bytes,
                "the volume is full: the ballast is thrown out, so that deletes go on"
            );
        }
        gone
    }

    /// Takes it in again, if there is plenty of room.
    pub(super) fn take_in(&self) -> io::Result<()> {
        if self.is_there() || Volume::free_in(&self.dir) < PLENTY * self.bytes {
            return Ok(());
        }
        let made = self.fill().and_then(|()| fs::rename(self.unfinished(), self.file()));
        if made.is_err() {
            let _ = fs::remove_file(self.unfinished());
        }
        made.and_then(|()| sync_directory(&self.dir))
    }

    /// Written, not only allocated: some file systems count what is allocated as free.
    fn fill(&self) -> io::Result<()> {
        let mut file = File::create(self.unfinished())?;
        let piece = vec![0; PIECE.min(self.bytes) as usize];
        for at in (0..self.bytes).step_by(PIECE as usize) {
            file.write_all(&piece[..PIECE.min(self.bytes - at) as usize])?;
            // Piece by piece: the log's fsyncs must not wait for all of it.
            file.sync_data()?;
        }
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.dir.join("ballast")
    }

    fn unfinished(&self) -> PathBuf {
        self.dir.join("ballast.new")
    }
}

/// It is taken in where so many times as much is free.
const PLENTY: u64 = 4;
const PIECE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ballast_is_taken_in_once_and_thrown_out_once() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { log_segment_bytes: PIECE + 1, write_buffer_bytes: 10, ..Options::default() };
        let ballast = Ballast::new(dir.path(), &options);
        assert!(!ballast.throw_out());
        ballast.take_in().unwrap();
        ballast.take_in().unwrap();
        assert_eq!(fs::metadata(ballast.file()).unwrap().len(), PIECE + 11);
        ballast.make_way();
        assert!(ballast.file().exists(), "there is room");
        assert!(ballast.throw_out() && !ballast.throw_out());
        let huge = Ballast { bytes: u64::MAX / 8, ..ballast };
        huge.take_in().unwrap();
        assert!(!huge.file().exists());
    }
}
