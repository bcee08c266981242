//! G5 and G6: nothing a member says makes another panic, grow without bound, or talk without end.

use std::time::Duration;

use proptest::prelude::*;
use starling_types::{Generation, Instant, NodeId, Now, WallTime, limits};
use starling_wire::gossip::{Body, Claim, MAX_NAME, Message, Record, Rumour, Status};

use super::world::World;
use crate::testing::{info, node};
use crate::{Config, Effect, Event, Gossip, Notice};

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn claim(bits: u64, generation: u64, incarnation: u64, status: Status) -> Rumour {
    let generation = Generation(generation);
    Rumour::Claim(Claim { node: node(bits), generation, incarnation, status, by: node(99) })
}

/// A message from member 2 with one rumour, to `to`.
pub(super) fn whisper(world: &mut World, to: u64, rumour: Rumour) {
    let message = message(Body::Rumours, vec![rumour]);
    world.tell(to, Event::Message { from: node(2), message });
}

fn message(body: Body, rumours: Vec<Rumour>) -> Message {
    Message { generation: Generation(1), incarnation: 1, members: 7, shared: 0, body, rumours }
}

fn alone() -> Gossip {
    Gossip::new(Config::default(), info(1, 1), vec![(info(2, 1), Status::Alive)], 5, Now::default())
}

fn hear(machine: &mut Gossip, body: Body, rumours: Vec<Rumour>) -> Vec<Effect> {
    let mut out = Vec::new();
    let event = Event::Message { from: node(2), message: message(body, rumours) };
    machine.handle(Now::default(), event, &mut out);
    out
}

#[test]
fn a_million_members_are_too_many() {
    let mut machine = alone();
    let record = |bits| Record { info: info(bits, 1), incarnation: 1, status: Status::Alive };
    for batch in 0..4u64 {
        let records = (0..25_000).map(|n| record(10 + batch * 25_000 + n)).collect();
        hear(&mut machine, Body::Delta { records, wanted: Vec::new() }, Vec::new());
    }
    assert_eq!(machine.members().count(), limits::MAX_MEMBERS);
    assert!(machine.counters().refused > 0);
}

#[test]
fn claims_make_no_members() {
    let mut machine = alone();
    for status in [Status::Alive, Status::Suspect, Status::Dead, Status::Left] {
        hear(&mut machine, Body::Rumours, vec![claim(77, 1, 1, status)]);
    }
    assert_eq!(machine.members().count(), 2);
}

#[test]
fn nobody_believes_counts_that_cannot_be_overruled() {
    let mut world = World::cluster(1, 0.0, 3, 3 * SECOND);
    world.notices.clear();
    for status in [Status::Suspect, Status::Dead, Status::Left] {
        whisper(&mut world, 1, claim(3, 1, u64::MAX, status));
        whisper(&mut world, 3, claim(3, 1, u64::MAX, status));
        whisper(&mut world, 3, claim(3, u64::MAX, 1, status));
    }
    world.run(5 * SECOND);
    assert_eq!(world.notices, []);
    assert_eq!(world.nodes[&1].counters().refused, 3);
}

#[test]
fn a_word_at_the_very_end_of_counting_raises_the_alarm_once() {
    let mut machine = alone();
    let last = claim(1, 1, 1 << 62, Status::Dead);
    let alarms = |effects: Vec<Effect>| {
        let alarm = |effect: &&Effect| matches!(effect, Effect::Notify(Notice::Impostor { .. }));
        effects.iter().filter(alarm).count()
    };
    assert_eq!(alarms(hear(&mut machine, Body::Rumours, vec![last.clone()])), 1);
    assert_eq!(alarms(hear(&mut machine, Body::Rumours, vec![last])), 0);
    assert_eq!(alarms(hear(&mut machine, Body::Rumours, vec![claim(1, 9, 1, Status::Alive)])), 1);
    assert_eq!(alarms(hear(&mut machine, Body::Rumours, vec![claim(1, 8, 1, Status::Alive)])), 0);
}

#[test]
fn overlong_texts_are_refused_from_others_and_cut_in_ourselves() {
    let mut machine = alone();
    let mut long = info(7, 1);
    long.name = "ä".repeat(MAX_NAME);
    let record = Record { info: long.clone(), incarnation: 1, status: Status::Alive };
    hear(&mut machine, Body::Rumours, vec![Rumour::Record(record)]);
    assert_eq!(machine.status(node(7)), None);
    let machine = Gossip::new(Config::default(), long, Vec::new(), 5, Now::default());
    assert!(machine.members().all(|member| member.info.is_sound()));
}

#[test]
fn one_delta_of_verdicts_sets_off_a_bounded_burst() {
    let mut machine = alone();
    let records = |status: Status| -> Vec<Record> {
        (10..1_000).map(|bits| Record { info: info(bits, 1), incarnation: 1, status }).collect()
    };
    let delta = |status| Body::Delta { records: records(status), wanted: Vec::new() };
    hear(&mut machine, delta(Status::Alive), Vec::new());
    let burst = hear(&mut machine, delta(Status::Dead), Vec::new());
    assert!(burst.len() <= 200, "{} effects", burst.len());
    assert!(machine.members().all(|member| member.status == Status::Alive), "believed without asking");
}

#[test]
fn wanting_a_record_often_brings_it_once() {
    let mut machine = alone();
    let wanted = vec![node(1); 5_000];
    let out = hear(&mut machine, Body::Delta { records: Vec::new(), wanted }, Vec::new());
    let sent = out.iter().find_map(|effect| match effect {
        Effect::Send { message: Message { body: Body::Delta { records, .. }, .. }, .. } => {
            Some(records.len())
        }
        _ => None,
    });
    assert_eq!(sent, Some(1));
}

fn any_status() -> impl Strategy<Value = Status> {
    (0u8..4).prop_map(|byte| Status::try_from(byte).unwrap())
}

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![0..4u64, (1u64 << 62) - 2..(1 << 62) + 2, Just(u64::MAX)]
}

fn any_node() -> impl Strategy<Value = u64> {
    0..6u64
}

fn any_claim() -> impl Strategy<Value = Claim> {
    (any_node(), any_count(), any_count(), any_status(), any_node()).prop_map(
        |(bits, generation, incarnation, status, by)| Claim {
            node: node(bits),
            generation: Generation(generation),
            incarnation,
            status,
            by: node(by),
        },
    )
}

fn any_record() -> impl Strategy<Value = Record> {
    (any_claim(), 0..=70usize).prop_map(|(claim, name)| {
        let mut info = info(claim.node.bits(), claim.generation.0);
        info.name = "n".repeat(name);
        Record { info, incarnation: claim.incarnation, status: claim.status }
    })
}

fn any_body() -> impl Strategy<Value = Body> {
    let target = || any_node().prop_map(node);
    prop_oneof![
        (0..9u64, any::<bool>()).prop_map(|(seq, reliable)| Body::Ping { seq, reliable }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(seq, wall)| Body::Ack { seq, wall: WallTime::from_millis(wall) }),
        (0..9u64, target()).prop_map(|(seq, target)| Body::PingFor { seq, target }),
        any::<u64>().prop_map(|seq| Body::Reached { seq }),
        any::<u64>().prop_map(|seq| Body::Unreached { seq }),
        Just(Body::Rumours),
        prop::collection::vec(any_claim(), 0..8).prop_map(|claims| Body::Compare { claims }),
        (prop::collection::vec(any_record(), 0..8), prop::collection::vec(target(), 0..8))
            .prop_map(|(records, wanted)| Body::Delta { records, wanted }),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let rumour = prop_oneof![any_claim().prop_map(Rumour::Claim), any_record().prop_map(Rumour::Record)];
    let message = (any_count(), any_count(), any_body(), prop::collection::vec(rumour, 0..6)).prop_map(
        |(generation, incarnation, body, rumours)| Message {
            generation: Generation(generation),
            incarnation,
            members: 0,
            shared: 1,
            body,
            rumours,
        },
    );
    let whom = || any_node().prop_map(node);
    prop_oneof![
        8 => (whom(), message).prop_map(|(from, message)| Event::Message { from, message }),
        2 => Just(Event::Tick),
        1 => any_record().prop_map(|record| Event::Learned(record.info)),
        1 => whom().prop_map(Event::Connected),
        1 => whom().prop_map(Event::Disconnected),
        1 => whom().prop_map(Event::Forget),
        1 => any::<u64>().prop_map(Event::Shared),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any messages, in any order and at any time: no panic, no deadline left behind, few effects an event, standings
    /// that do not fall.
    #[test]
    fn any_sequence_of_events_is_survived(
        events in prop::collection::vec((any_event(), 0..3_000u64), 1..60),
        leave in 0..80usize,
    ) {
        let mut machine = alone();
        let mut now = Instant::ORIGIN;
        for (place, (event, wait)) in events.into_iter().enumerate() {
            now = now + Duration::from_millis(wait);
            let event = if place == leave { Event::Leave } else { event };
            let lefts = departed(&machine);
            let forgot = matches!(event, Event::Forget(_));
            let mut out = Vec::new();
            machine.handle(Now { instant: now, wall: WallTime::from_millis(place as u64), fraction: 0 }, event, &mut out);
            prop_assert!(machine.next_deadline().is_none_or(|at| at > now));
            prop_assert!(out.len() <= 120, "{} effects of one event", out.len());
            for (who, generation) in lefts {
                let still = machine.members().find(|member| member.info.node == who);
                let kept = still.is_some_and(|m| m.status == Status::Left || m.info.generation > generation);
                prop_assert!(kept || forgot, "{who:?} left and came back");
            }
            for effect in &out {
                if let Effect::Send { message, reliable: false, .. } = effect {
                    let size = rmp_serde::to_vec(message).unwrap().len();
                    prop_assert!(size <= starling_wire::gossip::DATAGRAM_BUDGET);
                }
            }
        }
    }
}

fn departed(machine: &Gossip) -> Vec<(NodeId, Generation)> {
    let left = machine.members().filter(|member| member.status == Status::Left);
    left.map(|member| (member.info.node, member.info.generation)).collect()
}
