//! One id, one value: what holds in every history with requests that were minted more than once, and single cases.

use proptest::strategy::ValueTree;

use super::tries::{Rules, World, steps};
use super::*;

const REMEMBERED: Rules = Rules { lww: false, forgetful: false };
const FORGETFUL: Rules = Rules { lww: false, forgetful: true };
const LAST_WINS: Rules = Rules { lww: true, forgetful: false };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// No write is lost; a write that saw one dot of a request has replaced all of them; no older value shows where a
    /// delete hid it; no replica looks forgetful.
    #[test]
    fn a_second_dot_neither_costs_nor_revives_anything(steps in steps(24)) {
        let mut world = World::replay(REMEMBERED, &steps);
        let last = world.settle();
        let shown = world.shown(&last);
        prop_assert_eq!(world.unaccounted(&shown), Vec::<usize>::new());
        for &id in &shown {
            prop_assert!(world.seen_by(id).is_empty(), "{} is back: {:?}", id, last);
        }
        prop_assert!(world.highest_delete().is_none_or(|delete| dots(&last).last() >= Some(&delete)));
        prop_assert_eq!(world.conflicts, 0);
    }

    /// Replicas that forget, and merges that carry no ids, may leave a value beside what replaced it. They never cost
    /// one, and never put one in another's place.
    #[test]
    fn forgetting_leaves_at_most_a_sibling(steps in steps(24)) {
        let mut world = World::replay(FORGETFUL, &steps);
        let last = world.settle();
        let shown = world.shown(&last);
        prop_assert_eq!(world.unaccounted(&shown), Vec::<usize>::new());
        for &id in &shown {
            let mut others = shown.clone();
            others.remove(&id);
            let unaccounted = world.unaccounted(&others);
            prop_assert!(world.seen_by(id).iter().all(|by| !unaccounted.contains(by)), "{} took a place", id);
        }
        prop_assert!(world.highest_delete().is_none_or(|delete| dots(&last).last() >= Some(&delete)));
        prop_assert_eq!(world.conflicts, 0);
    }

    #[test]
    fn where_the_last_wins_a_second_dot_never_wins_over_what_saw_the_first(steps in steps(24)) {
        let mut world = World::replay(LAST_WINS, &steps);
        let last = world.settle();
        prop_assert!(last.siblings().len() == 1 || world.states.iter().all(Record::is_empty));
        prop_assert!(world.shown(&last).iter().all(|&id| world.seen_by(id).is_empty()));
        prop_assert_eq!(world.conflicts, 0);
    }

    #[test]
    fn merges_with_ids_commute_associate_and_do_nothing_twice(
        steps in steps(24), picks in prop::array::uniform3(any::<Index>()),
    ) {
        let world = World::replay(REMEMBERED, &steps);
        let [a, b, c] = picks.map(|pick| pick.get(&world.states));
        prop_assert_eq!(a.merge(b), b.merge(a));
        prop_assert_eq!(&merged(a, a), a);
        prop_assert_eq!(merged(&merged(a, b), b), merged(a, b));
        prop_assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)));
        let both = !a.siblings().is_empty() && !b.siblings().is_empty();
        prop_assert!(!both || !merged(a, b).siblings().is_empty());
    }
}

/// The histories are about what they claim to be about.
#[test]
fn most_histories_mint_some_request_twice() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let drawn = (0..200).map(|_| steps(24).new_tree(&mut runner).unwrap().current());
    let double = drawn.filter(|steps| World::replay(REMEMBERED, steps).is_double()).count();
    assert!(double > 100, "{double} of 200");
}

/// A request that was minted at two owners, of which a write saw one.
#[test]
fn who_saw_one_dot_of_a_request_has_seen_them_all() {
    let unseen = VersionVector::new();
    let try_at = |actor, time| Record::default().write(named(&unseen, dot(actor, time), "x", 1));
    let (first, second) = (try_at(1, 5), try_at(2, 8));
    let both = merged(&first, &second);
    assert_eq!((texts(&both, wall(0)).len(), both.value_count(), both.value_bytes()), (1, 1, 1));
    assert_eq!(both.dot_of(RequestId::from_bits(1)), Some(dot(2, 8)));
    assert!(both.is_sole(dot(1, 5)) && both.is_sole(dot(2, 8)) && !both.is_sole(dot(3, 1)));

    let next = first.write(named(&seen(&[dot(1, 5)]), dot(1, 6), "y", 2));
    assert!(next.is_superseded(RequestId::from_bits(1)) && !next.is_superseded(RequestId::from_bits(2)));
    for record in [merged(&next, &second), merged(&both, &next), merged(&first, &merged(&second, &next))] {
        assert_eq!(texts(&record, wall(0)), [b"y".as_slice()]);
    }
    let local = both.write(named(&seen(&[dot(1, 5)]), dot(3, 9), "y", 2));
    assert_eq!(dots(&local), [dot(3, 9)], "the coordinator's own other dot goes, too");
}

/// Superseded requests that the node remembers beyond the record.
#[test]
fn a_record_can_be_told_what_was_superseded() {
    let unseen = VersionVector::new();
    let record = Record::default()
        .write(named(&unseen, dot(1, 5), "x", 1))
        .write(named(&unseen, dot(1, 6), "y", 2))
        .write(Mint::plain(&unseen, dot(1, 7), value("nameless")));
    let told = record.supersede([1, 3].map(RequestId::from_bits));
    assert_eq!(dots(&told), [dot(1, 6), dot(1, 7)]);
    assert_eq!(told.context(), record.context());
    assert!([1, 3].map(RequestId::from_bits).iter().all(|&id| told.is_superseded(id)));
    assert_eq!(told.supersede([RequestId::from_bits(3)]), told);
}

/// A request that comes again is never dead in the very record that holds it.
#[test]
fn a_mint_of_a_superseded_request_stands() {
    let record = Record::default().supersede([RequestId::from_bits(1)]);
    let record = record.write(named(&VersionVector::new(), dot(1, 5), "x", 1));
    assert_eq!(texts(&merged(&record, &record), wall(0)), [b"x".as_slice()]);
}

#[test]
fn of_many_superseded_requests_the_youngest_are_remembered() {
    let mut record = Record::default();
    for time in 1..=20 {
        let context = record.context().clone();
        record =
            record.write(named(&context, dot(1, time), "v", u128::from(time % 2) << 64 | u128::from(time)));
    }
    let remembers =
        |time: u64| record.is_superseded(RequestId::from_bits(u128::from(time % 2) << 64 | u128::from(time)));
    assert_eq!((1..=20).filter(|&time| remembers(time)).collect::<Vec<_>>(), (12..=19).collect::<Vec<_>>());
}

#[test]
fn the_rank_decides_where_the_last_write_wins() {
    let ranked =
        |at, rank| Mint { rank: Some(Hlc::from_bits(rank)), ..Mint::plain(VERY_BLIND, at, value("v")) };
    let late = Record::default().write(ranked(dot(1, 9), 3));
    let other = Record::default().write(ranked(dot(2, 5), 5));
    assert_eq!(other.siblings()[0].rank, None, "a rank that is the dot's time says nothing");
    assert_eq!(dots(&merged(&late, &other).settle_lww()), [dot(2, 5)]);
    // A late delete takes no delete along that ranks above it: a value between the two would win.
    let deleted = Record::default().write(Mint { payload: Payload::Tombstone, ..ranked(dot(2, 5), 5) });
    let late = Mint { payload: Payload::Tombstone, ..ranked(dot(3, 10), 4) };
    assert_eq!(dots(&deleted.write(late).settle_lww()), [dot(2, 5)]);
}

const VERY_BLIND: &VersionVector = &VersionVector::new();
