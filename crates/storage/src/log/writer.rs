//! Appending, syncing, and giving back what tables hold.

use std::collections::VecDeque;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::error::LogError;
use super::frame::FramePosition;
use super::group::{Frames, Group};
use super::opening::Settings;
use super::segment::{SEGMENT_HEADER, SegmentHeader};
use super::sequence::Sequence;
use super::spares::SpareMaker;
use super::spares::Spares;
use super::{losses, ruin, segment};
use crate::files::{Files, LogFile, Trouble};

/// An open commit log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) files: Arc<dyn Files>,
    pub(super) store: u64,
    pub(super) settings: Settings,
    pub(super) spares: Arc<Spares>,
    /// Segments that are written no more.
    pub(super) closed: VecDeque<Closed>,
    /// The segment that is written; none until the first append after an open that could not use the last one.
    pub(super) active: Option<Active>,
    /// Something in the segment that is written was lost.
    pub(super) is_active_ruin: bool,
    /// The number of the last segment.
    pub(super) number: u64,
    pub(super) last: Sequence,
    pub(super) synced: Sequence,
    /// The checksum of the last frame.
    pub(super) chain: u64,
    /// Files written since the last sync.
    pub(super) unsynced: Vec<Arc<dyn LogFile>>,
    pub(super) directory_changed: bool,
    pub(super) known_losses: Vec<RangeInclusive<Sequence>>,
    pub(super) new_losses: Vec<RangeInclusive<Sequence>>,
    pub(super) failure: Option<String>,
}

/// A segment that is written no more.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// No frame in it has a higher sequence.
    pub(super) last: Sequence,
    /// Something in it was lost: what is left of it is kept.
    pub(super) is_ruin: bool,
}

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) file: Arc<dyn LogFile>,
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// Where the next frame goes.
    pub(super) end: usize,
}

impl Log {
    /// A group of batches that follow the last one. One group at a time: it must be appended, or given up, before the next
    /// is begun.
    pub(crate) fn group(&self) -> Group {
        Group::new(self.next_place())
    }

    /// Writes a group. It is durable after the next [`Log::sync`].
    ///
    /// # Errors
    /// [`LogError::NoSpace`], [`LogError::TooLarge`] and [`LogError::Stale`]: nothing was written, and the log goes on.
    /// After any other error it refuses everything.
    pub(crate) fn append(&mut self, group: &Frames) -> Result<(), LogError> {
        self.check()?;
        if let Some(bytes) = group.oversized {
            return Err(LogError::TooLarge { bytes });
        }
        if (group.begins.sequence, group.begins.previous) != (self.last.next(), self.chain) {
            return Err(LogError::Stale { begins: group.begins.sequence, last: self.last });
        }
        if group.is_empty() {
            return Ok(());
        }
        if self.room() < group.frame_bytes() {
            self.begin_segment(group.frame_bytes())?;
        }
        self.write(group).map_err(|error| self.fail("writing the commit log", &error))
    }

    /// Makes durable what was appended so far.
    ///
    /// # Errors
    /// After one the log refuses everything: it is unknown what is durable.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.sync_files().map_err(|error| self.fail("syncing the commit log", &error))
    }

    /// Whether [`Log::release`] would find something.
    pub(crate) fn can_release(&self, persisted: Sequence) -> bool {
        self.releasable(persisted).is_some()
    }

    /// Gives back the segments whose batches are all in tables, which hold everything up to `persisted`. That must be
    /// durably known before: an open takes what is missing in front of the log for lost, unless it is told that tables
    /// have it.
    ///
    /// # Errors
    /// After one the log refuses everything.
    pub(crate) fn release(&mut self, persisted: Sequence) -> Result<(), LogError> {
        self.check()?;
        while let Some(first) = self.releasable(persisted) {
            let (number, bytes) = (first.number, first.bytes);
            let released = match first.is_ruin {
                true => ruin::set_aside(&*self.files, &segment::name(number)),
                false => self.spares.recycle(number, bytes),
            };
            released.map_err(|error| self.fail("releasing a segment of the commit log", &error))?;
            self.closed.pop_front();
        }
        Ok(())
    }

    /// The losses that the open reported were noted durably where they are made good: the next open does not report them
    /// again. Until then every open does.
    ///
    /// # Errors
    /// If that cannot be written; the log goes on, and the next open reports the losses again.
    pub(crate) fn acknowledge_findings(&mut self) -> Result<(), LogError> {
        if self.new_losses.is_empty() {
            return Ok(());
        }
        let mut known = self.known_losses.clone();
        known.append(&mut self.new_losses.clone());
        known.sort_unstable_by_key(|range| *range.start());
        let written = losses::write(&*self.files, self.store, &known);
        written.map_err(LogError::during("noting that losses of the commit log are known"))?;
        self.known_losses = known;
        self.new_losses.clear();
        Ok(())
    }

    /// Makes segments ahead of need, from another thread.
    pub(crate) fn spare_maker(&self) -> SpareMaker {
        self.spares.maker()
    }

    /// The last batch; the next one follows.
    pub(crate) const fn last(&self) -> Sequence {
        self.last
    }

    /// Bytes of the segments, as allocated; spares do not count.
    pub(crate) fn bytes(&self) -> u64 {
        let closed = self.closed.iter().map(|segment| segment.bytes).sum::<u64>();
        closed + self.active.as_ref().map_or(0, |active| active.bytes)
    }

    /// Whether the next commits need another segment.
    pub(crate) fn is_nearly_full(&self) -> bool {
        self.room() < NEARLY_FULL
    }

    /// How many segments there are.
    pub(crate) fn segments(&self) -> usize {
        self.closed.len() + usize::from(self.active.is_some())
    }

    fn next_place(&self) -> FramePosition {
        let (store, synced, previous) = (self.store, self.synced, self.chain);
        FramePosition { store, sequence: self.last.next(), synced, previous }
    }

    fn check(&self) -> Result<(), LogError> {
        match &self.failure {
            Some(cause) => Err(LogError::Failed { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Refuses everything from now on. Want of space is no excuse here: something was written, or should have been.
    fn fail(&mut self, action: &'static str, error: &io::Error) -> LogError {
        self.failure = Some(format!("{action} failed: {error}"));
        LogError::Io { action, cause: error.to_string() }
    }

    fn room(&self) -> usize {
        self.active.as_ref().map_or(0, |active| active.bytes as usize - active.end)
    }

    fn write(&mut self, group: &Frames) -> io::Result<()> {
        let room = self.room();
        let active = self.active.as_mut().ok_or(io::ErrorKind::NotFound)?;
        active.file.write_at(active.end as u64, group.within(room))?;
        active.end += group.frame_bytes();
        note(&mut self.unsynced, &active.file);
        self.last = group.next.sequence.previous();
        self.chain = group.next.previous;
        Ok(())
    }

    fn sync_files(&mut self) -> io::Result<()> {
        for file in &self.unsynced {
            file.sync_data()?;
        }
        if self.directory_changed {
            self.files.sync_directory()?;
        }
        self.unsynced.clear();
        (self.directory_changed, self.synced) = (false, self.last);
        Ok(())
    }

    /// Closes the active segment and begins another, with room for `frame_bytes`.
    fn begin_segment(&mut self, frame_bytes: usize) -> Result<(), LogError> {
        let needed = (SEGMENT_HEADER + frame_bytes).next_multiple_of(SEGMENT_HEADER) as u64;
        let action = "beginning a segment of the commit log";
        self.make_segment(needed).map_err(|error| match Trouble::of(&error) {
            Trouble::NoSpace | Trouble::Scarce => LogError::during(action)(error),
            Trouble::Other => self.fail(action, &error),
        })
    }

    /// Nothing of the log has changed if this fails. The segment is durable after the next sync.
    pub(super) fn make_segment(&mut self, needed: u64) -> io::Result<()> {
        let (spare, file, bytes) = self.spares.take(needed)?;
        let header = SegmentHeader {
            store: self.store,
            number: self.number + 1,
            first: self.last.next(),
            synced: self.synced,
            chain: self.chain,
        };
        let begin = || {
            file.write_at(0, &header.encode())?;
            self.files.rename(&spare, &segment::name(header.number))
        };
        if let Err(error) = begin() {
            // The first error counts; what is left is found at the next open.
            let _ = self.spares.discard(&spare);
            return Err(error);
        }
        note(&mut self.unsynced, &file);
        self.directory_changed = true;
        self.number = header.number;
        let fresh = Active { file, number: header.number, bytes, end: SEGMENT_HEADER };
        if let Some(Active { number, bytes, .. }) = self.active.replace(fresh) {
            let is_ruin = std::mem::take(&mut self.is_active_ruin);
            self.closed.push_back(Closed { number, bytes, last: self.last, is_ruin });
        }
        Ok(())
    }

    /// The first segment, if it is not needed. The last one always is: it says where the log goes on.
    fn releasable(&self, persisted: Sequence) -> Option<&Closed> {
        let first = self.closed.front().filter(|_| self.segments() > 1)?;
        (first.last <= persisted).then_some(first)
    }
}

/// Room for the commits of a start.
const NEARLY_FULL: usize = 256 << 10;

/// Notes that a file was written.
fn note(unsynced: &mut Vec<Arc<dyn LogFile>>, file: &Arc<dyn LogFile>) {
    if !unsynced.iter().any(|noted| Arc::ptr_eq(noted, file)) {
        unsynced.push(file.clone());
    }
}
