//! The standard run: what `starling sim` and CI run for a seed. Each seed draws its own cluster, its own weather and
//! its own few kinds of faults: a kind that is absent cannot hide what another would show.

use std::ops::RangeInclusive;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;
use rand::seq::SliceRandom;
use starling_node::Pace;

use crate::judges::Judge;
use crate::nemesis::Faults;
use crate::run::Options;
use crate::sabotage::Sabotage;
use crate::seed::Seed;
use crate::shape::Shape;
use crate::workload::WorkloadOptions;
use crate::world::{Weather, WorldOptions};

/// Virtual time in which clients work and faults strike.
pub const SPAN: Duration = Duration::from_secs(30);
/// Fewest operations of a run; it goes on beyond its span until it has them.
pub const LEAST_OPS: usize = 500;
/// Fewest kinds of faults that must have had an effect in a usual run.
pub const LEAST_HARMS: usize = 3;

/// The kinds of faults. Reordering needs no kind of its own: frames overtake each other in any weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Loss,
    Repeats,
    Delay,
    Cuts,
    Crashes,
    Drains,
    Rolling,
    SlowDisks,
    SlowReads,
    FailingDisks,
    Pauses,
    Standstills,
    Clocks,
    Drift,
    LostCommits,
    Rot,
    OldDisks,
    FullDisks,
}

const TROUBLES: [Trouble; 18] = [
    Trouble::Loss,
    Trouble::Repeats,
    Trouble::Delay,
    Trouble::Cuts,
    Trouble::Crashes,
    Trouble::Drains,
    Trouble::Rolling,
    Trouble::SlowDisks,
    Trouble::SlowReads,
    Trouble::FailingDisks,
    Trouble::Pauses,
    Trouble::Standstills,
    Trouble::Clocks,
    Trouble::Drift,
    Trouble::LostCommits,
    Trouble::Rot,
    Trouble::OldDisks,
    Trouble::FullDisks,
];
/// Virtual time is cheap, but not free: owners compare what they hold more often than a daemon's.
const QUICK: Pace =
    Pace { period: Duration::from_secs(2), soon: Duration::from_millis(500), gap: Duration::from_millis(5) };
/// How many of them a seed draws.
const DRAWN: RangeInclusive<usize> = 4..=11;

impl Options {
    /// The standard run of a seed.
    pub fn standard(seed: u64) -> Self {
        let mut rng = Seed(seed).stream("swarm", 0);
        let shape = Shape::draw(&mut Seed(seed).stream("shape", 0));
        let mut troubles = TROUBLES;
        let count = rng.random_range(DRAWN);
        let (drawn, _) = troubles.partial_shuffle(&mut rng, count);
        let has = |trouble| drawn.contains(&trouble);
        // One seed in three does without: there hints and repairs must pay what they owe, and reads of all owners bring
        // the copies that none of them owes.
        let sweep = if rng.random_bool(0.65) { QUICK } else { Pace::OFF };
        let faults = faults(has, sweep.is_on(), &shape);
        Self {
            world: world(&mut rng, has, shape.nodes),
            copies: shape.copies,
            bits: rng.random_range(3..=5),
            workload: WorkloadOptions {
                clients: rng.random_range(10..=16),
                keys: shape.keys,
                registers: 6,
                least_w: if faults.forget() { shape.least_w } else { 1 },
                think: Duration::from_millis(rng.random_range(100..=200)),
                patience: shape.patience,
                tries: 3,
                late_retries: shape.late_retries,
                copies: shape.copies,
                clock_skew_ms: shape.client_skew_ms,
                longest: shape.longest,
                ttl: shape.ttl,
                lww: shape.rules.keeps_one(),
                strict: shape.rules.is_strict(),
            },
            faults,
            gap: shape.gap.unwrap_or(Duration::from_millis(rng.random_range(500..=1_500))),
            span: SPAN,
            least_ops: LEAST_OPS,
            least_harms: shape.least_harms(),
            sweep,
            final_reads: !sweep.is_on(),
            rules: shape.rules,
            calm: shape.calm,
            crowded: shape.crowded,
            judges: Judge::ALL.to_vec(),
            planted: None,
        }
    }
}

fn faults(has: impl Fn(Trouble) -> bool, sweeps: bool, shape: &Shape) -> Faults {
    // Rows that a disk forgets must lie on others.
    let forget = shape.copies >= 3 && !shape.rules.is_loose();
    Faults {
        crashes: has(Trouble::Crashes),
        drains: has(Trouble::Drains),
        rolling: has(Trouble::Rolling),
        cuts: has(Trouble::Cuts),
        slow_disks: has(Trouble::SlowDisks),
        failing_disks: has(Trouble::FailingDisks),
        clocks: has(Trouble::Clocks),
        drift: has(Trouble::Drift),
        pauses: has(Trouble::Pauses),
        standstills: has(Trouble::Standstills),
        lost_commits: has(Trouble::LostCommits) && forget,
        rot: has(Trouble::Rot) && sweeps && forget,
        old_disks: has(Trouble::OldDisks) && forget,
        full_disks: has(Trouble::FullDisks),
    }
}

fn world(rng: &mut ChaCha8Rng, has: impl Fn(Trouble) -> bool, nodes: usize) -> WorldOptions {
    // Every share is drawn, used or not, so that a trouble more changes nothing else.
    let mut share = |on: Trouble, most: f64| {
        let share = rng.random_range(most / 10.0..most);
        if has(on) { share } else { 0.0 }
    };
    let (loss, repeats) = (share(Trouble::Loss, 0.06), share(Trouble::Repeats, 0.06));
    let (spikes, slow_loads) = (share(Trouble::Delay, 0.08), share(Trouble::SlowReads, 0.1));
    let usual = Duration::from_millis(rng.random_range(2..=8));
    let laggard = (Duration::from_millis(40), Duration::from_millis(250));
    let lags = rng.random_bool(0.6);
    WorldOptions {
        nodes,
        weather: Weather { loss, repeats, delay: (Duration::from_micros(200), usual), spikes },
        fsync: (Duration::from_micros(500), Duration::from_millis(4)),
        laggard: (has(Trouble::SlowDisks) && lags).then_some(laggard),
        clock_skew_ms: if has(Trouble::Clocks) { 120 } else { 20 },
        inline_loads: rng.random_range(0.3..0.9),
        slow_loads,
        sabotage: Sabotage::None,
    }
}
