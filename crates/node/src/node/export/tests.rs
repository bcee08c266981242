//! Pages of a node's rows: asked for one after the other, answered as they lie on disk.

use bytes::Bytes;
use starling_types::row::RowRange;
use starling_types::row::{Page, Space};
use starling_types::{BucketName, Key, NodeId, Now, QualifiedKey};
use starling_vnode::CellKey;
use starling_wire::client::{AdminReply, AdminRequest, Export, ExportPage};

use super::MOST_EXPORTS;
use crate::boot::Boot;
use crate::control::tests::{config, no_hints};
use crate::event::{Effect, Event, ReplyHandle, ScanId};
use crate::node::Node;

fn running() -> Node {
    let mut node = Node::new(&config(1), &Boot::default(), Now::default(), &mut Vec::new());
    give(&mut node, no_hints());
    node
}

fn give(node: &mut Node, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    node.handle(Now::default(), event, &mut out);
    out
}

fn ask(node: &mut Node, handle: u64, space: Space, from: &'static str, buckets: &[&str]) -> Vec<Effect> {
    let buckets = buckets.iter().map(|b| BucketName::new(b).unwrap()).collect();
    let export = Export { space, from: Bytes::from_static(from.as_bytes()), buckets };
    give(node, Event::Admin(ReplyHandle(handle), AdminRequest::Export(export)))
}

fn answer(effects: Vec<Effect>) -> (u64, AdminReply) {
    match effects.into_iter().next() {
        Some(Effect::RespondAdmin(handle, reply)) => (handle.0, reply),
        other => panic!("no answer: {other:?}"),
    }
}

fn exported(effects: Vec<Effect>) -> ExportPage {
    match answer(effects) {
        (_, AdminReply::Exported(page)) => page,
        (_, other) => panic!("no page: {other:?}"),
    }
}

/// A row of key `k` in this bucket, for every space.
fn rows(bucket: &str) -> [(Bytes, Bytes); 2] {
    let key = QualifiedKey::new(7, BucketName::new(bucket).unwrap(), Key::new("k").unwrap());
    let hint = CellKey::hint(NodeId::from_bits(2), key.clone());
    [CellKey::data(key).row().1, hint.row().1].map(|row| (row, Bytes::copy_from_slice(bucket.as_bytes())))
}

#[test]
fn a_page_is_read_where_it_was_asked_for_and_passed_on_as_it_is() {
    let mut node = running();
    for (space, expected) in
        [(Space::Data, Space::Data), (Space::Hints, Space::Hints), (Space::Meta, Space::Meta)]
    {
        let effects = ask(&mut node, 5, space, "from", &[]);
        let [Effect::Scan { id, space, prefix, from }] = &effects[..] else { panic!("{effects:?}") };
        assert_eq!((*id, *space), (ScanId::Export(ReplyHandle(5)), expected));
        assert_eq!((prefix.len(), from.as_deref()), (0, Some(&b"from"[..])));
        let page = Page {
            rows: vec![(Bytes::from_static(b"key"), Bytes::from_static(b"value"))],
            next: Some(Bytes::from_static(b"next")),
            damaged: vec![RowRange::new("b", None)],
            unread: vec![RowRange::new("a", Some("b".into()))],
            sequence: 9,
        };
        // Neither is in the backup.
        let missing = [page.unread.clone(), page.damaged.clone()].concat();
        let told = exported(give(&mut node, Event::Scanned(*id, Ok(page.clone()))));
        assert_eq!((told.rows, told.next, told.damaged, told.sequence), (page.rows, page.next, missing, 9));
        assert_eq!((told.exporter.node, told.exporter.name), (NodeId::from_bits(1), "n1".into()));
        assert_eq!(told.exporter.cluster, None);
    }
    let first = ask(&mut node, 6, Space::Data, "", &[]);
    assert!(matches!(&first[..], [Effect::Scan { from: None, .. }]), "{first:?}");
}

#[test]
fn only_rows_of_the_named_buckets_are_passed_on() {
    let mut node = running();
    for (space, which) in [(Space::Data, 0), (Space::Hints, 1)] {
        ask(&mut node, 5, space, "", &["carts", "users"]);
        let of = |bucket: &str| rows(bucket)[which].clone();
        let page = Page {
            rows: vec![of("carts"), of("cart"), of("users"), (Bytes::from_static(b"odd"), Bytes::new())],
            ..Page::default()
        };
        let told = exported(give(&mut node, Event::Scanned(ScanId::Export(ReplyHandle(5)), Ok(page))));
        assert_eq!(told.rows, [of("carts"), of("users")]);
    }
}

#[test]
fn what_cannot_be_read_or_is_too_much_is_refused() {
    let mut node = running();
    ask(&mut node, 5, Space::Data, "", &[]);
    let failed = Event::Scanned(ScanId::Export(ReplyHandle(5)), Err("the disk is gone".into()));
    let (handle, reply) = answer(give(&mut node, failed));
    assert!(matches!(reply, AdminReply::Refused(why) if why.contains("the disk is gone")) && handle == 5);
    let most = u64::try_from(MOST_EXPORTS).unwrap();
    for handle in 0..most {
        ask(&mut node, handle, Space::Data, "", &[]);
    }
    let (handle, reply) = answer(ask(&mut node, most, Space::Data, "", &[]));
    assert!(matches!(reply, AdminReply::Refused(why) if why.contains("try again")) && handle == most);
    exported(give(&mut node, Event::Scanned(ScanId::Export(ReplyHandle(0)), Ok(Page::default()))));
    let again = ask(&mut node, most, Space::Data, "", &[]);
    assert!(matches!(&again[..], [Effect::Scan { .. }]), "{again:?}");
}
