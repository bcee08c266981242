//! The counters of the data plane.

use starling_coordinator::Request;
use starling_wire::KvReply;

starling_types::counters! {
    /// The data plane's counts since it started.
    Counters {
        /// Client requests taken in, forwarded ones from other nodes included.
        requests,
        /// Requests refused because too much was in flight.
        shed = "starling_shed_total",
        /// Requests passed on to an owner.
        forwarded = "starling_forwarded_total",
        /// Quorums decided by this node as coordinator (read, write; reached, missed).
        writes_ok = "starling_quorum_total" { kind: "write", result: "reached" },
        /// Reads that reached their quorum.
        reads_ok = "starling_quorum_total" { kind: "read", result: "reached" },
        /// Writes that failed, whatever their outcome.
        writes_missed = "starling_quorum_total" { kind: "write", result: "missed" },
        /// Reads that failed.
        reads_missed = "starling_quorum_total" { kind: "read", result: "missed" },
        /// What other coordinators asked of this node's replicas (merge, read, refused).
        remote_merges = "starling_replica_requests_total" { kind: "merge" },
        /// Reads answered for other coordinators.
        remote_reads = "starling_replica_requests_total" { kind: "read" },
        /// Requests of other nodes refused.
        remote_refused = "starling_replica_requests_total" { kind: "refused" },
        /// Frames of another cluster that were dropped.
        foreign_frames = "starling_foreign_frames_total",
        /// Hints written.
        hints_kept = "starling_hints_kept_total",
        /// Hints not kept because the quota was used up: reads repair their owner instead.
        hints_dropped = "starling_hints_dropped_total",
        /// Hints that could not be read, and were dropped.
        hints_damaged,
        /// Reads answered with what a suspect partition has, which counts towards nothing.
        reads_partial,
        /// Blind writes acked though too few owners said what there was to replace.
        writes_in_part = "starling_writes_in_part_total",
        /// First tries of writes that came so late that another try may have been under way: the other owners were asked before.
        writes_late = "starling_late_writes_total",
        /// Replicas that reads on this node found stale and sent the merged record.
        read_repairs = "starling_read_repairs_total",
        /// Values and hints refused because the disk was full.
        refused_disk_full = "starling_refused_disk_full_total",
    }
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
