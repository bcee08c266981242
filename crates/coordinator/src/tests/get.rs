use starling_types::Outcome;
use starling_wire::replica::ReadAnswer;

use super::*;
use crate::Event;
use crate::get::Get;

struct Story {
    get: Get,
    now: u64,
}

impl Story {
    fn start(plan: Plan) -> Self {
        let mut out = Vec::new();
        let get = Get::start(plan, bucket(), key(), &mut out);
        assert_eq!(words(out), ["read here"]);
        Self { get, now: 0 }
    }

    /// Started, and this replica has answered with `record`.
    fn with(plan: Plan, record: &Record) -> (Self, Vec<String>) {
        let mut story = Self::start(plan);
        let effects = story.event(Event::ReadHere(record.clone()));
        (story, effects)
    }

    fn event(&mut self, event: Event) -> Vec<String> {
        words(self.effects(event))
    }

    fn effects(&mut self, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        self.get.handle(at(self.now), event, &mut out);
        out
    }

    fn answer(&mut self, from: u64, answer: ReadAnswer) -> Vec<String> {
        self.event(Event::Answered(node(from), answer))
    }

    fn wait(&mut self) -> Vec<Effect> {
        let due = self.get.next_deadline().expect("something to wait for");
        assert!(due > at(self.now), "a deadline in the past would spin");
        self.now = due.since(Instant::ORIGIN).as_millis().try_into().unwrap();
        self.effects(Event::Tick)
    }
}

fn shown(record: &Record) -> ReadAnswer {
    ReadAnswer::Record(held(record))
}

fn both_up() -> Plan {
    plan(&[(2, UP), (3, UP)], &[])
}

fn nothing() -> Vec<String> {
    Vec::new()
}

#[test]
fn an_equal_replica_only_says_so() {
    let (mut story, asked) = Story::with(both_up(), &record(1, "v"));
    assert_eq!(asked, ["compare 2"], "R-1 others, most preferred first");
    assert_eq!(story.answer(2, ReadAnswer::Same), ["says v"]);
    assert!(story.get.is_over() && story.get.next_deadline().is_none());
    assert_eq!(story.get.repairs(), 0);
}

#[test]
fn different_replicas_are_merged_and_the_stale_repaired() {
    let (mut story, _) = Story::with(both_up(), &record(1, "a"));
    assert_eq!(story.answer(2, shown(&record(9, "b"))), ["merge a+b here", "merge a+b at 2", "says a+b"]);
    assert_eq!(story.get.repairs(), 2);
}

#[test]
fn only_the_one_that_lacks_something_is_repaired() {
    let (mut story, _) = Story::with(both_up(), &record(1, "a"));
    assert_eq!(story.answer(2, shown(&Record::default())), ["merge a at 2", "says a"]);
    let (mut story, _) = Story::with(both_up(), &Record::default());
    assert_eq!(story.answer(2, shown(&record(1, "a"))), ["merge a here", "says a"]);
}

#[test]
fn absent_everywhere_is_an_answer() {
    let (mut story, _) = Story::with(both_up(), &Record::default());
    assert_eq!(story.answer(2, ReadAnswer::Same), ["says "]);
}

#[test]
fn too_few_within_reach_fails_at_once() {
    let mut out = Vec::new();
    let get = Get::start(plan(&[(2, DOWN), (3, DOWN)], &[4]), bucket(), key(), &mut out);
    assert!(get.is_over());
    let failure = failure(&out);
    assert_eq!(failure.outcome, Outcome::NotApplied);
    assert_eq!(
        failure.detail,
        "0 of 2 needed replicas answered (0000000000000001: no answer yet, 0000000000000002: is down, \
         0000000000000003: is down); nothing was changed; try again when more replicas are up"
    );
}

#[test]
fn who_is_up_is_asked_before_who_is_in_doubt_and_who_is_down_not_at_all() {
    let (_, asked) = Story::with(plan(&[(2, SUSPECT), (3, UP)], &[]), &record(1, "v"));
    assert_eq!(asked, ["compare 3"]);
    let (mut story, asked) = Story::with(plan(&[(2, DOWN), (3, UP)], &[]), &record(1, "v"));
    assert_eq!(asked, ["compare 3"]);
    assert_eq!(story.answer(3, ReadAnswer::Unknown), ["quorum_not_reached not_applied"]);
}

#[test]
fn one_that_cannot_vouch_is_followed_by_the_next() {
    let damaged = ReadAnswer::Record(Shown { record: "damaged".into(), props: 1 });
    for answer in [ReadAnswer::Unknown, ReadAnswer::Refused(Refusal::Overloaded), damaged] {
        let (mut story, _) = Story::with(both_up(), &record(1, "v"));
        assert_eq!(story.answer(2, answer.clone()), ["compare 3"]);
        assert_eq!(story.answer(3, answer), ["quorum_not_reached not_applied"]);
    }
}

#[test]
fn one_that_goes_is_followed_by_the_next() {
    let (mut story, _) = Story::with(both_up(), &record(1, "v"));
    assert_eq!(story.event(Event::PeerDown(node(2))), ["compare 3"]);
    assert_eq!(story.answer(3, ReadAnswer::Same), ["says v"]);
}

#[test]
fn a_replica_here_that_cannot_vouch_leaves_it_to_the_others() {
    let mut story = Story::start(both_up());
    let asked = story.event(Event::UnreadHere("damaged".into()));
    assert_eq!(asked, ["read 2", "read 3"], "nothing to compare with");
    assert_eq!(story.answer(2, shown(&record(9, "v"))), nothing());
    assert_eq!(story.answer(3, shown(&record(9, "v"))), ["says v"]);
}

#[test]
fn what_a_replica_has_that_cannot_vouch_joins_the_answer_and_counts_towards_nothing() {
    let partial = |text| ReadAnswer::Partial(held(&record(9, text)));
    let (mut story, _) = Story::with(both_up(), &record(1, "v"));
    assert_eq!(story.answer(2, partial("w")), ["compare 3"]);
    let both = ["merge v+w here", "merge v+w at 3", "says v+w"];
    assert_eq!(story.answer(3, ReadAnswer::Same), both);

    let mut story = Story::start(both_up());
    assert_eq!(story.event(Event::ReadHerePartly(record(1, "v"))), ["read 2", "read 3"]);
    assert_eq!(story.answer(2, shown(&Record::default())), nothing(), "one voucher is not two");
    let merges = ["merge v at 2", "merge v at 3", "says v"];
    assert_eq!(story.answer(3, shown(&Record::default())), merges);

    let mut story = Story::start(both_up());
    story.event(Event::ReadHerePartly(record(1, "v")));
    assert_eq!(story.answer(2, partial("w")), ["quorum_not_reached not_applied"]);
}

#[test]
fn what_comes_partly_after_the_verdict_repairs_those_who_answered() {
    let (mut story, _) = Story::with(both_up(), &record(1, "v"));
    story.wait();
    assert_eq!(story.answer(3, ReadAnswer::Same), ["says v"]);
    let late = ReadAnswer::Partial(held(&record(9, "w")));
    assert_eq!(story.answer(2, late), ["merge v+w here", "merge v+w at 3"]);
    assert!(story.get.is_over());
}

#[test]
fn same_as_nothing_is_no_answer() {
    let mut story = Story::start(both_up());
    story.event(Event::UnreadHere("damaged".into()));
    assert_eq!(story.answer(2, ReadAnswer::Same), ["quorum_not_reached not_applied"]);
}

#[test]
fn one_node_that_answers_twice_is_one_answer() {
    let (mut story, _) = Story::with(both_up().needing(3), &record(1, "v"));
    assert_eq!(story.answer(2, ReadAnswer::Same), nothing());
    assert_eq!(story.answer(2, ReadAnswer::Same), nothing());
    assert_eq!(story.answer(3, ReadAnswer::Same), ["says v"]);
}

#[test]
fn a_slow_replica_is_hedged() {
    let (mut story, _) = Story::with(both_up(), &record(1, "v"));
    assert_eq!(words(story.wait()), ["compare 3"]);
    assert_eq!(story.now, 50);
    assert_eq!(story.answer(3, ReadAnswer::Same), ["says v"]);
}

#[test]
fn every_owner_is_reached_for_while_there_is_time() {
    let five = || plan(&[(2, UP), (3, UP), (4, UP), (5, UP)], &[]).needing(3);
    let (mut story, asked) = Story::with(five(), &record(1, "v"));
    assert_eq!(asked, ["compare 2", "compare 3"]);
    assert_eq!(words(story.wait()), ["compare 4"]);
    assert_eq!(words(story.wait()), ["compare 5"]);
    assert_eq!(story.now, 100, "one more after each pause");
    assert_eq!(story.answer(4, ReadAnswer::Same), nothing());
    assert_eq!(story.answer(5, ReadAnswer::Same), ["says v"]);

    // A strict read that is being secured reaches as far.
    let (mut story, _) = Story::with(strict(five()), &record(1, "v"));
    story.answer(2, shown(&Record::default()));
    assert_eq!(story.answer(3, shown(&Record::default())), ["merge v at 2", "merge v at 3"]);
    assert_eq!(words(story.wait()), ["merge v at 4"]);
    assert_eq!(words(story.wait()), ["merge v at 5"]);
    assert_eq!(story.event(Event::Merged(node(4), DONE)), nothing());
    assert_eq!(story.event(Event::Merged(node(5), DONE)), ["says v"]);
}

fn lww() -> Plan {
    Plan { lww: true, ..both_up() }
}

/// As a replica shows it that knows newer rules than [`plan`].
fn newer(record: &Record) -> ReadAnswer {
    ReadAnswer::Record(Shown { props: 2, ..held(record) })
}

#[test]
fn where_the_last_writer_wins_that_one_is_shown_and_all_of_it_repairs() {
    let (mut story, _) = Story::with(lww(), &record(1, "a"));
    let repairs = ["merge a+b here", "merge a+b at 2", "says b"];
    assert_eq!(story.answer(2, shown(&record(9, "b"))), repairs);
}

#[test]
fn what_is_held_under_newer_rules_is_shown_as_it_is_and_not_kept_here() {
    let (mut story, _) = Story::with(lww(), &record(1, "a"));
    let effects = story.effects(Event::Answered(node(2), newer(&record(9, "b"))));
    let repair = effects.iter().find_map(|e| match e {
        Effect::Send(_, _, Message::Merge(merge)) => Some(merge.props),
        _ => None,
    });
    assert_eq!(repair, Some(2), "under the number that it came with");
    assert_eq!(words(effects), ["merge a+b at 2", "says a+b"]);
}

#[test]
fn what_is_held_under_newer_rules_is_kept_here_once_they_are_known() {
    let siblings = || BucketProps::default();
    let (mut story, _) = Story::with(strict(lww()), &Record::default());
    assert_eq!(story.answer(2, newer(&record(9, "b"))), ["merge b at 3"], "another owner must do");
    assert_eq!(story.event(Event::PropsChanged(siblings(), 2)), ["merge b here"]);
    assert_eq!(story.event(Event::MergedHere), ["says b"]);

    let (mut story, _) = Story::with(lww(), &record(1, "a"));
    assert_eq!(story.event(Event::PropsChanged(siblings(), 2)), nothing());
    let repairs = ["merge a+b here", "merge a+b at 2", "says a+b"];
    assert_eq!(story.answer(2, newer(&record(9, "b"))), repairs);
}

#[test]
fn what_a_hedge_brought_before_the_disk_here_answered_is_not_forgotten() {
    let mut story = Story::start(both_up());
    assert_eq!(words(story.wait()), ["read 2"]);
    assert_eq!(story.answer(2, shown(&record(9, "new"))), nothing());
    assert_eq!(story.event(Event::ReadHere(Record::default())), ["merge new here", "says new"]);
}

#[test]
fn who_was_asked_and_answers_after_the_verdict_is_repaired_and_repairs() {
    let hedged = || {
        let (mut story, _) = Story::with(both_up(), &record(1, "v"));
        story.wait();
        assert_eq!(story.answer(3, ReadAnswer::Same), ["says v"]);
        assert!(!story.get.is_over());
        story
    };
    let mut story = hedged();
    assert_eq!(story.answer(2, shown(&Record::default())), ["merge v at 2"]);
    assert!(story.get.is_over());
    let mut story = hedged();
    assert_eq!(
        story.answer(2, shown(&record(9, "w"))),
        ["merge v+w here", "merge v+w at 2", "merge v+w at 3"]
    );
    assert_eq!(story.get.repairs(), 3);
    for nothing_new in [ReadAnswer::Same, ReadAnswer::Unknown, shown(&record(1, "v"))] {
        let mut story = hedged();
        assert_eq!(story.answer(2, nothing_new), nothing());
        assert!(story.get.is_over() && story.get.next_deadline().is_none());
    }
}

#[test]
fn nobody_is_waited_for_beyond_patience_and_nobody_else_is_asked() {
    let (mut story, _) = Story::with(both_up(), &record(1, "v"));
    story.wait();
    story.answer(3, shown(&record(9, "w")));
    assert_eq!(words(story.wait()), nothing());
    assert_eq!(story.now, 500);
    assert!(story.get.is_over() && story.get.next_deadline().is_none());
    assert_eq!(story.answer(2, shown(&Record::default())), nothing());
}

#[test]
fn time_runs_out() {
    let (mut story, _) = Story::with(both_up(), &record(1, "v"));
    story.wait();
    let effects = story.wait();
    assert_eq!(story.now, 2_000);
    assert_eq!(words(effects), ["deadline not_applied"]);
    assert!(story.get.is_over());
    assert_eq!(story.answer(2, ReadAnswer::Same), nothing());
}

#[test]
fn a_strict_read_answers_only_what_enough_owners_hold() {
    let (mut story, _) = Story::with(strict(both_up()), &record(1, "v"));
    assert_eq!(
        story.answer(2, shown(&Record::default())),
        ["merge v at 2"],
        "R answered, but only one holds it"
    );
    assert_eq!(story.event(Event::Merged(node(2), DONE)), ["says v"]);

    let (mut story, _) = Story::with(strict(both_up()), &record(1, "v"));
    assert_eq!(story.answer(2, ReadAnswer::Same), ["says v"], "two hold it");
}

#[test]
fn a_strict_read_of_one_secures_all() {
    let (mut story, asked) = Story::with(strict(both_up()).needing(1), &record(1, "v"));
    assert_eq!(asked, ["merge v at 2", "merge v at 3"]);
    assert_eq!(story.event(Event::Merged(node(2), DONE)), nothing());
    assert_eq!(story.event(Event::Merged(node(2), DONE)), nothing(), "one node, one copy");
    assert_eq!(story.event(Event::Merged(node(3), DONE)), ["says v"]);
}

#[test]
fn a_strict_read_whose_repair_is_refused_or_lost_secures_another_owner() {
    for spoiled in [
        Event::Merged(node(2), refused()),
        Event::Merged(node(2), Merged::Done { durable: false }),
        Event::PeerDown(node(2)),
    ] {
        let (mut story, _) = Story::with(strict(both_up()), &record(1, "v"));
        story.answer(2, shown(&Record::default()));
        assert_eq!(story.event(spoiled), ["merge v at 3"]);
        assert_eq!(story.event(Event::Merged(node(3), DONE)), ["says v"]);
    }
}

#[test]
fn a_strict_read_that_cannot_be_secured_fails_by_its_deadline_without_the_value() {
    let (mut story, _) = Story::with(strict(both_up()), &record(1, "v"));
    story.answer(2, shown(&Record::default()));
    assert_eq!(words(story.wait()), ["merge v at 3"], "hedged");
    assert_eq!(words(story.wait()), ["deadline not_applied"]);
}

#[test]
fn a_strict_read_does_not_change_what_it_secures_when_the_disk_here_is_late() {
    let mut story = Story::start(strict(both_up()));
    story.wait();
    assert_eq!(story.answer(2, shown(&record(9, "a"))), nothing());
    story.event(Event::UnreadHere("slow".into()));
    // 2 and 3 make up the quorum; only 2 holds the value.
    assert_eq!(story.answer(3, shown(&Record::default())), ["merge a at 3"]);
    assert_eq!(story.event(Event::ReadHere(record(8, "b"))), ["merge a here"]);
    assert_eq!(story.event(Event::MergedHere), ["says a"]);
}

#[test]
fn in_a_last_writer_bucket_one_value_is_left() {
    let mut lww = both_up();
    lww.lww = true;
    let (mut story, _) = Story::with(lww, &record(1, "a"));
    assert!(story.answer(2, shown(&record(9, "b"))).contains(&"says b".to_owned()));
}
