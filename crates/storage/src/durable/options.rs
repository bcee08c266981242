//! How an engine runs.

use std::time::Duration;

/// How an engine runs. May differ from open to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of table blocks kept in memory. Filled by reads; a larger one saves disk reads of rows that the
    /// record cache above does not hold.
    pub cache_bytes: u64,
    /// Bytes at which a write buffer becomes a table. Up to seven of them are in memory for each of data and hints;
    /// larger ones save compaction.
    pub write_buffer_bytes: u64,
    /// Bytes of log from which on rows are moved to tables whether their write buffer is full or not, so that the log
    /// can be given back. The next open has to read as much.
    pub log_bytes: u64,
    /// Bytes of one file of the log, written ahead with zeros: a new store has two.
    pub log_segment_bytes: u64,
    /// When a synced commit is really synced.
    pub sync: SyncMode,
    /// Bytes a second at which tables are read and verified in the background; 0: they are not.
    pub scrub_rate: u64,
    /// Tables that are kept open; merging them may open as many again.
    pub open_files: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 32 << 20,
            write_buffer_bytes: 16 << 20,
            log_bytes: 128 << 20,
            log_segment_bytes: 32 << 20,
            sync: SyncMode::Always,
            scrub_rate: 0,
            open_files: 256,
        }
    }
}

impl Options {
    /// The same, on a volume of so many bytes: on a small one log and write buffers must leave room for tables.
    #[must_use]
    pub fn on_volume_of(self, total: u64) -> Self {
        let segment = self.log_segment_bytes.min((total / SEGMENT_PART).max(LEAST).next_multiple_of(PAGE));
        Self {
            log_segment_bytes: segment,
            log_bytes: self.log_bytes.min((total / LOG_PART).max(2 * segment)),
            write_buffer_bytes: self.write_buffer_bytes.min((total / BUFFER_PART).max(LEAST)),
            ..self
        }
    }

    /// Free bytes, besides what is in memory and will be tables, that deletes need to go on: the next segments of the log,
    /// and tables that take the places of others.
    pub const fn working_room(&self) -> u64 {
        2 * self.log_segment_bytes + 6 * self.write_buffer_bytes
    }
}

/// The parts of a volume that a segment, the log and a write buffer take at most,
const SEGMENT_PART: u64 = 64;
const LOG_PART: u64 = 8;
const BUFFER_PART: u64 = 128;
/// but a segment and a write buffer may have this much.
const LEAST: u64 = 1 << 20;
/// Segments are a multiple of this.
const PAGE: u64 = 4096;

/// How far a [`crate::Durability::Synced`] commit waits for the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SyncMode {
    /// Its fsync.
    #[default]
    Always,
    /// Nothing: an fsync follows within about this time. A power cut loses what was acknowledged since.
    Interval(Duration),
    /// Nothing: the operating system writes when it likes, within about half a minute.
    Os,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_a_small_volume_log_and_buffers_are_small_and_on_a_large_one_as_configured() {
        let options = Options::default();
        assert_eq!(options.on_volume_of(1 << 40), options);
        let small = options.on_volume_of(200 << 20);
        assert!(small.working_room() < (200 << 20) / 10, "{small:?}");
        assert!(small.log_bytes <= 25 << 20 && small.log_segment_bytes.is_multiple_of(PAGE), "{small:?}");
        assert_eq!(options.on_volume_of(0).log_segment_bytes, LEAST);
        let smaller =
            Options { log_segment_bytes: 4096, write_buffer_bytes: 100, log_bytes: 5000, ..options };
        assert_eq!(smaller.on_volume_of(1 << 30), smaller);
    }
}
