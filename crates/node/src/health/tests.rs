use starling_ring::{Role, Weight, Zone};
use starling_types::{ClusterId, PartitionBits};

use super::*;
use crate::boot::Boot;
use crate::buckets::BucketTable;
use crate::control::tests::config;
use crate::{Event, Node};

fn node(n: u64) -> NodeId {
    NodeId::from_bits(n)
}

fn layout(members: u64) -> Layout {
    let role = |n| Role {
        node: node(n),
        name: format!("n{n}"),
        addr: format!("127.0.0.1:{}", 7_400 + n).parse().unwrap(),
        zone: Zone::new("z").unwrap(),
        weight: Weight::ONE,
    };
    let bits = PartitionBits::try_from(4).unwrap();
    Layout::first(ClusterId::from_bits(5), 3, bits, (1..=members).map(role).collect()).unwrap()
}

/// As node 1 of so many sees it, with these others in reach.
fn seen(members: u64, near: &[u64]) -> Quorums {
    let mut view = View::new(node(1), Some(layout(members).into()), BucketTable::default());
    near.iter().for_each(|&n| view.set_reach(node(n), Reach::Up));
    Quorums::of(&view)
}

#[test]
fn a_node_of_three_serves_with_one_other_and_not_alone() {
    let all = Quorums { partitions: 16, without_read: 0, without_write: 0 };
    assert_eq!([seen(3, &[2, 3]), seen(3, &[3])], [all, all]);
    let alone = seen(3, &[]);
    assert_eq!((alone.without_read, alone.without_write, alone.is_lost()), (16, 16, true));
    assert!(alone.complaint().unwrap().contains("16 of 16 partitions have no read quorum"));
    assert_eq!(all.complaint(), None);
}

#[test]
fn fallbacks_take_writes_where_owners_are_missing_and_no_reads() {
    // Of six, three are gone: some partitions keep one owner, whose writes go on with fallbacks; none of a partition's
    // owners may be near at all.
    let half = seen(6, &[2, 3]);
    assert!(half.without_read > half.without_write, "{half:?}");
    assert!(half.without_write < half.partitions, "{half:?}");
    assert_eq!(seen(6, &[2, 3, 4, 5, 6]).lacking(), 0);
}

#[test]
fn nothing_is_lacking_before_there_is_a_layout() {
    let view = View::new(node(1), None, BucketTable::default());
    assert_eq!(Quorums::of(&view), Quorums::default());
    assert!(!Quorums::default().is_lost());
}

#[test]
fn a_member_that_is_alive_and_not_connected_is_a_broken_link_after_a_while() {
    let boot = Boot { layout: Some(layout(3)), ..Boot::default() };
    let mut machine = Node::new(&config(1), &boot, starling_types::Now::default(), &mut Vec::new());
    let scan = Event::Scanned(crate::ScanId::AllHints(starling_vnode::OpId(1)), Ok(Default::default()));
    machine.handle(starling_types::Now::default(), scan, &mut Vec::new());
    let at = |seconds: u64| Instant::from_nanos(seconds * 1_000_000_000);
    assert_eq!(broken_links(machine.control_plane(), at(4)), [""; 0]);
    let broken = broken_links(machine.control_plane(), at(6));
    assert_eq!(broken.len(), 2);
    assert!(broken[0].contains("no connection to n2") && broken[0].contains("127.0.0.1:7402"), "{broken:?}");
}
