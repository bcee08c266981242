//! Faults: planned from the seed before the run, each with its end, carried out one by one.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::seed::Seed;
use crate::world::World;

/// Which faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Unclean stops.
    pub crashes: bool,
    /// Clean stops.
    pub drains: bool,
    /// Cut links, in one direction or both.
    pub cuts: bool,
    /// Disks that take their time.
    pub slow_disks: bool,
    /// Disks whose fsync fails, once; the node's store is poisoned then, and it is started anew.
    pub failing_disks: bool,
    /// Wall clocks that jump.
    pub clocks: bool,
    /// Processes that stand still.
    pub pauses: bool,
}

impl Faults {
    /// All of them.
    pub const ALL: Self = Self {
        crashes: true,
        drains: true,
        cuts: true,
        slow_disks: true,
        failing_disks: true,
        clocks: true,
        pauses: true,
    };
    /// None.
    pub const NONE: Self = Self {
        crashes: false,
        drains: false,
        cuts: false,
        slow_disks: false,
        failing_disks: false,
        clocks: false,
        pauses: false,
    };
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Kill.
    Crash(usize),
    /// Start, if it is down.
    Start(usize),
    /// Ask to stop.
    Drain(usize),
    /// Cut (or mend) the way from one to another.
    Cut(usize, usize, bool),
    /// Fsyncs take up to so many milliseconds.
    Fsync(usize, u64),
    /// The next fsync fails.
    FailDisk(usize),
    /// The wall clock is off by so many milliseconds.
    Clock(usize, i64),
    /// The process stands still for so many milliseconds.
    Pause(usize, u64),
}

/// Steps and when they are due, measured from the start of the workload.
pub type Schedule = Vec<(Duration, Step)>;

/// Draws a schedule of about one fault every `gap` for as long as `span`.
pub fn plan(seed: Seed, faults: Faults, nodes: usize, gap: Duration, span: Duration) -> Schedule {
    let mut schedule = Schedule::new();
    let kinds = kinds(faults);
    let mut rng = seed.stream("nemesis", 0);
    let mut at = gap.mul_f64(rng.random::<f64>());
    let mut number = 0;
    while at < span && !kinds.is_empty() {
        let kind = kinds[rng.random_range(0..kinds.len())];
        // Each fault draws from its own stream: leaving one out changes no other.
        let mut own = seed.stream("fault", number);
        kind(&mut own, nodes, at, &mut schedule);
        number += 1;
        at += gap.mul_f64(0.3 + 1.4 * rng.random::<f64>());
    }
    schedule
}

type Fault = fn(&mut ChaCha8Rng, usize, Duration, &mut Schedule);

fn kinds(faults: Faults) -> Vec<Fault> {
    let all: [(bool, Fault); 7] = [
        (faults.crashes, crash),
        (faults.drains, drain),
        (faults.cuts, cut),
        (faults.slow_disks, slow_disk),
        (faults.failing_disks, failing_disk),
        (faults.clocks, clock),
        (faults.pauses, standstill),
    ];
    all.into_iter().filter(|(on, _)| *on).map(|(_, fault)| fault).collect()
}

fn pause(rng: &mut ChaCha8Rng, most_ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(1..=most_ms))
}

/// One node, or all of them at once: then the disks alone remember.
fn crash(rng: &mut ChaCha8Rng, nodes: usize, at: Duration, schedule: &mut Schedule) {
    let all = rng.random_bool(0.1);
    let chosen = rng.random_range(0..nodes);
    for node in (0..nodes).filter(|&n| all || n == chosen) {
        schedule.push((at, Step::Crash(node)));
        let quick = rng.random_bool(0.5);
        let down = pause(rng, if quick { 50 } else { 4_000 });
        schedule.push((at + down, Step::Start(node)));
    }
}

fn drain(rng: &mut ChaCha8Rng, nodes: usize, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    schedule.push((at, Step::Drain(node)));
    schedule.push((at + Duration::from_secs(3) + pause(rng, 2_000), Step::Start(node)));
}

fn cut(rng: &mut ChaCha8Rng, nodes: usize, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    let end = at + pause(rng, 5_000);
    let (inward, outward) = [(true, true), (true, false), (false, true)][rng.random_range(0..3)];
    let isolated = rng.random_bool(0.5);
    let other = (node + rng.random_range(1..nodes.max(2))) % nodes;
    for peer in (0..nodes).filter(|&p| p != node && (isolated || p == other)) {
        for (on, from, to) in [(outward, node, peer), (inward, peer, node)] {
            if on {
                schedule.push((at, Step::Cut(from, to, true)));
                schedule.push((end, Step::Cut(from, to, false)));
            }
        }
    }
}

fn slow_disk(rng: &mut ChaCha8Rng, nodes: usize, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    schedule.push((at, Step::Fsync(node, rng.random_range(50..1_500))));
    schedule.push((at + pause(rng, 3_000), Step::Fsync(node, 0)));
}

fn failing_disk(rng: &mut ChaCha8Rng, nodes: usize, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    schedule.push((at, Step::FailDisk(node)));
}

fn clock(rng: &mut ChaCha8Rng, nodes: usize, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    let far = if rng.random_bool(0.3) { 3_000 } else { 300 };
    schedule.push((at, Step::Clock(node, rng.random_range(-far..=far))));
    schedule.push((at + pause(rng, 3_000), Step::Clock(node, 0)));
}

fn standstill(rng: &mut ChaCha8Rng, nodes: usize, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    let most = if rng.random_bool(0.5) { 800 } else { 6_000 };
    schedule.push((at, Step::Pause(node, rng.random_range(20..=most))));
}

/// Does it.
pub fn carry_out(world: &mut World, step: Step) {
    match step {
        Step::Crash(node) => world.crash(node),
        Step::Start(node) => world.start(node),
        Step::Drain(node) => world.drain(node),
        Step::Cut(from, to, cut) => world.cut(from, to, cut),
        Step::Fsync(node, most) => {
            let most = Duration::from_millis(most).max(Duration::from_millis(4));
            world.set_fsync(node, most / 8, most);
        }
        Step::FailDisk(node) => world.fail_disk(node),
        Step::Clock(node, offset) => world.set_clock(node, offset),
        Step::Pause(node, ms) => world.pause(node, Duration::from_millis(ms)),
    }
}
