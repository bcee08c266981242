//! `starling sim`: whole nodes in a seeded world of faults, and the judges' verdict. No configuration, no network.

use std::thread;

use serde_json::{Map, Value, json};
use starling_sim::{Harm, Judge, Options, Report, Sabotage, Toll, run as play};
use starling_types::planted::{self, Bug};

use crate::args::SimArgs;
use crate::exit::{Exit, Failed};
use crate::output;

/// The faults and losses of the nodes beyond those that their seed draws.
#[derive(Clone, Copy)]
struct Harmed {
    lie: Sabotage,
    bug: Option<Bug>,
}

impl Harmed {
    fn play(self, seed: u64) -> Report {
        play(seed, &Options::standard(seed).under(self.lie).with(self.bug))
    }
}

/// Runs one seed or a range; done only if every seed passes.
pub fn run(command: &SimArgs, json: bool) -> Result<Exit, Failed> {
    let harmed = Harmed { lie: lie(command.without.as_deref())?, bug: bug(command.planted.as_deref())? };
    if let Some(seed) = command.seed {
        let report = harmed.play(seed);
        show(&report, json)?;
        return Ok(exit(report.is_clean()));
    }
    let seeds: Vec<u64> = (command.first_seed..).take(command.seeds).collect();
    let mut totals = Totals::default();
    for few in seeds.chunks(usize::from(command.jobs)) {
        for report in side_by_side(few, harmed)? {
            if json || !report.is_clean() {
                show(&report, json)?;
            }
            totals.add(&report);
        }
        if command.until_red && !totals.failed.is_empty() {
            break;
        }
    }
    output::product(if json { totals.json(command).to_string() } else { totals.text() })?;
    Ok(exit(totals.failed.is_empty()))
}

/// Seeds share nothing; threads only run several at a time.
fn side_by_side(seeds: &[u64], harmed: Harmed) -> Result<Vec<Report>, Failed> {
    let crashed =
        |_| Failed::new(Exit::Failed, format!("a machine panicked under one of the seeds {seeds:?}"));
    thread::scope(|scope| {
        let one = |&seed| scope.spawn(move || harmed.play(seed));
        let threads: Vec<_> = seeds.iter().map(one).collect();
        threads.into_iter().map(|thread| thread.join().map_err(crashed)).collect()
    })
}

fn bug(name: Option<&str>) -> Result<Option<Bug>, Failed> {
    let Some(name) = name else {
        return Ok(None);
    };
    if !planted::CAN_BE {
        let words = "no bug can be planted in this build: build with `cargo build --features planted`";
        return Err(Failed::new(Exit::Usage, words.to_owned()));
    }
    let found = Bug::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, bug)| Some(*bug)).ok_or_else(|| {
        let names: Vec<&str> = Bug::ALL.iter().map(|(known, _)| *known).collect();
        Failed::new(Exit::Usage, format!("--planted takes one of {}", names.join(", ")))
    })
}

fn lie(name: Option<&str>) -> Result<Sabotage, Failed> {
    let Some(name) = name else {
        return Ok(Sabotage::None);
    };
    let found = Sabotage::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, lie)| *lie).ok_or_else(|| {
        let names: Vec<&str> = Sabotage::ALL.iter().map(|(known, _)| *known).collect();
        Failed::new(Exit::Usage, format!("--without takes one of {}", names.join(", ")))
    })
}

const fn exit(passed: bool) -> Exit {
    if passed { Exit::Done } else { Exit::Failed }
}

const fn verdict(passed: bool) -> &'static str {
    if passed { "pass" } else { "fail" }
}

fn show(report: &Report, json: bool) -> Result<(), Failed> {
    if json {
        return output::product(one(report).to_string());
    }
    if !report.is_clean() {
        output::product(report.explain())?;
    }
    output::product(format!(
        "seed {}: {}, trace {:016x}, {} nodes, {} operations, {:.0} virtual s, {}",
        report.seed,
        verdict(report.is_clean()),
        report.trace,
        report.nodes,
        report.operations,
        report.virtual_time.as_secs_f64(),
        words(&report.toll)
    ))
}

fn one(report: &Report) -> Value {
    json!({
        "seed": report.seed,
        "verdict": verdict(report.is_clean()),
        "trace_hash": format!("{:016x}", report.trace),
        "nodes": report.nodes,
        "operations": report.operations,
        "virtual_s": report.virtual_time.as_secs_f64(),
        "faults": faults(&report.toll),
        "minted_again": report.doubles,
        "judges": report.judges().into_iter().map(Judge::name).collect::<Vec<_>>(),
        "findings": report.complaints(),
    })
}

fn faults(toll: &Toll) -> Map<String, Value> {
    Harm::ALL.into_iter().map(|harm| (harm.name().into(), toll.of(harm).into())).collect()
}

fn words(toll: &Toll) -> String {
    let struck = Harm::ALL.into_iter().filter(|&harm| toll.of(harm) > 0);
    let words: Vec<String> = struck.map(|harm| format!("{} {}", toll.of(harm), harm.name())).collect();
    words.join(", ")
}

/// Of a range of seeds.
#[derive(Default)]
struct Totals {
    seeds: u64,
    failed: Vec<u64>,
    trace: u64,
    operations: u64,
    minted_again: usize,
    virtual_s: f64,
    toll: Toll,
}

impl Totals {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        if !report.is_clean() {
            self.failed.push(report.seed);
        }
        // Depends on every seed's hash, and on their order.
        self.trace = self.trace.rotate_left(7) ^ report.trace;
        self.operations += report.operations;
        self.minted_again += report.doubles;
        self.virtual_s += report.virtual_time.as_secs_f64();
        self.toll.add(&report.toll);
    }

    fn json(&self, command: &SimArgs) -> Value {
        json!({
            "first_seed": command.first_seed,
            "seeds": self.seeds,
            "verdict": verdict(self.failed.is_empty()),
            "failed": self.failed,
            "trace_hash": format!("{:016x}", self.trace),
            "operations": self.operations,
            "minted_again": self.minted_again,
            "virtual_s": self.virtual_s,
            "faults": faults(&self.toll),
        })
    }

    fn text(&self) -> String {
        format!(
            "{} seeds, {} failed {:?}; {} operations, {} of them minted more than once, {:.0} virtual s; {}",
            self.seeds,
            self.failed.len(),
            self.failed,
            self.operations,
            self.minted_again,
            self.virtual_s,
            words(&self.toll)
        )
    }
}
