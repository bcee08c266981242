//! Over every pair of present and backup: nothing that was promised since is taken back.

use std::slice::from_ref;

use starling_causality::Hlc;
use starling_ring::{Layout, Role, Weight, Zone};
use starling_types::{BucketName, BucketProps, ClusterId, Conflict, Generation, NodeId, PartitionBits};
use starling_wire::cluster::BucketRegister;

use super::*;
use crate::meta::encode;

type Row = (Bytes, Bytes);

fn row(name: &[u8], value: impl Into<Bytes>) -> Row {
    (Bytes::copy_from_slice(name), value.into())
}

fn hlc(ms: u64) -> Row {
    row(rows::META_HLC_CEILING, Hlc::from_parts(ms, 0).bits().to_be_bytes().to_vec())
}

fn layout(cluster: u128) -> Layout {
    let role = Role {
        node: NodeId::from_bits(1),
        name: "n1".into(),
        addr: "127.0.0.1:7401".parse().unwrap(),
        zone: Zone::new("z").unwrap(),
        weight: Weight::ONE,
    };
    Layout::first(ClusterId::from_bits(cluster), 1, PartitionBits::try_from(2).unwrap(), vec![role]).unwrap()
}

fn bucket(name: &str, version: u64, conflict: Conflict) -> BucketRegister {
    let props = BucketProps { version, conflict, ..BucketProps::default() };
    BucketRegister { name: BucketName::new(name).unwrap(), props, by: NodeId::from_bits(1) }
}

fn table(registers: &[BucketRegister]) -> Row {
    let mut table = BucketTable::default();
    table.join(registers.iter().cloned());
    row(META_BUCKETS, bucket_row(&table).value.unwrap())
}

/// The rows there are after a restore.
fn after(here: &[Row], backup: &[Row]) -> BTreeMap<Bytes, Bytes> {
    let mut rows: BTreeMap<Bytes, Bytes> = here.iter().cloned().collect();
    for write in restore_meta(here, backup).unwrap() {
        match write.value {
            Some(value) => rows.insert(write.key, value),
            None => rows.remove(&write.key),
        };
    }
    rows
}

#[test]
fn an_empty_store_gets_everything_but_the_mark_of_a_clean_stop() {
    let layout = row(META_LAYOUT, encode(&layout(9)));
    let buckets = table(&[bucket("carts", 1, Conflict::Lww)]);
    let kept = [hlc(7), layout, buckets, row(b"birth", "whose")];
    let backup = [&kept[..], &[row(rows::META_CLEAN_STOP, vec![])]].concat();
    let rows = after(&[], &backup);
    assert_eq!(rows, kept.iter().cloned().collect());
    let boot = Boot::read(&rows.into_iter().collect::<Vec<_>>(), &Losses::NONE).unwrap();
    assert!(!boot.was_clean && boot.is_lww(&BucketName::new("carts").unwrap()));
    assert_eq!(boot.cluster(), Some(ClusterId::from_bits(9)));
}

#[test]
fn the_clock_only_rises_and_a_clean_stop_counts_no_more() {
    let clean = row(rows::META_CLEAN_STOP, vec![]);
    for (here, backup, expected) in [(5, 7, 7), (7, 5, 7)] {
        let rows = after(&[hlc(here), clean.clone()], &[hlc(backup), clean.clone()]);
        assert_eq!(rows, BTreeMap::from([hlc(expected)]));
    }
    let damaged = row(rows::META_HLC_CEILING, "short");
    assert_eq!(after(from_ref(&damaged), &[hlc(5)]), BTreeMap::from([hlc(5)]));
    assert!(restore_meta(&[hlc(5)], &[damaged]).is_err(), "what cannot be understood is not restored");
}

fn life(generation: u64, is_over: bool) -> Row {
    let row = Life { generation: Generation(generation), is_over, addr: None }.row(NodeId::from_bits(2));
    (row.key, row.value.unwrap())
}

#[test]
fn of_two_lives_of_another_member_the_later_stays() {
    for (here, backup) in [(life(5, false), life(7, false)), (life(7, false), life(7, true))] {
        let later = BTreeMap::from([backup.clone()]);
        assert_eq!(after(from_ref(&here), from_ref(&backup)), later);
        assert_eq!(after(from_ref(&backup), from_ref(&here)), later);
        assert_eq!(after(&[], from_ref(&backup)), later);
        assert_eq!(after(&[row(&here.0, "nonsense")], from_ref(&backup)), later);
        assert!(restore_meta(&[], &[row(&here.0, "nonsense")]).is_err());
    }
}

#[test]
fn what_was_decided_since_stays() {
    let (mine, theirs) = (layout(9), layout(10));
    let (mine, theirs) = (row(META_LAYOUT, encode(&mine)), row(META_LAYOUT, encode(&theirs)));
    assert_eq!(after(from_ref(&mine), from_ref(&theirs)), BTreeMap::from([mine]));
    assert_eq!(after(&[row(META_LAYOUT, "nonsense")], from_ref(&theirs)), BTreeMap::from([theirs]));
    let (old, new) = (bucket("carts", 1, Conflict::Lww), bucket("carts", 2, Conflict::Siblings));
    let other = bucket("users", 1, Conflict::Lww);
    let rows = after(&[table(from_ref(&new))], &[table(&[old, other.clone()])]);
    assert_eq!(rows, BTreeMap::from([table(&[new, other])]));
    let rows = after(&[row(b"birth", "mine")], &[row(b"birth", "theirs")]);
    assert_eq!(rows, BTreeMap::from([row(b"birth", "mine")]));
}

#[test]
fn a_store_that_was_lost_is_taken_for_incomplete() {
    let row = suspect_everything();
    let boot = Boot::read(&[(row.key.clone(), row.value.clone().unwrap())], &Losses::NONE).unwrap();
    assert_eq!(boot.losses, Losses::everything());
    assert_eq!(
        after(&[], &[(row.key, row.value.unwrap())]),
        BTreeMap::new(),
        "a backup's losses are its own"
    );
}
