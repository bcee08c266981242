//! What a shard has counted, at one moment.

use starling_coordinator::Request;
use starling_vnode as vnode;
use starling_wire::KvReply;

/// What the shard has counted since it started.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Client requests taken in, forwarded ones from other nodes included.
    pub requests: u64,
    /// Requests passed on to an owner.
    pub forwarded: u64,
    /// Writes that reached their quorum.
    pub writes_ok: u64,
    /// Reads that reached their quorum.
    pub reads_ok: u64,
    /// Writes that failed, whatever their outcome.
    pub writes_missed: u64,
    /// Reads that failed.
    pub reads_missed: u64,
    /// Merges done for other coordinators.
    pub remote_merges: u64,
    /// Reads answered for other coordinators.
    pub remote_reads: u64,
    /// Requests of other nodes refused.
    pub remote_refused: u64,
    /// Hints kept.
    pub hints_kept: u64,
    /// Hints not kept because the quota was used up.
    pub hints_dropped: u64,
    /// Hints that could not be read, and were dropped.
    pub hints_damaged: u64,
    /// Partitions that were found to have lost records, or may have.
    pub doubted: u64,
    /// Of these, those that are whole again.
    pub refilled: u64,
    /// Of these, those for which too few whole copies were found: acked writes may be lost.
    pub refilled_short: u64,
    /// Reads answered with what a suspect partition has, which counts towards nothing.
    pub reads_partial: u64,
    /// Blind writes that went on though too few owners said what there was to replace.
    pub writes_in_part: u64,
    /// Writes that came after another try of their request may have begun, and asked the owners first.
    pub writes_late: u64,
    /// Replicas repaired by reads.
    pub read_repairs: u64,
    /// Values, and copies for absent owners, refused because the disk was nearly full.
    pub refused_disk_full: u64,
}

impl Counters {
    /// A request was answered.
    pub(super) fn count(&mut self, request: &Request, reply: &KvReply) {
        if let KvReply::Written(written) = reply {
            let is_here = matches!(request, Request::Put(_));
            self.writes_in_part += u64::from(is_here && written.receipt.partial);
        }
        let failed = matches!(reply, KvReply::Failed(_));
        let counter = match request {
            Request::Forward(_) => &mut self.forwarded,
            Request::Get(_) if failed => &mut self.reads_missed,
            Request::Get(_) => &mut self.reads_ok,
            Request::Put(_) if failed => &mut self.writes_missed,
            Request::Put(_) => &mut self.writes_ok,
        };
        *counter += 1;
    }
}

/// Everything there is to count, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Totals {
    /// The shard's.
    pub shard: Counters,
    /// Its vnodes'.
    pub vnodes: vnode::Counters,
    /// Requests shed.
    pub shed: u64,
    /// Bytes of requests in flight.
    pub in_flight_bytes: usize,
    /// Bytes in the record cache.
    pub cached_bytes: usize,
    /// Hints delivered.
    pub hints_delivered: u64,
    /// What sweeps have done.
    pub sweep: starling_antientropy::Counters,
}
