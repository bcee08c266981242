//! Every limit of the store, in one place, related by const assertions.

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
/// Time limit of a read that names none.
pub const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of a write that names none.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// After this long a silent replica is treated as absent: hints, hedges.
pub const RPC_TIMEOUT: Duration = Duration::from_millis(500);
/// How long a replica remembers a request id. A retry of an older request is answered `unknown`.
pub const REQUEST_MEMORY: Duration = Duration::from_secs(2 * MAX_TIMEOUT.as_secs());
/// How far ahead of the cluster's time a client may date a request; a later date counts as this.
pub const REQUEST_MAX_LEAD: Duration = Duration::from_secs(10);
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
/// Largest message: a value, its siblings' share of a record, and the envelope.
pub const MAX_MESSAGE: usize = 256 << 20;
/// Frames that may wait in one lane.
pub const LANE_QUEUE_FRAMES: usize = 4_096;
/// Bytes that may wait in one lane.
pub const LANE_QUEUE_BYTES: usize = 64 << 20;

/// Requests that a node has in flight before it answers `Overloaded`.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 16_384;
/// Request bytes that a node has in flight before it answers `Overloaded`.
pub const DEFAULT_MAX_IN_FLIGHT_BYTES: usize = 256 << 20;
/// Bytes of records that a node keeps in memory for reads.
pub const DEFAULT_CACHE_BYTES: usize = 64 << 20;

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

const _: () = assert!(DEFAULT_MAX_VALUE <= MAX_VALUE);
const _: () = assert!(MAX_VALUE * 2 < MAX_MESSAGE);
const _: () = assert!(HLC_LEASE.as_millis() < HLC_MAX_LEAD.as_millis());
const _: () = assert!(RPC_TIMEOUT.as_millis() < READ_TIMEOUT.as_millis());
const _: () = assert!(READ_TIMEOUT.as_millis() <= WRITE_TIMEOUT.as_millis());
const _: () = assert!(WRITE_TIMEOUT.as_millis() <= MAX_TIMEOUT.as_millis());
const _: () = assert!(MAX_SKEW.as_millis() < FIRST_TRY_WINDOW.as_millis());
const _: () = assert!(LANE_FRAME <= LANE_QUEUE_BYTES);
const _: () = assert!(SIBLINGS_WARN < SIBLINGS_CAP);
