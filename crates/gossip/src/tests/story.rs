//! The history of a small cluster, told by what its control planes hear.

use std::time::Duration;

use starling_types::Generation;

use super::world::World;
use crate::testing::node;
use crate::{Event, Notice, Status};

const SECOND: Duration = Duration::from_secs(1);

/// The notices of every node since the last chapter, without times: those belong to the detection tests.
fn chapter(world: &mut World) -> String {
    let notices = world.notices.drain(..).filter(|(_, _, notice)| *notice != Notice::Recognised);
    let mut lines: Vec<String> = notices.map(|(_, who, notice)| line(who, &notice)).collect();
    lines.sort();
    lines.dedup();
    lines.concat()
}

fn line(who: u64, notice: &Notice) -> String {
    let (whom, what) = match notice {
        Notice::Joined(info) => (info.node, "joined".into()),
        Notice::Changed(info) => (info.node, format!("is in generation {}", info.generation.0)),
        Notice::Alive(node) => (*node, "is alive".into()),
        Notice::Suspect(node) => (*node, "is suspected".into()),
        Notice::Dead(node) => (*node, "is dead".into()),
        Notice::Left(node) => (*node, "left".into()),
        other => panic!("not in this story: {other:?}"),
    };
    format!("{who} hears that {} {what}\n", whom.bits())
}

#[test]
fn the_golden_story() {
    let mut world = World::new(7, 0.0);
    world.start(1, 1, &[]);
    world.start(2, 1, &[1]);
    world.run(3 * SECOND);
    // 2 learned of 1 before 1 had spoken, so it then hears 1's real generation.
    let met = "1 hears that 2 joined\n2 hears that 1 is in generation 1\n2 hears that 1 joined\n";
    assert_eq!(chapter(&mut world), met);

    world.start(3, 1, &[2]);
    world.run(3 * SECOND);
    let grown = "1 hears that 3 joined\n2 hears that 3 joined\n3 hears that 1 joined\n\
                 3 hears that 2 is in generation 1\n3 hears that 2 joined\n";
    assert_eq!(chapter(&mut world), grown);

    world.crash(2);
    world.run(5 * SECOND);
    let crashed = "1 hears that 2 is dead\n1 hears that 2 is suspected\n\
                   3 hears that 2 is dead\n3 hears that 2 is suspected\n";
    assert_eq!(chapter(&mut world), crashed);

    world.start(2, 2, &[3]);
    world.run(3 * SECOND);
    let restarted = "1 hears that 2 is alive\n1 hears that 2 is in generation 2\n2 hears that 1 joined\n\
                     2 hears that 3 is in generation 1\n2 hears that 3 joined\n\
                     3 hears that 2 is alive\n3 hears that 2 is in generation 2\n";
    assert_eq!(chapter(&mut world), restarted);

    world.pause(3, Duration::from_millis(700));
    world.tell(1, Event::Disconnected(node(3)));
    world.run(5 * SECOND);
    let refuted = "1 hears that 3 is alive\n1 hears that 3 is suspected\n\
                   2 hears that 3 is alive\n2 hears that 3 is suspected\n";
    assert_eq!(chapter(&mut world), refuted);

    world.tell(1, Event::Leave);
    world.run(SECOND);
    assert_eq!(world.nodes[&1].next_deadline(), None, "nothing is left to say");
    assert_eq!(chapter(&mut world), "2 hears that 1 left\n3 hears that 1 left\n");
    world.crash(1);
    world.run(30 * SECOND);
    assert_eq!(chapter(&mut world), "", "a member that left is not missed");

    world.start(1, 2, &[2]);
    world.run(3 * SECOND);
    let returned = "1 hears that 2 is in generation 2\n1 hears that 2 joined\n1 hears that 3 joined\n\
                    2 hears that 1 is alive\n2 hears that 1 is in generation 2\n\
                    3 hears that 1 is alive\n3 hears that 1 is in generation 2\n";
    assert_eq!(chapter(&mut world), returned);
    assert!(world.agrees());
}

#[test]
fn a_forgotten_member_stays_forgotten_until_it_speaks() {
    let mut world = World::cluster(3, 0.0, 3, 3 * SECOND);
    world.crash(3);
    world.run(6 * SECOND);
    world.tell(1, Event::Forget(node(3)));
    world.run(60 * SECOND);
    assert_eq!(world.status(1, 3), None, "node 2 brought it back");
    assert_eq!(world.status(2, 3), Some(Status::Dead));
    world.tell(2, Event::Forget(node(3)));
    world.run(SECOND);
    world.start(3, 2, &[2]);
    world.run(30 * SECOND);
    assert!(world.agrees());
}

#[test]
fn forgetting_a_live_member_does_nothing() {
    let mut world = World::cluster(3, 0.0, 2, 3 * SECOND);
    world.tell(1, Event::Forget(node(2)));
    assert_eq!(world.status(1, 2), Some(Status::Alive));
}

#[test]
fn other_shared_state_is_noticed_and_not_too_often() {
    let mut world = World::cluster(3, 0.0, 2, 3 * SECOND);
    world.notices.clear();
    world.tell(1, Event::Shared(42));
    world.run(10 * SECOND);
    let told = world.told(|peer| Notice::SharedDiffers { peer }, 1);
    assert!(told.len() >= 8, "node 2 was hardly told: {told:?}");
    assert!(told.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 1_000), "{told:?}");
    world.tell(2, Event::Shared(42));
    world.run(SECOND);
    world.notices.clear();
    world.run(10 * SECOND);
    assert_eq!(world.notices, []);
}

#[test]
fn a_copied_data_directory_raises_one_alarm_a_generation() {
    let mut world = World::cluster(5, 0.0, 3, 3 * SECOND);
    world.crash(3);
    world.start(3, 7, &[1]);
    world.run(3 * SECOND);
    world.crash(3);
    world.notices.clear();
    world.start(3, 2, &[1]);
    world.run(60 * SECOND);
    let alarms: Vec<_> =
        world.notices.iter().filter(|(_, _, n)| matches!(n, Notice::Impostor { .. })).collect();
    assert_eq!(alarms.len(), 1, "{alarms:?}");
    assert_eq!(alarms[0].1, 3);
    assert_eq!(world.status(1, 3), Some(Status::Dead), "an older life answers for nothing");
    assert!(!world.notices.iter().any(|(_, who, n)| *who == 3 && *n == Notice::Recognised));

    world.tell(3, Event::Reborn(Generation(8)));
    world.run(5 * SECOND);
    assert_eq!(world.status(1, 3), Some(Status::Alive), "it has learned better");
}

#[test]
fn a_node_that_has_outlived_itself_hears_of_it_from_whichever_member_noticed() {
    let mut world = World::cluster(5, 0.0, 3, 3 * SECOND);
    world.notices.clear();
    let over = Generation(9);
    world.tell(1, Event::Outlived { node: node(3), generation: over });
    world.tell(1, Event::Outlived { node: node(1), generation: over });
    world.tell(1, Event::Outlived { node: node(77), generation: over });
    world.run(30 * SECOND);
    let alarms: Vec<_> =
        world.notices.iter().filter(|(_, _, n)| matches!(n, Notice::Impostor { .. })).collect();
    assert!(
        matches!(alarms[..], [(_, 3, Notice::Impostor { generation })] if *generation == over),
        "{alarms:?}"
    );
    assert_eq!(world.status(2, 3), Some(Status::Dead), "members that have not noticed believe it");
    world.tell(3, Event::Reborn(Generation(10)));
    world.run(5 * SECOND);
    assert_eq!((world.status(1, 3), world.status(2, 3)), (Some(Status::Alive), Some(Status::Alive)));
}

#[test]
fn a_node_that_comes_back_as_it_went_is_recognised_once() {
    let mut world = World::cluster(5, 0.0, 3, 3 * SECOND);
    world.crash(3);
    world.notices.clear();
    world.start(3, 2, &[1]);
    world.run(60 * SECOND);
    let words = world.notices.iter().filter(|(_, who, n)| *who == 3 && *n == Notice::Recognised);
    assert_eq!(words.count(), 1);
}

#[test]
fn the_clock_is_held_against_the_median_of_the_peers() {
    let mut world = World::new(11, 0.05);
    world.skew_ms = [(3, 2_000)].into();
    for bits in 1..=5 {
        world.start(bits, 1, &[1]);
    }
    world.run(30 * SECOND);
    for (bits, expected) in [(1, 0), (2, 0), (3, 2_000)] {
        let offset = world.nodes[&bits].clock_offset(world.clock(bits)).unwrap();
        assert!((offset - expected).abs() <= 5, "node {bits} thinks it is {offset} ms ahead");
    }
    let pair = World::cluster(1, 0.0, 2, 10 * SECOND);
    assert_eq!(pair.nodes[&1].clock_offset(pair.clock(1)), None, "of two clocks neither is wrong");
}
