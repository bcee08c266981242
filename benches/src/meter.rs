//! One measurement: what a closed loop got done in a span of time, after a warm-up.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

/// The time. Benchmarks measure it, so they may read it.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The measurement of one subject in one round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Operations per second.
    pub ops_per_s: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99th percentile of latency in microseconds.
    pub p99_us: f64,
    /// CPU time of the whole process (both ends, user and system) per operation, in microseconds.
    pub cpu_us: f64,
}

impl Sample {
    /// Field by field the median of `samples`.
    pub fn median(samples: &[Self]) -> Self {
        let of = |field: fn(&Self) -> f64| median(samples.iter().map(field));
        Self {
            ops_per_s: of(|s| s.ops_per_s),
            p50_us: of(|s| s.p50_us),
            p99_us: of(|s| s.p99_us),
            cpu_us: of(|s| s.cpu_us),
        }
    }
}

/// The middle value, or the mean of the two in the middle; NaN of nothing.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        even if even.is_multiple_of(2) => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// Counts what is done between the end of the warm-up and the end of the span.
#[derive(Debug)]
pub struct Meter {
    from: Instant,
    until: Instant,
    cpu: Mark,
    latencies: Histogram<u64>,
}

/// CPU time of the process at both ends of the span.
#[derive(Debug, Default)]
struct Mark {
    begin: Option<Duration>,
    end: Option<Duration>,
}

impl Meter {
    /// Starts the warm-up of a measurement that lasts `span`.
    pub fn start(span: Duration) -> Result<Self> {
        let from = now() + span / 4;
        let latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        Ok(Self { from, until: from + span, cpu: Mark::default(), latencies })
    }

    /// To be called once for every batch of answers, at `now`: false when the measurement is over.
    pub fn goes_on(&mut self, now: Instant) -> bool {
        if now >= self.from && self.cpu.begin.is_none() {
            self.cpu.begin = cpu_time().ok();
        }
        if now >= self.until && self.cpu.end.is_none() {
            self.cpu.end = cpu_time().ok();
        }
        now < self.until
    }

    /// An operation that began at `begun` was answered at `now`.
    pub fn done(&mut self, begun: Instant, now: Instant) {
        if (self.from..self.until).contains(&now) {
            let nanos = u64::try_from((now - begun).as_nanos()).unwrap_or(u64::MAX);
            self.latencies.saturating_record(nanos.max(1));
        }
    }

    /// The measurement.
    pub fn sample(&self) -> Result<Sample> {
        let count = self.latencies.len();
        ensure!(count > 0, "nothing was answered within {:?}", self.until - self.from);
        let begin = self.cpu.begin.context("the process's CPU time cannot be read")?;
        let end = self.cpu.end.context("the measurement was not finished")?;
        let micros = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Sample {
            ops_per_s: count as f64 / (self.until - self.from).as_secs_f64(),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            cpu_us: (end - begin).as_secs_f64() * 1e6 / count as f64,
        })
    }
}

/// User and system time of this process so far, in steps of 10 ms.
fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The second field is a name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')').context("/proc/self/stat is not as expected")?;
    let ticks = fields.split_ascii_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn only_what_is_answered_within_the_span_counts() {
        let mut meter = Meter::start(Duration::from_secs(4)).unwrap();
        let begun = now();
        let within = meter.from + Duration::from_secs(1);
        assert!(meter.goes_on(begun) && meter.cpu.begin.is_none());
        meter.done(begun, begun);
        assert!(meter.goes_on(within));
        meter.done(begun, within);
        meter.done(begun, within);
        assert!(!meter.goes_on(meter.until));
        meter.done(begun, meter.until);
        let sample = meter.sample().unwrap();
        assert_eq!(sample.ops_per_s, 0.5);
        assert!((1.9e6..2.1e6).contains(&sample.p50_us), "{sample:?}");
    }
}
