//! The world that stories begin in: a cluster without faults, whose nodes are asked one thing at a time.
//!
//! All functions panic where the story cannot go on: without an answer, or with one of another kind.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use starling_node::{Log, Pace};
use starling_sim::world::Weather;
use starling_sim::{Notice, Sabotage, Seed, World, WorldOptions};
use starling_types::{BucketChanges, BucketName, Conflict, Key, RequestId};
use starling_wire::client::{AdminReply, AdminRequest, Seen};
use starling_wire::{Failure, KvOp, KvReply, KvRequest, QuorumChoice};

/// A second of virtual time.
pub const SECOND: Duration = Duration::from_secs(1);

/// Sweeps that follow each other soon: virtual time is cheap, but not free.
pub const QUICK: Pace =
    Pace { period: Duration::from_secs(2), soon: Duration::from_millis(500), gap: Duration::from_millis(5) };

/// Nodes on a network without faults, with right clocks and quick disks.
pub const fn calm(nodes: usize) -> WorldOptions {
    WorldOptions {
        nodes,
        weather: Weather::CALM,
        fsync: (Duration::from_micros(200), Duration::from_millis(1)),
        laggard: None,
        clock_skew_ms: 0,
        inline_loads: 1.0,
        slow_loads: 0.0,
        sabotage: Sabotage::None,
    }
}

/// A world whose nodes are one cluster, with `copies` of every key and four partitions.
pub fn cluster(options: WorldOptions, copies: u8, sweep: Pace) -> World {
    let mut world = World::sweeping(Seed(1), options, sweep);
    world.run_for(SECOND);
    let init = AdminRequest::Init { nodes: world.addresses(), copies, bits: 2 };
    let reply = order(&mut world, 0, init);
    assert!(matches!(reply, AdminReply::Initialised(_)), "{reply:?}");
    world.run_for(3 * SECOND);
    world
}

/// A node's answer to an operator.
pub fn order(world: &mut World, node: usize, request: AdminRequest) -> AdminReply {
    let handle = world.admin(node, request);
    answer(world, |notice| match notice {
        Notice::Admin(h, reply) if h == handle => Some(reply),
        _ => None,
    })
}

/// Creates or changes a bucket: how many members have it when the operator is answered, and how many there are.
pub fn set(world: &mut World, node: usize, name: &str, changes: BucketChanges, create: bool) -> (u32, u32) {
    match order(world, node, AdminRequest::BucketSet { name: bucket(name), changes, create }) {
        AdminReply::BucketSet { held_by, members, .. } => (held_by, members),
        other => panic!("{other:?}"),
    }
}

/// The change that makes `conflict` a bucket's rule.
pub fn rule(conflict: Conflict) -> BucketChanges {
    BucketChanges { conflict: Some(conflict), ..BucketChanges::default() }
}

/// A bucket's name.
pub fn bucket(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

/// A request for a key of a bucket that says when it was made by the time that the node which is asked goes by, as a
/// door does.
pub fn request(
    world: &World,
    node: usize,
    (name, key): (&str, &str),
    op: KvOp,
    quorum: QuorumChoice,
) -> KvRequest {
    let id = RequestId::from_bits(u128::from(world.now().nanos()));
    let issued = world.node(node).unwrap().cluster_wall(world.now_at(node));
    let key = Key::new(key.to_owned()).unwrap();
    KvRequest { quorum, ..KvRequest::new(id, issued, bucket(name), key, op) }
}

/// A node's answer to a client.
pub fn send(world: &mut World, node: usize, request: KvRequest) -> KvReply {
    let handle = world.request(node, request);
    answer(world, |notice| match notice {
        Notice::Reply(h, reply) if h == handle => Some(reply),
        _ => None,
    })
}

/// A node's answer to a client that asks now.
pub fn ask(world: &mut World, node: usize, at: (&str, &str), op: KvOp, quorum: QuorumChoice) -> KvReply {
    let request = request(world, node, at, op, quorum);
    send(world, node, request)
}

fn answer<T>(world: &mut World, mut is_it: impl FnMut(Notice) -> Option<T>) -> T {
    let until = world.now() + 5 * SECOND;
    while let Some(notice) = world.next(until) {
        if let Some(answer) = is_it(notice) {
            return answer;
        }
    }
    panic!("no answer");
}

/// `quorum` acks of a write, `quorum` replies to a read.
pub const fn of(quorum: u8) -> QuorumChoice {
    QuorumChoice { r: Some(quorum), w: Some(quorum), strict: None }
}

/// A write of `value`.
pub fn value(value: &str, seen: Seen) -> KvOp {
    KvOp::Put { value: Bytes::copy_from_slice(value.as_bytes()), seen, ttl_ms: None }
}

/// The values that a read shows.
pub fn values(reply: KvReply) -> Result<Vec<Bytes>, Failure> {
    match reply {
        KvReply::Read(read) => Ok(read.siblings.into_iter().map(|s| s.value).collect()),
        KvReply::Failed(failure) => Err(failure),
        other => panic!("{other:?}"),
    }
}

/// Neither of the two hears the other.
pub fn separate(world: &mut World, a: usize, b: usize) {
    world.cut(a, b, true);
    world.cut(b, a, true);
}

/// A node hears none of its peers, and they do not hear it.
pub fn isolate(world: &mut World, node: usize) {
    (0..world.len()).filter(|&peer| peer != node).for_each(|peer| separate(world, node, peer));
}

/// Partitions of which the node may have lost something.
pub fn suspects(world: &World, node: usize) -> usize {
    world.node(node).unwrap().status(world.now_at(node)).storage.suspect_partitions
}

/// Alarms of a node that hold these words.
pub fn alarms(world: &World, node: usize, words: &str) -> usize {
    let of = |log: &Log| matches!(log, Log::Alarm(alarm) if alarm.contains(words));
    world.logs.iter().filter(|(_, who, log)| *who == node && of(log)).count()
}
