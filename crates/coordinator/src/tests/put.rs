use starling_types::{BucketProps, Outcome};

use super::*;
use crate::Event;
use crate::put::{Put, Tried};

struct Story {
    put: Put,
    now: u64,
}

impl Story {
    fn start(plan: Plan, ask_first: bool) -> (Self, Vec<Effect>) {
        let mut out = Vec::new();
        let tried = if ask_first { Tried::Elsewhere } else { Tried::Never };
        let put = Put::start(plan, subject(), tried, no_questions(), &mut out);
        (Self { put, now: 0 }, out)
    }

    /// Started, and staged by the vnode here.
    fn staged(plan: Plan) -> (Self, Vec<String>) {
        let (mut story, first) = Self::start(plan, false);
        assert_eq!(words(first), ["coordinate"]);
        let effects = story.event(Event::Staged(staged()));
        (story, effects)
    }

    fn event(&mut self, event: Event) -> Vec<String> {
        words(self.effects(event))
    }

    fn effects(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.put.handle(at(self.now), event, &mut out);
        out
    }

    fn merged(&mut self, from: u64, answer: Merged) -> Vec<String> {
        self.event(Event::Merged(node(from), answer))
    }

    /// Lets time pass to the machine's next deadline.
    fn wait(&mut self) -> Vec<Effect> {
        let due = self.put.next_deadline().expect("something to wait for");
        assert!(due > at(self.now), "a deadline in the past would spin");
        self.now = due.since(Instant::ORIGIN).as_millis().try_into().unwrap();
        self.effects(Event::Tick)
    }
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn the_write_goes_out_while_it_is_being_committed_here_and_two_acks_suffice() {
    let (mut story, sent) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(sent, ["merge v at 2", "merge v at 3"]);
    assert_eq!(story.event(Event::CommittedHere), nothing());
    assert_eq!(story.merged(3, DONE), ["written: acked 2 owners 2 hinted 0"]);
    assert!(!story.put.is_over(), "it lingers for the third");
    assert_eq!(story.merged(2, DONE), nothing());
    assert!(story.put.is_over());
}

#[test]
fn two_others_may_be_faster_than_the_disk_here() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.merged(2, DONE), nothing());
    assert_eq!(story.merged(2, DONE), nothing(), "one node, one ack");
    assert_eq!(story.merged(3, DONE), ["written: acked 2 owners 2 hinted 0"]);
}

#[test]
fn an_owner_that_is_down_gets_a_hint_at_once() {
    let (mut story, sent) = Story::staged(plan(&[(2, UP), (3, DOWN)], &[]));
    assert_eq!(sent, ["merge v at 2", "hint for 3"]);
    story.event(Event::CommittedHere);
    assert_eq!(story.merged(2, DONE), ["written: acked 2 owners 2 hinted 1"]);
    assert!(story.put.is_over());
}

#[test]
fn a_hint_kept_here_counts_towards_nothing() {
    let (mut story, sent) = Story::staged(plan(&[(2, UP), (3, DOWN)], &[]));
    assert!(sent.contains(&"hint for 3".to_owned()));
    assert_eq!(story.event(Event::CommittedHere), nothing());
    assert_eq!(story.merged(2, refused()), ["hint for 2", "quorum_not_reached unknown"]);
}

#[test]
fn a_silent_owner_gets_a_hint_when_patience_ends_and_only_one() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::CommittedHere);
    story.merged(2, DONE);
    assert_eq!(words(story.wait()), ["hint for 3"]);
    assert_eq!(story.now, 500);
    assert!(story.put.is_over());
}

#[test]
fn who_was_relieved_for_silence_is_not_relieved_again_when_it_fails() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[4]));
    story.event(Event::CommittedHere);
    assert_eq!(words(story.wait()), ["for 2: merge at 4", "hint for 3"]);
    assert_eq!(story.merged(2, refused()), nothing());
    assert_eq!(story.event(Event::PeerDown(node(3))), nothing());
    assert_eq!(story.merged(4, DONE), ["written: acked 2 owners 1 hinted 1"]);
}

#[test]
fn a_late_ack_of_an_owner_given_up_on_still_counts() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::CommittedHere);
    assert_eq!(words(story.wait()), ["hint for 2", "hint for 3"]);
    assert_eq!(story.merged(3, DONE), ["written: acked 2 owners 2 hinted 2"]);
}

#[test]
fn an_owner_that_refuses_gets_a_hint() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::CommittedHere);
    assert_eq!(story.merged(2, refused()), ["hint for 2"]);
    assert_eq!(story.merged(3, DONE), ["written: acked 2 owners 2 hinted 1"]);
    assert!(story.put.is_over());
}

#[test]
fn an_ack_that_is_not_durable_is_no_ack_where_durable_was_demanded() {
    let lax = Merged::Done { durable: false };
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::CommittedHere);
    assert_eq!(story.merged(2, lax.clone()), ["hint for 2"]);
    let (mut story, _) = Story::staged(Plan { durable: false, ..plan(&[(2, UP), (3, UP)], &[]) });
    story.event(Event::CommittedHere);
    assert_eq!(story.merged(2, lax), ["written: acked 2 owners 2 hinted 0"]);
}

#[test]
fn a_fallback_is_asked_before_a_hint_is_kept_and_counts() {
    let (mut story, sent) = Story::staged(plan(&[(2, DOWN), (3, DOWN)], &[4, 5]));
    assert_eq!(sent, ["for 2: merge at 4", "for 3: merge at 5"]);
    story.event(Event::CommittedHere);
    assert_eq!(story.merged(4, DONE), ["written: acked 2 owners 1 hinted 0"]);
    assert_eq!(story.merged(5, refused()), ["hint for 3"]);
    assert!(story.put.is_over());
}

#[test]
fn a_fallback_that_refuses_is_followed_by_the_next_then_by_a_hint() {
    let (mut story, sent) = Story::staged(plan(&[(2, DOWN), (3, UP)], &[4, 5]));
    assert_eq!(sent, ["merge v at 3", "for 2: merge at 4"]);
    assert_eq!(story.merged(4, refused()), ["for 2: merge at 5"]);
    assert_eq!(story.merged(5, refused()), ["hint for 2"]);
}

#[test]
fn a_silent_fallback_leaves_a_hint_behind_though_the_client_has_its_answer() {
    let (mut story, _) = Story::staged(plan(&[(2, DOWN), (3, UP)], &[4]));
    story.event(Event::CommittedHere);
    story.merged(3, DONE);
    assert!(!story.put.is_over());
    assert_eq!(words(story.wait()), ["hint for 2"]);
    assert!(story.put.is_over());
}

#[test]
fn a_fallback_asked_when_patience_ended_is_relieved_at_the_deadline() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[4]));
    story.event(Event::CommittedHere);
    story.merged(3, DONE);
    assert_eq!(words(story.wait()), ["for 2: merge at 4"]);
    assert!(!story.put.is_over(), "nobody else has the copy of 2");
    assert_eq!(words(story.wait()), ["hint for 2"]);
    assert!(story.put.is_over());
}

#[test]
fn a_strict_write_asks_fallbacks_but_does_not_count_them() {
    let (mut story, sent) = Story::staged(strict(plan(&[(2, UP), (3, DOWN)], &[4])));
    assert_eq!(sent, ["merge v at 2", "for 3: merge at 4"]);
    story.event(Event::CommittedHere);
    assert_eq!(story.merged(4, DONE), nothing());
    assert_eq!(story.merged(2, DONE), ["written: acked 2 owners 2 hinted 0"]);
}

#[test]
fn a_strict_write_fails_as_soon_as_too_few_owners_are_left() {
    let (mut story, _) = Story::staged(strict(plan(&[(2, UP), (3, DOWN)], &[4, 5])));
    story.event(Event::CommittedHere);
    story.merged(4, DONE);
    let last = story.merged(2, refused());
    assert_eq!(last, ["for 2: merge at 5", "quorum_not_reached unknown"]);
}

#[test]
fn a_strict_write_does_not_hope_for_fallbacks_it_could_still_ask() {
    let (mut story, _) = Story::staged(strict(plan(&[(2, UP), (3, UP)], &[4, 5])).needing(3));
    let last = story.merged(2, refused());
    assert_eq!(last, ["for 2: merge at 4", "quorum_not_reached unknown"]);
}

#[test]
fn the_ack_of_a_node_that_went_right_after_it_counts() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::CommittedHere);
    assert_eq!(story.event(Event::PeerDown(node(2))), ["hint for 2"]);
    assert_eq!(story.merged(2, DONE), ["written: acked 2 owners 2 hinted 1"]);
}

#[test]
fn too_few_within_reach_is_refused_with_nothing_changed_and_names_who_is_down() {
    let (story, effects) = Story::start(plan(&[(2, DOWN), (3, DOWN)], &[]), false);
    assert!(story.put.is_over() && story.put.next_deadline().is_none());
    let failure = failure(&effects);
    assert_eq!(failure.outcome, Outcome::NotApplied);
    assert_eq!(
        failure.detail,
        "1 of 2 needed replicas are within reach (0000000000000002 is down, 0000000000000003 is down); \
         nothing was changed; try again when more replicas are up"
    );
    let (_, effects) = Story::start(strict(plan(&[(2, DOWN), (3, DOWN)], &[4])), false);
    assert_eq!(words(effects), ["quorum_not_reached not_applied"]);
}

#[test]
fn a_failed_quorum_tells_who_said_what_and_that_the_write_may_show_up() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::CommittedHere);
    story.merged(2, refused());
    let effects = story.effects(Event::PeerDown(node(3)));
    let failure = failure(&effects);
    assert_eq!(failure.outcome, Outcome::Unknown);
    assert_eq!(
        failure.detail,
        "1 of 2 needed replicas acked (0000000000000001: acked, 0000000000000002: refused (it is overloaded), \
         0000000000000003: is down); the write may still show up; retry with the same request id, or read it back"
    );
}

#[test]
fn what_the_vnode_here_refuses_is_told_as_it_is() {
    let (mut story, _) = Story::start(plan(&[(2, UP), (3, UP)], &[]), false);
    assert_eq!(story.event(Event::RefusedHere(local_failure())), ["storage not_applied"]);
    assert!(story.put.is_over());
}

#[test]
fn a_commit_that_fails_here_leaves_it_to_the_others() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(story.event(Event::RefusedHere(local_failure())), nothing());
    story.merged(2, DONE);
    assert_eq!(story.merged(3, DONE), ["written: acked 2 owners 2 hinted 0"]);
}

#[test]
fn nobody_left_to_ask_is_told_at_once_though_fallbacks_are_idle() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[4]).needing(3));
    story.event(Event::RefusedHere(local_failure()));
    story.merged(2, DONE);
    assert_eq!(story.merged(3, DONE), ["quorum_not_reached unknown"]);
}

#[test]
fn time_runs_out_before_and_after_staging() {
    let (mut story, _) = Story::start(plan(&[(2, UP), (3, UP)], &[]), false);
    story.wait();
    let effects = story.wait();
    assert_eq!(failure(&effects).kind, FailureKind::Deadline);
    assert_eq!(failure(&effects).outcome, Outcome::Unknown, "the disk may still do it");
    assert!(story.put.is_over());
    assert_eq!(story.event(Event::Staged(staged())), nothing(), "nothing goes out after the end");

    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    assert_eq!(words(story.wait()), ["hint for 2", "hint for 3"]);
    let effects = story.wait();
    assert_eq!(story.now, 2_000);
    assert!(failure(&effects).detail.starts_with("time ran out: 0 of 2"), "{}", failure(&effects));
    assert!(story.put.is_over());
}

#[test]
fn replicas_get_their_patience_in_full_after_a_slow_load() {
    let (mut story, _) = Story::start(plan(&[(2, UP), (3, UP)], &[]), false);
    assert_eq!(words(story.wait()), nothing());
    story.now = 900;
    story.event(Event::Staged(staged()));
    assert_eq!(story.put.next_deadline(), Some(at(1_400)));
}

#[test]
fn one_copy_needs_nobody() {
    let (mut story, sent) = Story::staged(plan(&[], &[]));
    assert_eq!(sent, nothing());
    assert_eq!(story.event(Event::CommittedHere), ["written: acked 1 owners 1 hinted 0"]);
    assert!(story.put.is_over());
}

fn stale(theirs: u64) -> Merged {
    Merged::Refused(Refusal::StaleProps(theirs))
}

#[test]
fn a_replica_behind_the_bucket_s_properties_is_asked_again_when_it_has_them() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::CommittedHere);
    assert_eq!(story.merged(2, stale(0)), nothing());
    assert_eq!(story.merged(3, stale(0)), nothing(), "neither acked nor lost");
    assert_eq!(story.event(Event::PropsAgree(node(4))), nothing());
    assert_eq!(story.event(Event::PropsAgree(node(3))), ["merge v at 3"]);
    assert_eq!(story.event(Event::PropsAgree(node(3))), nothing(), "once");
    assert_eq!(story.merged(3, DONE), ["written: acked 2 owners 2 hinted 0"]);
    assert_eq!(words(story.wait()), ["hint for 2"], "patience deals with the one that never learns");
}

#[test]
fn agreement_may_be_heard_before_the_refusal_that_brought_it_about() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::PropsAgree(node(2)));
    assert_eq!(story.merged(2, stale(0)), ["merge v at 2"]);
    story.event(Event::PropsChanged(BucketProps::default(), 9));
    assert_eq!(story.merged(3, stale(9)), ["merge v at 3"]);
}

#[test]
fn a_replica_that_never_agrees_is_lost_in_the_end() {
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    for _ in 0..2 {
        assert_eq!(story.merged(2, stale(1)), ["merge v at 2"], "the number is this write's own");
    }
    assert_eq!(story.merged(2, stale(1)), ["hint for 2"]);
}

#[test]
fn a_write_goes_on_under_newer_rules_that_it_meets_and_no_others() {
    let newer = |props| Event::PropsChanged(props, 9);
    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[]));
    story.event(Event::CommittedHere);
    story.merged(2, stale(9));
    story.event(newer(BucketProps { w: Some(3), ..BucketProps::default() }));
    let effects = story.effects(Event::PropsAgree(node(2)));
    let Effect::Send(_, _, Message::Merge(merge)) = &effects[0] else { panic!("{effects:?}") };
    assert_eq!(merge.props, 9);

    let (mut story, _) = Story::staged(plan(&[(2, UP), (3, UP)], &[4]));
    story.event(Event::CommittedHere);
    story.merged(2, stale(9));
    let effects = story.event(newer(BucketProps { strict: true, ..BucketProps::default() }));
    assert_eq!(effects, ["for 2: merge at 4"]);
    assert_eq!(story.merged(4, stale(9)), ["hint for 2"], "under strict rules a sloppy copy is none");
    let effects = story.effects(Event::Merged(node(3), stale(9)));
    let failed = failure(&effects);
    assert_eq!(failed.outcome, Outcome::Unknown);
    assert!(failed.detail.contains("properties have changed"), "{failed}");

    let (mut story, _) = Story::start(plan(&[(2, UP), (3, UP)], &[4]), false);
    let effects = story.effects(newer(BucketProps { strict: true, ..BucketProps::default() }));
    assert_eq!(failure(&effects).outcome, Outcome::Unknown);
    assert!(story.put.is_over(), "what is staged after that may rest on newer rules, and goes nowhere");
}
