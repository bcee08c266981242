//! The questions of a write before it is made.

use starling_types::Outcome;
use starling_wire::replica::{Held, Recalled};

use super::*;
use crate::Event;
use crate::put::{Put, Tried};

struct Story {
    put: Put,
    now: u64,
}

impl Story {
    fn start(plan: Plan, tried: Tried, questions: Questions) -> (Self, Vec<String>) {
        let mut out = Vec::new();
        let put = Put::start(plan, subject(), tried, questions, &mut out);
        (Self { put, now: 0 }, words(out))
    }

    fn retry(plan: Plan) -> (Self, Vec<String>) {
        Self::start(plan, Tried::Elsewhere, no_questions())
    }

    /// Needs the contexts of two owners, this node's included.
    fn blind(plan: Plan) -> (Self, Vec<String>) {
        Self::start(plan, Tried::Never, blind())
    }

    fn delete(plan: Plan) -> (Self, Vec<String>) {
        Self::start(plan, Tried::Never, Questions { deletes: true, ..blind() })
    }

    fn event(&mut self, event: Event) -> Vec<String> {
        words(self.effects(event))
    }

    fn effects(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.put.handle(at(self.now), event, &mut out);
        out
    }

    fn hears(&mut self, from: u64, recalled: Recalled) -> Vec<String> {
        self.event(Event::Recalled(node(from), recalled))
    }

    fn wait(&mut self) -> Vec<String> {
        let due = self.put.next_deadline().expect("something to wait for");
        assert!(due > at(self.now), "a deadline in the past would spin");
        self.now = due.since(Instant::ORIGIN).as_millis().try_into().unwrap();
        self.event(Event::Tick)
    }
}

fn blind() -> Questions {
    Questions { names_what_it_replaces: false, ..no_questions() }
}

fn held(actor: u64) -> Held {
    Held {
        since: WallTime::from_millis(1_000),
        context: record(actor, "x").context().clone(),
        is_empty: false,
        is_sure: true,
    }
}

fn nothing_known(actor: u64) -> Recalled {
    Recalled::Nothing(held(actor))
}

fn nothing_held() -> Recalled {
    Recalled::Nothing(Held { context: VersionVector::new(), is_empty: true, ..held(9) })
}

fn forgetful(actor: u64) -> Recalled {
    Recalled::Nothing(Held { since: WallTime::from_millis(5_000), ..held(actor) })
}

fn unsure(actor: u64) -> Recalled {
    Recalled::Nothing(Held { is_sure: false, ..held(actor) })
}

fn known() -> Recalled {
    let record = record(9, "first try");
    Recalled::Known { dot: Some(record.siblings()[0].dot), shown: super::held(&record) }
}

const NONE: [&str; 0] = [];

#[test]
fn a_retry_asks_the_other_owners_before_it_mints() {
    let (mut story, first) = Story::retry(plan(&[(2, UP), (3, SUSPECT)], &[]));
    assert_eq!(first, ["recall 2", "recall 3"]);
    assert_eq!(story.hears(2, nothing_known(2)), NONE);
    assert_eq!(story.hears(2, nothing_known(2)), NONE, "3 is still to answer");
    assert_eq!(story.hears(3, nothing_known(3)), ["coordinate as new over 2 over 3"]);
}

#[test]
fn a_retry_known_elsewhere_is_merged_here_with_its_request_and_then_coordinated() {
    let (mut story, _) = Story::retry(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.hears(3, known()), ["merge first try here with its request"]);
    assert_eq!(story.hears(2, known()), NONE);
    assert_eq!(story.event(Event::MergedHere), ["coordinate"]);
    assert_eq!(story.event(Event::Staged(staged())), ["merge v at 2", "merge v at 3"]);
}

#[test]
fn a_retry_known_elsewhere_is_never_said_to_be_not_applied() {
    let (mut story, _) = Story::retry(plan(&[(2, UP), (3, UP)], &[]));
    story.hears(3, known());
    assert_eq!(story.event(Event::RefusedHere(local_failure())), ["storage unknown"]);
}

#[test]
fn a_retry_does_not_wait_for_the_silent_if_an_acked_write_would_be_known() {
    let (mut story, _) = Story::retry(plan(&[(2, UP), (3, UP)], &[]));
    story.hears(2, nothing_known(2));
    assert_eq!(story.wait(), ["coordinate as new over 2"]);
    assert_eq!(story.now, 500);
}

#[test]
fn a_retry_is_unknown_if_too_few_would_remember_the_first_try() {
    let (mut story, _) = Story::retry(plan(&[(2, UP), (3, DOWN)], &[]));
    assert_eq!(story.hears(2, forgetful(2)), ["quorum_not_reached unknown"]);
    let (mut story, _) = Story::retry(plan(&[(2, UP), (3, UP)], &[]));
    story.hears(2, forgetful(2));
    assert_eq!(story.hears(3, nothing_known(3)), ["coordinate as new over 2 over 3"]);
    let forgot = Questions { remembers: false, ..no_questions() };
    let (mut story, _) = Story::start(plan(&[(2, UP), (3, UP)], &[]), Tried::Elsewhere, forgot);
    story.hears(2, forgetful(2));
    assert_eq!(story.hears(3, nothing_known(3)), ["quorum_not_reached unknown"]);
    assert!(story.put.is_over());
}

#[test]
fn a_retry_whose_owners_are_silent_is_unknown_by_its_deadline() {
    let (mut story, _) = Story::retry(plan(&[(2, UP), (3, UP)], &[]));
    while story.now < 1_999 && !story.put.is_over() {
        let said = story.wait();
        assert!(story.now == 2_000 || said == NONE, "{said:?}");
    }
    assert!(story.put.is_over());
}

#[test]
fn a_lower_try_leaves_it_to_the_higher() {
    let (mut story, _) = Story::retry(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.hears(2, Recalled::Claimed), ["deadline unknown"]);
    assert!(story.put.is_over());
}

#[test]
fn a_first_try_that_turns_out_to_be_late_asks_like_a_retry() {
    let (mut story, first) = Story::start(plan(&[(2, UP), (3, UP)], &[]), Tried::Never, no_questions());
    assert_eq!(first, ["coordinate"]);
    assert_eq!(story.event(Event::LateHere), ["recall 2", "recall 3"]);
    story.hears(2, nothing_known(2));
    assert_eq!(story.hears(3, nothing_known(3)), ["coordinate as new over 2 over 3"]);
    assert_eq!(story.event(Event::RefusedHere(local_failure())), ["storage unknown"]);
}

#[test]
fn a_blind_write_asks_as_many_as_it_takes_to_meet_every_acked_write() {
    let (mut story, first) = Story::blind(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(first, ["recall 2"]);
    assert_eq!(story.hears(2, nothing_known(7)), ["coordinate over 7"]);
    story.event(Event::Staged(staged()));
    story.event(Event::CommittedHere);
    assert_eq!(story.event(Event::Merged(node(3), DONE)), ["written: acked 2 owners 2 hinted 0"]);
    let (_, first) = Story::blind(plan(&[], &[]));
    assert_eq!(first, ["coordinate"]);
}

#[test]
fn a_blind_write_asks_the_next_owner_while_one_is_silent_gone_or_unsure() {
    let (mut story, _) = Story::blind(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.wait(), ["recall 3"]);
    assert_eq!(story.now, 50);
    assert_eq!(story.hears(3, nothing_known(3)), ["coordinate over 3"]);
    let (mut story, _) = Story::blind(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.event(Event::PeerDown(node(2))), ["recall 3"]);
    let (mut story, _) = Story::blind(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.hears(2, Recalled::Refused(Refusal::NotReady)), ["recall 3"]);
    let (mut story, _) = Story::blind(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.hears(2, unsure(2)), ["recall 3"], "what it holds may be less than it was");
    assert_eq!(story.hears(3, nothing_known(3)), ["coordinate over 2 over 3"]);
}

#[test]
fn with_too_few_answers_a_blind_write_goes_on_in_part_and_says_so() {
    let (mut story, _) = Story::blind(plan(&[(2, UP), (3, DOWN)], &[]));
    assert_eq!(story.event(Event::PeerDown(node(2))), ["coordinate in part"]);
    story.event(Event::Staged(staged()));
    story.event(Event::CommittedHere);
    assert_eq!(story.event(Event::Merged(node(2), DONE)), ["written in part: acked 2 owners 2 hinted 1"]);
    let (mut story, _) = Story::blind(plan(&[(2, UP), (3, DOWN)], &[]));
    assert_eq!(story.wait(), ["coordinate in part"], "the silent have patience's time");
    assert_eq!(story.now, 500);
}

#[test]
fn with_too_few_answers_a_strict_blind_write_changes_nothing() {
    let (mut story, _) = Story::blind(strict(plan(&[(2, UP), (3, UP)], &[])));
    story.event(Event::PeerDown(node(2)));
    let effects = story.effects(Event::PeerDown(node(3)));
    assert_eq!(failure(&effects).outcome, Outcome::NotApplied);
    assert!(failure(&effects).detail.contains("what there is to replace"), "{}", failure(&effects));
    let (mut story, _) = Story::blind(strict(plan(&[(2, UP), (3, DOWN)], &[])));
    let mut said = Vec::new();
    while !story.put.is_over() {
        said = story.wait();
    }
    assert_eq!((story.now, said), (2_000, vec!["deadline not_applied".to_owned()]));
}

#[test]
fn a_delete_stores_nothing_only_if_every_owner_is_sure_to_hold_nothing() {
    let (mut story, first) = Story::delete(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(first, ["recall 2", "recall 3"]);
    assert_eq!(story.hears(2, nothing_held()), NONE);
    assert_eq!(story.hears(3, nothing_held()), ["coordinate where nobody holds anything"]);
    assert_eq!(story.event(Event::AbsentHere), ["nothing to write: acked 3 owners 3 hinted 0"]);
    assert!(story.put.is_over());
}

#[test]
fn a_delete_is_stored_as_soon_as_one_owner_holds_something_or_does_not_say() {
    let (mut story, _) = Story::delete(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.hears(2, nothing_known(2)), ["coordinate over 2"]);
    let (mut story, _) = Story::delete(plan(&[(2, UP), (3, UP)], &[]));
    story.hears(2, nothing_held());
    assert_eq!(story.wait(), ["coordinate"], "after the time of a hedge");
    assert_eq!(story.now, 50);
    let (mut story, first) = Story::delete(plan(&[(2, UP), (3, DOWN)], &[]));
    assert_eq!(first, ["recall 2"]);
    assert_eq!(story.hears(2, nothing_held()), ["coordinate"]);
    let unsure = Questions { deletes: true, is_sure: false, ..blind() };
    let (mut story, _) = Story::start(plan(&[(2, UP), (3, UP)], &[]), Tried::Never, unsure);
    assert_eq!(story.hears(2, nothing_held()), NONE);
    assert_eq!(story.hears(3, nothing_held()), ["coordinate"], "this node may have held something");
}

#[test]
fn owners_that_hold_it_vouch_for_a_context_from_far_ahead() {
    let (mut story, first) = Story::start(plan(&[(2, UP), (3, UP)], &[]), Tried::Never, no_questions());
    assert_eq!(first, ["coordinate"]);
    assert_eq!(story.event(Event::AheadHere(local_failure())), ["recall 2"]);
    assert_eq!(story.hears(2, nothing_known(7)), ["coordinate over 7"]);
    assert_eq!(story.event(Event::AheadHere(local_failure())), ["storage not_applied"], "nobody holds it");
}

#[test]
fn a_blind_retry_of_what_was_made_before_does_not_claim_to_know_what_it_replaced() {
    let (mut story, _) = Story::start(plan(&[(2, UP), (3, UP)], &[]), Tried::Here, blind());
    story.event(Event::Staged(Staged { repeated: true, ..staged() }));
    story.event(Event::CommittedHere);
    assert_eq!(story.event(Event::Merged(node(2), DONE)), ["written in part: acked 2 owners 2 hinted 0"]);
}

#[test]
fn what_another_owner_has_and_this_one_cannot_take_over_is_unknown_and_not_asked_about_again() {
    let (mut story, _) = Story::retry(plan(&[(2, UP), (3, UP)], &[]));
    story.hears(3, known());
    assert_eq!(story.event(Event::MergedHere), ["coordinate"]);
    assert_eq!(story.event(Event::LateHere), ["storage unknown"]);
    assert!(story.put.is_over());
}

#[test]
fn an_inquiry_that_begins_late_waits_for_the_silent_like_any_other() {
    let (mut story, _) = Story::start(plan(&[(2, UP), (3, UP)], &[]), Tried::Never, no_questions());
    assert_eq!(story.wait(), NONE);
    story.now = 700;
    assert_eq!(story.event(Event::LateHere), ["recall 2", "recall 3"]);
    story.hears(2, nothing_known(2));
    while story.now < 1_200 {
        let said = story.wait();
        assert!(story.now == 1_200 || said == NONE, "{said:?}");
        assert!(story.now < 1_200 || said == ["coordinate as new over 2"], "{said:?}");
    }
}

#[test]
fn a_blind_write_that_was_held_back_says_so() {
    let (mut story, _) = Story::blind(plan(&[(2, UP), (3, UP)], &[]));
    story.hears(2, nothing_known(7));
    story.event(Event::Staged(Staged { in_part: true, ..staged() }));
    story.event(Event::CommittedHere);
    assert_eq!(story.event(Event::Merged(node(3), DONE)), ["written in part: acked 2 owners 2 hinted 0"]);
}
