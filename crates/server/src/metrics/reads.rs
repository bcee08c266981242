//! The metrics of the threads that read.

use std::time::Duration;

use metrics::Histogram;

use super::{READ, READ_QUEUE, READ_WAIT, READS_LEFT_OUT, READS_REFUSED, READS_UNDER_WAY, gauge, total};
use crate::readers::Counts;

/// The threads that read report here.
pub struct ReadMetrics([[Histogram; 2]; 2]);

impl ReadMetrics {
    /// Takes the handles; after [`super::Telemetry::install`].
    pub fn take() -> Self {
        let of = |kind| {
            [metrics::histogram!(READ_WAIT, "kind" => kind), metrics::histogram!(READ, "kind" => kind)]
        };
        Self(["load", "scan"].map(of))
    }

    /// A load (0) or scan (1) has waited, and then taken so long.
    pub fn read(&self, kind: usize, waited: Duration, took: Duration) {
        let [wait, read] = &self.0[kind];
        wait.record(waited);
        read.record(took);
    }
}

pub(super) fn publish(reads: Counts) {
    metrics::gauge!(READ_QUEUE, "kind" => "load").set(reads.loads_waiting as f64);
    metrics::gauge!(READ_QUEUE, "kind" => "scan").set(reads.scans_waiting as f64);
    gauge(READS_UNDER_WAY).set(reads.under_way as f64);
    total(READS_REFUSED, reads.refused);
    total(READS_LEFT_OUT, reads.left_out);
}
