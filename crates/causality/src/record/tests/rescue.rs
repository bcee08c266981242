//! Siblings that were rescued by a merge of two contradicting records stay, until a write that saw them.

use super::*;

fn rescued(record: &Record) -> BTreeSet<Dot> {
    record.siblings().iter().filter(|sibling| sibling.rescued).map(|sibling| sibling.dot).collect()
}

/// Which of some replicas merges from which.
fn exchanges() -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::vec((0..4usize, 0..4usize), 0..20)
}

fn exchange(replicas: &mut [Record], from: usize, into: usize) {
    replicas[into] = merged(&replicas[into], &replicas[from]);
}

/// Two records that each claim to have superseded all that the other holds.
fn contradictions() -> impl Strategy<Value = (Record, Record)> {
    let apart = |(a, b): &(Record, Record)| dots(a).iter().all(|dot| !dots(b).contains(dot));
    let full = || forged().prop_filter("it holds nothing", |record| record.sibling_count() > 0);
    (full(), full()).prop_filter("both hold one dot", apart).prop_map(|(mut a, mut b)| {
        a.context.join(&b.context);
        b.context.join(&a.context);
        (a, b)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// For replicas that have forgotten anything and meet in any order: what is rescued at one of them stays there, a
    /// rescue travels, and once all have merged with each other they agree.
    #[test]
    fn no_merge_drops_what_was_rescued_and_replicas_agree(
        mut replicas in prop::array::uniform4(forged()), exchanges in exchanges(),
    ) {
        for (from, into) in exchanges {
            let before = rescued(&replicas[into]);
            let told = rescued(&replicas[from]);
            exchange(&mut replicas, from, into);
            prop_assert!(rescued(&replicas[into]).is_superset(&(&before | &told)));
        }
        for (from, into) in (0..64).map(|pair| (pair / 4 % 4, pair % 4)) {
            exchange(&mut replicas, from, into);
        }
        for replica in &replicas {
            prop_assert_eq!(replica, &replicas[0]);
        }
    }

    /// Where nothing was forgotten merges also associate; here they need not, since the order of merges decides what
    /// looks like a contradiction.
    #[test]
    fn merges_of_anything_commute_and_do_nothing_twice(a in forged(), b in forged()) {
        let both = merged(&a, &b);
        prop_assert_eq!(&both, &merged(&b, &a));
        prop_assert_eq!(&merged(&a, &a), &a);
        prop_assert_eq!(&merged(&both, &a), &both);
        prop_assert_eq!(&merged(&both, &b), &both);
        prop_assert_eq!(&merged(&both, &both), &both);
    }

    /// A client read what was rescued and wrote the value that shall stand: no older state of any replica brings it
    /// back.
    #[test]
    fn a_write_that_saw_what_was_rescued_ends_it_for_good(
        (a, b) in contradictions(), c in forged(), order in Just([0, 1, 2, 3, 4]).prop_shuffle(),
    ) {
        let both = a.merge(&b);
        prop_assert!(both.conflict);
        let kept = rescued(&both.record);
        let seen = both.record.context().clone();
        let resolved = both.record.write(named(&seen, dot(9, 99), "resolved", 99));
        let older = [&a, &b, &both.record, &merged(&both.record, &c), &merged(&a, &c)];
        let after = order.into_iter().fold(resolved, |record, at| merged(&record, older[at]));
        prop_assert!(dots(&after).iter().all(|dot| !kept.contains(dot)), "{kept:?} in {after:?}");
        prop_assert!(dots(&after).contains(&dot(9, 99)));
    }
}

/// The two sides of a contradiction.
fn contradiction() -> [Record; 2] {
    let remembered = alone(dot(1, 6), value("old"));
    let remembered = remembered.write(named(&seen(&[dot(1, 6)]), dot(2, 7), "kept", 7));
    let forgetful = Record::default().write(named(remembered.context(), dot(1, 3), "new", 3));
    [remembered, forgetful]
}

#[test]
fn the_next_merges_with_either_side_keep_both_values() {
    let [remembered, forgetful] = contradiction();
    let both = remembered.merge(&forgetful);
    assert!(both.conflict);
    for next in [&remembered, &forgetful, &remembered, &both.record] {
        let again = both.record.merge(next);
        assert_eq!((again.record, again.conflict), (both.record.clone(), false));
    }
}

/// A node's memory of ids knows the request of a rescued value as superseded: that is one side of what is contested.
#[test]
fn a_rescued_value_is_not_ended_by_what_is_known_of_its_request() {
    let [remembered, forgetful] = contradiction();
    let both = merged(&remembered, &forgetful).supersede([3, 7].map(RequestId::from_bits));
    assert_eq!(both.value_count(), 2);
    assert_eq!(merged(&both, &remembered), both);
}

/// That it was ended is the last thing to be forgotten: ordinary writes do not crowd it out.
#[test]
fn many_writes_later_what_was_ended_stays_ended() {
    let [remembered, forgetful] = contradiction();
    let both = merged(&remembered, &forgetful);
    let mut record = both.clone();
    for time in 100..130 {
        let seen = record.context().clone();
        record = record.write(named(&seen, dot(3, time), "later", time.into()));
    }
    assert_eq!(dots(&merged(&record, &both)), [dot(3, 129)]);
}

/// Deletes are rescued too, and a delete that takes one along ends it.
#[test]
fn a_rescued_tombstone_goes_with_the_next_delete() {
    let left = alone(dot(1, 5), Payload::Tombstone);
    let right = alone(dot(2, 3), value("v"));
    let claims = |record: &Record, at: Dot| {
        let mut record = record.clone();
        record.context.raise(at);
        record
    };
    let both = merged(&claims(&left, dot(2, 3)), &claims(&right, dot(1, 5)));
    assert_eq!(rescued(&both).len(), 2);
    let after = both.write(Mint::plain(&VersionVector::new(), dot(3, 9), Payload::Tombstone));
    assert_eq!(dots(&after), [dot(2, 3), dot(3, 9)]);
    assert_eq!(dots(&merged(&after, &both)), [dot(2, 3), dot(3, 9)]);
}

/// Every replica derives the same name, in every release: it is stored.
#[test]
fn golden_name_of_a_rescue() {
    let [remembered, forgetful] = contradiction();
    let both = merged(&remembered, &forgetful);
    let seen = seen(&[dot(2, 7)]);
    let after = both.write(Mint::plain(&seen, dot(3, 9), value("w")));
    let name = after.dead.iter().find(|&(id, _)| id != RequestId::from_bits(7)).unwrap();
    assert_eq!(name.0.to_string(), "00a357b8fe81f9f372f875dbddb853c8");
}
