//! The shape of a standard run: how many nodes and copies, the rules of the bucket, what clients write and how they
//! wait. Most seeds differ from the usual shape in one or two things: a rare one must not hide in a crowd of others.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use starling_types::{BucketChanges, Conflict};

use crate::rules::{NO_CHANGE, Rules};
use crate::swarm::LEAST_HARMS;

#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) nodes: usize,
    pub(crate) copies: u8,
    pub(crate) rules: Rules,
    pub(crate) patience: Duration,
    /// See [`crate::workload::WorkloadOptions::late_retries`].
    pub(crate) late_retries: f64,
    /// How far clients' clocks may be off.
    pub(crate) client_skew_ms: i64,
    /// Longest value.
    pub(crate) longest: usize,
    /// Share of values that expire.
    pub(crate) ttl: f64,
    /// See [`crate::Options::calm`].
    pub(crate) calm: Duration,
    /// Longer pauses between faults than usual.
    pub(crate) gap: Option<Duration>,
    /// See [`crate::Options::crowded`].
    pub(crate) crowded: bool,
    /// The least W where disks forget.
    pub(crate) least_w: u8,
    /// Keys that clients share.
    pub(crate) keys: usize,
}

impl Shape {
    pub(crate) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let mut rules = rules(rng);
        let copies = match rng.random_range(0..20) {
            0 => 1,
            1 | 2 => 2,
            3 | 4 => 4,
            5..=7 => 5,
            _ => 3,
        };
        let majority = copies / 2 + 1;
        let least_w = if copies > 3 && rng.random_bool(0.5) { 2 } else { majority };
        if least_w < majority {
            rules.first.least_w = Some(least_w);
        }
        // Rules that change are judged only where every node that acks knows of them.
        let more = if rules.later.is_some() { 0 } else { rng.random_range(0..=4) };
        Self {
            nodes: (usize::from(copies) + more).min(7),
            copies,
            rules,
            patience: Duration::from_millis([800, 1_200, 1_200, 2_000][rng.random_range(0..4)]),
            late_retries: if rng.random_bool(0.3) { 0.15 } else { 0.0 },
            client_skew_ms: if rng.random_bool(0.1) { 5_000 } else { 50 },
            longest: [0, 0, 200, 2_000, 16_000][rng.random_range(0..5)],
            ttl: if rng.random_bool(0.15) { 0.2 } else { 0.0 },
            calm: Duration::from_secs(if rng.random_bool(0.4) { 4 } else { 0 }),
            gap: rng.random_bool(0.15).then_some(Duration::from_secs(8)),
            crowded: rng.random_bool(0.05),
            least_w,
            keys: if rng.random_bool(0.2) { 4 } else { 20 },
        }
    }

    /// Fewest kinds of faults that must have had an effect: few strike seldom, or spare what others do not hold.
    pub(crate) fn least_harms(&self) -> usize {
        let is_usual = self.gap.is_none() && self.copies >= 3 && !self.rules.is_loose();
        if is_usual { LEAST_HARMS } else { 1 }
    }
}

fn rules(rng: &mut ChaCha8Rng) -> Rules {
    let lww = BucketChanges { conflict: Some(Conflict::Lww), ..NO_CHANGE };
    let siblings = BucketChanges { conflict: Some(Conflict::Siblings), ..NO_CHANGE };
    let strict = BucketChanges { strict: Some(true), ..NO_CHANGE };
    let loose = BucketChanges { durable: Some(false), ..NO_CHANGE };
    let fewer_acks = BucketChanges { w: Some(1), ..NO_CHANGE };
    let later = |changes| Some((Duration::from_secs(12), changes));
    let (first, later) = match rng.random_range(0..20) {
        0..3 => (lww, None),
        3..5 => (strict, None),
        5..7 => (loose, None),
        7 => (lww, later(siblings)),
        8 => (NO_CHANGE, later([lww, strict, fewer_acks][rng.random_range(0..3)])),
        _ => (NO_CHANGE, None),
    };
    Rules { first, later }
}
