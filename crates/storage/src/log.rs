//! The commit log: what a replica promises with.
//!
//! ```text
//! 0000000007.log     a segment: header, then one frame after another, then zeros or what an earlier use left
//! spare-3            a file made or given back for a later segment; spare-3.new while it is made
//! known-losses       the losses that somebody has taken note of
//!
//! segment  = magic u64 | format u32 | 0 u32 | store u64 | number u64 | first sequence u64 | synced u64 | chain u64
//!            | xxh3-64 of these, then zeros up to 4096 bytes
//! frame    = magic u32 | payload length u32 | sequence u64 | synced u64 | checksum of the frame before it u64
//!            | checksum of the payload u64 | checksum of these u64 | payload | zeros up to a multiple of 8
//! ```
//! All numbers are little-endian. The checksums of frames are seeded with the store, that of a payload also with what
//! stands before it in the header, so that a frame in the wrong place is damage too. There is no mark at the end of a
//! frame: the payload's checksum says whether all of it was written. After the frames of a group come zeros, which the
//! next group overwrites: they tell the end from what an earlier use of the file left. That has lower sequences, which
//! are never taken.
//!
//! **What is lost, and what was never promised.** A power cut may keep any sectors of what was not synced, so that
//! whole frames may follow a torn one. Every frame and segment therefore says up to where the log was *synced* when it
//! was written. Where frames are missing,
//!
//! ```text
//! lost   =  missing  and  <= max(synced of any frame or segment, watermark, what tables hold)
//! torn   =  missing or behind something missing, and above that
//! ```
//! What is lost is reported, and the rest kept; what is torn is cut off. If the watermark cannot be read, all that is
//! found counts as synced: then something may be reported that nobody was promised, never the other way round. What
//! cannot be told is a torn group from a damaged one when it was the very last, and the watermark, which is written
//! without a sync, had not reached the disk before the power was cut.
//!
//! The log is the work of one thread at a time; [`SpareMaker`] may work beside it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;

use crate::files::{LogFile, Patience, Trouble, read_all, read_what_can_be};

mod findings;
mod frame;
mod group;
mod losses;
mod plan;
mod recovery;
mod ruin;
mod segment;
mod spares;
mod survey;
mod verdict;
mod watermark;
mod writer;

pub use findings::Findings;
pub(crate) use group::{Frames, Group};
pub(crate) use ruin::whole_payloads;
pub(crate) use spares::SpareMaker;
pub(crate) use watermark::Watermark;
pub(crate) use writer::Log;

/// The place of a batch in the log: contiguous, the first ever is 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The place behind it.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The place before it; none before the first is 0.
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a log runs. May differ from open to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Length of a segment file. A group that is larger gets a file of its own.
    pub(crate) segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { segment_bytes: 32 << 20 }
    }
}

/// What others know when a log is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Tables hold every batch up to this one: the log need not have them, and they are not replayed.
    pub(crate) flushed: Sequence,
    /// The highest batch that any table holds. It was synced in the log before.
    pub(crate) persisted: Sequence,
    /// The highest batch known to have been acknowledged: the watermark.
    pub(crate) acknowledged: Option<Sequence>,
}

/// How a log is read when it is opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// How often what cannot be read is tried again.
    pub(crate) patience: Patience,
    /// Names of files of which a person has given up what cannot be read.
    pub(crate) given_up: BTreeSet<String>,
}

impl Reading {
    /// What the file of this name holds.
    fn all(&self, name: &str, file: &dyn LogFile) -> Result<Vec<u8>, LogError> {
        match self.patience.try_read(|| read_all(file)) {
            Err(_) if self.given_up.contains(name) => read_what_can_be(file),
            read => read,
        }
        .map_err(LogError::reading(name))
    }
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no room for a new segment. Nothing was written, and the log goes on.
    #[error("there is no room for the commit log ({cause}): free space")]
    NoSpace {
        /// The system's words.
        cause: String,
    },
    /// The system lacks something for now, descriptors or memory. Nothing was written, and the log goes on.
    #[error("the commit log cannot go on at present ({cause}); nothing was written")]
    Scarce {
        /// The system's words.
        cause: String,
    },
    /// A file of the log cannot be read. Nothing was changed: that says nothing of what it holds.
    #[error("{file} of the commit log cannot be read ({cause}); nothing was changed")]
    Unread {
        /// Its name.
        file: String,
        /// The system's words.
        cause: String,
    },
    /// The operating system failed us. An open log refuses everything from now on.
    #[error("{action} failed ({cause})")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The system's words.
        cause: String,
    },
    /// An earlier write or sync failed: what the disk holds is unknown until the log is opened again.
    #[error("the commit log refuses all work because an earlier write failed ({cause})")]
    Failed {
        /// The first failure.
        cause: String,
    },
    /// A newer version wrote the log. Nothing was changed.
    #[error("the commit log has format {found}, and this version reads formats up to {supported}")]
    FormatTooNew {
        /// Its format.
        found: u32,
        /// The newest format this version reads.
        supported: u32,
    },
    /// A batch is larger than a frame can be. Nothing was written.
    #[error("a batch of {bytes} bytes cannot be logged: it has at most {max}; nothing was written", max = u32::MAX)]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// The group was begun before another one was written. Nothing was written.
    #[error("a group that begins with batch {begins} cannot follow batch {last}; nothing was written")]
    Stale {
        /// The group's first batch.
        begins: Sequence,
        /// The log's last batch.
        last: Sequence,
    },
}

impl LogError {
    /// For `map_err`: a failure of the operating system while doing `action`.
    pub(crate) fn during(action: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self::io(action, &error)
    }

    fn io(action: &'static str, error: &io::Error) -> Self {
        let cause = error.to_string();
        match Trouble::of(error) {
            Trouble::NoSpace => Self::NoSpace { cause },
            Trouble::Scarce => Self::Scarce { cause },
            Trouble::Other => Self::Io { action, cause },
        }
    }

    /// For `map_err`: a file that cannot be read.
    pub(crate) fn reading(file: &str) -> impl Fn(io::Error) -> Self {
        move |error| Self::Unread { file: file.into(), cause: error.to_string() }
    }
}

#[cfg(test)]
mod tests;
