use starling_types::{ActorId, PartitionId};

use super::*;
use crate::meta::encode;

mod stored;

fn meta(rows: &[(&'static [u8], &[u8])]) -> Vec<(Bytes, Bytes)> {
    let row =
        |(key, value): &(&'static [u8], &[u8])| (Bytes::from_static(key), Bytes::copy_from_slice(value));
    rows.iter().map(row).collect()
}

#[test]
fn an_empty_directory_is_a_node_without_a_past() {
    let boot = Boot::read(&[], &Losses::NONE).unwrap();
    assert_eq!(boot.ceiling, Hlc::ZERO);
    assert!(boot.layout.is_none() && boot.actors.is_empty() && !boot.was_clean);
}

#[test]
fn a_promise_that_cannot_be_read_keeps_the_node_from_starting() {
    let rows: [(&'static [u8], &str); 4] = [
        (rows::META_HLC_CEILING, "clock ceiling"),
        (META_LAYOUT, "layout"),
        (META_ACCEPTOR, "acceptor"),
        (META_BUCKETS, "table of buckets"),
    ];
    for (row, name) in rows {
        for damage in [&b""[..], b"\xc1", b"\x93\x01"] {
            let error = Boot::read(&meta(&[(row, damage)]), &Losses::NONE).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("keep this directory"), "{error}");
        }
    }
}

#[test]
fn a_promise_with_bytes_behind_it_is_damaged_too() {
    let mut acceptor = rmp_serde::to_vec(&Acceptor::default()).unwrap();
    assert!(Boot::read(&meta(&[(META_ACCEPTOR, &acceptor)]), &Losses::NONE).is_ok());
    acceptor.push(0);
    assert!(Boot::read(&meta(&[(META_ACCEPTOR, &acceptor)]), &Losses::NONE).is_err());
}

#[test]
fn the_mark_of_a_clean_stop_gives_the_actors_back_and_a_damaged_one_does_not() {
    let actors = [(PartitionId(3), ActorId::from_bits(9))];
    let mark = rows::encode_actors(actors.into_iter());
    let ceiling = 77u64.to_be_bytes();
    let clean = Boot::read(
        &meta(&[(rows::META_CLEAN_STOP, &mark), (rows::META_HLC_CEILING, &ceiling)]),
        &Losses::NONE,
    )
    .unwrap();
    assert!(clean.was_clean);
    assert_eq!(clean.ceiling, Hlc::from_bits(77));
    assert_eq!(clean.actors, BTreeMap::from(actors));
    let damaged = [(rows::META_CLEAN_STOP, &mark[1..]), (rows::META_HLC_CEILING, &ceiling)];
    let unclean = Boot::read(&meta(&damaged), &Losses::NONE).unwrap();
    assert!(!unclean.was_clean && unclean.actors.is_empty());
    // A mark without its ceiling: the old actors could mint the same dots again.
    let unclean = Boot::read(&meta(&[(rows::META_CLEAN_STOP, &mark)]), &Losses::NONE).unwrap();
    assert!(!unclean.was_clean && unclean.actors.is_empty());
}

#[test]
fn buckets_come_back_as_they_were_stored_and_those_of_a_newer_release_are_refused() {
    let register = BucketRegister {
        name: BucketName::new("a").unwrap(),
        props: starling_types::BucketProps { version: 3, w: Some(1), ..Default::default() },
        by: NodeId::from_bits(7),
    };
    let mut table = BucketTable::default();
    table.join([register.clone()]);
    let row = bucket_row(&table).value.unwrap();
    assert_eq!(Boot::read(&meta(&[(META_BUCKETS, &row)]), &Losses::NONE).unwrap().buckets, table);
    let newer = encode(&(BUCKETS_FORMAT + 1, vec![register]));
    let error = Boot::read(&meta(&[(META_BUCKETS, &newer)]), &Losses::NONE).unwrap_err().to_string();
    assert!(
        error.contains("table of buckets has format 2") && error.contains("use the version that wrote it"),
        "{error}"
    );
}

/// A node that was in a cluster of few copies may have been given larger values since, and be told of more copies.
#[test]
fn values_too_large_to_be_merged_keep_a_node_of_the_cluster_from_starting() {
    let role = starling_ring::Role {
        node: NodeId::from_bits(1),
        name: "n1".into(),
        addr: "127.0.0.1:7401".parse().unwrap(),
        zone: starling_ring::Zone::new("z").unwrap(),
        weight: starling_ring::Weight::ONE,
    };
    let bits = starling_types::PartitionBits::try_from(2).unwrap();
    let layout = Layout::first(ClusterId::from_bits(5), 7, bits, vec![role]).unwrap();
    let rows = [(META_LAYOUT, &rmp_serde::to_vec(&layout).unwrap()[..])];
    let boot = Boot::read(&meta(&rows), &Losses::NONE).unwrap();
    let limit = starling_types::limits::max_value_for(7);
    assert_eq!(boot.objection(limit), None);
    let words = boot.objection(limit + 1).unwrap().to_string();
    assert!(
        words.contains("limits.max_value is 36700161 bytes, and with 7 copies of each key at most"),
        "{words}"
    );
    assert_eq!(
        Boot::default().objection(limit + 1),
        None,
        "a node without a cluster may yet join one of few copies"
    );
}
