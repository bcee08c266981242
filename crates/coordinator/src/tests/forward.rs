use starling_types::{Now, Outcome, WallTime};
use starling_wire::client::{ReadReply, Seen};
use starling_wire::{KvOp, KvReply, KvRequest, QuorumChoice};

use super::*;
use crate::Event;
use crate::forward::Forward;

struct Story {
    forward: Forward,
    now: u64,
}

fn asks(op: KvOp) -> KvRequest {
    KvRequest {
        id: request(),
        attempt: 0,
        issued: WallTime::default(),
        began: WallTime::default(),
        timeout_ms: 0,
        patience_ms: 0,
        bucket: bucket(),
        key: key(),
        op,
        quorum: QuorumChoice::default(),
        forwarded: false,
    }
}

fn deletes() -> KvOp {
    KvOp::Delete { seen: Seen::Local }
}

impl Story {
    fn start(op: KvOp, owners: &[u64]) -> (Self, Vec<Effect>) {
        let mut out = Vec::new();
        let owners = owners.iter().map(|&n| node(n)).collect();
        let (request, now) = (asks(op), Now { wall: WallTime::from_millis(9_000), ..Now::default() });
        let limit = request.timeout();
        let forward = Forward::start(now, request, limit, owners, &mut out);
        (Self { forward, now: 0 }, out)
    }

    fn effects(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.forward.handle(at(self.now), event, &mut out);
        out
    }

    fn reply(&mut self, from: u64, reply: KvReply) -> Vec<Effect> {
        self.effects(Event::Replied(node(from), reply))
    }

    fn wait(&mut self) -> Vec<Effect> {
        let due = self.forward.next_deadline().expect("something to wait for");
        assert!(due > at(self.now), "a deadline in the past would spin");
        self.now = due.since(Instant::ORIGIN).as_millis().try_into().unwrap();
        self.effects(Event::Tick)
    }
}

fn good() -> KvReply {
    KvReply::Read(ReadReply::default())
}

fn not_ready() -> KvReply {
    KvReply::Failed(Failure::refused(FailureKind::NotReady, "draining"))
}

fn overloaded() -> KvReply {
    KvReply::Failed(Failure::refused(FailureKind::Overloaded, "busy"))
}

fn relayed(effects: &[Effect]) -> &KvReply {
    match effects {
        [Effect::Respond(Answer::Relayed(reply))] => reply,
        other => panic!("one relayed answer expected: {other:?}"),
    }
}

fn outcome(effects: &[Effect]) -> Outcome {
    match relayed(effects) {
        KvReply::Failed(failure) => failure.outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_owners_answer_is_passed_on_once() {
    let (mut story, sent) = Story::start(KvOp::Get, &[2, 3]);
    let [Effect::Send(_, _, Message::Request(hop))] = &sent[..] else { panic!("{sent:?}") };
    assert!(hop.forwarded, "no second hop");
    assert_eq!(words(sent), ["try 0 at 2"]);
    assert_eq!(relayed(&story.reply(2, good())), &good());
    assert!(story.forward.is_over() && story.forward.next_deadline().is_none());
    assert!(story.reply(2, good()).is_empty());
}

#[test]
fn an_owner_that_is_not_ready_is_followed_by_the_next_as_if_it_had_not_been_asked() {
    let (mut story, _) = Story::start(deletes(), &[2, 3]);
    assert_eq!(words(story.reply(2, not_ready())), ["try 0 at 3"]);
    assert_eq!(outcome(&story.reply(3, not_ready())), Outcome::NotApplied, "both said so");
}

#[test]
fn a_silent_or_lost_owner_is_followed_by_the_next_as_a_retry() {
    let (mut story, _) = Story::start(deletes(), &[2, 3]);
    let sent = story.wait();
    assert_eq!(story.now, 1_000);
    let [Effect::Send(_, _, Message::Request(again))] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((again.attempt, again.timeout_ms), (1, 1_000), "what is left");
    assert_eq!(again.began, WallTime::from_millis(10_000));
    let (mut story, _) = Story::start(deletes(), &[2, 3]);
    assert_eq!(words(story.effects(Event::PeerDown(node(2)))), ["try 1 at 3"]);
    assert!(story.effects(Event::PeerDown(node(2))).is_empty());
}

#[test]
fn even_a_read_with_a_short_limit_leaves_time_for_another_owner() {
    let (mut story, _) = Story::start(KvOp::Get, &[2, 3]);
    assert_eq!(words(story.wait()), ["try 1 at 3"]);
    assert_eq!(story.now, 500);
}

#[test]
fn a_refusal_after_a_silent_try_does_not_pass_for_nothing_changed() {
    let (mut story, _) = Story::start(deletes(), &[2, 3]);
    story.wait();
    assert_eq!(outcome(&story.reply(3, overloaded())), Outcome::Unknown, "2 may have done it");
    let (mut story, _) = Story::start(KvOp::Get, &[2, 3]);
    story.wait();
    assert_eq!(outcome(&story.reply(3, overloaded())), Outcome::NotApplied);
}

#[test]
fn a_late_refusal_settles_the_doubt_and_a_late_success_the_request() {
    let (mut story, _) = Story::start(deletes(), &[2, 3]);
    story.wait();
    assert!(story.reply(2, overloaded()).is_empty(), "3 is at work: its word counts");
    assert_eq!(outcome(&story.reply(3, overloaded())), Outcome::NotApplied);
    let (mut story, _) = Story::start(deletes(), &[2, 3]);
    story.wait();
    assert_eq!(relayed(&story.reply(2, good())), &good());
}

#[test]
fn nobody_within_reach_is_refused_at_once() {
    let (story, effects) = Story::start(deletes(), &[]);
    assert_eq!(words(effects), ["quorum_not_reached not_applied"]);
    assert!(story.forward.is_over());
}

#[test]
fn silence_to_the_end_is_unknown_for_a_write_and_harmless_for_a_read() {
    let (mut story, _) = Story::start(deletes(), &[2]);
    story.wait();
    assert_eq!(words(story.wait()), ["deadline unknown"]);
    assert_eq!(story.now, 2_000);
    let (mut story, _) = Story::start(KvOp::Get, &[2]);
    story.wait();
    assert_eq!(words(story.wait()), ["quorum_not_reached not_applied"]);
}

fn patience(sent: &[Effect]) -> u32 {
    let [Effect::Send(_, _, Message::Request(hop))] = sent else { panic!("{sent:?}") };
    hop.patience_ms
}

#[test]
fn an_owner_is_told_when_another_will_be_asked_and_that_none_will_be_if_it_is_the_only_one() {
    let (mut story, sent) = Story::start(deletes(), &[2, 3]);
    assert_eq!(patience(&sent), 1_000);
    assert_eq!(patience(&story.wait()), 500, "3 is the last, but 2 is in doubt");
    let (_, sent) = Story::start(deletes(), &[2]);
    assert_eq!(patience(&sent), 0);
    let mut out = Vec::new();
    let asks = KvRequest { patience_ms: 300, ..asks(deletes()) };
    let now = Now { wall: WallTime::from_millis(100), ..Now::default() };
    Forward::start(now, asks, Duration::from_secs(1), vec![node(2)], &mut out);
    assert_eq!(patience(&out), 200, "whoever asks goes elsewhere 300 ms after it began");
}
