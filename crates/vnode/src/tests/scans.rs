use starling_types::row::{Page, RowRange};

use super::*;
use crate::event::{RecordPage, ScanRange};

/// A scan, answered with what is on disk by `spoil`.
fn scan(bench: &mut Bench, range: ScanRange, spoil: impl FnOnce(&mut Page)) -> RecordPage {
    let op = bench.op();
    bench.handle(Event::Scan(op, range, None));
    let (asked, space, prefix, from) = bench.scans.pop_front().expect("a scan");
    assert_eq!((asked, from), (op, None));
    let rows = bench.written.iter().filter(|((of, key), _)| *of == space && key.starts_with(&prefix));
    let rows = rows.map(|((_, key), value)| (key.clone(), value.clone())).collect();
    let mut page = Page { rows, ..Page::default() };
    spoil(&mut page);
    bench.handle(Event::Scanned(op, Ok(page)));
    match bench.done.remove(&op) {
        Some(Ok(Done::Page(page))) => page,
        other => panic!("{other:?}"),
    }
}

fn of_cluster() -> Bench {
    let mut bench = Bench::warm();
    bench.vnodes.set_layout(PartitionBits::DEFAULT, 7);
    bench
}

fn keys(page: &RecordPage) -> Vec<&CellKey> {
    page.records.iter().map(|(cell, _)| cell).collect()
}

#[test]
fn a_scan_shows_what_is_committed_and_the_newest_of_it() {
    let mut bench = of_cluster();
    bench.put("k", "old", None);
    bench.settle();
    bench.put("k", "new", None);
    bench.settle();
    bench.put("k", "staged", None);
    let cell = data("k");
    let newest = bench.vnodes.in_memory(&cell).cloned().unwrap();
    let stale = Record::default().encode();
    let page = scan(&mut bench, ScanRange::Data, |page| {
        let row = page.rows.iter_mut().find(|(key, _)| *key == cell.row().1).unwrap();
        row.1 = stale;
    });
    let shown = page.records.iter().find(|(of, _)| *of == cell).map(|(_, record)| record);
    assert_eq!(shown, Some(&newest), "not what was read before it, and not what is on its way");
}

#[test]
fn rows_of_another_cluster_are_passed_over_and_rows_that_are_no_records_are_damaged() {
    let mut bench = of_cluster();
    bench.put("k", "v", None);
    bench.settle();
    let page = scan(&mut bench, ScanRange::Data, |page| {
        page.rows.iter_mut().for_each(|(_, value)| *value = Bytes::from_static(b"nonsense"));
        page.unread.push(RowRange::row(&Bytes::from_static(b"x")));
        page.next = Some(Bytes::from_static(b"y"));
    });
    assert!(page.records.is_empty() && page.damaged.contains(&RowRange::row(&data("k").row().1)));
    assert_eq!((page.unread.len(), page.next.as_deref()), (1, Some(&b"y"[..])));
    bench.vnodes.set_layout(PartitionBits::DEFAULT, 8);
    let page = scan(&mut bench, ScanRange::Data, |_| {});
    assert!(page.records.is_empty() && page.damaged.is_empty());
}

#[test]
fn hints_are_shown_by_target_or_all() {
    let mut bench = of_cluster();
    let cells = [2, 3].map(|target| CellKey::hint(NodeId::from_bits(target), qualified("k")));
    for cell in &cells {
        bench.merge(cell.clone(), foreign(9, 0, "v"), None, true);
    }
    bench.settle();
    let page = scan(&mut bench, ScanRange::Hints, |_| {});
    assert_eq!(keys(&page), [&cells[0], &cells[1]]);
    let page = scan(&mut bench, ScanRange::HintsFor(NodeId::from_bits(3)), |_| {});
    assert_eq!(keys(&page), [&cells[1]]);
}

#[test]
fn a_scan_that_failed_says_why_and_an_answer_that_nobody_awaits_is_dropped() {
    let mut bench = of_cluster();
    let op = bench.op();
    bench.handle(Event::Scan(op, ScanRange::Data, None));
    bench.handle(Event::Scanned(op, Err("no".into())));
    assert!(matches!(bench.done.remove(&op), Some(Err(Refused::Load(_)))));
    bench.handle(Event::Scanned(op, Ok(Page::default())));
    assert!(bench.done.is_empty());
}

#[test]
fn a_commit_says_which_record_becomes_which() {
    let mut bench = of_cluster();
    bench.changed.clear();
    bench.put("k", "a", None);
    bench.put("k", "b", None);
    bench.settle();
    let digests: Vec<_> = bench.changed.iter().map(|c| (c.cell.clone(), c.before(), c.after())).collect();
    let [(cell, None, Some(first)), (_, Some(before), Some(last))] = &digests[..] else {
        panic!("{digests:?}");
    };
    assert_eq!((cell, before), (&data("k"), first), "each begins with the newest staged before it");
    assert_eq!(*last, bench.vnodes.in_memory(&data("k")).unwrap().digest());
}
