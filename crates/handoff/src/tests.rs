use starling_types::{BucketName, Key};

use super::*;

fn row(n: u8) -> HintRow {
    let key = QualifiedKey::new(0, BucketName::default_bucket(), Key::new(vec![n]).unwrap());
    HintRow { key, record: Bytes::from(vec![n]) }
}

const TARGET: NodeId = NodeId::from_bits(7);
const START: Instant = Instant::from_nanos(1_000_000_000);

fn step(replay: &mut HintReplay, now: Instant, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    replay.handle(now, event, &mut out);
    out
}

#[test]
fn a_target_that_returns_gets_its_rows_and_they_are_dropped_after_the_ack() {
    let mut replay = HintReplay::default();
    assert_eq!(step(&mut replay, START, Event::Kept(TARGET)), []);
    assert_eq!(step(&mut replay, START, Event::Up(TARGET)), [Effect::Scan(TARGET, None)]);
    let page = Event::Page { target: TARGET, rows: vec![row(1)], next: Some(Bytes::from("c")) };
    let expected = [Effect::Deliver(TARGET, row(1)), Effect::Scan(TARGET, Some(Bytes::from("c")))];
    assert_eq!(step(&mut replay, START, page), expected);
    assert_eq!(step(&mut replay, START, Event::Page { target: TARGET, rows: vec![], next: None }), []);
    assert!(!replay.is_quiet());
    let done = Event::Delivered { target: TARGET, key: row(1).key, done: true };
    assert_eq!(step(&mut replay, START, done), [Effect::Drop(TARGET, row(1))]);
    assert!(replay.is_quiet());
    assert_eq!(replay.next_deadline(), None);
}

#[test]
fn what_was_refused_or_unanswered_is_tried_again_after_a_pause() {
    let mut replay = HintReplay::default();
    step(&mut replay, START, Event::Up(TARGET));
    step(&mut replay, START, Event::Page { target: TARGET, rows: vec![row(1), row(2)], next: None });
    let refused = Event::Delivered { target: TARGET, key: row(1).key, done: false };
    assert_eq!(step(&mut replay, START, refused), []);
    let late = START + DELIVERY_TIMEOUT;
    assert_eq!(replay.next_deadline(), Some(late));
    assert_eq!(step(&mut replay, late, Event::Tick), []);
    assert_eq!(replay.next_deadline(), Some(late + RETRY));
    assert_eq!(step(&mut replay, late + RETRY, Event::Tick), [Effect::Scan(TARGET, None)]);
}

#[test]
fn a_target_is_never_flooded() {
    let mut replay = HintReplay::default();
    step(&mut replay, START, Event::Up(TARGET));
    let rows = (0..=u8::MAX).map(row).collect();
    let out = step(&mut replay, START, Event::Page { target: TARGET, rows, next: None });
    assert_eq!(out.len(), limits::HINT_WINDOW);
    let done = Event::Delivered { target: TARGET, key: row(0).key, done: true };
    assert_eq!(step(&mut replay, START, done).len(), 2, "one dropped, one more under way");
}

#[test]
fn a_target_that_leaves_in_the_middle_starts_over_when_it_is_back() {
    let mut replay = HintReplay::default();
    step(&mut replay, START, Event::Up(TARGET));
    step(&mut replay, START, Event::Page { target: TARGET, rows: vec![row(1)], next: None });
    step(&mut replay, START, Event::Down(TARGET));
    let stale = Event::Delivered { target: TARGET, key: row(1).key, done: true };
    assert_eq!(step(&mut replay, START, stale), [], "an ack that outlived the pass drops nothing");
    assert_eq!(step(&mut replay, START, Event::Up(TARGET)), [Effect::Scan(TARGET, None)]);
}
