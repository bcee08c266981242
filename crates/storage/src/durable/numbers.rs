//! The numbers of rows in tables and write buffers.
//!
//! A row written by batch n has the number n·256. (The numbers between were once the library's.) A snapshot after batch n
//! reads below (n+1)·256.

use crate::log::Sequence;

/// Numbers per batch.
pub(super) const STEP: u64 = 256;
/// The view of a read of what there is now.
pub(super) const NOW: u64 = u64::MAX;

/// A snapshot after `sequence` sees everything below this number.
pub(super) const fn view_after(sequence: Sequence) -> u64 {
    (sequence.0 + 1) * STEP
}
