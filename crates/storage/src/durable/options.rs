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
