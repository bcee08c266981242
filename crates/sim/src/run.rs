//! One seed from start to verdict: found a cluster, let clients and nemesis loose, heal, read, judge.

use std::fmt::Write as _;
use std::time::Duration;

use starling_checker::{Finding, KeyHistory, Misread, register};
use starling_node::Pace;
use starling_types::Instant;
use starling_wire::client::{AdminReply, AdminRequest};

use crate::history::{self, Tally};
use crate::nemesis::{self, Faults, Schedule};
use crate::sabotage::Sabotage;
use crate::seed::Seed;
use crate::toll::Toll;
use crate::workload::{Workload, WorkloadOptions};
use crate::world::{Counts, Notice, Weather, World, WorldOptions};

/// What to run.
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
            },
            faults: Faults::ALL,
            gap: Duration::from_millis(1_200),
            span: Duration::from_secs(12),
            least_ops: 0,
            least_harms: 0,
            sweep: Pace::OFF,
            final_reads: true,
        }
    }

    /// The same under a lie.
    #[must_use]
    pub fn under(mut self, lie: Sabotage) -> Self {
        self.world.sabotage = lie;
        self
    }
}

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Fingerprint of all events.
    pub trace: u64,
    /// How many there were.
    pub events: u64,
    /// How much virtual time passed, from the first start to the verdict.
    pub virtual_time: Duration,
    /// How many nodes there were.
    pub nodes: usize,
    /// Operations that clients began.
    pub operations: u64,
    /// What faults did.
    pub toll: Toll,
    /// What happened.
    pub counts: Counts,
    /// How operations ended.
    pub tally: Tally,
    /// Hints delivered, by the nodes' own count since their last start.
    pub hints_delivered: u64,
    /// What the judge of survival found.
    pub findings: Vec<Finding>,
    /// What the judge of registers found.
    pub misreads: Vec<Misread>,
    /// What did not come to rest in time, or differs in what no client sees.
    pub unrest: Vec<String>,
    /// What the judge was told.
    pub histories: Vec<KeyHistory>,
    /// For each of these, who minted what.
    pub mints: Vec<Vec<String>>,
    /// What nodes last told their operators.
    pub logs: Vec<String>,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.is_safe() && self.unrest.is_empty()
    }

    /// Whether no judge found anything: what did not come to rest is another matter.
    pub fn is_safe(&self) -> bool {
        self.findings.is_empty() && self.misreads.is_empty()
    }

    /// Everything that is wrong, a line each.
    pub fn complaints(&self) -> Vec<String> {
        let findings = self.findings.iter().map(ToString::to_string);
        let misreads = self.misreads.iter().map(ToString::to_string);
        findings.chain(misreads).chain(self.unrest.iter().cloned()).collect()
    }

    /// For a person: what is wrong, and the story of the keys concerned.
    pub fn explain(&self) -> String {
        let mut text = format!("seed {}: {:?} {:?}\n", self.seed, self.tally, self.counts);
        for line in self.complaints() {
            let _ = writeln!(text, "  {line}");
        }
        for (key, mints) in self.histories.iter().zip(&self.mints).filter(|(h, _)| {
            let concerned = |f: &Finding| f.to_string().starts_with(&format!("{}:", h.key));
            self.findings.iter().any(concerned)
        }) {
            mints.iter().for_each(|mint| text.push_str(&format!("    {mint}\n")));
            let _ = writeln!(text, "{}: {:?}", key.key, key.replicas);
            for write in &key.writes {
                let seen: Vec<u64> = write.seen.iter().map(|w| w.0).collect();
                let what = if write.deletes { "delete" } else { "put" };
                let _ = writeln!(text, "    {} {what} {:?} saw {seen:?}", write.id, write.outcome);
            }
        }
        text
    }
}

/// Runs one seed.
pub fn run(seed: u64, options: &Options) -> Report {
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

pub(crate) struct Run {
    pub(crate) options: Options,
    pub(crate) world: World,
    pub(crate) workload: Workload,
    schedule: Schedule,
    pub(crate) unrest: Vec<String>,
}

impl Run {
    fn new(seed: Seed, options: &Options) -> Self {
        let nodes = options.world.nodes;
        Self {
            world: World::sweeping(seed, options.world.clone(), options.sweep),
            workload: Workload::new(seed, options.workload.clone()),
            schedule: nemesis::plan(seed, options.faults, nodes, options.gap, options.span),
            options: options.clone(),
            unrest: Vec::new(),
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
                return;
            }
        }
        self.unrest.push("the cluster was never founded".into());
    }

    pub(crate) fn all_serve(&self) -> bool {
        (0..self.world.len()).all(|node| self.world.serves(node))
    }

    fn work(&mut self) {
        for (number, (at, _)) in self.schedule.iter().enumerate() {
            self.world.wake(*at, STEP | number as u64);
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

    /// Lets time pass, with everybody doing what they do.
    pub(crate) fn pass(&mut self, span: Duration) {
        let until = self.world.now() + span;
        while let Some(notice) = self.world.next(until) {
            match notice {
                Notice::Reply(handle, reply) => self.workload.reply(&mut self.world, handle, reply),
                Notice::Wake(token) => self.wake(token),
                Notice::Stopped(node) => self.world.wake(Duration::from_millis(300), RESTART | node as u64),
                // It lingers for a while with a store that refuses everything.
                Notice::Poisoned(node) => self.world.wake(Duration::from_millis(400), KILL | node as u64),
                Notice::Admin(..) => {}
            }
        }
    }

    fn wake(&mut self, token: u64) {
        if token & STEP != 0 {
            let (_, step) = self.schedule[(token & !STEP) as usize];
            nemesis::carry_out(&mut self.world, step);
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
        let (histories, mints): (Vec<_>, Vec<_>) = self.histories().into_iter().unzip();
        let findings = histories.iter().flat_map(starling_checker::judge).collect();
        let misreads = self.registers().iter().flat_map(register::judge).collect();
        self.compare_records();
        self.weigh();
        let delivered = |node| self.world.node(node).map_or(0, |n| n.data_plane().totals().hints_delivered);
        Report {
            seed: self.world.seed.0,
            trace: self.world.trace.digest(),
            events: self.world.trace.events(),
            virtual_time: self.world.now().since(Instant::from_nanos(0)),
            nodes: self.world.len(),
            operations: self.workload.ops.len() as u64,
            toll: self.world.toll.clone(),
            counts: self.world.counts,
            tally: history::tally(&self.workload.ops),
            hints_delivered: (0..self.world.len()).map(delivered).sum(),
            findings,
            misreads,
            unrest: self.unrest,
            histories,
            mints,
            logs: self.world.logs.iter().map(|(at, node, log)| format!("{at:?} n{node} {log:?}")).collect(),
        }
    }
}
