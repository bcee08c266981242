//! The remembered generations of other nodes: written once for each, and worth as much after a start as before it.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_types::WallTime;
use starling_types::row::RowWrite;
use starling_wire::gossip::{Body, Claim, Record, Rumour};

use super::lives::{OTHER, claim, commit_of_losses, give, gossip, meet, say};
use super::*;
use crate::boot::{Life, META_LAYOUT, META_LIFE};
use crate::losses::Losses;
use crate::meta::meta_row;

type Rows = BTreeMap<Bytes, Bytes>;

/// The rows of node 1 of two, which has met no other node.
fn fresh() -> Rows {
    let mut rows = Rows::new();
    keep(&mut rows, &[meta_row(META_LAYOUT, &layout(5))]);
    rows
}

fn keep(rows: &mut Rows, writes: &[RowWrite]) {
    for write in writes.iter().cloned() {
        match write.value {
            Some(value) => rows.insert(write.key, value),
            None => rows.remove(&write.key),
        };
    }
}

/// A start of node `n` with these rows; its first effects.
fn start(n: u64, rows: &Rows) -> (Node, Vec<Effect>) {
    let meta: Vec<(Bytes, Bytes)> = rows.clone().into_iter().collect();
    let mut effects = Vec::new();
    let boot = Boot::read(&meta, &Losses::NONE).unwrap();
    let node = Node::new(&config(n), &boot, Now::default(), &mut effects);
    (node, effects)
}

/// The commits of generations among the effects.
fn commits(effects: &[Effect]) -> Vec<(CommitId, &[RowWrite])> {
    let of_lives = |rows: &[RowWrite]| rows.iter().all(|row| row.key.starts_with(META_LIFE));
    let commit = |effect| match effect {
        &Effect::Commit { id, ref rows, durable: true } if of_lives(rows) => Some((id, &rows[..])),
        _ => None,
    };
    effects.iter().filter_map(commit).collect()
}

/// The rows of generations that are to be written.
fn written(effects: &[Effect]) -> Vec<RowWrite> {
    commits(effects).into_iter().flat_map(|(_, rows)| rows).cloned().collect()
}

fn life(generation: u64, is_over: bool) -> RowWrite {
    Life { generation: Generation(generation), is_over, addr: Some(config(2).quic) }.row(OTHER)
}

/// Node 2 says goodbye.
fn farewell(generation: u64) -> Message {
    let claim = Claim { status: Status::Left, ..claim(2, generation) };
    let Message::Gossip(mut message) = gossip(generation, Vec::new()) else { unreachable!() };
    message.body = Body::Rumours;
    message.rumours = vec![Rumour::Claim(claim)];
    Message::Gossip(message)
}

/// Node 2 passes on a record of another node.
fn news_of(n: u64, generation: u64) -> Message {
    let hello = NodeHello { generation: Generation(generation), ..hello(&config(n), None) };
    let record = Record { info: hello.member(), incarnation: 1, status: Status::Alive };
    let Message::Gossip(mut message) = gossip(5, Vec::new()) else { unreachable!() };
    message.body = Body::Delta { records: vec![record], wanted: Vec::new() };
    Message::Gossip(message)
}

#[test]
fn each_life_is_written_once_however_often_it_is_heard_of() {
    let (mut node, first) = start(1, &fresh());
    assert_eq!(written(&first), [], "nobody was met");
    assert_eq!(written(&meet(&mut node, 5)), [life(5, false)]);
    assert_eq!(written(&say(&mut node, news_of(2, 5))), []);
    give(&mut node, Event::PeerDown(OTHER));
    assert_eq!(written(&meet(&mut node, 5)), []);
    assert_eq!(written(&meet(&mut node, 3)), [], "that was earlier");
    assert_eq!(written(&say(&mut node, news_of(2, 8))), [life(8, false)], "somebody else's word will do");
    assert_eq!(written(&meet(&mut node, 9)), [life(9, false)]);
    assert_eq!(written(&say(&mut node, farewell(9))), [life(9, true)]);
    assert_eq!(written(&say(&mut node, farewell(9))), []);
}

#[test]
fn nothing_is_written_of_this_node_or_of_strangers() {
    let (mut node, _) = start(1, &fresh());
    meet(&mut node, 5);
    assert_eq!(written(&say(&mut node, news_of(3, 7))), [], "no member");
    assert_eq!(written(&say(&mut node, gossip(5, vec![claim(1, 7)]))), []);
    let mut rows = fresh();
    let stranger = Life { generation: Generation(7), is_over: false, addr: None }.row(NodeId::from_bits(3));
    keep(&mut rows, &[stranger.clone(), life(5, false)]);
    let (_, first) = start(1, &rows);
    assert_eq!(written(&first), [RowWrite { value: None, ..stranger }], "a member it was");
}

#[test]
fn who_was_met_before_there_was_a_layout_is_remembered_with_it() {
    let (mut node, _) = start(1, &Rows::new());
    assert_eq!(written(&meet(&mut node, 4)), []);
    let (_, proposed) = propose(&mut node, 5);
    stored(&mut node, proposed[0]);
    let (_, decided) = decide(&mut node, 5);
    let effects = give(&mut node, Event::Committed(decided[0], Ok(())));
    assert_eq!(written(&effects), [life(4, false)]);
}

#[test]
fn what_the_disk_has_no_room_for_is_written_later() {
    let (mut node, _) = start(1, &fresh());
    let effects = meet(&mut node, 5);
    let (commit, _) = commits(&effects)[0];
    let full = CommitFailure::NoSpace("0 bytes left".into());
    assert_eq!(written(&give(&mut node, Event::Committed(commit, Err(full)))), []);
    assert_eq!(written(&tick(&mut node, 0)), []);
    let effects = tick(&mut node, 1);
    assert_eq!(written(&effects), [life(5, false)]);
    assert_eq!(written(&tick(&mut node, 3)), [], "it is under way");
}

fn tick(node: &mut Node, seconds: u64) -> Vec<Effect> {
    let instant = Instant::from_nanos(seconds * 1_000_000_000);
    let mut effects = Vec::new();
    let now = Now { instant, wall: WallTime::from_millis(seconds * 1_000), fraction: 0 };
    node.handle(now, Event::Tick, &mut effects);
    effects
}

#[test]
fn a_removal_that_the_disk_refused_is_made_later() {
    let mut rows = fresh();
    let stranger = Life { generation: Generation(7), is_over: false, addr: None }.row(NodeId::from_bits(3));
    keep(&mut rows, std::slice::from_ref(&stranger));
    let (mut node, first) = start(1, &rows);
    let (commit, _) = commits(&first)[0];
    give(&mut node, Event::Committed(commit, Err(CommitFailure::NoSpace("0 bytes left".into()))));
    assert_eq!(written(&tick(&mut node, 1)), [RowWrite { value: None, ..stranger }]);
    assert_eq!(written(&tick(&mut node, 3)), []);
}

#[test]
fn a_node_that_is_leaving_remembers_who_comes() {
    let (mut node, _) = start(1, &fresh());
    meet(&mut node, 5);
    give(&mut node, Event::PeerDown(OTHER));
    give(&mut node, Event::Drain);
    assert_eq!(written(&meet(&mut node, 6)), [life(6, false)]);
}

/// Node 1 has met node 2 in its generation 5, and starts anew; perhaps after node 2 said goodbye.
fn after_a_start(said_goodbye: bool) -> Node {
    let mut rows = fresh();
    let (mut node, _) = start(1, &rows);
    keep(&mut rows, &written(&meet(&mut node, 5)));
    if said_goodbye {
        keep(&mut rows, &written(&say(&mut node, farewell(5))));
    }
    let (node, first) = start(1, &rows);
    assert_eq!(written(&first), [], "it is there");
    node
}

#[test]
fn after_a_start_an_earlier_life_is_told_from_the_last_and_from_later_ones() {
    for (said_goodbye, generation, expected) in [
        (false, 4, Reach::Down),
        (false, 5, Reach::Up),
        (false, 6, Reach::Up),
        (true, 5, Reach::Down),
        (true, 6, Reach::Up),
    ] {
        let mut node = after_a_start(said_goodbye);
        meet(&mut node, generation);
        assert_eq!(node.view().reach(OTHER), expected, "{generation}, goodbye {said_goodbye}");
    }
}

fn alarms(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Log(Log::Alarm(_)))).count()
}

#[test]
fn a_start_that_is_heard_of_before_the_connection_is_noticed_to_be_gone_alarms_nobody() {
    let (mut node, _) = start(1, &fresh());
    meet(&mut node, 5);
    let is_closed = |effects: &[Effect]| effects.iter().any(|e| matches!(e, &Effect::Disconnect(OTHER)));
    // One that counts up says so itself.
    say(&mut node, news_of(2, 6));
    assert_eq!(node.view().reach(OTHER), Reach::Down);
    say(&mut node, gossip(6, Vec::new()));
    assert!(!is_closed(&tick(&mut node, 1)));
    assert_eq!(node.view().reach(OTHER), Reach::Up);

    let heard = say(&mut node, news_of(2, 7));
    assert!(!is_closed(&heard));
    assert_eq!((alarms(&heard), node.view().reach(OTHER)), (0, Reach::Down));
    assert!(is_closed(&tick(&mut node, 2)));
    give(&mut node, Event::PeerDown(OTHER));
    let met = meet(&mut node, 7);
    assert_eq!((alarms(&met), node.view().reach(OTHER)), (0, Reach::Up));
    // A disk from before does not become a later one by being greeted once more.
    say(&mut node, news_of(2, 9));
    give(&mut node, Event::PeerDown(OTHER));
    let met = meet(&mut node, 7);
    assert_eq!((alarms(&met), node.view().reach(OTHER)), (1, Reach::Down));
}

#[test]
fn whoever_has_said_goodbye_and_is_greeted_before_it_is_gone_alarms_nobody() {
    for (generation, expected) in [(5, 0), (4, 1)] {
        let mut node = after_a_start(true);
        let met = meet(&mut node, generation);
        assert_eq!((alarms(&met), node.view().reach(OTHER)), (expected, Reach::Down));
    }
}

/// The messages of gossip that node 1 sends to node 2.
fn said(effects: Vec<Effect>) -> Vec<Envelope> {
    let envelope = |effect| match effect {
        Effect::Send(to, _, envelope) if to == OTHER => Some(envelope),
        _ => None,
    };
    effects.into_iter().filter_map(envelope).collect()
}

#[test]
fn an_old_disk_hears_of_its_later_life_from_one_who_has_started_since() {
    for said_goodbye in [false, true] {
        let mut node = after_a_start(said_goodbye);
        meet(&mut node, 3);
        // Node 2 asks every node that it finds for what it knows.
        let answer = said(say(&mut node, gossip(3, vec![claim(2, 3)])));
        let (mut old, _) = start(2, &fresh());
        let mut effects = Vec::new();
        for envelope in answer {
            let event = Event::PeerMessage(NodeId::from_bits(1), envelope);
            effects.extend(give(&mut old, event));
        }
        assert!(commit_of_losses(&effects).is_some(), "all that it holds may be incomplete");
        assert_eq!(old.data_plane().suspect_partitions(), 4);
    }
}
