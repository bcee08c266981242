//! Rows kept for absent owners.

use super::*;
use crate::vnodes::HintTally;

fn tally(bench: &Bench, target: u64) -> HintTally {
    let kept = bench.vnodes.hints().get(&NodeId::from_bits(target));
    kept.copied().unwrap_or_default()
}

fn drop_hint(bench: &mut Bench, cell: CellKey, record: &Record) -> OpId {
    let op = bench.op();
    let digest = record.digest();
    bench.handle(Event::DropHint { op, cell, digest });
    op
}

/// The tally of the rows on disk.
fn on_disk(bench: &Bench) -> HintTally {
    let rows = bench.written.iter().filter(|((space, _), _)| *space == Space::Hints);
    let weights = rows.map(|(_, row)| Record::decode(row).unwrap().weight() as u64);
    weights
        .fold(HintTally::default(), |sum, bytes| HintTally { rows: sum.rows + 1, bytes: sum.bytes + bytes })
}

fn is_dropped(bench: &Bench, op: OpId) -> bool {
    match bench.done.get(&op) {
        Some(Ok(Done::HintDropped(dropped))) => *dropped,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hint_is_kept_grows_and_goes_only_when_all_of_it_was_delivered() {
    let mut bench = Bench::warm();
    let (old, new) = (foreign(9, 0, "a"), foreign(8, 0, "b"));
    let cell = hint(2, "k");
    bench.merge(cell.clone(), old.clone(), None, true);
    bench.settle();
    assert_eq!(tally(&bench, 2), on_disk(&bench));
    bench.merge(cell.clone(), new.clone(), None, true);
    bench.settle();
    assert_eq!(tally(&bench, 2), on_disk(&bench));
    assert_eq!(tally(&bench, 2).rows, 1);

    let early = drop_hint(&mut bench, cell.clone(), &old);
    bench.settle();
    assert!(!is_dropped(&bench, early), "it has grown since it was sent");
    let all = drop_hint(&mut bench, cell.clone(), &old.merge(&new).record);
    bench.load_if_asked();
    assert!(!bench.done.contains_key(&all), "not before the deletion is durable");
    bench.settle();
    assert!(is_dropped(&bench, all));
    assert!(bench.vnodes.hints().is_empty());
    assert_eq!(on_disk(&bench), HintTally::default());
}

#[test]
fn a_hint_that_grows_while_it_is_being_dropped_stays() {
    let mut bench = Bench::warm();
    let (old, new) = (foreign(9, 0, "a"), foreign(8, 0, "b"));
    let cell = hint(2, "k");
    bench.merge(cell.clone(), old.clone(), None, true);
    bench.settle();
    let dropped = drop_hint(&mut bench, cell.clone(), &old);
    let grown = bench.merge(cell.clone(), new, None, true);
    bench.settle();
    assert!(is_dropped(&bench, dropped) && bench.is_committed(grown));
    let read = bench.read(cell);
    bench.settle();
    assert_eq!(values(&bench.shown(read)), ["b"]);
    assert_eq!(tally(&bench, 2), on_disk(&bench));
}

#[test]
fn hints_are_counted_per_target_and_apart_from_data() {
    let mut bench = Bench::warm();
    bench.merge(hint(2, "k"), foreign(9, 0, "a"), None, true);
    bench.merge(hint(3, "k"), foreign(9, 0, "a"), None, true);
    bench.merge(hint(3, "l"), foreign(9, 0, "a"), None, true);
    bench.settle();
    assert_eq!(tally(&bench, 2).rows, 1);
    assert_eq!(tally(&bench, 3).rows, 2);
    assert!(bench.look("k").is_empty(), "a hint is not this node's own copy");
}

#[test]
fn a_hint_whose_commit_failed_is_not_counted() {
    let mut bench = Bench::warm();
    bench.merge(hint(2, "k"), foreign(9, 0, "a"), None, true);
    bench.settle();
    bench.merge(hint(2, "k"), foreign(8, 0, "b"), None, true);
    bench.load_if_asked();
    bench.fail_commit();
    assert_eq!(tally(&bench, 2), on_disk(&bench));
    bench.merge(hint(3, "k"), foreign(8, 0, "b"), None, true);
    bench.load_if_asked();
    bench.fail_commit();
    assert_eq!(tally(&bench, 3), HintTally::default());
}

#[test]
fn a_failed_hint_retires_nobody() {
    let mut bench = Bench::warm();
    let before = bench.put("k", "a", None);
    bench.settle();
    bench.merge(hint(2, "k"), foreign(9, 0, "a"), None, true);
    bench.load_if_asked();
    bench.fail_commit();
    let after = bench.put("k", "b", None);
    bench.settle();
    assert_eq!(bench.dot(before).actor, bench.dot(after).actor);
}

#[test]
fn a_hint_row_says_whose_it_is() {
    let cell = hint(2, "k\0odd");
    let (space, row) = cell.row();
    assert_eq!(space, Space::Hints);
    assert!(row.starts_with(&crate::rows::hints_for(NodeId::from_bits(2))));
    let mut bench = Bench::new();
    bench.vnodes.set_layout(PartitionBits::DEFAULT, 7);
    assert_eq!(bench.vnodes.cell_of(Space::Hints, &row), Some(cell));
    bench.vnodes.set_layout(PartitionBits::DEFAULT, 8);
    assert_eq!(bench.vnodes.cell_of(Space::Hints, &row), None, "the token is another cluster's");
}

#[test]
fn a_damaged_hint_is_counted_once_and_goes() {
    let mut bench = Bench::warm();
    bench.merge(hint(2, "k"), foreign(9, 0, "a"), None, true);
    bench.merge(hint(2, "l"), foreign(9, 0, "a"), None, true);
    bench.settle();
    bench.written.insert(hint(2, "k").row(), Bytes::from_static(b"nonsense"));
    let op = bench.op();
    bench.handle(Event::Discard(op, hint(2, "k")));
    bench.settle();
    assert_eq!(bench.damaged, [hint(2, "k")]);
    assert_eq!(tally(&bench, 2).rows, 1);
    assert_eq!(on_disk(&bench).rows, 1);
}

impl Bench {
    fn load_if_asked(&mut self) {
        if !self.loads.is_empty() {
            self.load();
        }
    }
}
