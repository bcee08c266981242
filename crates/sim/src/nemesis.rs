//! Faults: planned from the seed before the run, each with its end, carried out one by one.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use starling_storage::MemoryEngine;

use crate::seed::Seed;
use crate::world::World;

const YEAR_MS: i64 = 365 * 24 * 3_600 * 1_000;

/// Which faults there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// Unclean stops.
    pub crashes: bool,
    /// Clean stops.
    pub drains: bool,
    /// Clean stops of one node after the other.
    pub rolling: bool,
    /// Cut links, in one direction or both.
    pub cuts: bool,
    /// Disks that take their time.
    pub slow_disks: bool,
    /// Disks whose fsync fails, once; the node's store is poisoned then, and it is started anew.
    pub failing_disks: bool,
    /// Wall clocks that jump.
    pub clocks: bool,
    /// Wall clocks that go too fast or too slowly for a while.
    pub drift: bool,
    /// Processes that stand still.
    pub pauses: bool,
    /// Processes that stand still for longer than any patience, while frames wait in their sockets.
    pub standstills: bool,
    /// Unclean stops whose disk takes back what it had synced. These, rot and old disks strike one node a seed: what it
    /// forgets, W-1 others have.
    pub lost_commits: bool,
    /// Rows that are damaged on disk. They are found only where nodes compare what they hold.
    pub rot: bool,
    /// Disks from before a node's last start.
    pub old_disks: bool,
    /// Volumes without room, for a while.
    pub full_disks: bool,
}

impl Faults {
    /// All that disks need not notice.
    pub const ALL: Self = Self {
        crashes: true,
        drains: true,
        rolling: false,
        cuts: true,
        slow_disks: true,
        failing_disks: true,
        clocks: true,
        drift: false,
        pauses: true,
        standstills: false,
        lost_commits: false,
        rot: false,
        old_disks: false,
        full_disks: false,
    };
    /// None.
    pub const NONE: Self = Self {
        crashes: false,
        drains: false,
        rolling: false,
        cuts: false,
        slow_disks: false,
        failing_disks: false,
        clocks: false,
        drift: false,
        pauses: false,
        standstills: false,
        lost_commits: false,
        rot: false,
        old_disks: false,
        full_disks: false,
    };
}

impl Faults {
    /// Whether a disk may lose what it has acked.
    pub const fn forget(self) -> bool {
        self.lost_commits || self.rot || self.old_disks
    }
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
    /// Kill, and take back so many synced commits.
    LoseCommits(usize, usize),
    /// Damage one row: the draw says which.
    Rot(usize, u64),
    /// Put a copy of the disk aside.
    BackUp(usize),
    /// Kill, and put it in the disk's place; all others, too, may have to start anew then.
    PutBack(usize, bool),
    /// The volume has little room (or, to the brim, none), or enough again.
    Fill(usize, bool, bool),
}

/// Steps and when they are due, measured from the start of the workload.
pub type Schedule = Vec<(Duration, Step)>;

/// Draws a schedule of about one fault every `gap` for as long as `span`.
pub fn plan(seed: Seed, faults: Faults, nodes: usize, gap: Duration, span: Duration) -> Schedule {
    let mut schedule = Schedule::new();
    let kinds = kinds(faults);
    let victim = seed.stream("victim", 0).random_range(0..nodes);
    let mut rng = seed.stream("nemesis", 0);
    let mut at = gap.mul_f64(rng.random::<f64>());
    let mut number = 0;
    while at < span && !kinds.is_empty() {
        let kind = kinds[rng.random_range(0..kinds.len())];
        // Each fault draws from its own stream: leaving one out changes no other.
        let mut own = seed.stream("fault", number);
        kind(&mut own, Whom { nodes, victim }, at, &mut schedule);
        number += 1;
        at += gap.mul_f64(0.3 + 1.4 * rng.random::<f64>());
    }
    schedule
}

/// The nodes that a fault may strike.
#[derive(Clone, Copy)]
struct Whom {
    nodes: usize,
    /// The one whose disk forgets.
    victim: usize,
}

type Fault = fn(&mut ChaCha8Rng, Whom, Duration, &mut Schedule);

fn kinds(faults: Faults) -> Vec<Fault> {
    let all: [(bool, Fault); 14] = [
        (faults.crashes, crash),
        (faults.drains, drain),
        (faults.rolling, roll),
        (faults.cuts, cut),
        (faults.slow_disks, slow_disk),
        (faults.failing_disks, failing_disk),
        (faults.clocks, clock),
        (faults.drift, drift),
        (faults.pauses, pause_process),
        (faults.standstills, standstill),
        (faults.lost_commits, lost_commits),
        (faults.rot, rot),
        (faults.old_disks, old_disk),
        (faults.full_disks, full_disk),
    ];
    all.into_iter().filter(|(on, _)| *on).map(|(_, fault)| fault).collect()
}

fn pause(rng: &mut ChaCha8Rng, most_ms: u64) -> Duration {
    Duration::from_millis(rng.random_range(1..=most_ms))
}

/// One node, or all of them at once: then the disks alone remember.
fn crash(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let all = rng.random_bool(0.1);
    let chosen = rng.random_range(0..nodes);
    for node in (0..nodes).filter(|&n| all || n == chosen) {
        schedule.push((at, Step::Crash(node)));
        let quick = rng.random_bool(0.5);
        let down = pause(rng, if quick { 50 } else { 4_000 });
        schedule.push((at + down, Step::Start(node)));
    }
}

fn drain(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    schedule.push((at, Step::Drain(node)));
    schedule.push((at + Duration::from_secs(3) + pause(rng, 2_000), Step::Start(node)));
}

fn cut(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
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

fn slow_disk(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    schedule.push((at, Step::Fsync(node, rng.random_range(50..1_500))));
    schedule.push((at + pause(rng, 3_000), Step::Fsync(node, 0)));
}

fn failing_disk(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    schedule.push((at, Step::FailDisk(node)));
}

/// By a moment, by seconds, by a minute or by a year; it is right again soon.
fn clock(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    let far = match rng.random_range(0..10) {
        0 => YEAR_MS,
        1 => 90_000,
        2..4 => 3_000,
        _ => 300,
    };
    let offset = if far == YEAR_MS { far } else { rng.random_range(-far..=far) };
    schedule.push((at, Step::Clock(node, offset)));
    schedule.push((at + pause(rng, 3_000), Step::Clock(node, 0)));
}

/// Away from the true time bit by bit, and back at once.
fn drift(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    let step = if rng.random_bool(0.5) { 20 } else { -20 };
    for number in 1..=rng.random_range(5..20) {
        schedule
            .push((at + Duration::from_millis(250) * number, Step::Clock(node, step * i64::from(number))));
    }
    schedule.push((at + Duration::from_secs(6), Step::Clock(node, 0)));
}

fn pause_process(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    let most = if rng.random_bool(0.5) { 800 } else { 6_000 };
    schedule.push((at, Step::Pause(node, rng.random_range(20..=most))));
}

fn standstill(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..nodes);
    let most = if rng.random_bool(0.1) { 60_000 } else { 9_000 };
    schedule.push((at, Step::Pause(node, rng.random_range(1_500..=most))));
}

/// As for an upgrade: each comes back before the next one goes.
fn roll(rng: &mut ChaCha8Rng, Whom { nodes, .. }: Whom, at: Duration, schedule: &mut Schedule) {
    let mut at = at;
    for node in 0..nodes {
        schedule.push((at, Step::Drain(node)));
        at += Duration::from_secs(1) + pause(rng, 1_500);
        schedule.push((at, Step::Start(node)));
    }
}

fn lost_commits(rng: &mut ChaCha8Rng, whom: Whom, at: Duration, schedule: &mut Schedule) {
    schedule.push((at, Step::LoseCommits(whom.victim, rng.random_range(1..=MemoryEngine::REMEMBERED))));
    schedule.push((at + pause(rng, 1_500), Step::Start(whom.victim)));
}

fn rot(rng: &mut ChaCha8Rng, whom: Whom, at: Duration, schedule: &mut Schedule) {
    for _ in 0..rng.random_range(1..=3) {
        schedule.push((at, Step::Rot(whom.victim, rng.random())));
    }
}

/// The node starts once or twice between the copy and its return: the others know the last of these starts, and the copy
/// counts the first of them again. They may have that from their disks only.
fn old_disk(rng: &mut ChaCha8Rng, whom: Whom, at: Duration, schedule: &mut Schedule) {
    let node = whom.victim;
    schedule.push((at, Step::BackUp(node)));
    let mut at = at;
    // Not drawn: seeds that tell of something else stay as they are.
    for _ in 0..=at.as_millis() % 2 {
        at += pause(rng, 2_000);
        schedule.push((at, Step::Crash(node)));
        at += pause(rng, 200);
        schedule.push((at, Step::Start(node)));
    }
    at += Duration::from_secs(1) + pause(rng, 2_000);
    let start = at + pause(rng, 1_000);
    let all_forget = rng.random_bool(0.5);
    schedule.push((at, Step::PutBack(node, all_forget)));
    schedule.push((start, Step::Start(node)));
    for peer in (0..whom.nodes).filter(|&peer| all_forget && peer != node) {
        schedule.push((at + pause(rng, 200), Step::Start(peer)));
    }
}

fn full_disk(rng: &mut ChaCha8Rng, whom: Whom, at: Duration, schedule: &mut Schedule) {
    let node = rng.random_range(0..whom.nodes);
    schedule.push((at, Step::Fill(node, true, false)));
    let to_the_brim = at + pause(rng, 1_000);
    let end = to_the_brim + pause(rng, 3_000);
    if rng.random_bool(0.5) {
        schedule.push((to_the_brim, Step::Fill(node, true, true)));
    }
    schedule.push((end, Step::Fill(node, false, false)));
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
        Step::LoseCommits(node, synced) => world.lose_commits(node, synced),
        Step::Rot(node, draw) => world.rot(node, draw),
        Step::BackUp(node) => world.back_up(node),
        Step::PutBack(node, all_forget) => world.put_back(node, all_forget),
        Step::Fill(node, is_full, to_the_brim) => world.fill(node, is_full, to_the_brim),
        Step::Pause(node, ms) => world.pause(node, Duration::from_millis(ms)),
    }
}
