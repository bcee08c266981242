//! Every metric of the daemon, declared once: here, or beside the field of the machine that counts it
//! ([`starling_types::counters!`]). `dashboards/` is held against [`declarations`].
//!
//! Events on the hot path go straight to a handle; the counts of the machines are copied from them on each scrape.

use std::fs;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use starling_node::report::Counters;
use starling_node::{Disk, Report, Room};
use starling_storage::{Group, Observer, Sizes};
use starling_transport as transport;
use starling_types::Outcome;
use starling_wire::KvReply;

use crate::clock::Clock;
use crate::disk_space::Space;
use crate::readers::Counts;

mod reads;

pub use reads::ReadMetrics;

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Its name, as Prometheus sees it.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// Its meaning.
    pub help: &'static str,
    /// Its labels; every one has few values.
    pub labels: Vec<&'static str>,
}

macro_rules! declare {
    ($($const:ident $name:literal $kind:ident $unit:ident [$($label:literal),*] $help:literal;)+) => {
        $(const $const: &str = $name;)+

        fn declared_here() -> Vec<Declaration> {
            vec![$(Declaration {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                help: $help,
                labels: vec![$($label),*],
            }),+]
        }
    };
}

declare! {
    REQUESTS "starling_requests_total" Counter Count ["op", "outcome"] "Client requests answered on this node, by operation and outcome (ok, not_applied, unknown).";
    SECONDS "starling_request_seconds" Histogram Seconds ["op"] "Time from a request's arrival to its answer.";
    BEHIND "starling_behind_partitions" Gauge Count [] "Owned partitions that changed since other owners were last found equal, or were never compared since the start.";
    SEED_LOOKUPS "starling_seed_lookups_total" Counter Count [] "Times that the names of seeds were looked up again.";
    SEED_ADDRESSES "starling_seed_addresses" Gauge Count [] "Addresses that the seeds led to when they were last looked up.";
    HINTS "starling_hints" Gauge Count [] "Records kept for absent owners.";
    HINT_BYTES "starling_hint_bytes" Gauge Bytes [] "Bytes of records kept for absent owners, about.";
    FSYNC "starling_fsync_seconds" Histogram Seconds [] "Time that a fsynced group commit took, its write included.";
    COMMITS "starling_commits_total" Counter Count ["synced"] "Group commits, by whether they were fsynced.";
    COMMIT_BATCHES "starling_commit_batches" Histogram Count [] "Batches in one group commit.";
    COMMIT_BYTES "starling_commit_bytes_total" Counter Bytes [] "Bytes of rows committed.";
    FLUSH "starling_flush_seconds" Histogram Seconds [] "Time in which write buffers became tables.";
    COMPACTION "starling_compaction_seconds" Histogram Seconds [] "Time of one step of compaction.";
    LOG "starling_log_bytes" Gauge Bytes [] "Bytes of the commit log, as allocated: what the next start has to read.";
    BACKLOG "starling_flush_backlog" Gauge Count [] "Write buffers full of rows that no table holds yet, over all trees; commits are slowed down when one tree has more than two.";
    BLOCK_CACHE "starling_block_cache_bytes" Gauge Bytes [] "Bytes of table blocks kept in memory for reads.";
    YOUNG_RUNS "starling_young_runs" Gauge Count [] "Runs of tables that no compaction has merged yet, of the tree with most; commits are slowed down from 20 on, and refused from 112 on.";
    SHORT_OF_SPACE "starling_tables_short_of_space" Gauge Count [] "1 while tables cannot be made or merged for want of space, when last tried.";
    DAMAGED_TABLES "starling_damaged_tables" Gauge Count [] "Tables that are damaged and not mended yet: what can be read of them is served.";
    UNREAD_TABLES "starling_unread_tables" Gauge Count [] "Tables that the disk did not give when they were last read from end to end: nothing in them is lost, and they are tried again.";
    READ_FAILURES "starling_store_read_failures_total" Counter Count [] "Reads of rows and ranges that the disk did not give: they are tried again, and nothing counts as lost.";
    RUINS "starling_ruins" Gauge Count [] "Damaged files and directories that were set aside in the data directory: for a person to look at and remove.";
    SCRUBBED "starling_scrubbed_bytes_total" Counter Bytes [] "Bytes of tables that were read and held against their checksums.";
    SCRUB_PASSES "starling_scrub_passes_total" Counter Count [] "How often that was done with all tables.";
    STORE_LOSSES "starling_store_losses" Gauge Count [] "1 if the start found that acknowledged rows may be missing.";
    POISONED "starling_storage_poisoned" Gauge Count [] "1 after a failed commit: the node is about to stop.";
    DISK "starling_disk_bytes" Gauge Bytes [] "Bytes of the store on disk.";
    DISK_FREE "starling_disk_free_bytes" Gauge Bytes [] "Bytes free on the volume of the data directory.";
    DISK_TOTAL "starling_disk_total_bytes" Gauge Bytes [] "Bytes of the volume of the data directory.";
    DISK_RESERVE "starling_disk_reserve_bytes" Gauge Bytes [] "Free bytes below which new values are refused.";
    DISK_FREE_FILES "starling_disk_free_files" Gauge Count [] "Files (inodes) that can still be made on the volume; 0 where there is no limit.";
    DISK_LOW "starling_disk_low" Gauge Count [] "1 while room gets short on the volume, in bytes or files: new values will be refused soon.";
    DISK_FULL "starling_disk_full" Gauge Count [] "1 while new values are refused for want of room: of bytes, of files, or because the system refused a write.";
    DISK_STALLED "starling_disk_stalled" Gauge Count [] "1 while a sync has been under way for more than 5 s: writes are refused here.";
    SYNC_AGE "starling_sync_age_seconds" Gauge Seconds [] "How long the group of commits under way has waited for the disk; 0 if none is.";
    DISK_FAILS_READS "starling_disk_fails_reads" Gauge Count [] "1 if the disk did not give something in the last two minutes.";
    UNFLUSHED "starling_unflushed_bytes" Gauge Bytes [] "Bytes of rows in memory that no table holds yet.";
    MEMBERS "starling_members" Gauge Count ["state"] "Members of the cluster as this node sees them (alive, suspect, dead, left).";
    READY "starling_ready" Gauge Count [] "1 while the node serves clients: it takes requests, and has a quorum for at least half of all partitions.";
    PARTITIONS "starling_partitions" Gauge Count [] "Partitions of the layout in force.";
    WITHOUT_QUORUM "starling_partitions_without_quorum" Gauge Count ["op"] "Partitions for which too few owners can be reached from this node to read from them (op=read) or write to them (op=write) with the quorums of the default bucket.";
    NODE "starling_node_info" Gauge Count ["cluster_id", "name", "node_id", "version"] "1: whose metrics these are; cluster_id is none before cluster init.";
    LAYOUT "starling_layout_version" Gauge Count [] "Version of the layout in force; 0 before cluster init.";
    IN_FLIGHT "starling_in_flight" Gauge Count [] "Requests under way, those that only linger included.";
    IN_FLIGHT_BYTES "starling_in_flight_bytes" Gauge Bytes [] "Bytes of requests under way.";
    CACHE "starling_cache_bytes" Gauge Bytes [] "Bytes of records kept in memory for reads.";
    CLOCK_LEAD "starling_clock_lead_seconds" Gauge Seconds [] "How far the hybrid clock is ahead of the wall clock.";
    CLOCK_OFFSET "starling_clock_offset_seconds" Gauge Seconds [] "The wall time that this node goes by against the median of the peers'.";
    CLOCK_JUMP "starling_clock_jump_seconds" Gauge Seconds [] "By how much the system's clock has jumped from the wall time that this node goes by; 0 while it follows it.";
    READ_QUEUE "starling_read_queue" Gauge Count ["kind"] "Loads of rows and pages of scans that wait for a thread that reads (load, scan).";
    READS_UNDER_WAY "starling_reads_under_way" Gauge Count [] "Loads of rows and pages of scans that threads have taken.";
    READS_REFUSED "starling_reads_refused_total" Counter Count [] "Loads and scans refused because too many waited.";
    READS_LEFT_OUT "starling_reads_left_out_total" Counter Count [] "Loads not made because the requests that had asked for them were over before their turn came.";
    READ_WAIT "starling_read_wait_seconds" Histogram Seconds ["kind"] "Time that a load or scan waited for a thread.";
    READ "starling_read_seconds" Histogram Seconds ["kind"] "Time in which a thread read a row, or a page of a scan.";
    SUSPECT "starling_suspect_partitions" Gauge Count [] "Partitions of which this node may have lost something: it answers unknown for them until it has pulled them from other owners.";
    TO_ACCEPT "starling_losses_to_accept" Gauge Count [] "Of the suspected partitions, those with too few whole copies left: keys not held answer unknown until `starling repair accept`.";
    CONNECTIONS "starling_connections" Gauge Count ["door"] "Open connections (resp, http, quic).";
    DOOR_ERRORS "starling_door_errors_total" Counter Count ["door", "kind"] "Connections refused, closed to make room for others, cut off for standing still, or closed for bytes that are no request.";
    FRAMES "starling_frames_total" Counter Count ["direction"] "Frames over QUIC (in, out).";
    FRAME_BYTES "starling_frame_bytes_total" Counter Bytes ["direction"] "Bytes of frames over QUIC (in, out).";
    FRAMES_DROPPED "starling_frames_dropped_total" Counter Count [] "Frames not sent because the peer's queue was full.";
    QUIC_REFUSED "starling_quic_refused_total" Counter Count [] "QUIC connections refused: wrong certificate, cluster or protocol, or malformed frames.";
    LOG_DROPPED "starling_log_lines_dropped_total" Counter Count [] "Lines of the log that were not written: standard error did not take them in time, or failed.";
    LOG_REPEATED "starling_log_lines_repeated_total" Counter Count [] "Lines of the log that were only counted, because the same, or many from the same place, had been written.";
    RSS "process_resident_memory_bytes" Gauge Bytes [] "Resident memory of the process.";
    STARTED "process_start_time_seconds" Gauge Seconds [] "When the process started, in seconds since 1970.";
    CPU "process_cpu_seconds_total" Gauge Seconds [] "User and system time of the process.";
}

/// All metrics.
pub fn declarations() -> Vec<Declaration> {
    let mut all = declared_here();
    for metric in Counters::default().metrics() {
        if all.iter().all(|declared| declared.name != metric.name) {
            let labels = metric.labels.iter().map(|(label, _)| *label).collect();
            let (name, help) = (metric.name, metric.help);
            all.push(Declaration { name, kind: Kind::Counter, unit: Unit::Count, help, labels });
        }
    }
    all
}

/// Seconds, from 50 µs to 10 s.
const SECONDS_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0];

/// Operations, in the order of the handles.
const OPS: [&str; 3] = ["get", "put", "del"];

/// The handles of the hot path, and the renderer.
pub struct Telemetry {
    prometheus: PrometheusHandle,
    requests: [[Counter; 3]; 3],
    seconds: [Histogram; 3],
}

/// The recorder is one per process: a second daemon in the same process shares it.
static RECORDER: std::sync::OnceLock<PrometheusHandle> = std::sync::OnceLock::new();

impl Telemetry {
    /// Installs the process's recorder, if this is the first daemon in it, and takes the handles.
    pub fn install() -> Self {
        let prometheus = RECORDER.get_or_init(|| recorder().unwrap_or_else(|_| detached())).clone();
        let outcome =
            |op, outcome: &'static str| metrics::counter!(REQUESTS, "op" => op, "outcome" => outcome);
        Self {
            prometheus,
            requests: OPS.map(|op| ["ok", "not_applied", "unknown"].map(|o| outcome(op, o))),
            seconds: OPS.map(|op| metrics::histogram!(SECONDS, "op" => op)),
        }
    }

    /// A request was answered.
    pub fn answered(&self, op: &'static str, seconds: f64, reply: &KvReply) {
        let op = OPS.iter().position(|&o| o == op).unwrap_or(0);
        let outcome = match reply {
            KvReply::Failed(f) if f.outcome == Outcome::NotApplied => 1,
            KvReply::Failed(f) if f.outcome == Outcome::Unknown => 2,
            _ => 0,
        };
        self.requests[op][outcome].increment(1);
        self.seconds[op].record(seconds);
    }

    /// Keeps histograms from growing while no scrape comes.
    pub fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }

    /// The text that Prometheus reads.
    pub fn render(
        &self,
        node: &Report,
        transport: &transport::Counters,
        storage: &Sizes,
        reads: Counts,
    ) -> String {
        publish_node(node);
        publish_transport(transport);
        reads::publish(reads);
        for (_, name, value) in sizes(storage) {
            match name.ends_with("_total") {
                true => metrics::counter!(name).absolute(value),
                false => gauge(name).set(value as f64),
            }
        }
        gauge(SHORT_OF_SPACE).set(f64::from(u8::from(storage.is_short_of_space)));
        let (dropped, repeated) = crate::log::counts();
        total(LOG_DROPPED, dropped);
        total(LOG_REPEATED, repeated);
        publish_process();
        self.prometheus.render() + &node_info(node)
    }
}

/// Rendered by itself: a recorder would go on showing what was so before the node joined its cluster.
fn node_info(node: &Report) -> String {
    let status = &node.status;
    let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let cluster = status.cluster_id.as_ref().map_or_else(|| "none".into(), ToString::to_string);
    format!(
        "# TYPE {NODE} gauge\n{NODE}{{cluster_id=\"{cluster}\",name=\"{}\",node_id=\"{}\",version=\"{}\"}} 1\n",
        escaped(&status.name),
        status.node_id,
        env!("CARGO_PKG_VERSION"),
    )
}

/// A recorder of our own; without buckets there would be summaries, which cannot be added up over nodes.
fn recorder() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(COMMIT_BATCHES.into()), BATCH_BUCKETS)?;
    let handle = builder.install_recorder()?;
    for d in declarations() {
        match d.kind {
            Kind::Counter => metrics::describe_counter!(d.name, d.unit, d.help),
            Kind::Gauge => metrics::describe_gauge!(d.name, d.unit, d.help),
            Kind::Histogram => metrics::describe_histogram!(d.name, d.unit, d.help),
        }
    }
    // An alert cannot watch what appears only when it has happened.
    gauge(POISONED).set(0.0);
    for door in ["resp", "http"] {
        for kind in ["refused", "made_room", "accept", "protocol", "stalled"] {
            metrics::counter!(DOOR_ERRORS, "door" => door, "kind" => kind).absolute(0);
        }
    }
    gauge(STARTED).set(Clock::start().now().wall.millis() as f64 / 1_000.0);
    Ok(handle)
}

/// Another part of the process owns its recorder: this daemon shows nothing rather than refusing to run.
fn detached() -> PrometheusHandle {
    PrometheusBuilder::new().build_recorder().handle()
}

/// The store reports here.
pub struct StoreMetrics {
    clock: Clock,
    fsync: Histogram,
    batches: Histogram,
    bytes: Counter,
    commits: [Counter; 2],
    flush: Histogram,
    compaction: Histogram,
}

impl StoreMetrics {
    /// Takes the handles; after [`Telemetry::install`].
    pub fn new() -> Self {
        Self {
            clock: Clock::start(),
            fsync: metrics::histogram!(FSYNC),
            batches: metrics::histogram!(COMMIT_BATCHES),
            bytes: metrics::counter!(COMMIT_BYTES),
            commits: ["no", "yes"].map(|synced| metrics::counter!(COMMITS, "synced" => synced)),
            flush: metrics::histogram!(FLUSH),
            compaction: metrics::histogram!(COMPACTION),
        }
    }
}

impl Default for StoreMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for StoreMetrics {
    fn clock(&self) -> Duration {
        Duration::from_nanos(self.clock.instant().nanos())
    }

    fn group(&self, group: Group) {
        if group.synced {
            self.fsync.record(group.took);
        }
        self.batches.record(group.batches as f64);
        self.bytes.increment(group.bytes as u64);
        self.commits[usize::from(group.synced)].increment(1);
    }

    fn flushed(&self, took: Duration) {
        self.flush.record(took);
    }

    fn compacted(&self, took: Duration) {
        self.compaction.record(took);
    }
}

/// One more, or one less, connection at a door.
pub fn connection(door: &'static str, change: f64) {
    metrics::gauge!(CONNECTIONS, "door" => door).increment(change);
}

/// Something went wrong at a door.
pub fn door_error(door: &'static str, kind: &'static str) {
    metrics::counter!(DOOR_ERRORS, "door" => door, "kind" => kind).increment(1);
}

/// How full the volume is.
pub fn space(space: Space) {
    gauge(DISK_FREE).set(space.free as f64);
    gauge(DISK_TOTAL).set(space.total as f64);
    gauge(DISK_RESERVE).set(space.reserve as f64);
    gauge(DISK_FREE_FILES).set(space.free_files.unwrap_or_default() as f64);
}

/// How the disk is, and for how long the commits under way have waited for it.
pub fn disk(stalled: Duration, disk: &Disk) {
    let flag = |name, is_so| gauge(name).set(f64::from(u8::from(is_so)));
    flag(DISK_LOW, disk.room == Room::Low);
    flag(DISK_FULL, disk.is_full());
    flag(DISK_STALLED, disk.is_stalled);
    flag(DISK_FAILS_READS, disk.fails_reads);
    gauge(SYNC_AGE).set(stalled.as_secs_f64());
}

/// The names of seeds were looked up again.
pub fn seeds_looked_up() {
    metrics::counter!(SEED_LOOKUPS).increment(1);
}

/// Seeds lead to so many addresses.
pub fn seeds_lead_to(addresses: usize) {
    metrics::counter!(SEED_LOOKUPS).increment(0);
    gauge(SEED_ADDRESSES).set(addresses as f64);
}

/// Whether the start found losses.
pub fn losses(found: bool) {
    gauge(STORE_LOSSES).set(f64::from(u8::from(found)));
}

/// The store refused a commit.
pub fn poisoned() {
    gauge(POISONED).set(1.0);
}

fn gauge(name: &'static str) -> Gauge {
    metrics::gauge!(name)
}

fn total(name: &'static str, value: u64) {
    metrics::counter!(name).absolute(value);
}

/// The sizes that the store reports: the name in the status, the metric, and how much.
pub fn sizes(sizes: &Sizes) -> [(&'static str, &'static str, u64); 12] {
    [
        ("disk_bytes", DISK, sizes.disk_bytes),
        ("log_bytes", LOG, sizes.log_bytes),
        ("unflushed_bytes", UNFLUSHED, sizes.unflushed_bytes),
        ("flush_backlog", BACKLOG, sizes.flush_backlog as u64),
        ("young_runs", YOUNG_RUNS, sizes.l0_runs as u64),
        ("cache_bytes", BLOCK_CACHE, sizes.cache_bytes),
        ("damaged_tables", DAMAGED_TABLES, sizes.damaged_tables as u64),
        ("unread_tables", UNREAD_TABLES, sizes.unread_tables as u64),
        ("read_failures", READ_FAILURES, sizes.read_failures),
        ("ruins", RUINS, sizes.ruins as u64),
        ("scrubbed_bytes", SCRUBBED, sizes.scrubbed_bytes),
        ("scrub_passes", SCRUB_PASSES, sizes.scrub_passes),
    ]
}

fn publish_node(node: &Report) {
    let status = &node.status;
    gauge(HINTS).set(status.hints.count as f64);
    gauge(HINT_BYTES).set(status.hints.bytes as f64);
    gauge(BEHIND).set(status.repair.behind_partitions.unwrap_or(0) as f64);
    gauge(READY).set(f64::from(u8::from(node.unfit.is_none())));
    gauge(PARTITIONS).set(status.quorums.partitions as f64);
    for (op, count) in [("read", status.quorums.without_read), ("write", status.quorums.without_write)] {
        metrics::gauge!(WITHOUT_QUORUM, "op" => op).set(count as f64);
    }
    gauge(LAYOUT).set(status.layout_version as f64);
    for state in ["alive", "suspect", "dead", "left"] {
        let count = status.members.iter().filter(|m| m.state == state).count();
        metrics::gauge!(MEMBERS, "state" => state).set(count as f64);
    }
    gauge(IN_FLIGHT).set(node.in_flight as f64);
    gauge(IN_FLIGHT_BYTES).set(node.in_flight_bytes as f64);
    gauge(CACHE).set(node.cached_bytes as f64);
    gauge(SUSPECT).set(status.storage.suspect_partitions as f64);
    gauge(TO_ACCEPT).set(status.storage.losses_to_accept as f64);
    gauge(CLOCK_LEAD).set(status.clock.lead_ms as f64 / 1_000.0);
    gauge(CLOCK_OFFSET).set(status.clock.offset_ms.unwrap_or(0) as f64 / 1_000.0);
    gauge(CLOCK_JUMP).set(status.clock.jump_ms.unwrap_or(0) as f64 / 1_000.0);
    for metric in node.counters.metrics() {
        metrics::counter!(metric.name, metric.labels).absolute(metric.count);
    }
}

fn publish_transport(counted: &transport::Counters) {
    for (direction, frames, bytes) in [
        ("in", counted.frames_in.get(), counted.bytes_in.get()),
        ("out", counted.frames_out.get(), counted.bytes_out.get()),
    ] {
        metrics::counter!(FRAMES, "direction" => direction).absolute(frames);
        metrics::counter!(FRAME_BYTES, "direction" => direction).absolute(bytes);
    }
    metrics::gauge!(CONNECTIONS, "door" => "quic").set(counted.connections.get() as f64);
    total(FRAMES_DROPPED, counted.full.get());
    total(QUIC_REFUSED, counted.refused.get() + counted.malformed.get());
}

/// CPU time and memory of this process; resident memory only where there is a /proc.
fn publish_process() {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    if let Some(pages) = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok()) {
        gauge(RSS).set(pages * rustix::param::page_size() as f64);
    }
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    gauge(CPU).set(spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_tell_their_kind() {
        let all = declarations();
        for (i, d) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other.name != d.name), "{}", d.name);
            let is_total = d.name.ends_with("_total");
            assert!(is_total == (d.kind == Kind::Counter) || d.name == CPU, "{}", d.name);
            assert!(d.help.ends_with('.'), "{}", d.name);
        }
    }
}
