mod ids;
mod rescue;
mod tries;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;
use starling_types::{ActorId, RequestId};

use super::*;
use crate::Hlc;
use crate::history::{History, steps};

fn dot(actor: u64, time: u64) -> Dot {
    Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_bits(time) }
}

fn seen(dots: &[Dot]) -> VersionVector {
    dots.iter().copied().collect()
}

fn value(text: &'static str) -> Payload {
    Payload::Value(Bytes::from_static(text.as_bytes()))
}

fn wall(ms: u64) -> WallTime {
    WallTime::from_millis(ms)
}

fn dots(record: &Record) -> Vec<Dot> {
    record.siblings().iter().map(|sibling| sibling.dot).collect()
}

fn texts(record: &Record, at: WallTime) -> Vec<&[u8]> {
    record.live(at).into_iter().filter_map(Sibling::value).map(|value| &value[..]).collect()
}

fn merged(a: &Record, b: &Record) -> Record {
    a.merge(b).record
}

/// A write of the request `id`.
fn named<'a>(seen: &'a VersionVector, at: Dot, text: &'static str, id: u128) -> Mint<'a> {
    Mint { id: Some(RequestId::from_bits(id)), ..Mint::plain(seen, at, value(text)) }
}

/// One record with one value, written by a client that had seen nothing.
fn alone(at: Dot, payload: Payload) -> Record {
    Record::default().write(Mint::plain(&VersionVector::new(), at, payload))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    /// The whole contract at once: after any history each replica holds exactly the writes that no write it knows of
    /// has superseded, and its context covers exactly what it knows. No value is lost, none comes back.
    #[test]
    fn every_state_is_what_explicit_causal_pasts_demand(steps in steps(1..60)) {
        let history = History::replay(&steps);
        for replica in &history.states {
            prop_assert_eq!(dots(&replica.record), history.expected_siblings(&replica.known));
            prop_assert_eq!(replica.record.context(), &history.expected_context(&replica.known));
        }
    }

    #[test]
    fn merge_is_commutative_associative_and_idempotent(
        steps in steps(5..60), picks in prop::array::uniform3(any::<Index>()),
    ) {
        let history = History::replay(&steps);
        let [a, b, c] = picks.map(|pick| &pick.get(&history.states).record);
        prop_assert_eq!(a.merge(b), b.merge(a));
        prop_assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)));
        prop_assert_eq!(&merged(a, a), a);
        prop_assert_eq!(merged(&merged(a, b), b), merged(a, b));
    }

    #[test]
    fn honest_records_that_both_hold_something_never_merge_to_nothing(
        steps in steps(5..60), picks in prop::array::uniform2(any::<Index>()),
    ) {
        let history = History::replay(&steps);
        let [a, b] = picks.map(|pick| &pick.get(&history.states).record);
        let merge = a.merge(b);
        prop_assert!(!merge.conflict);
        prop_assert_eq!(merge.record.siblings().is_empty(), a.siblings().is_empty() && b.siblings().is_empty());
    }

    /// Last write wins commutes with merging, so replicas may settle whenever they like.
    #[test]
    fn settling_early_or_late_is_the_same(steps in steps(5..60), picks in prop::array::uniform2(any::<Index>())) {
        let history = History::replay(&steps);
        let [a, b] = picks.map(|pick| pick.get(&history.states).record.clone());
        let late = merged(&a, &b).settle_lww();
        let early = merged(&a.settle_lww(), &b.settle_lww()).settle_lww();
        prop_assert_eq!(early.siblings(), late.siblings());
        prop_assert_eq!(early.context(), late.context());
    }

    /// However the four replicas talk, once they have all heard of each other they are equal.
    #[test]
    fn replicas_that_exchange_converge(steps in steps(5..60)) {
        let mut replicas = History::replay(&steps).replicas;
        for from in 0..replicas.len() {
            for into in 0..replicas.len() {
                replicas[into].record = merged(&replicas[into].record, &replicas[from].record);
            }
        }
        let last = replicas.last().unwrap().record.clone();
        for replica in &mut replicas {
            replica.record = merged(&replica.record, &last);
            prop_assert_eq!(&replica.record, &last);
            prop_assert_eq!(replica.record.digest(), last.digest());
        }
    }

    /// Replicas which lost their memory may hold anything. Values are then kept rather than lost, and it shows.
    #[test]
    fn amnesia_is_reported_instead_of_emptying(a in forged(), b in forged()) {
        let merge = a.merge(&b);
        let mutual = a.drops(b.context()) == a.sibling_count() && b.drops(a.context()) == b.sibling_count();
        let shared = dots(&a).iter().any(|dot| dots(&b).contains(dot));
        let both = !a.siblings().is_empty() && !b.siblings().is_empty();
        let contradicted = both && mutual && !shared;
        prop_assert_eq!(tries::stripped(&a).merge(&tries::stripped(&b)).conflict, contradicted);
        prop_assert!(merge.conflict || !contradicted);
        prop_assert!(!both || !merge.record.siblings().is_empty());
        if merge.conflict {
            let either: BTreeSet<Dot> = dots(&a).into_iter().chain(dots(&b)).collect();
            prop_assert!(dots(&merge.record).into_iter().eq(either));
            prop_assert!(merge.record.siblings().iter().all(|sibling| sibling.rescued));
        }
        prop_assert_eq!(merge, b.merge(&a));
    }

    #[test]
    fn a_write_drops_what_its_context_covers_and_no_other_value(
        steps in steps(5..60), picks in prop::array::uniform2(any::<Index>()), deletes: bool,
    ) {
        let history = History::replay(&steps);
        let [record, client] = picks.map(|pick| &pick.get(&history.states).record);
        let new = dot(0xbeef, u64::MAX);
        let payload = if deletes { Payload::Tombstone } else { value("new") };
        let after = record.write(Mint::plain(client.context(), new, payload));
        let goes = |sibling: &Sibling| {
            client.context().covers(sibling.dot) || (deletes && sibling.is_tombstone())
        };
        let expected: Vec<Dot> =
            record.siblings().iter().filter(|sibling| !goes(sibling)).map(|sibling| sibling.dot).chain([new]).collect();
        prop_assert_eq!(dots(&after), expected);
        let mut context = record.context().joined(client.context());
        context.raise(new);
        prop_assert_eq!(after.context(), &context);
    }

    /// Superseded requests are left out of the digest: they change nothing that a client is shown.
    #[test]
    fn records_that_show_the_same_and_only_they_have_equal_digests(
        steps in steps(5..60), picks in prop::array::uniform2(any::<Index>()),
    ) {
        let history = History::replay(&steps);
        let [a, b] = picks.map(|pick| &pick.get(&history.states).record);
        let same = a.siblings() == b.siblings() && a.context() == b.context();
        prop_assert_eq!(same, a.digest() == b.digest());
    }
}

/// Records over a handful of dots, some of one request, whose contexts claim arbitrary times.
fn forged() -> impl Strategy<Value = Record> {
    let write = (1u64..4, 1u64..6, prop::bool::weighted(0.3));
    let claim = prop::collection::vec((1u64..4, 1u64..6), 0..4);
    let dead = prop::option::weighted(0.2, 1u64..4);
    (prop::collection::vec(write, 0..4), claim, dead).prop_map(|(writes, claim, dead)| {
        let blind = VersionVector::new();
        let mut record = Record::default();
        for (actor, time, delete) in writes {
            let payload = if delete { Payload::Tombstone } else { value("v") };
            let id = (time < 4).then(|| RequestId::from_bits(time.into()));
            record = record.write(Mint { id, ..Mint::plain(&blind, dot(actor, time), payload) });
        }
        record.context.join(&claim.into_iter().map(|(actor, time)| dot(actor, time)).collect());
        record.supersede(dead.map(|id| RequestId::from_bits(id.into())))
    })
}

/// The clock forgotten too: `a` mints below what its own client has seen, and the replica that remembers has
/// overwritten the one thing `a` once wrote. Each covers the other; plain merging would leave nothing.
#[test]
fn a_reused_clock_is_a_conflict_and_keeps_both_values() {
    let remembered =
        alone(dot(1, 6), value("old")).write(Mint::plain(&seen(&[dot(1, 6)]), dot(2, 7), value("kept")));
    let forgetful = Record::default().write(Mint::plain(remembered.context(), dot(1, 3), value("new")));
    let merge = remembered.merge(&forgetful);
    assert!(merge.conflict);
    assert_eq!(texts(&merge.record, wall(0)), [b"new".as_slice(), b"kept"]);
    assert_eq!(merge, forgetful.merge(&remembered));
}

/// Seven clients that each overwrite what they last read, while the six others write: without one dot per value this
/// grows with every round.
#[test]
fn interleaved_writers_leave_no_more_siblings_than_there_are_writers() {
    let mut record = Record::default();
    let mut contexts = vec![VersionVector::new(); 7];
    for time in 1..=700 {
        let writer = time as usize % 7;
        record = record.write(Mint::plain(&contexts[writer], dot(1, time), value("v")));
        contexts[writer] = record.context().clone();
        assert!(record.sibling_count() <= 7, "{} siblings after {time} writes", record.sibling_count());
    }
}

#[test]
fn a_write_that_saw_nothing_stands_beside_what_is_there() {
    let record = alone(dot(1, 1), value("a"));
    let blind = record.write(Mint::plain(&VersionVector::new(), dot(1, 2), value("b")));
    assert_eq!(dots(&blind), [dot(1, 1), dot(1, 2)]);
    assert_eq!((record.drops(blind.context()), blind.drops(record.context())), (1, 1));
    let resolved = blind.write(Mint::plain(blind.context(), dot(2, 3), value("ab")));
    assert_eq!(dots(&resolved), [dot(2, 3)]);
    assert_eq!(resolved.context(), &seen(&[dot(1, 2), dot(2, 3)]));
}

#[test]
fn a_delete_takes_the_deletes_below_it_along_and_merges_keep_what_they_find() {
    let first = alone(dot(1, 1), Payload::Tombstone);
    let second = alone(dot(2, 2), Payload::Tombstone);
    let both = merged(&first, &second);
    assert_eq!(dots(&both), [dot(1, 1), dot(2, 2)]);
    let unseen = VersionVector::new();
    assert_eq!(dots(&both.write(Mint::plain(&unseen, dot(1, 3), Payload::Tombstone))), [dot(1, 3)]);
    let beside = both.write(Mint::plain(&unseen, dot(3, 3), value("v")));
    assert_eq!(dots(&beside), [dot(1, 1), dot(2, 2), dot(3, 3)]);
    assert_eq!((beside.value_count(), beside.is_sole(dot(3, 3))), (1, true));
    assert!(!beside.is_tombstone(wall(0)));
}

/// A tombstone hides an older value that stands beside it. A later value that stands there too may turn out to be the
/// second dot of a request that was superseded, and go: had it taken the tombstone along, the older one would show.
#[test]
fn a_delete_outlives_a_later_value_that_turns_out_to_be_no_new_one() {
    let unseen = VersionVector::new();
    let old = alone(dot(3, 5), value("old"));
    let try_at = |actor, time| Record::default().write(named(&unseen, dot(actor, time), "twice", 1));
    let deleted = try_at(1, 2).write(Mint::plain(&seen(&[dot(1, 2)]), dot(1, 7), Payload::Tombstone));
    let late = merged(&old, &try_at(2, 9));
    for record in [merged(&late, &deleted), merged(&merged(&old, &deleted), &try_at(2, 9))] {
        assert_eq!(dots(&record), [dot(3, 5), dot(1, 7)]);
        assert!(record.context().covers(dot(2, 9)));
    }
}

#[test]
fn clients_see_live_values_once_with_the_newest_last() {
    let blind = VersionVector::new();
    let record = alone(dot(1, 1), value("same"))
        .write(Mint { expires_at: Some(wall(100)), ..Mint::plain(&blind, dot(1, 2), value("soon gone")) })
        .write(Mint::plain(&blind, dot(2, 3), value("same")))
        .write(Mint { expires_at: Some(wall(200)), ..Mint::plain(&blind, dot(1, 4), value("last")) });
    assert_eq!(texts(&record, wall(99)), [b"soon gone".as_slice(), b"same", b"last"]);
    assert_eq!(record.live(wall(99))[1].dot, dot(2, 3), "an equal value goes by its highest dot");
    assert_eq!(texts(&record, wall(100)), [b"same".as_slice(), b"last"], "expired at expires_at, not after");
    assert_eq!(texts(&record, wall(200)), [b"same".as_slice()]);
    assert_eq!((record.sibling_count(), record.value_bytes()), (4, 21));
}

#[test]
fn a_record_reads_as_absent_when_nothing_in_it_is_live() {
    assert!(Record::default().is_empty());
    assert!(!Record::default().is_tombstone(wall(0)), "never heard of is not deleted");
    let deleted = alone(dot(1, 1), Payload::Tombstone);
    assert!(deleted.is_tombstone(wall(0)) && !deleted.is_empty());
    let expiring = Record::default().write(Mint {
        expires_at: Some(wall(5)),
        ..Mint::plain(&VersionVector::new(), dot(1, 1), value("v"))
    });
    assert!(!expiring.is_tombstone(wall(4)) && expiring.is_tombstone(wall(5)));
}

#[test]
fn the_last_write_wins_by_time_then_actor() {
    let a = alone(dot(9, 5), value("actor 9"));
    let b = alone(dot(2, 6), value("time 6"));
    let c = alone(dot(3, 6), value("actor 3"));
    let settled = merged(&merged(&c, &a), &b).settle_lww();
    assert_eq!(texts(&settled, wall(0)), [b"actor 3".as_slice()]);
    assert_eq!(settled.context().len(), 3);
    assert_eq!(Record::default().settle_lww(), Record::default());
}

#[test]
fn replicas_that_disagree_about_one_dot_settle_alike() {
    let payloads = [value("a"), value("b"), Payload::Tombstone];
    for a in &payloads {
        for b in &payloads {
            let (left, right) = (alone(dot(1, 1), a.clone()), alone(dot(1, 1), b.clone()));
            assert_eq!(left.merge(&right), right.merge(&left));
        }
    }
}

/// A digest tells everything but the bytes of a value apart.
#[test]
fn digests_ignore_value_bytes_and_nothing_else() {
    let write = |payload, expires_at| {
        Record::default().write(Mint { expires_at, ..Mint::plain(&seen(&[dot(2, 1)]), dot(1, 7), payload) })
    };
    let record = write(value("a"), None);
    assert_eq!(record.digest(), write(value("other bytes"), None).digest());
    let others = [
        Record::default(),
        write(Payload::Tombstone, None),
        write(value("a"), Some(wall(0))),
        write(value("a"), Some(wall(1))),
        alone(dot(1, 7), value("a")),
        alone(dot(1, 8), value("a")),
        alone(dot(3, 7), value("a")),
    ];
    let digests: BTreeSet<Digest> = others.iter().chain([&record]).map(Record::digest).collect();
    assert_eq!(digests.len(), others.len() + 1);
}

/// Digests are compared between releases: this one may never change.
#[test]
fn golden_digest() {
    let record = alone(dot(1, 1), value("a")).write(Mint {
        expires_at: Some(wall(77)),
        ..Mint::plain(&seen(&[dot(2, 9)]), dot(2, 10), value("b"))
    });
    assert_eq!(record.digest().to_string(), "dca75b9b087d23d5c31bbb55b47e4236");
}

#[test]
fn weight_grows_with_what_is_kept() {
    let small = alone(dot(1, 1), value("v"));
    let large =
        small.write(Mint::plain(&seen(&[dot(2, 2)]), dot(1, 3), Payload::Value(vec![0; 5_000].into())));
    assert!(small.weight() > size_of::<Record>() && small.weight() < 300);
    assert!(large.weight() > small.weight() + 5_000);
}
