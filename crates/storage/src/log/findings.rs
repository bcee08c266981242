//! The report of an open on the log, to programs and to people.

use std::fmt;
use std::ops::RangeInclusive;

use super::sequence::Sequence;

/// The state in which a log was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Segments that hold it.
    pub segments: usize,
    /// Batches that tables do not hold, and that were replayed.
    pub replayed: u64,
    /// The highest batch that the log holds or once held; 0 if there is no log.
    pub last: Sequence,
    /// At most how many bytes at the end were written in part, or followed something that was, when the power was cut or
    /// the process ended. Their content was never promised; it is cut off.
    pub torn_bytes: Option<u64>,
    /// Whole batches among these.
    pub dropped: u64,
    /// Batches that were durable once and are gone, in order. Those of which `Log::acknowledge_findings` was
    /// told are not among them.
    pub lost: Vec<RangeInclusive<Sequence>>,
    /// The highest batch that the store knew to have acknowledged. None if that cannot be read: then every batch found
    /// counts as acknowledged.
    pub watermark: Option<Sequence>,
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { segments, replayed, last, .. } = self;
        write!(f, "the log ends at batch {last}, in {segments} segments; {replayed} batches were replayed")?;
        if let Some(bytes) = self.torn_bytes {
            write!(
                f,
                "; at most {bytes} bytes of unfinished writes were cut off its end, with {} whole ",
                self.dropped
            )?;
            write!(f, "batches that were never acknowledged")?;
        }
        for range in &self.lost {
            write!(f, "; batches {} to {} were durable and are gone", range.start(), range.end())?;
        }
        if self.watermark.is_none() && *last > Sequence(0) {
            write!(f, "; it cannot be read which batches were acknowledged")?;
        }
        Ok(())
    }
}
