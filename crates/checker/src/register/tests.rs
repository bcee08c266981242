//! Honest histories come from a model: one atomic register, each operation taking effect at a moment between its
//! begin and its end. The judge must be silent about them, and catch every mutant.

use super::*;

/// xorshift: the crate has no dependencies, and the tests need no better dice.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const SEEDS: std::ops::Range<u64> = 1..400;

/// A writer that writes one version after the other, some of them never acked, some of these without effect, and
/// readers beside it.
fn honest(seed: u64) -> RegisterHistory {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut stores, mut effects, mut at) = (Vec::new(), BTreeMap::new(), 1);
    for version in (1..=12).map(Version) {
        let began = at + dice.roll(20);
        let effect = began + 1 + dice.roll(10);
        let ended = effect + 1 + dice.roll(10);
        let acked = dice.roll(4) > 0;
        if acked || dice.roll(2) == 0 {
            effects.insert(effect, version);
        }
        stores.push(Store { version, began, acked: acked.then_some(ended) });
        at = ended + 1;
    }
    let looks = (0..30).map(|_| {
        let began = dice.roll(at + 20);
        let effect = began + dice.roll(10);
        let version = effects.range(..effect).next_back().map_or(Version::default(), |(_, &v)| v);
        Look { version, began, ended: effect + dice.roll(10) }
    });
    RegisterHistory { key: "k".into(), looks: looks.collect(), stores }
}

/// Every look of every honest history, with the history that has it replaced by `mutate`, if that gives one.
fn mutants(mutate: impl Fn(&RegisterHistory, Look) -> Option<Version>) -> Vec<(RegisterHistory, usize)> {
    let mut mutants = Vec::new();
    for history in SEEDS.map(honest) {
        for index in 0..history.looks.len() {
            if let Some(version) = mutate(&history, history.looks[index]) {
                let mut mutant = history.clone();
                mutant.looks[index].version = version;
                mutants.push((mutant, index));
            }
        }
    }
    assert!(mutants.len() > 1_000, "{}", mutants.len());
    mutants
}

fn caught(mutants: Vec<(RegisterHistory, usize)>, is: impl Fn(&Misread) -> bool) {
    for (mutant, index) in mutants {
        let found = judge(&mutant);
        assert!(found.iter().any(&is), "{:?} of {mutant:?}: {found:?}", mutant.looks[index]);
    }
}

#[test]
fn honest_histories_are_clean() {
    for seed in SEEDS {
        assert_eq!(judge(&honest(seed)), [], "seed {seed}");
    }
}

#[test]
fn every_read_that_misses_an_acked_version_is_caught() {
    let older = |history: &RegisterHistory, look: Look| {
        let acked = history.stores.iter().filter(|s| s.acked.is_some_and(|at| at < look.began));
        acked.map(|s| Version(s.version.0 - 1)).max()
    };
    caught(mutants(older), |f| matches!(f, Misread::Stale { .. }));
}

#[test]
fn every_read_of_what_nobody_had_written_is_caught() {
    let newer = |history: &RegisterHistory, look: Look| {
        let later = history.stores.iter().filter(|s| s.began > look.ended);
        later.map(|s| s.version).min().or(Some(Version(13)))
    };
    caught(mutants(newer), |f| matches!(f, Misread::Early { .. }));
}

#[test]
fn every_step_back_is_caught() {
    let back = |history: &RegisterHistory, look: Look| {
        let earlier = history.looks.iter().filter(|l| l.ended < look.began && l.version.0 > 0);
        earlier.map(|l| Version(l.version.0 - 1)).max()
    };
    caught(mutants(back), |f| matches!(f, Misread::Backwards { .. }));
}

/// An ack moved before the begin of a read that rightly missed it makes that read stale.
#[test]
fn an_ack_that_came_too_early_is_caught() {
    let mut mutants = 0;
    for history in SEEDS.map(honest) {
        for (index, store) in history.stores.iter().enumerate() {
            let missed =
                history.looks.iter().find(|l| l.version < store.version && l.began > store.began + 1);
            if let Some(look) = missed {
                let mut mutant = history.clone();
                mutant.stores[index].acked = Some(look.began - 1);
                let stale = |f: &Misread| matches!(f, Misread::Stale { .. });
                assert!(judge(&mutant).iter().any(stale), "{mutant:?}");
                mutants += 1;
            }
        }
    }
    assert!(mutants > 100, "{mutants}");
}

#[test]
fn a_concurrent_write_may_be_seen_or_not() {
    let look = |version| Look { version: Version(version), began: 5, ended: 9 };
    let history = |version| RegisterHistory {
        key: "k".into(),
        stores: vec![
            Store { version: Version(1), began: 1, acked: Some(3) },
            Store { version: Version(2), began: 4, acked: Some(7) },
            Store { version: Version(3), began: 8, acked: None },
            Store { version: Version(4), began: 10, acked: None },
        ],
        looks: vec![look(version)],
    };
    let clean = |version| judge(&history(version)).is_empty();
    assert_eq!([0, 1, 2, 3, 4].map(clean), [false, true, true, true, false]);
}
