//! The state that survives a stop, clean or not.

use super::*;
use crate::rows;

fn row(bench: &Bench, name: &'static [u8]) -> Option<Bytes> {
    bench.synced.get(&(Space::Meta, Bytes::from_static(name))).cloned()
}

/// The state that the node's start would read from the disk of `bench`.
pub(super) fn after_stop(bench: &Bench, seed: u64) -> Boot {
    let ceiling = row(bench, rows::META_HLC_CEILING);
    let ceiling = ceiling
        .map_or(Hlc::ZERO, |bits| Hlc::from_bits(u64::from_be_bytes(bits.as_ref().try_into().unwrap())));
    let actors = row(bench, rows::META_CLEAN_STOP).and_then(|mark| rows::decode_actors(&mark));
    boot(actors.into_iter().flatten().collect(), ceiling, seed)
}

pub(super) fn seal(bench: &mut Bench) {
    assert!(bench.vnodes.is_quiet());
    for row in bench.vnodes.seal() {
        bench.synced.insert((row.space, row.key), row.value.unwrap());
    }
}

#[test]
fn after_a_clean_stop_the_same_actor_goes_on_above_its_last_dot() {
    let mut bench = Bench::warm();
    let before = bench.put("k", "a", None);
    bench.settle();
    seal(&mut bench);
    let boot = after_stop(&bench, 2);
    let mut bench2 = Bench::over(bench.synced.clone(), boot);
    bench2.vnodes.inherit_actors();
    // The wall clock went back: by a little, and the ceiling holds; by a minute, and the record does.
    bench2.now.wall = WallTime::from_millis(NOON - 60_000);
    let after = bench2.put("k", "b", None);
    bench2.settle();
    assert_eq!(bench2.dot(after).actor, bench.dot(before).actor);
    assert!(bench2.dot(after).hlc > bench.dot(before).hlc);
    assert_eq!(values(&bench2.look("k")), ["b"]);
}

#[test]
fn after_any_other_stop_nobody_speaks_under_the_old_name() {
    let mut bench = Bench::warm();
    let before = bench.put("k", "a", None);
    bench.load();
    let mut bench2 = Bench::over(bench.synced.clone(), after_stop(&bench, 2));
    let after = bench2.put("k", "b", None);
    bench2.settle();
    assert_ne!(bench2.dot(after).actor, bench.dot(before).actor);
    assert!(bench2.dot(after).hlc > bench.dot(before).hlc, "above the durable ceiling");
    // The dot that left this node before it was forgotten comes back: it must not pass for seen.
    let sent = Record::decode(&bench.staged[&before].record).unwrap();
    bench2.merge(data("k"), sent, None, true);
    bench2.settle();
    assert_eq!(values(&bench2.look("k")), ["a", "b"]);
}

#[test]
fn the_mark_of_a_clean_stop_can_be_removed_and_a_damaged_one_counts_for_nothing() {
    let mut bench = Bench::warm();
    seal(&mut bench);
    let unseal = Vnodes::unseal();
    assert_eq!((&unseal.key[..], unseal.value), (rows::META_CLEAN_STOP, None));
    let mark = row(&bench, rows::META_CLEAN_STOP).unwrap();
    assert_eq!(rows::decode_actors(&mark).unwrap().len(), 1);
    assert_eq!(rows::decode_actors(&mark[1..]), None);
}

#[test]
fn the_actors_of_a_clean_stop_rest_until_it_is_known_to_be_the_last() {
    let mut bench = Bench::warm();
    let before = bench.put("k", "a", None);
    bench.settle();
    seal(&mut bench);
    let mut bench2 = Bench::over(bench.synced.clone(), after_stop(&bench, 2));
    let early = bench2.put("k", "b", None);
    bench2.settle();
    assert_ne!(bench2.dot(early).actor, bench.dot(before).actor, "an older state may have been put back");
    bench2.vnodes.inherit_actors();
    let late = bench2.put("k", "c", None);
    bench2.settle();
    assert_eq!(bench2.dot(late).actor, bench2.dot(early).actor, "it has one by now");
}
