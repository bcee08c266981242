//! Real node machines under loss, delay, crashes, clean stops, cuts, failing disks and jumping clocks: no acked
//! write is lost, nothing deleted comes back, and all replicas agree in the end. Each lie of [`Sabotage`] must
//! turn some seed red, or the judge is blind.

use starling_sim::{Options, Report, Sabotage, run};

/// Seeds of every test run; `STARLING_SEEDS=from..to` runs others.
fn seeds(usual: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let range = std::env::var("STARLING_SEEDS").ok().and_then(|text| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    range.unwrap_or(usual)
}

/// Runs all seeds; prints and counts the bad ones.
fn storm(options: &Options, seeds: std::ops::Range<u64>) -> Vec<Report> {
    let reports: Vec<Report> = seeds.map(|seed| run(seed, options)).collect();
    let bad: Vec<&Report> = reports.iter().filter(|r| !r.is_clean()).collect();
    bad.iter().for_each(|report| println!("{}", report.explain()));
    let numbers: Vec<u64> = bad.iter().map(|r| r.seed).collect();
    assert!(bad.is_empty(), "{} bad seeds: {numbers:?}", bad.len());
    reports
}

#[test]
fn three_nodes_on_bad_days() {
    let reports = storm(&Options::stormy(3), seeds(0..50));
    let sum = |what: fn(&Report) -> u64| reports.iter().map(what).sum::<u64>();
    // Nothing is proved by a storm that did not blow.
    let happened = [
        ("crashes", sum(|r| r.counts.crashes)),
        ("clean stops", sum(|r| r.counts.clean_stops)),
        ("cuts", sum(|r| r.counts.cuts)),
        ("lost connections", sum(|r| r.counts.disconnections)),
        ("lost frames", sum(|r| r.counts.frames_lost)),
        ("repeated frames", sum(|r| r.counts.frames_repeated)),
        ("failed commits", sum(|r| r.counts.commits_failed)),
        ("hints delivered", sum(|r| r.hints_delivered)),
        ("acked writes", sum(|r| r.tally.acked)),
        ("unknown writes", sum(|r| r.tally.unknown)),
        ("refused writes", sum(|r| r.tally.refused)),
        ("acked at a retry", sum(|r| r.tally.acked_late)),
        ("reads", sum(|r| r.tally.reads)),
    ];
    println!("{happened:?}");
    for (what, times) in happened {
        assert!(times > 0, "no {what}");
    }
}

/// More nodes than copies: requests are forwarded, and fallbacks stand in for absent owners.
#[test]
fn five_nodes_on_bad_days() {
    storm(&Options::stormy(5), seeds(1_000..1_010));
}

#[test]
fn the_same_seed_gives_the_same_events() {
    let options = Options::stormy(3);
    let (one, two, other) = (run(7, &options), run(7, &options), run(8, &options));
    assert_eq!((one.trace, one.events), (two.trace, two.events));
    assert_eq!(one.counts, two.counts);
    assert_ne!(one.trace, other.trace);
}

/// How many of the seeds the judge calls red under a lie.
fn red(lie: Sabotage, seeds: std::ops::Range<u64>) -> usize {
    let options = Options::stormy(3).under(lie);
    let reports = seeds.map(|seed| run(seed, &options));
    reports.filter(|r| !r.findings.is_empty()).count()
}

#[test]
fn an_ack_before_the_disk_has_it_is_noticed() {
    let red = red(Sabotage::AckBeforeDurable, 0..40);
    println!("{red} red seeds");
    assert!(red > 0);
}

#[test]
fn hints_that_are_not_kept_are_noticed() {
    let red = red(Sabotage::DropHints, 0..40);
    println!("{red} red seeds");
    assert!(red > 0);
}

#[test]
fn actors_that_outlive_an_unclean_stop_are_noticed() {
    let red = red(Sabotage::ForgeCleanMark, 0..40);
    println!("{red} red seeds");
    assert!(red > 0);
}

#[test]
fn tombstones_that_are_not_kept_are_noticed() {
    let red = red(Sabotage::DropTombstones, 0..40);
    println!("{red} red seeds");
    assert!(red > 0);
}

#[test]
fn records_that_are_not_kept_are_noticed() {
    let red = red(Sabotage::DropRecords, 0..10);
    println!("{red} red seeds");
    assert!(red > 0);
}
