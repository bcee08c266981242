//! How large records become: what clients leave is bounded, what replicas merge is not.

use starling_types::limits;

use super::*;

const MIB: usize = 1 << 20;
/// Two of these are more than a write may leave where values have up to 24 MiB.
const LARGE: usize = 20 * MIB;

fn bench() -> Bench {
    let boot = Boot { max_value: 24 * MIB, ..boot(BTreeMap::new(), Hlc::ZERO, 1) };
    let mut bench = Bench::over(Rows::new(), boot);
    bench.put("warm", "up", None);
    bench.settle();
    bench
}

fn bytes(length: usize) -> Payload {
    Payload::Value(vec![b'x'; length].into())
}

fn put(bench: &mut Bench, payload: Payload, seen: Option<VersionVector>) -> OpId {
    let request = RequestId::from_bits(u128::from(bench.next_op + 1));
    let op = bench.write(ClientWrite { payload, ..client_write(request, "k", "", seen) });
    bench.settle();
    op
}

/// Merges a write of another owner.
fn merge(bench: &mut Bench, actor: u64, length: usize) -> VersionVector {
    let dot = Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_parts(NOON + actor, 0) };
    let record = Record::default().write(Mint::plain(&VersionVector::new(), dot, bytes(length)));
    let context = record.context().clone();
    let op = bench.merge(CellKey::data(qualified("k")), record, None, true);
    bench.settle();
    assert!(bench.is_committed(op), "{:?}", bench.done.get(&op));
    context
}

fn is_too_large(bench: &Bench, op: OpId) -> bool {
    let limit = limits::max_written(24 * MIB);
    matches!(bench.refusal(op), Refused::TooLarge { bytes, limit: said } if *bytes > limit && *said == limit)
}

#[test]
fn a_value_that_would_make_the_record_too_large_is_refused_and_a_smaller_one_or_a_delete_is_not() {
    let mut bench = bench();
    let first = put(&mut bench, bytes(LARGE), nothing());
    let commits = bench.vnodes.counters().minted;
    let second = put(&mut bench, bytes(LARGE), nothing());
    assert!(bench.is_committed(first) && is_too_large(&bench, second));
    assert_eq!(bench.vnodes.counters().minted, commits, "nothing was minted for it");
    for payload in [bytes(MIB), Payload::Tombstone] {
        let op = put(&mut bench, payload, nothing());
        assert!(bench.is_committed(op), "{:?}", bench.done.get(&op));
    }
    let resolved = put(&mut bench, bytes(LARGE), None);
    assert!(bench.is_committed(resolved));
}

/// Otherwise owners that replace one sibling after the other by larger ones could outgrow any bound.
#[test]
fn a_write_that_replaces_a_part_is_held_to_the_same_bound() {
    let mut bench = bench();
    let one = merge(&mut bench, 0xa, LARGE);
    assert_eq!(bench.vnodes.counters().outsized, 0);
    let other = merge(&mut bench, 0xb, LARGE);
    assert_eq!(bench.vnodes.counters().outsized, 1);
    let part = put(&mut bench, bytes(LARGE), Some(one.clone()));
    assert!(is_too_large(&bench, part));
    let whole = put(&mut bench, bytes(LARGE), Some(one.joined(&other)));
    assert!(bench.is_committed(whole));
}

/// More than half a message: refused once, so that replicas never agreed.
#[test]
fn a_merge_is_taken_however_large_it_is() {
    let mut bench = bench();
    for actor in [0xa, 0xb] {
        merge(&mut bench, actor, 65 * MIB);
    }
    assert_eq!(bench.vnodes.counters().outsized, 2);
}
