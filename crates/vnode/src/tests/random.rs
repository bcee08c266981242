//! Events in any order, against properties that must hold in every order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::restart::{after_stop, seal};
use super::*;

/// On this key every write says that it saw nothing: no acked value may ever go.
const ADDITIVE: &str = "additive";
const KEYS: [&str; 3] = [ADDITIVE, "mixed", "other"];

#[derive(Debug, Clone)]
enum Step {
    Write {
        key: usize,
        blind: bool,
        durable: bool,
    },
    Retry {
        nth: usize,
    },
    /// Some come from a clock that is a year ahead.
    Merge {
        key: usize,
        durable: bool,
        far: bool,
    },
    MergeAgain {
        nth: usize,
        durable: bool,
    },
    Read {
        key: usize,
    },
    Load,
    Commit,
    FailAllCommits,
    WallMoves {
        ms: i16,
    },
    Crash,
    CleanRestart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..KEYS.len();
    let step = prop_oneof![
        6 => (key.clone(), any::<bool>(), prop::bool::weighted(0.7))
            .prop_map(|(key, blind, durable)| Step::Write { key, blind, durable }),
        2 => (0usize..16).prop_map(|nth| Step::Retry { nth }),
        4 => (key.clone(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(key, durable, far)| Step::Merge { key, durable, far }),
        2 => (0usize..16, any::<bool>()).prop_map(|(nth, durable)| Step::MergeAgain { nth, durable }),
        4 => key.prop_map(|key| Step::Read { key }),
        8 => Just(Step::Load),
        12 => Just(Step::Commit),
        1 => Just(Step::FailAllCommits),
        2 => any::<i16>().prop_map(|ms| Step::WallMoves { ms }),
        1 => Just(Step::Crash),
        1 => Just(Step::CleanRestart),
    ];
    prop::collection::vec(step, 1..120)
}

/// The request, to judge the answer by.
enum Asked {
    /// A write or merge that brings these dots.
    Change {
        key: usize,
        dots: Vec<Dot>,
        durable: bool,
    },
    Read {
        key: usize,
    },
}

struct World {
    bench: Bench,
    lives: u64,
    open: BTreeMap<OpId, Asked>,
    /// A write's dots are known once it is staged.
    writes: Vec<ClientWrite>,
    merges: Vec<(usize, Record)>,
    /// The acked dots, per key: as fsynced, and otherwise (lost by a crash).
    synced: BTreeSet<(usize, Dot)>,
    lax: BTreeSet<(usize, Dot)>,
    minted: BTreeSet<(usize, Dot)>,
    foreign_ms: u64,
}

impl World {
    fn new() -> Self {
        Self {
            bench: Bench::new(),
            lives: 1,
            open: BTreeMap::new(),
            writes: Vec::new(),
            merges: Vec::new(),
            synced: BTreeSet::new(),
            lax: BTreeSet::new(),
            minted: BTreeSet::new(),
            foreign_ms: 0,
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write { key, blind, durable } => {
                let seen = if blind && KEYS[key] != ADDITIVE { None } else { nothing() };
                let request = RequestId::from_bits(self.writes.len() as u128 + 1);
                let mut write = client_write(request, KEYS[key], &self.writes.len().to_string(), seen);
                write.durable = durable;
                self.writes.push(write.clone());
                self.write(write);
            }
            Step::Retry { nth } => {
                if let Some(write) = self.writes.iter().rev().nth(nth).cloned() {
                    self.write(write);
                }
            }
            Step::Merge { key, durable, far } => {
                self.foreign_ms += 1;
                let ms = self.foreign_ms + if far { 365 * 24 * 3_600_000 } else { 0 };
                // An actor of its own: two records of one actor would not be concurrent.
                let record = foreign(100 + self.foreign_ms, ms, &format!("f{}", self.foreign_ms));
                self.merges.push((key, record.clone()));
                self.merge(key, record, durable);
            }
            Step::MergeAgain { nth, durable } => {
                if let Some((key, record)) = self.merges.iter().rev().nth(nth).cloned() {
                    self.merge(key, record, durable);
                }
            }
            Step::Read { key } => {
                let op = self.bench.read(data(KEYS[key]));
                self.open.insert(op, Asked::Read { key });
            }
            Step::Load if !self.bench.loads.is_empty() => self.bench.load(),
            Step::Commit if !self.bench.commits.is_empty() => self.bench.commit(),
            Step::Load | Step::Commit => {}
            Step::FailAllCommits => {
                for _ in 0..self.bench.commits.len() {
                    self.bench.fail_commit();
                }
            }
            Step::WallMoves { ms } => {
                let wall = self.bench.now.wall.millis();
                self.bench.now.wall = WallTime::from_millis(wall.saturating_add_signed(i64::from(ms)));
            }
            Step::Crash => self.crash(),
            Step::CleanRestart => self.restart(),
        }
        self.judge();
    }

    fn write(&mut self, write: ClientWrite) {
        let key = KEYS.iter().position(|k| qualified(k) == write.key).expect("a known key");
        let durable = write.durable;
        let op = self.bench.write(write);
        let dots = Vec::new();
        self.open.insert(op, Asked::Change { key, dots, durable });
    }

    fn merge(&mut self, key: usize, record: Record, durable: bool) {
        let dots = record.siblings().iter().map(|s| s.dot).collect();
        let op = self.bench.merge(data(KEYS[key]), record, None, durable);
        self.open.insert(op, Asked::Change { key, dots, durable });
    }

    /// All that is under way ends; the actors go on.
    fn restart(&mut self) {
        self.settle();
        seal(&mut self.bench);
        self.bench.synced.extend(self.bench.written.clone());
        self.start();
        self.bench.vnodes.inherit_actors();
        let mark = Vnodes::unseal();
        self.bench.synced.remove(&(mark.space, mark.key.clone()));
        self.bench.written.remove(&(mark.space, mark.key));
    }

    fn settle(&mut self) {
        while !self.bench.loads.is_empty() || !self.bench.commits.is_empty() {
            self.step(Step::Load);
            self.step(Step::Commit);
        }
    }

    fn start(&mut self) {
        self.lives += 1;
        let (next_op, wall) = (self.bench.next_op, self.bench.now.wall);
        let boot = after_stop(&self.bench, self.lives);
        self.bench = Bench::over(self.bench.synced.clone(), boot);
        (self.bench.next_op, self.bench.now.wall) = (next_op, wall);
    }

    fn crash(&mut self) {
        self.start();
        self.open.clear();
        self.lax.clear();
    }

    fn judge(&mut self) {
        for (op, staged) in std::mem::take(&mut self.bench.staged) {
            if !staged.repeated {
                let Some(Asked::Change { key, .. }) = self.open.get(&op) else {
                    panic!("{op:?} is no write")
                };
                assert!(self.minted.insert((*key, staged.dot)), "{:?} minted twice", staged.dot);
            }
            if let Some(Asked::Change { dots, .. }) = self.open.get_mut(&op) {
                dots.push(staged.dot);
            }
        }
        for (op, result) in std::mem::take(&mut self.bench.done) {
            match (self.open.remove(&op), result) {
                (Some(Asked::Change { key, dots, durable }), Ok(_)) => self.acked(key, dots, durable),
                (Some(Asked::Read { key }), Ok(Done::Read(record))) => {
                    assert_eq!(*record, self.stored(key), "a read of what is not committed");
                }
                (Some(_), Err(_)) => {}
                (asked, result) => panic!("{op:?} {} {result:?}", asked.is_some()),
            }
        }
        for rows in [&self.bench.written, &self.bench.synced] {
            check(rows, &self.synced);
        }
        check(&self.bench.written, &self.lax);
    }

    fn acked(&mut self, key: usize, dots: Vec<Dot>, durable: bool) {
        assert!(!dots.is_empty(), "acked before it was staged");
        let acked = if durable { &mut self.synced } else { &mut self.lax };
        acked.extend(dots.into_iter().map(|dot| (key, dot)));
    }

    fn stored(&self, key: usize) -> Record {
        decode(&self.bench.written, key)
    }
}

fn decode(rows: &Rows, key: usize) -> Record {
    let row = rows.get(&data(KEYS[key]).row());
    row.map(|bytes| Record::decode(bytes).unwrap()).unwrap_or_default()
}

/// Every acked write is there: its value on the additive key, its place in the causal past on the others.
fn check(rows: &Rows, acked: &BTreeSet<(usize, Dot)>) {
    for (key, name) in KEYS.iter().enumerate() {
        let record = decode(rows, key);
        for (_, dot) in acked.iter().filter(|(k, _)| *k == key) {
            assert!(record.context().covers(*dot), "{dot:?} is forgotten");
            let there = record.siblings().iter().any(|s| s.dot == *dot);
            assert!(there || *name != ADDITIVE, "{dot:?} is lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_loses_an_acked_write_or_shows_one_early(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        prop_assert!(world.open.is_empty(), "something was never answered");
        prop_assert!(world.bench.vnodes.is_quiet());
    }
}
