//! One honest history, and a mutant for each finding.

use super::*;

const VALUE: WriteId = WriteId(1);
const NEXT: WriteId = WriteId(2);

fn write(id: WriteId, seen: &[WriteId]) -> Write {
    let seen = seen.iter().copied().collect();
    Write { id, deletes: false, outcome: WriteOutcome::Acked, seen, perhaps: BTreeSet::new() }
}

fn sight(began: u64, shown: &[WriteId], covers: &[u64]) -> Sight {
    let covers = covers.iter().copied().collect();
    Sight { began, ended: began + 5, r: 2, strict: true, shown: shown.to_vec(), covers }
}

fn ack(write: WriteId, at: u64) -> Ack {
    Ack { write, effect: write.0, at, owners: 2 }
}

/// A value is written and read, and then another one by a client that has seen it.
fn honest() -> SightHistory {
    SightHistory {
        key: "k".into(),
        n: 3,
        keeps_one: false,
        writes: vec![write(VALUE, &[]), write(NEXT, &[VALUE])],
        began: BTreeMap::from([(VALUE, 1), (NEXT, 30)]),
        hides_from: BTreeMap::new(),
        acks: vec![ack(VALUE, 9), ack(NEXT, 39)],
        sights: vec![sight(10, &[VALUE], &[1]), sight(20, &[VALUE], &[1]), sight(40, &[NEXT], &[1, 2])],
    }
}

fn found(change: impl FnOnce(&mut SightHistory)) -> Vec<Why> {
    let mut history = honest();
    change(&mut history);
    judge(&history).into_iter().map(|missight| missight.why).collect()
}

#[test]
fn an_honest_history_is_clean() {
    assert_eq!(found(|_| ()), []);
}

#[test]
fn a_read_must_meet_what_enough_owners_acked() {
    assert_eq!(found(|h| h.sights[0] = sight(10, &[], &[])), [Why::Unseen(VALUE)]);
    // Where R and the acks need not overlap, or the ack came later, it need not.
    assert_eq!(found(|h| h.sights[0] = Sight { r: 1, strict: false, ..sight(10, &[], &[]) }), []);
    assert_eq!(found(|h| h.sights[0] = sight(8, &[], &[])), []);
}

#[test]
fn what_nobody_replaced_is_shown() {
    assert_eq!(found(|h| h.sights[0] = sight(10, &[], &[1])), [Why::Vanished(VALUE)]);
    assert_eq!(found(|h| h.sights.push(sight(31, &[], &[1]))), [], "its successor has begun");
    let expires = |h: &mut SightHistory| {
        h.sights[0] = sight(10, &[], &[1]);
        h.hides_from.insert(VALUE, 12);
    };
    assert_eq!(found(expires), []);
    let keeps_one = |h: &mut SightHistory| {
        h.sights[0] = sight(10, &[], &[1]);
        h.keeps_one = true;
    };
    assert_eq!(found(keeps_one), []);
}

#[test]
fn what_was_replaced_is_not_shown() {
    let both = |h: &mut SightHistory| h.sights[2] = sight(40, &[VALUE, NEXT], &[1, 2]);
    assert_eq!(found(both), [Why::Undead(VALUE, NEXT)]);
    let perhaps = |h: &mut SightHistory| {
        both(h);
        h.writes[1].perhaps = std::mem::take(&mut h.writes[1].seen);
    };
    assert_eq!(found(perhaps), []);
}

#[test]
fn nothing_shows_that_is_not_there_yet_or_never_or_twice() {
    assert_eq!(found(|h| h.sights[1].shown.push(NEXT)), [Why::Phantom(NEXT)]);
    assert_eq!(found(|h| h.sights[1].shown.push(WriteId(9))), [Why::Phantom(WriteId(9))]);
    assert_eq!(found(|h| h.sights[1].shown.push(VALUE)), [Why::Doubled(VALUE)]);
}

#[test]
fn strict_reads_never_step_back() {
    let forgets = |h: &mut SightHistory| {
        h.acks.clear();
        h.sights[1].covers.clear();
        h.sights[1].shown.clear();
    };
    assert_eq!(found(forgets), [Why::Backwards(15)]);
}
