//! One seed from start to verdict: found a cluster, let clients and nemesis loose, heal, read, judge.

use std::time::Duration;

use starling_checker::{Finding, Misread, register};
use starling_node::Pace;
use starling_types::planted::{self, Bug};
use starling_types::{BucketChanges, BucketName, Instant};
use starling_wire::client::{AdminReply, AdminRequest};

use crate::history::Endings;
use crate::judges::{Complaint, Judge};
use crate::nemesis::{self, Faults, Schedule};
use crate::rules::Rules;
use crate::sabotage::Sabotage;
use crate::seed::Seed;
use crate::verdict::Ledger;
use crate::workload::{Workload, WorkloadOptions};
use crate::world::{Notice, Weather, World, WorldOptions};

pub use crate::report::Report;

/// The run to make.
#[derive(Debug, Clone)]
pub struct Options {
    /// The world.
    pub world: WorldOptions,
    /// Copies of every key.
    pub copies: u8,
    /// b, where the ring has 2^b partitions.
    pub bits: u8,
    /// The clients.
    pub workload: WorkloadOptions,
    /// The faults.
    pub faults: Faults,
    /// Usual time between two faults.
    pub gap: Duration,
    /// For how long clients write.
    pub span: Duration,
    /// Fewest operations: clients go on beyond their time, up to three times as long, until they have begun so many.
    pub least_ops: usize,
    /// Fewest kinds of faults that must have changed something, or the run is no proof.
    pub least_harms: usize,
    /// How eagerly nodes compare what they hold.
    pub sweep: Pace,
    /// Read every key from all owners before the verdict, which repairs what hints cannot: writes whose
    /// coordinator died. Without it the owners must agree by hints alone.
    pub final_reads: bool,
    /// The rules of the bucket.
    pub rules: Rules,
    /// Time at the start in which nothing goes wrong.
    pub calm: Duration,
    /// Nodes take so few requests at a time that they refuse some.
    pub crowded: bool,
    /// The judges.
    pub judges: Vec<Judge>,
    /// A bug that is planted in the code under test, in builds that can.
    pub planted: Option<Bug>,
}

impl Options {
    /// A bad day for a small cluster.
    pub fn stormy(nodes: usize) -> Self {
        Self {
            world: WorldOptions {
                nodes,
                weather: Weather {
                    loss: 0.02,
                    repeats: 0.02,
                    delay: (Duration::from_micros(200), Duration::from_millis(4)),
                    spikes: 0.02,
                },
                fsync: (Duration::from_micros(500), Duration::from_millis(4)),
                laggard: None,
                clock_skew_ms: 120,
                inline_loads: 0.5,
                slow_loads: 0.01,
                sabotage: Sabotage::None,
            },
            copies: 3,
            bits: 4,
            workload: WorkloadOptions {
                clients: 5,
                keys: 6,
                registers: 0,
                least_w: 1,
                think: Duration::from_millis(120),
                patience: Duration::from_millis(1_200),
                tries: 3,
                late_retries: 0.0,
                copies: u8::try_from(nodes.min(3)).unwrap_or(3),
                clock_skew_ms: 50,
                longest: 0,
                ttl: 0.0,
                lww: false,
                strict: false,
            },
            faults: Faults::ALL,
            gap: Duration::from_millis(1_200),
            span: Duration::from_secs(12),
            least_ops: 0,
            least_harms: 0,
            sweep: Pace::OFF,
            final_reads: true,
            rules: Rules::DEFAULT,
            calm: Duration::ZERO,
            crowded: false,
            judges: Judge::ALL.to_vec(),
            planted: None,
        }
    }

    /// The same under a lie.
    #[must_use]
    pub fn under(mut self, lie: Sabotage) -> Self {
        self.world.sabotage = lie;
        self
    }

    /// The same with a bug planted.
    #[must_use]
    pub const fn with(mut self, bug: Option<Bug>) -> Self {
        self.planted = bug;
        self
    }
}

/// Runs one seed.
pub fn run(seed: u64, options: &Options) -> Report {
    planted::set(options.planted);
    let mut run = Run::new(Seed(seed), options);
    run.found();
    run.work();
    run.settle();
    run.verdict()
}

/// Wake tokens of the nemesis: the number of a step.
const STEP: u64 = 1 << 50;
/// A node that stopped cleanly is started again.
const RESTART: u64 = 1 << 51;
/// A node with a poisoned store is killed, and started again.
const KILL: u64 = 1 << 52;
/// The rules of the bucket change.
const CHANGE: u64 = 1 << 53;
/// The storm begins.
const STORM: u64 = 1 << 54;
/// Requests that a crowded node takes at a time.
const CROWD: usize = 5;

pub(crate) struct Run {
    pub(crate) options: Options,
    pub(crate) world: World,
    pub(crate) workload: Workload,
    schedule: Schedule,
    pub(crate) unrest: Vec<String>,
    pub(crate) complaints: Vec<Complaint>,
    /// When the change of the bucket's rules was answered.
    pub(crate) changed_at: Option<Instant>,
    /// Nothing goes wrong any more.
    pub(crate) is_healed: bool,
}

impl Run {
    fn new(seed: Seed, options: &Options) -> Self {
        let nodes = options.world.nodes;
        let mut world = World::sweeping(seed, options.world.clone(), options.sweep);
        if options.crowded {
            world.crowd(CROWD);
        }
        Self {
            world,
            workload: Workload::new(seed, options.workload.clone()),
            schedule: nemesis::plan(seed, options.faults, nodes, options.gap, options.span),
            options: options.clone(),
            unrest: Vec::new(),
            complaints: Vec::new(),
            changed_at: None,
            is_healed: false,
        }
    }

    /// `cluster init`, again and again until it is done, as an operator would.
    fn found(&mut self) {
        for attempt in 0..8 {
            let node = attempt % self.world.len();
            let init = AdminRequest::Init {
                nodes: self.world.addresses(),
                copies: self.options.copies,
                bits: self.options.bits,
            };
            self.world.admin(node, init);
            let notices = self.world.run_for(Duration::from_secs(12));
            let done = |n: &Notice| matches!(n, Notice::Admin(_, AdminReply::Initialised(_)));
            if notices.iter().any(done) && self.all_serve() {
                return self.set_rules();
            }
        }
        self.unrest.push("the cluster was never founded".into());
    }

    fn set_rules(&mut self) {
        if self.options.rules.first == crate::rules::NO_CHANGE {
            return;
        }
        for node in 0..self.world.len() {
            self.change_rules(node, self.options.rules.first);
            let notices = self.world.run_for(Duration::from_secs(3));
            if notices.iter().any(|n| matches!(n, Notice::Admin(_, AdminReply::BucketSet { .. }))) {
                return;
            }
        }
        self.unrest.push("the rules of the bucket were never set".into());
    }

    fn change_rules(&mut self, node: usize, changes: BucketChanges) {
        let name = BucketName::default_bucket();
        self.world.admin(node, AdminRequest::BucketSet { name, changes, create: false });
    }

    /// The rules change under way: one node after the other is asked until one has done it.
    fn change(&mut self, attempt: usize) {
        let Some((_, changes)) = self.options.rules.later else { return };
        if self.changed_at.is_none() && attempt < 30 {
            self.change_rules(attempt % self.world.len(), changes);
            self.world.wake(Duration::from_secs(1), CHANGE | (attempt as u64 + 1));
        }
    }

    pub(crate) fn all_serve(&self) -> bool {
        (0..self.world.len()).all(|node| self.world.serves(node))
    }

    fn work(&mut self) {
        for (number, (at, _)) in self.schedule.iter().enumerate() {
            self.world.wake(self.options.calm + *at, STEP | number as u64);
        }
        if self.options.calm > Duration::ZERO {
            self.world.set_weather(Weather::CALM);
            self.world.wake(self.options.calm, STORM);
        }
        if let Some((at, _)) = self.options.rules.later {
            self.world.wake(self.options.calm + at, CHANGE);
        }
        self.workload.start(&mut self.world);
        self.pass(self.options.span);
        for _ in 0..2 * self.options.span.as_secs() {
            if self.workload.ops.len() < self.options.least_ops {
                self.pass(Duration::from_secs(1));
            }
        }
        self.workload.stop();
        self.pass(self.options.workload.patience * u32::from(self.options.workload.tries + 1));
    }

    /// Lets time pass, with every client doing its work.
    pub(crate) fn pass(&mut self, span: Duration) {
        let until = self.world.now() + span;
        while let Some(notice) = self.world.next(until) {
            match notice {
                Notice::Reply(handle, reply) => self.workload.reply(&mut self.world, handle, reply),
                Notice::Wake(token) => self.wake(token),
                Notice::Stopped(node) => self.world.wake(Duration::from_millis(300), RESTART | node as u64),
                // It lingers for a while with a store that refuses everything.
                Notice::Poisoned(node) => self.world.wake(Duration::from_millis(400), KILL | node as u64),
                Notice::Admin(_, AdminReply::BucketSet { .. }) => {
                    self.changed_at.get_or_insert(self.world.now());
                }
                Notice::Admin(..) => {}
            }
        }
    }

    fn wake(&mut self, token: u64) {
        if token & STORM != 0 {
            self.world.set_weather(self.options.world.weather);
        } else if token & CHANGE != 0 {
            self.change((token & !CHANGE) as usize);
        } else if token & STEP != 0 {
            let (_, step) = self.schedule[(token & !STEP) as usize];
            if !self.is_healed {
                nemesis::carry_out(&mut self.world, step);
            }
        } else if token & KILL != 0 {
            let node = (token & !KILL) as usize;
            self.world.crash(node);
            self.world.wake(Duration::from_millis(500), RESTART | node as u64);
        } else if token & RESTART != 0 {
            self.world.start((token & !RESTART) as usize);
        } else {
            self.workload.wake(&mut self.world, token);
        }
    }

    /// A run in which too little happened proves nothing.
    fn weigh(&mut self) {
        let (ops, harms) = (self.workload.ops.len(), self.world.toll.kinds());
        if ops < self.options.least_ops || harms < self.options.least_harms {
            self.unrest.push(format!("too little happened: {ops} operations, {harms} kinds of faults"));
        }
    }

    fn verdict(mut self) -> Report {
        let ledger = Ledger::new(&self);
        let histories = self.histories(&ledger);
        let findings = histories.iter().flat_map(starling_checker::judge);
        let findings: Vec<Finding> = findings.filter(|f| self.is_kept(&ledger, f)).collect();
        let misreads: Vec<Misread> = self.registers(&ledger).iter().flat_map(register::judge).collect();
        self.hear_all(&ledger);
        self.compare_records();
        self.weigh();
        let nothing = self.complaints.is_empty() && self.unrest.is_empty();
        let is_clean = nothing && findings.is_empty() && misreads.is_empty();
        let stories = if is_clean { Vec::new() } else { self.stories(&ledger) };
        let delivered = |node| self.world.node(node).map_or(0, |n| n.counters().hints.delivered);
        let mut report = Report {
            seed: self.world.seed.0,
            trace: self.world.trace.digest(),
            events: self.world.trace.events(),
            virtual_time: self.world.now().since(Instant::from_nanos(0)),
            rules: self.options.rules,
            nodes: self.world.len(),
            operations: self.workload.ops.len() as u64,
            toll: self.world.toll.clone(),
            counters: self.world.counters,
            endings: Endings::of(&self.workload.ops),
            hints_delivered: (0..self.world.len()).map(delivered).sum(),
            doubles: self.doubles(&ledger),
            findings,
            misreads,
            complaints: self.complaints,
            unrest: self.unrest,
            histories,
            mints: stories,
            logs: self.world.logs.iter().map(|(at, node, log)| format!("{at:?} n{node} {log:?}")).collect(),
        };
        report.hear_only(&self.options.judges);
        report
    }

    fn hear_all(&mut self, ledger: &Ledger) {
        let sights = self.missights(ledger);
        let sights = sights.into_iter().map(|s| Complaint { judge: Judge::Sights, words: s.to_string() });
        let mut all: Vec<Complaint> = sights.collect();
        all.extend(self.older_winners(ledger));
        all.extend(self.false_acks(ledger));
        all.extend(self.needless_mints(ledger));
        all.extend(self.unavailable());
        all.append(&mut self.world.observer.complaints);
        self.complaints.append(&mut all);
    }

    /// Where only the last writer is kept, another may be lost; what was written after that had ended may not.
    fn is_kept(&self, ledger: &Ledger, finding: &Finding) -> bool {
        let write = match finding {
            Finding::Lost { write, .. } => write,
            Finding::Resurrected { write, .. } | Finding::FalseSibling { older: write, .. } => {
                return !self.may_stand_beside(ledger, *write, self.world.now());
            }
            _ => return true,
        };
        let op = usize::try_from(write.0).ok().and_then(|index| self.workload.ops.get(index));
        !self.options.rules.keeps_one() || op.is_some_and(|op| self.is_past_last_writer(op))
    }
}
