//! Two nodes by hand: every frame and every commit waits until the test lets it pass.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use starling_types::row::{RowWrite, Space};
use starling_types::{BucketChanges, BucketName, BucketProps, Conflict};
use starling_wire::cluster::BucketRegister;

use super::*;
use crate::buckets::BucketTable;

struct World {
    nodes: [Node; 2],
    now: Instant,
    /// Shared states on their way, with the index of the receiver.
    frames: VecDeque<(usize, Envelope)>,
    commits: VecDeque<(usize, CommitId, Vec<RowWrite>)>,
    answers: Vec<AdminReply>,
    disks: [BTreeMap<Bytes, Bytes>; 2],
}

fn id(index: usize) -> NodeId {
    NodeId::from_bits(index as u64 + 1)
}

fn name(text: &str) -> BucketName {
    BucketName::new(text).unwrap()
}

fn lww() -> BucketChanges {
    BucketChanges { conflict: Some(Conflict::Lww), ..Default::default() }
}

impl World {
    /// Members of one cluster that are not connected.
    fn new() -> Self {
        let boot = || Boot { layout: Some(layout(5)), ..Boot::default() };
        let nodes = [1, 2].map(|n| Node::new(&config(n), &boot(), Now::default(), &mut Vec::new()));
        let mut world = Self {
            nodes,
            now: Instant::ORIGIN,
            frames: VecDeque::new(),
            commits: VecDeque::new(),
            answers: Vec::new(),
            disks: [BTreeMap::new(), BTreeMap::new()],
        };
        for index in 0..2 {
            world.give(index, no_hints());
        }
        world
    }

    fn connected() -> Self {
        let mut world = Self::new();
        world.connect();
        world.settle();
        world
    }

    fn connect(&mut self) {
        for (index, other) in [(0, 1), (1, 0)] {
            let hello = self.nodes[other].control_plane().hello().clone();
            let addr = hello.quic;
            self.give(index, Event::PeerUp(hello, addr));
        }
    }

    fn give(&mut self, index: usize, event: Event) {
        let mut out = Vec::new();
        let now = Now { instant: self.now, ..Now::default() };
        self.nodes[index].handle(now, event, &mut out);
        for effect in out {
            match effect {
                Effect::Send(to, _, envelope) if matches!(envelope.message, Message::Shared(_)) => {
                    self.frames.push_back(((to.bits() - 1) as usize, envelope));
                }
                Effect::Commit { id, rows, durable } => {
                    assert!(durable);
                    self.commits.push_back((index, id, rows));
                }
                Effect::RespondAdmin(_, answer) => self.answers.push(answer),
                _ => {}
            }
        }
    }

    fn set(&mut self, index: usize, bucket: &str, changes: BucketChanges, create: bool) {
        let request = AdminRequest::BucketSet { name: name(bucket), changes, create };
        self.give(index, Event::Admin(ReplyHandle(1), request));
    }

    /// The oldest commit becomes durable.
    fn store(&mut self) {
        let (index, id, rows) = self.commits.pop_front().expect("a commit");
        for row in rows.into_iter().filter(|row| row.space == Space::Meta) {
            self.disks[index].insert(row.key, row.value.unwrap());
        }
        self.give(index, Event::Committed(id, Ok(())));
    }

    /// The oldest frame arrives.
    fn carry(&mut self) {
        let (to, envelope) = self.frames.pop_front().expect("a frame");
        self.give(to, Event::PeerMessage(id(1 - to), envelope));
    }

    /// Everything happens that is to happen; an exchange that never ends would be noticed.
    fn settle(&mut self) {
        for _ in 0..100 {
            match (self.commits.is_empty(), self.frames.is_empty()) {
                (false, _) => self.store(),
                (_, false) => self.carry(),
                _ => return,
            }
        }
        panic!("they talk for ever");
    }

    fn table(&self, index: usize) -> &BucketTable {
        self.nodes[index].view().buckets()
    }

    fn answer(&mut self) -> AdminReply {
        assert_eq!(self.answers.len(), 1, "{:?}", self.answers);
        self.answers.remove(0)
    }

    fn held(&mut self) -> (u32, u32) {
        match self.answer() {
            AdminReply::BucketSet { held_by, members, .. } => (held_by, members),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_bucket_is_in_force_when_durable_and_told_when_the_others_have_it() {
    let mut world = World::connected();
    world.set(0, "a", lww(), true);
    assert!(world.frames.is_empty() && world.answers.is_empty());
    assert!(world.table(0).props(&name("a")).is_none(), "not before it is durable");
    world.store();
    assert!(world.table(0).is_lww(&name("a")));
    world.carry();
    assert!(world.table(1).props(&name("a")).is_none() && world.frames.is_empty());
    world.store();
    assert!(world.table(1).is_lww(&name("a")));
    assert!(world.answers.is_empty());
    world.carry();
    assert_eq!(world.held(), (2, 2));
    world.settle();
    assert_eq!(world.table(0), world.table(1));
}

#[test]
fn an_operator_waits_a_second_for_a_member_that_is_silent() {
    let mut world = World::connected();
    world.set(0, "a", lww(), true);
    world.store();
    assert!(world.answers.is_empty());
    world.now = Instant::ORIGIN + Duration::from_secs(1);
    world.give(0, Event::Tick);
    assert_eq!(world.held(), (1, 2));
    let mut world = World::connected();
    world.set(0, "a", lww(), true);
    world.store();
    world.give(0, Event::PeerDown(id(1)));
    assert_eq!(world.held(), (1, 2), "and not at all for one that is gone");
}

#[test]
fn what_was_set_apart_becomes_one_when_they_meet() {
    let mut world = World::new();
    world.set(0, "a", lww(), true);
    world.set(1, "b", BucketChanges::default(), true);
    world.set(0, "default", BucketChanges { w: Some(2), ..Default::default() }, false);
    world.set(1, "default", BucketChanges { w: Some(1), ..Default::default() }, false);
    world.settle();
    assert_eq!(world.answers.len(), 4);
    assert_ne!(world.table(0), world.table(1));
    world.connect();
    world.settle();
    assert_eq!(world.table(0), world.table(1));
    let default = world.table(0).register(&BucketName::default_bucket()).unwrap().clone();
    assert_eq!((default.by, default.props.w), (id(1), Some(1)), "of equal versions the higher node's");
    assert!(world.table(0).is_lww(&name("a")) && world.table(0).props(&name("b")).is_some());
}

#[test]
fn a_table_that_is_on_its_way_to_disk_is_not_told() {
    let mut world = World::connected();
    world.set(0, "a", lww(), true);
    world.store();
    world.carry();
    let asked = SharedState { node: id(0), layout: Some(layout(5)), reply: true, buckets: Vec::new() };
    let envelope = Envelope {
        cluster: layout(5).cluster(),
        epoch: layout(5).version(),
        exchange: ExchangeId::from_bits(9),
        deadline_ms: 0,
        message: Message::Shared(asked),
    };
    world.give(1, Event::PeerMessage(id(0), envelope));
    assert!(world.frames.is_empty());
    world.store();
    let (_, told) = &world.frames[0];
    assert!(matches!(&told.message, Message::Shared(shared) if shared.buckets.len() == 1));
}

#[test]
fn what_cannot_be_is_refused_in_words() {
    let mut world = World::connected();
    let cases = [
        ("a", BucketChanges { r: Some(3), ..Default::default() }, true, "r is 1 to 2"),
        ("default", lww(), true, "exists already"),
        ("a", lww(), false, "bucket create a"),
    ];
    for (bucket, changes, create, words) in cases {
        world.set(0, bucket, changes, create);
        let AdminReply::Refused(why) = world.answer() else { panic!() };
        assert!(why.contains(words), "{why}");
        assert!(world.commits.is_empty());
    }
    let mut out = Vec::new();
    let mut lonely = node();
    lonely.handle(Now::default(), no_hints(), &mut out);
    let request = AdminRequest::BucketSet { name: name("a"), changes: lww(), create: true };
    lonely.handle(Now::default(), Event::Admin(ReplyHandle(1), request), &mut out);
    let why = out.iter().find_map(|e| match e {
        Effect::RespondAdmin(_, AdminReply::Refused(why)) => Some(why),
        _ => None,
    });
    assert!(why.unwrap().contains("no cluster"));
}

#[test]
fn a_commit_that_fails_puts_nothing_in_force_and_says_so() {
    let mut world = World::connected();
    world.set(0, "a", lww(), true);
    let (index, commit, _) = world.commits.pop_front().unwrap();
    world.give(index, Event::Committed(commit, Err(CommitFailure::NoSpace("full".into()))));
    let AdminReply::Refused(why) = world.answer() else { panic!() };
    assert!(why.contains("full"), "{why}");
    assert!(world.table(0).props(&name("a")).is_none() && world.frames.is_empty());
}

#[test]
fn buckets_outlive_a_restart() {
    let mut world = World::connected();
    world.set(1, "a", lww(), true);
    world.settle();
    for disk in &world.disks {
        let rows: Vec<(Bytes, Bytes)> = disk.clone().into_iter().collect();
        let boot = Boot::read(&rows, &crate::Losses::NONE).unwrap();
        let restarted = Node::new(&config(1), &boot, Now::default(), &mut Vec::new());
        assert_eq!(restarted.view().buckets(), world.table(0));
    }
}

#[test]
fn buckets_of_another_cluster_are_not_taken() {
    let mut world = World::connected();
    let props = BucketProps::default();
    let theirs = BucketRegister { name: name("theirs"), props, by: NodeId::from_bits(9) };
    for other in [None, Some(layout(6))] {
        let shared = SharedState { node: id(1), layout: other, reply: false, buckets: vec![theirs.clone()] };
        hear(&mut world.nodes[0], Message::Shared(shared));
        assert!(world.commits.is_empty());
    }
    world.settle();
    assert!(world.table(0).props(&name("theirs")).is_none());
}
