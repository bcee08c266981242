//! The standard run of `starling sim`, seed after seed; and the proof that it would notice if what safety rests on
//! were taken away.

#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(clippy::print_stdout, reason = "a red seed tells its story, a green range its totals")]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use starling_sim::{Harm, Options, Report, Sabotage, Toll, run};

const SEEDS: Range<u64> = 1..76;
const THREADS: u64 = 2;

/// A seed that is not clean, if there is any; stops at once when one is found.
fn a_red_seed(lie: Sabotage) -> Option<u64> {
    let next = AtomicU64::new(SEEDS.start);
    let red = AtomicU64::new(u64::MAX);
    let work = || {
        while red.load(Ordering::Relaxed) == u64::MAX {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if !SEEDS.contains(&seed) {
                return;
            }
            if !run(seed, &Options::standard(seed).under(lie)).is_clean() {
                red.fetch_min(seed, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    Some(red.into_inner()).filter(|&seed| seed != u64::MAX)
}

fn all(seeds: Range<u64>) -> Vec<Report> {
    let work = |thread: u64| {
        let mine = seeds.clone().filter(move |seed| seed % THREADS == thread);
        mine.map(|seed| Report { histories: Vec::new(), mints: Vec::new(), ..told(seed) }).collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Runs a seed; a red one tells its story.
fn told(seed: u64) -> Report {
    let report = run(seed, &Options::standard(seed));
    if !report.is_clean() {
        println!("{}", report.explain());
    }
    report
}

#[test]
fn the_standard_seeds_are_clean() {
    let reports = all(SEEDS);
    let mut toll = Toll::default();
    reports.iter().for_each(|report| toll.add(&report.toll));
    let operations: u64 = reports.iter().map(|r| r.operations).sum();
    let virtual_s: u64 = reports.iter().map(|r| r.virtual_time.as_secs()).sum();
    println!("{operations} operations, {virtual_s} virtual s, {toll:?}");
    let red: Vec<u64> = reports.iter().filter(|r| !r.is_clean()).map(|r| r.seed).collect();
    assert_eq!(red, [0; 0], "red seeds");
    for report in &reports {
        assert!(report.operations >= 500 && report.virtual_time.as_secs() >= 30, "seed {}", report.seed);
        assert!(report.toll.kinds() >= 1, "seed {}: {:?}", report.seed, report.toll);
    }
    for harm in Harm::ALL {
        assert!(toll.of(harm) > 0, "no {}", harm.name());
    }
}

/// Seeds beyond the standard ones that were red once.
const PINNED: [(u64, &str); 6] = [
    (313, "a hint that had been given back was about to grow, could not, and was never looked at again"),
    (930, "a frame arrived twice: its write was refused, said to be so, and made with the second copy"),
    (1016, "a disk that was put back counted again a start that another member remembered"),
    (1040, "a disk whose next write was to fail had none until all was healed, and failed then"),
    (1878, "a coordinator stood still with a hint to keep, and its disk failed when it went on"),
    (1885, "a disk from before the first layout was put back, and its node took no layout any more"),
];

#[test]
fn seeds_that_were_red_once_are_clean() {
    for (seed, why) in PINNED {
        assert!(told(seed).is_clean(), "{seed}: {why}");
    }
}

#[test]
fn a_seed_gives_the_same_events_again() {
    for seed in SEEDS.step_by(20) {
        let [one, two] = [(); 2].map(|()| run(seed, &Options::standard(seed)));
        assert_eq!((one.trace, one.events, one.toll), (two.trace, two.events, two.toll), "seed {seed}");
    }
}

/// Each of these rests on another promise; without it, some seed must be red.
#[test]
fn nothing_can_be_taken_away_unnoticed() {
    for (name, lie) in Sabotage::ALL {
        let red = a_red_seed(lie);
        println!("without {name}: seed {red:?} is red");
        assert!(red.is_some(), "nobody misses {name}");
    }
}
