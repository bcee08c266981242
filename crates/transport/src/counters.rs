//! The work of an endpoint so far: plain counters, for export as metrics.

use std::cell::Cell;

/// One endpoint's counters since its start; `queued_*` and `connections` are gauges.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames decoded and delivered.
    pub frames_in: Cell<u64>,
    /// Bytes of those frames.
    pub bytes_in: Cell<u64>,
    /// Frames accepted for sending.
    pub frames_out: Cell<u64>,
    /// Bytes of those frames.
    pub bytes_out: Cell<u64>,
    /// Frames refused because their lane's queue was full.
    pub full: Cell<u64>,
    /// Frames that wait in a lane.
    pub queued_frames: Cell<u64>,
    /// Bytes that wait in a lane.
    pub queued_bytes: Cell<u64>,
    /// Connections closed because the other end sent what is no frame.
    pub malformed: Cell<u64>,
    /// Connections refused: authority, identity, cluster, protocol version or the limit on connections.
    pub refused: Cell<u64>,
    /// Dials that came to nothing.
    pub dials_failed: Cell<u64>,
    /// Usable connections.
    pub connections: Cell<u64>,
}

pub(crate) fn add(counter: &Cell<u64>, amount: usize) {
    counter.set(counter.get().saturating_add(amount as u64));
}

pub(crate) fn subtract(gauge: &Cell<u64>, amount: usize) {
    gauge.set(gauge.get().saturating_sub(amount as u64));
}
