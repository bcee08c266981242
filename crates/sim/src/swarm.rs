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
use crate::rules::Rules;
use crate::run::Options;
use crate::sabotage::Sabotage;
use crate::seed::Seed;
use crate::workload::WorkloadOptions;
use crate::world::{Weather, WorldOptions};

/// Virtual time in which clients work and faults strike.
pub const SPAN: Duration = Duration::from_secs(30);
/// Fewest operations of a run; it goes on beyond its span until it has them.
pub const LEAST_OPS: usize = 1_000;
/// Fewest kinds of faults that must have had an effect.
pub const LEAST_HARMS: usize = 3;

/// What can go wrong. Reordering needs no kind of its own: frames overtake each other in any weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Loss,
    Repeats,
    Delay,
    Cuts,
    Crashes,
    Drains,
    SlowDisks,
    SlowReads,
    FailingDisks,
    Pauses,
    Clocks,
    LostCommits,
    Rot,
    OldDisks,
    FullDisks,
}

const TROUBLES: [Trouble; 15] = [
    Trouble::Loss,
    Trouble::Repeats,
    Trouble::Delay,
    Trouble::Cuts,
    Trouble::Crashes,
    Trouble::Drains,
    Trouble::SlowDisks,
    Trouble::SlowReads,
    Trouble::FailingDisks,
    Trouble::Pauses,
    Trouble::Clocks,
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
        let mut troubles = TROUBLES;
        let count = rng.random_range(DRAWN);
        let (drawn, _) = troubles.partial_shuffle(&mut rng, count);
        let has = |trouble| drawn.contains(&trouble);
        // One seed in four does without: there reads of all owners repair what hints cannot.
        let sweep = if rng.random_bool(0.75) { QUICK } else { Pace::OFF };
        let faults = faults(has, sweep.is_on());
        Self {
            world: world(&mut rng, has),
            copies: 3,
            bits: rng.random_range(3..=5),
            workload: WorkloadOptions {
                clients: rng.random_range(10..=16),
                keys: 20,
                registers: 6,
                least_w: if faults.forget() { 2 } else { 1 },
                think: Duration::from_millis(rng.random_range(100..=200)),
                patience: Duration::from_millis(1_200),
                tries: 3,
                late_retries: 0.0,
                copies: 3,
                clock_skew_ms: 50,
                longest: 0,
                ttl: 0.0,
                lww: false,
                strict: false,
            },
            faults,
            gap: Duration::from_millis(rng.random_range(500..=1_500)),
            span: SPAN,
            least_ops: LEAST_OPS,
            least_harms: LEAST_HARMS,
            sweep,
            final_reads: !sweep.is_on(),
            rules: Rules::DEFAULT,
            calm: Duration::ZERO,
            crowded: false,
            judges: Judge::ALL.to_vec(),
        }
    }
}

fn faults(has: impl Fn(Trouble) -> bool, sweeps: bool) -> Faults {
    Faults {
        crashes: has(Trouble::Crashes),
        drains: has(Trouble::Drains),
        cuts: has(Trouble::Cuts),
        slow_disks: has(Trouble::SlowDisks),
        failing_disks: has(Trouble::FailingDisks),
        clocks: has(Trouble::Clocks),
        pauses: has(Trouble::Pauses),
        lost_commits: has(Trouble::LostCommits),
        rot: has(Trouble::Rot) && sweeps,
        old_disks: has(Trouble::OldDisks),
        full_disks: has(Trouble::FullDisks),
    }
}

fn world(rng: &mut ChaCha8Rng, has: impl Fn(Trouble) -> bool) -> WorldOptions {
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
        nodes: rng.random_range(3..=7),
        weather: Weather { loss, repeats, delay: (Duration::from_micros(200), usual), spikes },
        fsync: (Duration::from_micros(500), Duration::from_millis(4)),
        laggard: (has(Trouble::SlowDisks) && lags).then_some(laggard),
        clock_skew_ms: if has(Trouble::Clocks) { 120 } else { 20 },
        inline_loads: rng.random_range(0.3..0.9),
        slow_loads,
        sabotage: Sabotage::None,
    }
}
