//! The counters of a world.

/// Counts of events, so that no test passes because nothing did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Frames sent between nodes.
    pub frames: u64,
    /// Of these, lost.
    pub frames_lost: u64,
    /// Of these, repeated.
    pub frames_repeated: u64,
    /// Unclean stops.
    pub crashes: u64,
    /// Clean stops, sealed.
    pub clean_stops: u64,
    /// Starts.
    pub starts: u64,
    /// Connections made.
    pub connections: u64,
    /// Ends of connections noticed.
    pub disconnections: u64,
    /// Links cut in one direction.
    pub cuts: u64,
    /// Batches committed.
    pub commits: u64,
    /// Commits that failed.
    pub commits_failed: u64,
    /// Rows loaded.
    pub loads: u64,
    /// Pages of scans.
    pub scans: u64,
    /// Alarms that nodes raised.
    pub alarms: u64,
}
