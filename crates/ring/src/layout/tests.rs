use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use starling_types::{ClusterId, LayoutVersion, NodeId, PartitionBits, PartitionId, Token};

use super::decode::Body;
use super::*;
use crate::role::{Weight, Zone};

fn sample() -> Layout {
    let role = |number: u16| Role {
        node: NodeId::from_bits(u64::from(number) << 32),
        name: format!("node-{number}"),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 7000 + number)),
        zone: Zone::new(["a", "b"][usize::from(number % 2)]).unwrap(),
        weight: Weight::ONE,
    };
    let bits = PartitionBits::try_from(4).unwrap();
    let mut roles: Vec<Role> = (1..=5).map(role).collect();
    roles[4].addr = SocketAddr::from((Ipv6Addr::LOCALHOST, 7005));
    Layout::first(ClusterId::from_bits(9), 3, bits, roles).unwrap()
}

fn body(layout: &Layout) -> Body {
    rmp_serde::from_slice(&rmp_serde::to_vec(layout).unwrap()).unwrap()
}

/// The refusal of a layout with one field spoilt.
fn refusal(spoil: impl FnOnce(&mut Body)) -> String {
    let mut body = body(&sample());
    spoil(&mut body);
    Layout::try_from(body).unwrap_err().to_string()
}

#[test]
fn both_encodings_give_back_the_same_layout() {
    let layout = sample();
    let packed = rmp_serde::to_vec(&layout).unwrap();
    assert_eq!(rmp_serde::from_slice::<Layout>(&packed).unwrap(), layout);
    let text = serde_json::to_string(&layout).unwrap();
    assert_eq!(serde_json::from_str::<Layout>(&text).unwrap(), layout);
    let next = layout.split().unwrap();
    assert_eq!(rmp_serde::from_slice::<Layout>(&rmp_serde::to_vec(&next).unwrap()).unwrap(), next);
    assert_eq!(next.parent(), layout.hash());
}

#[test]
fn hostile_bytes_are_refused_with_the_reason() {
    let node = |number: u64| NodeId::from_bits(number << 32);
    for (message, expected) in [
        (refusal(|b| b.cluster = ClusterId::NONE), "belongs to no cluster".to_owned()),
        (refusal(|b| b.version = LayoutVersion(2)), "layout v2 and its parent do not fit".into()),
        (refusal(|b| b.parent = LayoutHash(1)), "layout v1 and its parent do not fit".into()),
        (refusal(|b| b.version = LayoutVersion::NONE), "layout v0 and its parent".into()),
        (refusal(|b| b.wanted = 2), "3 copies of 2 wanted on 5 members".into()),
        (refusal(|b| b.wanted = 200), "3 copies of 200 wanted".into()),
        (refusal(|b| b.owners.copies = 0), "0 copies of 3 wanted".into()),
        (refusal(|b| b.roles.truncate(2)), "3 copies of 3 wanted on 2 members".into()),
        (refusal(|b| b.roles.swap(0, 1)), format!("lists node {} twice or out of order", node(1))),
        (refusal(|b| b.roles[1] = b.roles[0].clone()), format!("lists node {} twice", node(1))),
        (refusal(|b| b.roles[1].name.clear()), format!("gives node {} a name", node(2))),
        (refusal(|b| b.roles[1].name.push('\n')), format!("gives node {} a name", node(2))),
        (refusal(|b| b.owners.slots.truncate(47)), "lists 47 owners: 48 are needed".into()),
        (refusal(|b| b.owners.slots[4] = 5), "gives p1 owner number 5".into()),
        (refusal(|b| b.owners.slots[4] = u16::MAX), "gives p1 owner number 65535".into()),
        (refusal(|b| b.owners.slots[4] = b.owners.slots[5]), "gives p1 the same owner twice".into()),
    ] {
        assert!(message.contains(&expected), "{message:?} lacks {expected:?}");
    }
    let last = refusal(|b| (b.version, b.parent) = (LayoutVersion(u64::MAX), LayoutHash(1)));
    assert!(last.contains("do not fit"), "{last}");
}

#[test]
fn many_members_are_refused() {
    let many = refusal(|b| b.roles = vec![b.roles[0].clone(); 4097]);
    assert!(many.contains("lists 4097 members: at most 4096"), "{many}");
}

#[test]
fn damaged_bytes_never_panic() {
    let packed = rmp_serde::to_vec(&sample()).unwrap();
    for at in 0..packed.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = packed.clone();
            damaged[at] ^= flip;
            if let Ok(layout) = rmp_serde::from_slice::<Layout>(&damaged) {
                layout.fallbacks(PartitionId(0)).for_each(drop);
            }
        }
        assert!(rmp_serde::from_slice::<Layout>(&packed[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn every_field_counts_in_the_hash() {
    let hash = sample().hash();
    let changed = |change: fn(&mut Body)| {
        let mut body = body(&sample());
        change(&mut body);
        body.sealed().hash()
    };
    for (at, other) in [
        changed(|b| b.cluster = ClusterId::from_bits(8)),
        changed(|b| b.generation = 1),
        changed(|b| b.version = LayoutVersion(2)),
        changed(|b| b.parent = LayoutHash(1)),
        changed(|b| b.wanted = 4),
        changed(|b| b.bits = PartitionBits::DEFAULT),
        changed(|b| b.owners.copies = 4),
        changed(|b| b.roles[0].node = NodeId::from_bits(1)),
        changed(|b| b.roles[0].name = "node".into()),
        changed(|b| b.roles[0].addr.set_port(1)),
        changed(|b| b.roles[0].addr.set_ip(Ipv4Addr::BROADCAST.into())),
        changed(|b| b.roles[0].zone = Zone::default()),
        changed(|b| b.roles[0].weight = Weight::new(2).unwrap()),
        changed(|b| b.owners.slots.swap(0, 1)),
    ]
    .into_iter()
    .enumerate()
    {
        assert_ne!(other, hash, "change {at}");
    }
    assert_eq!(changed(|_| ()), hash);
}

#[test]
fn strangers_and_unknown_partitions_have_nothing() {
    let layout = sample();
    let stranger = NodeId::from_bits(7);
    assert!(!layout.is_member(stranger) && layout.role(stranger).is_none());
    assert_eq!(layout.partitions_of(stranger).count(), 0);
    assert_eq!(layout.owners(PartitionId(16)).count(), 0);
    let everybody: Vec<NodeId> = layout.fallbacks(PartitionId(16)).collect();
    assert_eq!(everybody.len(), 5);
    assert_eq!(layout.partition_of(Token::from_bits(u64::MAX)), PartitionId(15));
}

#[test]
fn the_last_split_is_refused() {
    let mut layout = sample();
    for _ in 4..16 {
        layout = layout.split().unwrap();
    }
    assert_eq!(layout.split(), Err(PlanError::LastSplit));
}
