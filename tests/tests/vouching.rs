//! A node's answers after its disk lost something: how many nodes it asks, and what an operator must say.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use starling_node::{Losses, Pace};
use starling_sim::World;
use starling_tests::calm::{SECOND, alarms, ask, bucket, calm, of, order, separate, value, values};
use starling_types::{BucketChanges, PartitionId};
use starling_wire::client::{AdminReply, AdminRequest, Receipt, Seen};
use starling_wire::{Failure, KvOp, KvReply, QuorumChoice};

const STRICT: QuorumChoice = QuorumChoice { r: None, w: None, strict: Some(true) };

/// A calm cluster in which every node owns every key.
fn cluster(nodes: u8) -> World {
    starling_tests::calm::cluster(calm(usize::from(nodes)), nodes, Pace::OFF)
}

fn set(world: &mut World, name: &str, changes: BucketChanges, create: bool) {
    let (held_by, members) = starling_tests::calm::set(world, 0, name, changes, create);
    assert_eq!(held_by, members);
}

fn put(world: &mut World, node: usize, at: (&str, &str), quorum: QuorumChoice) -> Result<Receipt, Failure> {
    match ask(world, node, at, value("v", Seen::Local), quorum) {
        KvReply::Written(written) => Ok(written.receipt),
        KvReply::Failed(failure) => Err(failure),
        other => panic!("{other:?}"),
    }
}

/// How many values there are.
fn get(world: &mut World, node: usize, at: (&str, &str), quorum: QuorumChoice) -> Result<usize, Failure> {
    values(ask(world, node, at, KvOp::Get, quorum)).map(|values| values.len())
}

fn suspects(world: &World, node: usize) -> (usize, usize) {
    let storage = world.node(node).unwrap().status(world.now_at(node)).storage;
    (storage.suspect_partitions, storage.losses_to_accept)
}

/// One write is acked by nodes 0 and 1 alone, strictly; node 0's disk takes it back; then it and node 1 are apart.
fn acked_by_two_and_forgotten_by_one(nodes: u8, least_w: u8) -> World {
    let mut world = cluster(nodes);
    set(&mut world, "default", BucketChanges { least_w: Some(least_w), ..Default::default() }, false);
    for peer in 2..usize::from(nodes) {
        (0..2).for_each(|node| separate(&mut world, node, peer));
    }
    world.run_for(6 * SECOND);
    let receipt = put(&mut world, 0, ("default", "k"), QuorumChoice { w: Some(2), ..STRICT }).unwrap();
    assert_eq!((receipt.acked, receipt.unvouched), (2, 2 < least_w));
    world.run_for(SECOND);
    world.lose_commits(0, 6);
    world.mend();
    separate(&mut world, 0, 1);
    world.start(0);
    world.run_for(20 * SECOND);
    world
}

#[test]
fn whoever_lost_its_disk_hears_as_many_as_the_least_w_asks_for() {
    for (nodes, r) in [(5, 4), (4, 3)] {
        let mut world = acked_by_two_and_forgotten_by_one(nodes, 2);
        let read = QuorumChoice { r: Some(r), ..STRICT };
        // All but node 1 were heard, and that is not enough.
        assert!(suspects(&world, 0).0 > 0);
        let answer = get(&mut world, 0, ("default", "k"), read);
        assert!(!matches!(answer, Ok(0)), "strict, 2 + {r} > {nodes}, and it says not found");
        world.mend();
        world.run_for(20 * SECOND);
        assert_eq!(suspects(&world, 0), (0, 0));
        for node in 0..usize::from(nodes) {
            assert_eq!(get(&mut world, node, ("default", "k"), read).unwrap(), 1, "at {node}");
        }
    }
}

#[test]
fn a_write_below_the_least_w_is_taken_and_says_that_nobody_answers_for_it() {
    // The receipt is looked at on the way.
    let world = acked_by_two_and_forgotten_by_one(5, 3);
    assert_eq!(suspects(&world, 0), (0, 0), "three others were enough");
    let mut world = cluster(3);
    let one = QuorumChoice { w: Some(1), ..QuorumChoice::default() };
    assert!(put(&mut world, 0, ("default", "k"), one).unwrap().unvouched);
    assert!(!put(&mut world, 0, ("default", "k"), QuorumChoice::default()).unwrap().unvouched);
    set(&mut world, "w1", BucketChanges { w: Some(1), ..Default::default() }, true);
    assert!(put(&mut world, 0, ("w1", "k"), QuorumChoice::default()).unwrap().unvouched);
    set(&mut world, "w1", BucketChanges { least_w: Some(1), ..Default::default() }, false);
    assert!(!put(&mut world, 0, ("w1", "k"), QuorumChoice::default()).unwrap().unvouched);
}

/// A bucket that asks for more does not keep another waiting: node 2 is away for good.
#[test]
fn a_bucket_waits_for_no_more_than_its_own_least_w_asks_for() {
    let mut world = cluster(5);
    set(&mut world, "all", BucketChanges { least_w: Some(1), ..Default::default() }, true);
    for key in ["a", "b", "c"] {
        put(&mut world, 0, ("default", key), QuorumChoice::default()).unwrap();
    }
    world.run_for(SECOND);
    world.lose_commits(0, 3);
    world.crash(2);
    world.start(0);
    world.run_for(20 * SECOND);
    assert!(suspects(&world, 0).0 > 0);
    assert_eq!(get(&mut world, 0, ("default", "x"), QuorumChoice::default()).unwrap(), 0);
    put(&mut world, 0, ("default", "x"), QuorumChoice::default()).unwrap();
    let one = QuorumChoice { r: Some(4), ..QuorumChoice::default() };
    assert!(get(&mut world, 0, ("default", "y"), one).is_ok(), "node 0 counts");
    assert!(get(&mut world, 0, ("all", "y"), one).is_err(), "node 0 does not");
}

/// All owners have lost commits.
fn all_have_lost() -> World {
    let mut world = cluster(3);
    let all = QuorumChoice { w: Some(3), ..QuorumChoice::default() };
    put(&mut world, 0, ("default", "kept"), all).unwrap();
    world.run_for(5 * SECOND);
    put(&mut world, 1, ("default", "lost"), all).unwrap();
    (0..3).for_each(|node| world.lose_commits(node, 1));
    (0..3).for_each(|node| world.start(node));
    world.run_for(20 * SECOND);
    world
}

fn accept(world: &mut World, node: usize, partition: Option<u32>) -> AdminReply {
    let partition = partition.map(PartitionId);
    order(world, node, AdminRequest::AcceptLosses { partition, without_silent: false })
}

#[test]
fn what_nobody_holds_is_unknown_until_a_person_says_that_it_is_gone() {
    let mut world = all_have_lost();
    assert_eq!((0..3).map(|node| suspects(&world, node)).collect::<Vec<_>>(), [(4, 4); 3]);
    let two = QuorumChoice::default();
    assert_eq!(get(&mut world, 2, ("default", "kept"), two).unwrap(), 1, "what is held is served");
    let failure = get(&mut world, 2, ("default", "never"), two).unwrap_err();
    assert!(failure.detail.contains("may have lost the key"), "{failure}");
    // Writes do not wait for that, and what they leave is held.
    put(&mut world, 2, ("default", "new"), two).unwrap();
    assert_eq!(get(&mut world, 1, ("default", "new"), two).unwrap(), 1);

    // A restart changes nothing.
    world.crash(0);
    world.start(0);
    world.run_for(10 * SECOND);
    assert_eq!(suspects(&world, 0), (4, 4));
    assert!(get(&mut world, 0, ("default", "never"), two).is_err());

    assert_eq!(accept(&mut world, 0, Some(0)), AdminReply::LossesAccepted { partitions: 1 });
    assert!(matches!(accept(&mut world, 0, Some(0)), AdminReply::Refused(_)), "it is whole");
    assert_eq!(accept(&mut world, 0, None), AdminReply::LossesAccepted { partitions: 3 });
    assert_eq!(accept(&mut world, 0, None), AdminReply::LossesAccepted { partitions: 0 });
    assert_eq!(suspects(&world, 0), (0, 0));
    accept(&mut world, 1, None);
    // It is durable, and with two that are whole the third needs no word.
    world.crash(0);
    world.start(0);
    world.run_for(20 * SECOND);
    assert_eq!((0..3).map(|node| suspects(&world, node)).collect::<Vec<_>>(), [(0, 0); 3]);
    assert_eq!(get(&mut world, 2, ("default", "never"), two).unwrap(), 0);
    assert_eq!(get(&mut world, 2, ("default", "kept"), two).unwrap(), 1);
}

#[test]
fn who_can_still_be_asked_is_not_passed_over_by_a_person() {
    let mut world = cluster(3);
    let all = QuorumChoice { w: Some(3), ..QuorumChoice::default() };
    put(&mut world, 0, ("default", "k"), all).unwrap();
    world.crash(2);
    world.run_for(5 * SECOND);
    world.lose_commits(0, 1);
    separate(&mut world, 0, 1);
    world.start(0);
    world.run_for(2 * SECOND);
    let refused = |reply| match reply {
        AdminReply::Refused(why) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(accept(&mut world, 0, None));
    assert!(why.contains("do not answer"), "nobody was heard: {why}");
    world.mend();
    world.run_for(20 * SECOND);
    // One other was heard, and one is down: two are needed.
    assert_eq!(suspects(&world, 0), (4, 0));
    assert!(get(&mut world, 1, ("default", "x"), QuorumChoice::default()).is_err());
    let why = refused(accept(&mut world, 0, None));
    assert!(why.contains(&world.id(2).to_string()) && !why.contains(&world.id(1).to_string()), "{why}");
    let order_all = AdminRequest::AcceptLosses { partition: None, without_silent: true };
    assert_eq!(order(&mut world, 0, order_all), AdminReply::LossesAccepted { partitions: 4 });
    assert_eq!(get(&mut world, 1, ("default", "x"), QuorumChoice::default()).unwrap(), 0);
}

/// The machines of all nodes went down; one bucket does not wait for the disk.
#[test]
fn what_was_never_synced_makes_no_other_bucket_suspect() {
    let mut world = cluster(3);
    set(&mut world, "memory", BucketChanges { durable: Some(false), ..Default::default() }, true);
    put(&mut world, 0, ("default", "k"), QuorumChoice::default()).unwrap();
    world.run_for(SECOND);
    let losses = Losses::of_unsynced([bucket("memory")].into());
    world.find_lost(0, &losses);
    world.crash(1);
    world.find_lost(2, &losses);
    // Node 2 is back later, and node 1 cannot be reached: until then node 0 has no node to ask.
    world.start(0);
    world.start(1);
    separate(&mut world, 0, 1);
    world.run_for(2 * SECOND);
    assert_eq!(suspects(&world, 0), (4, 0));
    let one = of(1);
    assert_eq!(get(&mut world, 0, ("default", "x"), one).unwrap(), 0);
    put(&mut world, 0, ("default", "x"), one).unwrap();
    assert!(get(&mut world, 0, ("memory", "x"), one).is_err());
    world.mend();
    world.start(2);
    world.run_for(20 * SECOND);
    // All were asked; one of them was in the same state: it is served all the same, without a command of an operator.
    assert_eq!((suspects(&world, 0), suspects(&world, 2)), ((0, 0), (0, 0)));
    assert_eq!(get(&mut world, 0, ("memory", "x"), one).unwrap(), 0);
    assert!(alarms(&world, 0, "before they were synced") + alarms(&world, 2, "before they were synced") > 0);
}

/// Two owners of five fall silent, and no node knows it yet.
#[test]
fn a_read_reaches_for_every_owner_before_its_time_is_over() {
    let mut world = cluster(5);
    put(&mut world, 0, ("default", "k"), QuorumChoice { w: Some(5), ..QuorumChoice::default() }).unwrap();
    for silent in [1, 2] {
        (0..5).filter(|&peer| peer != silent).for_each(|peer| separate(&mut world, silent, peer));
    }
    for node in [0, 3, 4] {
        let before = world.now();
        assert_eq!(get(&mut world, node, ("default", "k"), QuorumChoice::default()).unwrap(), 1, "at {node}");
        assert!(world.now().since(before) < Duration::from_millis(200), "well within its time");
    }
}
