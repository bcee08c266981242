//! The commit log: what a replica promises with.
//!
//! ```text
//! 0000000007.log     a segment: header, then one frame after another, then zeros or what an earlier use left
//! spare-3            a file made or given back for a later segment; spare-3.new while it is made
//! known-losses       the losses that were acknowledged
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
//! Losses are reported, and the rest kept; a torn end is cut off. If the watermark cannot be read, all that is
//! found counts as synced: then something may be reported that was never promised, never the other way round. It
//! cannot be told a torn group from a damaged one when it was the very last, and the watermark, which is written
//! without a sync, had not reached the disk before the power was cut.
//!
//! The log is the work of one thread at a time; `SpareMaker` may work beside it.

mod error;
mod findings;
mod frame;
mod group;
mod losses;
mod opening;
mod plan;
mod recovery;
mod ruin;
mod segment;
mod sequence;
mod spares;
mod survey;
mod verdict;
mod watermark;
mod writer;

pub use error::LogError;
pub use findings::Findings;
pub(crate) use opening::{Known, Reading, Settings};
pub(crate) use ruin::whole_payloads;
pub use sequence::Sequence;
pub(crate) use watermark::Watermark;
pub(crate) use writer::Log;

#[cfg(test)]
mod tests;
