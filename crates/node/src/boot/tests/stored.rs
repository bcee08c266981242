//! The rows of `meta`, in fixtures: a node starts with what an earlier version of it stored.

use starling_ring::{Role, Weight, Zone};
use starling_types::row::{RowWrite, Space};
use starling_types::{BucketProps, PartitionBits, Token};

use super::*;

#[path = "../../../../../tests/fixtures/sets.rs"]
mod sets;

const NODE: NodeId = NodeId::from_bits(0xe642_9c93_57c8_9867);

fn layout() -> Layout {
    let role = |node, name: &str| Role {
        node,
        name: name.into(),
        addr: "127.0.0.1:7400".parse().unwrap(),
        zone: Zone::new("z").unwrap(),
        weight: Weight::ONE,
    };
    let roles = vec![role(NODE, "n1"), role(NodeId::from_bits(2), "n2")];
    Layout::first(ClusterId::from_bits(0xc1), 2, PartitionBits::try_from(1).unwrap(), roles).unwrap()
}

fn buckets() -> BucketTable {
    let mut table = BucketTable::default();
    let props = BucketProps { version: 3, w: Some(1), ttl_ms: Some(60_000), ..BucketProps::default() };
    table.join([BucketRegister { name: BucketName::new("a").unwrap(), props, by: NODE }]);
    table
}

fn losses() -> Losses {
    let tokens = |a, b| vec![Token::from_bits(a)..=Token::from_bits(b)];
    let buckets = [BucketName::new("a").unwrap()].into();
    Losses { tokens: tokens(1, 2), unsynced: tokens(9, u64::MAX), buckets }
}

fn acceptor() -> Acceptor {
    let mut acceptor = Acceptor::default();
    acceptor.propose(NODE, &layout());
    acceptor.decide(&layout());
    acceptor
}

fn life() -> Life {
    Life { generation: Generation(300), is_over: true, addr: Some(SocketAddr::from(([10, 0, 0, 7], 7201))) }
}

fn written() -> Vec<RowWrite> {
    let row = |name, value: &[u8]| RowWrite {
        space: Space::Meta,
        key: Bytes::from_static(name),
        value: Some(Bytes::copy_from_slice(value)),
    };
    vec![
        row(rows::META_HLC_CEILING, &Hlc::from_parts(1_700_000_000_000, 2).bits().to_be_bytes()),
        row(
            rows::META_CLEAN_STOP,
            &rows::encode_actors([(PartitionId(3), ActorId::from_bits(9))].into_iter()),
        ),
        meta_row(META_LAYOUT, &layout()),
        meta_row(META_ACCEPTOR, &acceptor()),
        bucket_row(&buckets()),
        life().row(NODE),
        losses().row(),
    ]
}

#[test]
fn rows_are_written_as_they_always_were_and_all_that_ever_were_are_understood() {
    let named = |row: RowWrite| (String::from_utf8(row.key.to_vec()).unwrap(), row.value.unwrap().to_vec());
    let today = written().into_iter().map(named).collect();
    sets::hold("meta.txt", today, |name, bytes| {
        let row = (Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(bytes));
        let boot = Boot::read(&[row], &Losses::NONE).unwrap();
        assert_ne!(boot.losses, Losses::everything(), "{name}");
    });
    let rows: Vec<_> =
        sets::newest("meta.txt").into_iter().map(|(k, v)| (Bytes::from(k), Bytes::from(v))).collect();
    if sets::wanted().is_some() {
        return;
    }
    let boot = Boot::read(&rows, &Losses::NONE).unwrap();
    assert_eq!((boot.ceiling, boot.was_clean), (Hlc::from_parts(1_700_000_000_000, 2), true));
    assert_eq!((boot.layout, boot.acceptor, boot.buckets), (Some(layout()), acceptor(), buckets()));
    assert_eq!(boot.losses, losses());
    assert_eq!(boot.lives, BTreeMap::from([(NODE, life())]));
    assert_eq!(boot.actors, BTreeMap::from([(PartitionId(3), ActorId::from_bits(9))]));
}
