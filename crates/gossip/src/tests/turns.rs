//! One machine, told event by event: what no cluster test shows by itself.

use std::time::Duration;

use starling_types::{Generation, Instant, NodeId, Now, WallTime};
use starling_wire::gossip::{Body, Message, Rumour};

use super::hostile::claim;
use crate::testing::{info, node};
use crate::{Config, Effect, Event, Gossip, Status};

struct Lone {
    machine: Gossip,
    at: Duration,
}

impl Lone {
    /// Member 1, which has heard of members up to `members`.
    fn among(members: u64) -> Self {
        let known = (2..=members).map(|bits| (info(bits, 1), Status::Alive)).collect();
        let machine = Gossip::new(Config::default(), info(1, 1), known, 3, Now::default());
        Self { machine, at: Duration::ZERO }
    }

    fn tell(&mut self, event: Event) -> Vec<Effect> {
        let now = Now { instant: Instant::ORIGIN + self.at, ..Now::default() };
        let mut out = Vec::new();
        self.machine.handle(now, event, &mut out);
        out
    }

    fn hear(&mut self, from: u64, body: Body, rumours: Vec<Rumour>) -> Vec<Effect> {
        let members = self.machine.digest();
        self.hear_digest(from, members, body, rumours)
    }

    fn hear_digest(&mut self, from: u64, members: u64, body: Body, rumours: Vec<Rumour>) -> Vec<Effect> {
        let message =
            Message { generation: Generation(1), incarnation: 1, members, shared: 0, body, rumours };
        self.tell(Event::Message { from: node(from), message })
    }

    /// Ticks when due, for `span`; everything that came of it.
    fn wait(&mut self, span: Duration) -> Vec<Effect> {
        let (end, mut out) = (self.at + span, Vec::new());
        while let Some(due) = self.machine.next_deadline().map(|due| due.since(Instant::ORIGIN)) {
            if due > end {
                break;
            }
            self.at = due;
            out.extend(self.tell(Event::Tick));
        }
        self.at = end;
        out
    }
}

fn sends(effects: &[Effect]) -> impl Iterator<Item = (NodeId, &Message, bool)> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, message, reliable } => Some((*to, message, *reliable)),
        Effect::Notify(_) => None,
    })
}

fn compares(effects: &[Effect]) -> usize {
    sends(effects).filter(|(_, message, _)| matches!(message.body, Body::Compare { .. })).count()
}

const PERIOD: Duration = Duration::from_millis(400);

#[test]
fn a_stall_gives_probe_and_suspicion_their_time_again() {
    let mut lone = Lone::among(3);
    lone.tell(Event::Tick);
    lone.hear(2, Body::Rumours, vec![claim(3, 1, 0, Status::Suspect)]);
    lone.at = Duration::from_secs(20);
    lone.tell(Event::Tick);
    assert_eq!(lone.machine.counters().stalls, 1);
    assert_eq!(
        lone.machine.counters().probes_failed,
        0,
        "the probe ran out while nobody could hear its answer"
    );
    assert_eq!(lone.machine.status(node(3)), Some(Status::Suspect));
    lone.wait(Duration::from_secs(6));
    assert_eq!(lone.machine.status(node(3)), Some(Status::Dead), "there is an end to patience");
}

#[test]
fn a_doubted_member_is_told_so_first() {
    let mut lone = Lone::among(3);
    lone.hear(2, Body::Rumours, vec![claim(3, 1, 5, Status::Dead)]);
    lone.wait(Duration::from_secs(5));
    let out = lone.hear(3, Body::Ping { seq: 9, reliable: false }, Vec::new());
    let (_, ack, _) = sends(&out).find(|(to, _, _)| *to == node(3)).unwrap();
    let Some(Rumour::Claim(first)) = ack.rumours.first() else { panic!("{ack:?}") };
    assert_eq!((first.node, first.incarnation, first.status), (node(3), 5, Status::Dead));
}

#[test]
fn who_is_known_to_have_left_is_left_alone_until_a_later_life_speaks() {
    let known = vec![(info(2, 5), Status::Left)];
    let machine = Gossip::new(Config::default(), info(1, 1), known, 3, Now::default());
    let mut lone = Lone { machine, at: Duration::ZERO };
    assert_eq!(sends(&lone.wait(Duration::from_secs(60))).count(), 0);
    lone.tell(Event::Learned(info(2, 5)));
    assert_eq!(lone.machine.status(node(2)), Some(Status::Left), "that life is over");
    lone.tell(Event::Learned(info(2, 6)));
    assert_eq!(lone.machine.status(node(2)), Some(Status::Alive));
}

#[test]
fn an_ack_takes_the_way_its_ping_took() {
    for reliable in [false, true] {
        let out = Lone::among(2).hear(2, Body::Ping { seq: 9, reliable }, Vec::new());
        let ack = |(_, message, way): (NodeId, &Message, bool)| {
            matches!(message.body, Body::Ack { seq: 9, .. }).then_some(way)
        };
        assert_eq!(sends(&out).find_map(ack), Some(reliable));
    }
}

#[test]
fn being_asked_to_ping_ourselves_is_being_reached() {
    let out = Lone::among(2).hear(2, Body::PingFor { seq: 7, target: node(1) }, Vec::new());
    assert!(sends(&out).any(|(to, message, _)| to == node(2) && message.body == Body::Reached { seq: 7 }));
    let out = Lone::among(2).hear(2, Body::PingFor { seq: 7, target: node(77) }, Vec::new());
    assert!(sends(&out).any(|(_, message, _)| message.body == Body::Unreached { seq: 7 }));
}

#[test]
fn a_helper_pings_and_reports_either_way() {
    let mut lone = Lone::among(3);
    let out = lone.hear(2, Body::PingFor { seq: 7, target: node(3) }, Vec::new());
    let ping = |(to, message, _): (NodeId, &Message, bool)| match message.body {
        Body::Ping { seq, .. } if to == node(3) => Some(seq),
        _ => None,
    };
    // A ping of its own may go to member 3 in the same turn: the relayed one came first.
    let seq = sends(&out).find_map(ping).unwrap();
    let out = lone.wait(Duration::from_millis(100));
    assert!(sends(&out).any(|(_, message, _)| message.body == Body::Unreached { seq: 7 }));
    let out = lone.hear(3, Body::Ack { seq, wall: WallTime::from_millis(0) }, Vec::new());
    assert!(sends(&out).any(|(_, message, _)| message.body == Body::Reached { seq: 7 }));
}

/// The factor after one failed probe, when helpers say whether they hear us.
fn factor_after_failure(helpers_answer: bool) -> u32 {
    let mut lone = Lone::among(5);
    let out = lone.wait(PERIOD - Duration::from_millis(1));
    let asked: Vec<(u64, u64)> = sends(&out)
        .filter_map(|(to, message, _)| match message.body {
            Body::PingFor { seq, .. } => Some((to.bits(), seq)),
            _ => None,
        })
        .collect();
    assert_eq!(asked.len(), 3);
    for (helper, seq) in asked.into_iter().filter(|_| helpers_answer) {
        lone.hear(helper, Body::Unreached { seq }, Vec::new());
    }
    lone.wait(Duration::from_millis(2));
    assert_eq!(lone.machine.counters().probes_failed, 1);
    lone.machine.health_factor()
}

#[test]
fn silent_helpers_count_against_ourselves_and_answering_ones_do_not() {
    assert_eq!(factor_after_failure(false), 4, "one, and one for each of three silent helpers");
    assert_eq!(factor_after_failure(true), 1);
}

#[test]
fn a_lasting_difference_is_compared_soon_and_then_ever_more_seldom() {
    let mut lone = Lone::among(2);
    lone.tell(Event::Tick);
    let answered = Body::Delta { records: Vec::new(), wanted: Vec::new() };
    lone.hear(2, answered, Vec::new());
    lone.wait(Duration::from_millis(990));
    let early = lone.hear_digest(2, 7, Body::Rumours, Vec::new());
    assert_eq!(compares(&early), 0, "news may still be on its way");
    lone.at += Duration::from_millis(20);
    let mut after = Vec::new();
    for step in 0..300 {
        lone.at += Duration::from_millis(100);
        if compares(&lone.hear_digest(2, 7, Body::Rumours, Vec::new())) > 0 {
            after.push(step / 10);
        }
    }
    assert_eq!(after[..3], [0, 1, 3], "the pause doubles: {after:?}");
    assert!(after.len() <= 8, "{after:?}");
}
