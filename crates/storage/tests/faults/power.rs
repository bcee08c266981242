//! Power cuts: everything that was not synced is gone, at any moment.

use rand::RngExt;
use starling_storage::Engine;
use starling_sys::LoopVolume;

use crate::common::child::{Manner, Orders};
use crate::common::judge::{Verdict, judge};
use crate::common::ledger::Ledger;
use crate::common::process::{Child, Moment, Survives};
use crate::common::workload::{Sizes, Workload};
use crate::common::{data_dir, number, open, or_skip, seeded};

const WRITERS: u16 = 64;
const VOLUME: u64 = 256 << 20;

#[test]
fn a_power_cut_under_64_writers_loses_nothing_synced() {
    let Some(volume) = or_skip(LoopVolume::create(VOLUME)) else {
        return;
    };
    let (seed, mut rng) = seeded("power");
    let mut story = Story::new(&volume, seed, Manner::Mixed);
    for round in 0..number("STARLING_POWER_ROUNDS", 5) {
        let answers = rng.random_range(1..1_500);
        let mut moments = match round % 5 {
            0 | 2 => vec![Moment::Answers(answers)],
            1 | 3 => vec![Moment::NewFile(answers)],
            _ => vec![Moment::Answers(answers)],
        };
        // The power does not stay for the recovery, nor for the one after.
        let recoveries = if round % 5 >= 3 { 2 } else { 0 };
        moments.extend((0..recoveries).map(|_| Moment::Opening(rng.random_range(0..story.open_calls))));
        println!("round {round}: {moments:?}");
        story.cut(&moments);
        let verdict = story.judge();
        verdict.assert_none(&format!("round {round}"));
        story.ledger.settle(&verdict.found);
    }
}

/// While the first store is being made: a later open makes it, or finds it.
#[test]
fn a_power_cut_in_the_first_open_leaves_a_store_or_none() {
    let Some(volume) = or_skip(LoopVolume::create(VOLUME)) else {
        return;
    };
    let (seed, mut rng) = seeded("first open");
    let mut story = Story::new(&volume, seed, Manner::Mixed);
    for round in 0..number("STARLING_POWER_ROUNDS", 5) {
        let moment = Moment::Opening(rng.random_range(0..story.open_calls));
        println!("round {round}: {moment:?}");
        story.cut(&[moment]);
        story.judge().assert_none(&format!("round {round}"));
        std::fs::remove_dir_all(&story.orders.dir).unwrap();
        story.ledger = Ledger::new(story.orders.workload);
    }
}

/// Shows that the judge would see it: a store that answers before it syncs is found out. Not in every moment: the log is
/// also synced when a write buffer is full, and a cut right after that finds everything there.
#[test]
fn an_engine_that_lies_about_durability_is_found_out() {
    let (seed, _) = seeded("lie");
    for round in 0..10 {
        let Some(volume) = or_skip(LoopVolume::create(VOLUME)) else {
            return;
        };
        let mut story = Story::new(&volume, seed + round, Manner::Lying);
        story.cut(&[Moment::Answers(100 + 60 * round)]);
        if story.judge().faults.iter().any(|fault| fault.contains("was acknowledged")) {
            return;
        }
    }
    panic!("ten cuts of the power, and nobody noticed the lie");
}

/// A store on a volume, and what was promised in it.
struct Story<'a> {
    volume: &'a LoopVolume,
    orders: Orders,
    ledger: Ledger,
    /// Reads and writes of the last open that came to its end.
    open_calls: u64,
}

impl<'a> Story<'a> {
    fn new(volume: &'a LoopVolume, seed: u64, manner: Manner) -> Self {
        let workload = Workload { seed, writers: WRITERS, sizes: Sizes::Mixed };
        let orders = Orders { dir: data_dir(volume.root()), workload, manner };
        Self { volume, orders, ledger: Ledger::new(workload), open_calls: 100 }
    }

    /// One child after another, each cut off in its moment.
    fn cut(&mut self, moments: &[Moment]) {
        for &moment in moments {
            let child = Child::start(&self.orders);
            let cut = |_: &mut Child| self.volume.cut_power().unwrap();
            let life = child.live(moment, &mut self.ledger, Survives::Synced, cut);
            self.open_calls = life.open_calls.unwrap_or(self.open_calls).max(1);
            self.volume.restore_power().unwrap();
        }
    }

    fn judge(&self) -> Verdict {
        let engine = open(&self.orders.dir).unwrap();
        let verdict = judge(&engine, &self.ledger);
        engine.close().unwrap();
        verdict
    }
}
