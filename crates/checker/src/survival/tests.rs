//! The judge must be silent about every honest history and catch every mutant of it. Honest histories come from
//! a model: one atomic register of siblings, written with what the writer has really seen.

use super::*;
use crate::history::Replica;

/// xorshift: the crate has no dependencies, and the tests need no better dice.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

fn outcome(dice: &mut Dice) -> WriteOutcome {
    match dice.roll(5) {
        0 => WriteOutcome::Refused,
        1 => WriteOutcome::Unknown,
        _ => WriteOutcome::Acked,
    }
}

/// Writers see any earlier state of the register; a write drops what its writer saw. Unknown writes take effect
/// half of the time, refused ones never.
fn honest(seed: u64) -> KeyHistory {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut states: Vec<BTreeSet<WriteId>> = vec![BTreeSet::new()];
    let mut writes: Vec<Write> = Vec::new();
    for id in 0..12 {
        let id = WriteId(id);
        let seen = states[dice.roll(states.len())].clone();
        let (outcome, deletes) = (outcome(&mut dice), dice.roll(4) == 0);
        let applied = match outcome {
            WriteOutcome::Acked => true,
            WriteOutcome::Unknown => dice.roll(2) == 0,
            WriteOutcome::Refused => false,
        };
        if applied {
            let mut state: BTreeSet<WriteId> = states[states.len() - 1].difference(&seen).copied().collect();
            state.extend((!deletes).then_some(id));
            states.push(state);
        }
        writes.push(Write { id, deletes, outcome, seen, perhaps: BTreeSet::new() });
    }
    let live = states.pop().unwrap();
    let replica = |name: &str| Replica { name: name.into(), live: live.clone() };
    KeyHistory { key: "k".into(), writes, replicas: vec![replica("a"), replica("b"), replica("c")] }
}

fn everywhere(history: &KeyHistory, change: impl Fn(&mut BTreeSet<WriteId>)) -> KeyHistory {
    let mut mutant = history.clone();
    mutant.replicas.iter_mut().for_each(|r| change(&mut r.live));
    mutant
}

const SEEDS: std::ops::Range<u64> = 1..400;

#[test]
fn honest_histories_are_clean() {
    for seed in SEEDS {
        assert_eq!(judge(&honest(seed)), [], "seed {seed}");
    }
}

/// Every acked value that is live, and that no other write has seen, must be missed when it goes.
#[test]
fn every_dropped_ack_is_caught() {
    let mut mutants = 0;
    for seed in SEEDS {
        let history = honest(seed);
        let live = history.replicas[0].live.clone();
        let seen_by_others =
            |id| history.writes.iter().any(|w| w.outcome != WriteOutcome::Refused && w.seen.contains(&id));
        for write in history.writes.iter().filter(|w| w.outcome == WriteOutcome::Acked) {
            if !live.contains(&write.id) || seen_by_others(write.id) {
                continue;
            }
            mutants += 1;
            let findings = judge(&everywhere(&history, |live| {
                live.remove(&write.id);
            }));
            let lost = |f: &Finding| matches!(f, Finding::Lost { write: w, .. } if *w == write.id);
            assert!(findings.iter().any(lost), "seed {seed}: {findings:?}");
        }
    }
    assert!(mutants > 100, "{mutants}");
}

/// Every value that an acked write had seen must be noticed when it is back.
#[test]
fn every_revived_value_is_caught() {
    let mut mutants = 0;
    for seed in SEEDS {
        let history = honest(seed);
        for write in history.writes.iter().filter(|w| w.outcome == WriteOutcome::Acked) {
            for &revived in &write.seen {
                mutants += 1;
                let findings = judge(&everywhere(&history, |live| {
                    live.insert(revived);
                }));
                let caught = |f: &Finding| match f {
                    Finding::Resurrected { write, .. } => *write == revived,
                    Finding::FalseSibling { older, .. } => *older == revived,
                    _ => false,
                };
                assert!(findings.iter().any(caught), "seed {seed}, {revived}: {findings:?}");
            }
        }
    }
    assert!(mutants > 1_000, "{mutants}");
}

#[test]
fn every_refused_or_unheard_of_value_is_caught() {
    for seed in SEEDS {
        let history = honest(seed);
        let refused = history.writes.iter().filter(|w| w.outcome == WriteOutcome::Refused);
        for id in refused.map(|w| w.id).chain([WriteId(999)]) {
            let findings = judge(&everywhere(&history, |live| {
                live.insert(id);
            }));
            let phantom = Finding::Phantom { key: "k".into(), write: id };
            assert!(findings.contains(&phantom), "seed {seed}");
        }
    }
}

#[test]
fn one_replica_that_differs_is_caught() {
    for seed in SEEDS {
        for which in 0..3 {
            let mut history = honest(seed);
            let live = &mut history.replicas[which].live;
            if live.pop_first().is_none() {
                live.insert(WriteId(999));
            }
            let diverged = |f: &Finding| matches!(f, Finding::Diverged { .. });
            assert!(judge(&history).iter().any(diverged), "seed {seed}");
        }
    }
}

/// Swapping what two acked writers had seen, so that the survivor no longer accounts for what it replaced.
#[test]
fn a_swapped_context_is_caught() {
    let write = |id, seen: &[u64]| Write {
        id: WriteId(id),
        deletes: false,
        outcome: WriteOutcome::Acked,
        seen: seen.iter().map(|&s| WriteId(s)).collect(),
        perhaps: BTreeSet::new(),
    };
    let replica = Replica { name: "a".into(), live: [WriteId(2)].into() };
    let history = |first: &[u64], second: &[u64]| KeyHistory {
        key: "k".into(),
        writes: vec![write(1, first), write(2, second)],
        replicas: vec![replica.clone()],
    };
    assert_eq!(judge(&history(&[], &[1])), []);
    assert_eq!(judge(&history(&[2], &[])), [Finding::Lost { key: "k".into(), write: WriteId(1) },]);
}

/// A delete whose outcome is unknown may have happened: what it had seen may be gone, and may be there.
#[test]
fn an_unknown_delete_excuses_both_ways() {
    let mut history = honest(1);
    let write = |id, deletes, outcome, seen| Write { id, deletes, outcome, seen, perhaps: BTreeSet::new() };
    history.writes = vec![
        write(WriteId(1), false, WriteOutcome::Acked, BTreeSet::new()),
        write(WriteId(2), true, WriteOutcome::Unknown, BTreeSet::from([WriteId(1)])),
    ];
    for live in [BTreeSet::new(), BTreeSet::from([WriteId(1)])] {
        let history = everywhere(&history, |l| l.clone_from(&live));
        assert_eq!(judge(&history), []);
    }
}

/// A write that a writer may have seen excuses a loss, and makes nothing of it a false sibling.
#[test]
fn what_may_have_been_seen_accuses_nobody() {
    let write = |id: u64, perhaps: &[u64]| Write {
        id: WriteId(id),
        deletes: false,
        outcome: WriteOutcome::Acked,
        seen: BTreeSet::new(),
        perhaps: perhaps.iter().map(|&p| WriteId(p)).collect(),
    };
    for live in [BTreeSet::from([WriteId(2)]), BTreeSet::from([WriteId(1), WriteId(2)])] {
        let replicas = vec![Replica { name: "a".into(), live }];
        let history = KeyHistory { key: "k".into(), writes: vec![write(1, &[]), write(2, &[1])], replicas };
        assert_eq!(judge(&history), []);
    }
}
