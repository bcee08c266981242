//! Every limit that two crates share, in one place, related by const assertions. Limits of one crate stand in it.

use std::time::Duration;

/// Longest bucket name, in bytes.
pub const MAX_BUCKET_NAME: usize = 128;
/// Buckets from which a node refuses to create more. Nodes that create at the same time may pass it together: what
/// one of them has created the others take.
pub const MAX_BUCKETS: usize = 1_024;
/// Buckets that the Redis protocol numbers: database 0 is `default`, database n is `db{n}`.
pub const NUMBERED_BUCKETS: u8 = 16;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 4_096;
/// Largest value unless configured, in bytes.
pub const DEFAULT_MAX_VALUE: usize = 8 << 20;
/// Largest value that can be configured, in bytes.
pub const MAX_VALUE: usize = 64 << 20;
/// Largest b in Q = 2^b.
pub const MAX_PARTITION_BITS: u8 = 16;
/// Most copies of a key.
pub const MAX_COPIES: u8 = 7;
/// Most members of a cluster: owner lists hold 16-bit indexes.
pub const MAX_MEMBERS: usize = 4_096;

/// Siblings from which a metric warns.
pub const SIBLINGS_WARN: usize = 25;
/// Siblings at which a client write that drops none is refused.
pub const SIBLINGS_CAP: usize = 100;
/// Superseded requests that a record remembers, so that a late second dot of one of them is known for what it is. The
/// youngest are kept.
pub const DEAD_IDS: usize = 8;

/// Longest time limit a request may carry.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time to live of a value: 10,000 years. No client needs more, and sums with it cannot overflow.
pub const MAX_LIFE: Duration = Duration::from_secs(10_000 * 366 * 86_400);
/// Time limit of a read that names none.
pub const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of a write that names none.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// After this long, give or take a fifth, a silent replica is treated as absent: hints. Each request has a patience of
/// its own.
pub const RPC_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a replica remembers a request id. A retry of an older request is answered `unknown`.
pub const REQUEST_MEMORY: Duration = Duration::from_secs(2 * MAX_TIMEOUT.as_secs());
/// How far ahead of the cluster's time a client may date a request; a later date counts as this.
pub const REQUEST_MAX_LEAD: Duration = Duration::from_secs(6);
/// Most request ids remembered per shard: [`REQUEST_MEMORY`] of 17,000 writes a second. Beyond that the oldest go
/// first, and retries of requests from their time are answered `unknown`.
pub const REQUEST_MEMORY_IDS: usize = 1 << 20;
/// Two nodes whose clocks are right differ by less than this in what they take for the cluster's time.
pub const MAX_SKEW: Duration = HLC_MAX_LEAD;
/// How long after its issue the dot of a first try may lie, to be told from those of later tries.
pub const FIRST_TRY_WINDOW: Duration = Duration::from_secs(1);

/// How far the hybrid logical clock's durable ceiling is leased ahead.
pub const HLC_LEASE: Duration = Duration::from_millis(450);
/// How far remote time may raise our clock above the wall.
pub const HLC_MAX_LEAD: Duration = Duration::from_millis(500);

/// Frames up to this size share a lane; a larger message gets a stream of its own.
pub const LANE_FRAME: usize = 64 << 10;
/// Largest message: a record and its envelope.
pub const MAX_MESSAGE: usize = 256 << 20;
/// Largest record that every message, hint, page and file has room for, with what is put around it.
pub const MAX_RECORD: usize = MAX_MESSAGE - (1 << 20);
/// Room in a record for what is not value: context, dots, ids.
pub const RECORD_FRAME: usize = 1 << 20;
/// Longest key of a stored row, in bytes: a client's key and bucket, with what is put around them.
pub const MAX_ROW_KEY: usize = 8 << 10;
/// Largest value of a stored row, in bytes. Clients write records of which several fit one message; merges have no bound
/// but this.
pub const MAX_ROW_VALUE: usize = 4 * MAX_MESSAGE;
/// Frames that may wait in one lane.
pub const LANE_QUEUE_FRAMES: usize = 4_096;
/// Bytes that may wait in one lane.
pub const LANE_QUEUE_BYTES: usize = 64 << 20;

/// Requests that a node has in flight before it answers `Overloaded`.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 16_384;
/// Request bytes that a node has in flight before it answers `Overloaded`.
pub const DEFAULT_MAX_IN_FLIGHT_BYTES: usize = 256 << 20;

/// Loads that may wait for the disk of a node: what its own clients have in flight. Beyond that they are refused.
pub const LOAD_QUEUE: usize = DEFAULT_MAX_IN_FLIGHT;
/// Pages of scans that may wait for the disk of a node: one for every member, and some.
pub const SCAN_QUEUE: usize = 2 * MAX_MEMBERS;

/// Hints replayed to one target at a time.
pub const HINT_WINDOW: usize = 32;
/// Records of one sweep's page that are repaired at a time.
pub const SWEEP_WINDOW: usize = 8;
/// Pages of one peer's sweep that wait here to be compared; more are not answered.
pub const SWEEP_ASKED: usize = 4;
/// Most records that a peer may list for a page: what it reads at a time, with room for another release's.
pub const SWEEP_ENTRIES: usize = 4 * SCAN_PAGE_ROWS;
/// Rows in one page of a background scan.
pub const SCAN_PAGE_ROWS: usize = 256;
/// Bytes in one page of a background scan.
pub const SCAN_PAGE_BYTES: usize = 1 << 20;
/// Bytes of hints a node keeps for absent owners.
pub const DEFAULT_HINT_BYTES: u64 = 8 << 30;

/// Largest record that a client's write may leave where values have up to `max_value` bytes: two such values, or one
/// where two would be too much. The siblings that the owners of a key have written then fit [`MAX_RECORD`] when they
/// are merged: all that one owner wrote and no write superseded stands in its record at its last write.
///
/// `copies · max_written(max_value) ≤ MAX_RECORD`, if `max_value ≤ max_value_for(copies)`
pub const fn max_written(max_value: usize) -> usize {
    let most = MAX_RECORD / MAX_COPIES as usize - RECORD_FRAME;
    let two = max_value.saturating_mul(2);
    let values = if two <= most { two } else { most };
    RECORD_FRAME + if max_value > values { max_value } else { values }
}

/// Largest value that may be configured where each key has `copies` owners, in whole MiB.
pub const fn max_value_for(copies: u8) -> usize {
    let copies = if copies == 0 { 1 } else { copies as usize };
    let fits = (MAX_RECORD / copies - RECORD_FRAME) >> 20 << 20;
    if fits < MAX_VALUE { fits } else { MAX_VALUE }
}

const _: () = assert!(DEFAULT_MAX_VALUE <= max_value_for(MAX_COPIES));
const _: () = assert!(MAX_VALUE == max_value_for(3));
const _: () = assert!(HLC_LEASE.as_millis() < HLC_MAX_LEAD.as_millis());
const _: () = assert!(RPC_TIMEOUT.as_millis() < READ_TIMEOUT.as_millis());
const _: () = assert!(READ_TIMEOUT.as_millis() <= WRITE_TIMEOUT.as_millis());
const _: () = assert!(WRITE_TIMEOUT.as_millis() <= MAX_TIMEOUT.as_millis());
const _: () = assert!(MAX_SKEW.as_millis() < FIRST_TRY_WINDOW.as_millis());
const _: () = assert!(MAX_KEY + MAX_BUCKET_NAME + 256 <= MAX_ROW_KEY);
const _: () = assert!(LANE_FRAME <= LANE_QUEUE_BYTES);
const _: () = assert!(SIBLINGS_WARN < SIBLINGS_CAP);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_owners_wrote_side_by_side_fits_one_message() {
        for copies in 1..=MAX_COPIES {
            let largest = max_value_for(copies);
            for max_value in [1, 1 << 10, DEFAULT_MAX_VALUE, 17 << 20, 18 << 20, largest / 2, largest] {
                let written = max_written(max_value);
                assert!(max_value + RECORD_FRAME <= written, "{copies} {max_value}");
                assert!(
                    max_value > largest || usize::from(copies) * written <= MAX_RECORD,
                    "{copies} {max_value}"
                );
            }
        }
        assert_eq!([1, 3, 4, 5, 6, 7].map(|copies| max_value_for(copies) >> 20), [64, 64, 62, 50, 41, 35]);
        assert_eq!(max_written(DEFAULT_MAX_VALUE), 2 * DEFAULT_MAX_VALUE + RECORD_FRAME);
    }
}
