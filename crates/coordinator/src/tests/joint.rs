//! Requests over several owner sets, as they run while the layout changes.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use starling_types::Outcome;
use starling_wire::replica::{Held, Recalled};

use super::*;
use crate::put::{Put, Tried};
use crate::{Event, Verdict};

fn staged_put(plan: Plan) -> (Put, Vec<String>) {
    let mut out = Vec::new();
    let mut put = Put::start(plan, subject(), Tried::Never, no_questions(), &mut out);
    assert_eq!(words(out), ["coordinate"]);
    let sent = told(&mut put, Event::Staged(staged()));
    (put, sent)
}

fn told(put: &mut Put, event: Event) -> Vec<String> {
    let mut out = Vec::new();
    put.handle(at(0), event, &mut out);
    words(out)
}

fn acked(put: &mut Put, from: u64) -> Vec<String> {
    told(put, Event::Merged(node(from), DONE))
}

const NONE: [&str; 0] = [];

#[test]
fn a_write_wins_in_each_set_and_a_node_in_two_counts_in_both() {
    let (mut put, sent) = staged_put(plan_over(&[(&[1, 2, 4], 2), (&[1, 2, 3], 2)], &[], &[]));
    assert_eq!(sent, ["merge v at 2", "merge v at 4", "merge v at 3"], "each owner once");
    assert_eq!(told(&mut put, Event::CommittedHere), NONE);
    assert_eq!(acked(&mut put, 4), NONE, "two in the first set, one in the second");
    assert_eq!(acked(&mut put, 3), ["written: acked 3 owners 3 hinted 0"]);

    let (mut put, _) = staged_put(plan_over(&[(&[1, 2, 4], 2), (&[1, 2, 3], 2)], &[], &[]));
    told(&mut put, Event::CommittedHere);
    assert_eq!(acked(&mut put, 2), ["written: acked 2 owners 2 hinted 0"]);
}

#[test]
fn as_many_acks_as_both_quorums_need_are_too_few_if_one_set_gave_them_all() {
    let (mut put, _) = staged_put(plan_over(&[(&[1, 2, 3], 2), (&[4, 5, 6], 2)], &[], &[]));
    told(&mut put, Event::CommittedHere);
    assert_eq!([acked(&mut put, 2), acked(&mut put, 3), acked(&mut put, 4)].concat(), NONE);
    assert_eq!(acked(&mut put, 6), ["written: acked 5 owners 5 hinted 0"]);
}

#[test]
fn sets_have_quorums_of_their_own() {
    let sets: [(&[u64], u8); 2] = [(&[1, 2, 3, 4, 5], 3), (&[1, 2, 6], 1)];
    let (mut put, _) = staged_put(plan_over(&sets, &[], &[]));
    told(&mut put, Event::CommittedHere);
    assert_eq!(acked(&mut put, 6), NONE);
    assert_eq!(acked(&mut put, 3), NONE);
    assert_eq!(acked(&mut put, 5), ["written: acked 4 owners 4 hinted 0"]);
}

#[test]
fn a_write_fails_as_soon_as_one_set_cannot_reach_its_quorum_and_says_which() {
    let (mut put, _) = staged_put(strict(plan_over(&[(&[1, 2, 3], 2), (&[1, 4, 5], 2)], &[], &[])));
    told(&mut put, Event::CommittedHere);
    acked(&mut put, 2);
    assert_eq!(acked(&mut put, 3), NONE);
    assert_eq!(told(&mut put, Event::PeerDown(node(4))), ["hint for 4"]);
    let mut out = Vec::new();
    put.handle(at(0), Event::PeerDown(node(5)), &mut out);
    let failure = failure(&out);
    assert_eq!(failure.outcome, Outcome::Unknown);
    assert!(failure.detail.starts_with("1 of 2 needed replicas acked"), "{failure}");
}

#[test]
fn a_set_out_of_reach_refuses_the_write_with_nothing_changed() {
    let sets: [(&[u64], u8); 2] = [(&[1, 2, 3], 2), (&[1, 4, 5], 2)];
    let down = [(4, DOWN), (5, DOWN)];
    assert_eq!(plan_over(&sets, &down, &[]).out_of_reach(), Some((1, 2)));
    assert_eq!(plan_over(&sets, &down, &[7]).out_of_reach(), None);
    assert_eq!(strict(plan_over(&sets, &down, &[7])).out_of_reach(), Some((1, 2)));
}

#[test]
fn a_fallback_counts_where_the_owner_does_that_it_stands_for() {
    let sets: [(&[u64], u8); 2] = [(&[1, 2, 3], 2), (&[1, 4, 5], 2)];
    let (mut put, sent) = staged_put(plan_over(&sets, &[(4, DOWN)], &[7]));
    assert_eq!(sent, ["merge v at 2", "merge v at 3", "merge v at 5", "for 4: merge at 7"]);
    told(&mut put, Event::CommittedHere);
    assert_eq!(acked(&mut put, 7), NONE, "it is no copy for the first set");
    assert_eq!(acked(&mut put, 2), ["written: acked 3 owners 2 hinted 0"]);
}

#[test]
fn an_owner_under_one_layout_is_no_fallback_under_another() {
    let plan = plan_over(&[(&[1, 2, 3], 2), (&[1, 2, 4], 2)], &[(3, DOWN)], &[4, 5]);
    assert_eq!(plan.fallbacks, [node(5)]);
}

#[test]
fn a_blind_write_hears_enough_owners_of_each_set() {
    let sets: [(&[u64], u8); 2] = [(&[1, 2, 3], 2), (&[1, 4, 5], 2)];
    let blind = Questions { names_what_it_replaces: false, ..no_questions() };
    let hears = |put: &mut Put, from, is_sure| {
        let context = record(from, "x").context().clone();
        let held = Held { since: WallTime::from_millis(1_000), context, is_empty: false, is_sure };
        told(put, Event::Recalled(node(from), Recalled::Nothing(held)))
    };
    let mut out = Vec::new();
    let mut put = Put::start(plan_over(&sets, &[], &[]), subject(), Tried::Never, blind, &mut out);
    assert_eq!(words(out), ["recall 2", "recall 4"], "one beside this node in each");
    assert_eq!(hears(&mut put, 2, true), NONE);
    assert_eq!(hears(&mut put, 4, false), ["recall 5"], "the set that lacks one, not the first in order");
    assert_eq!(hears(&mut put, 5, true), ["coordinate over 2 over 4 over 5"]);
}

#[test]
fn a_retry_is_made_only_if_owners_of_each_set_would_remember_the_first_try() {
    let sets: [(&[u64], u8); 2] = [(&[1, 2, 3], 2), (&[1, 4, 5], 2)];
    let remember = |put: &mut Put, from, since| {
        let context = VersionVector::new();
        let since = WallTime::from_millis(since);
        let held = Held { since, context, is_empty: false, is_sure: true };
        told(put, Event::Recalled(node(from), Recalled::Nothing(held)))
    };
    for (since, said) in [(1_000, "coordinate as new"), (9_000, "quorum_not_reached unknown")] {
        let mut out = Vec::new();
        let plan = plan_over(&sets, &[], &[]);
        let mut put = Put::start(plan, subject(), Tried::Elsewhere, no_questions(), &mut out);
        assert_eq!(words(out), ["recall 2", "recall 3", "recall 4", "recall 5"]);
        remember(&mut put, 2, 1_000);
        remember(&mut put, 3, 1_000);
        remember(&mut put, 4, since);
        assert_eq!(remember(&mut put, 5, 9_000), [said]);
    }
}

/// Sets of owners 1 to 7, this node in some of them, and what becomes of the nodes asked.
#[derive(Debug, Clone)]
struct Setting {
    sets: Vec<(Vec<u64>, u8)>,
    down: BTreeSet<u64>,
    fallbacks: u64,
    strict: bool,
    /// Which of those that were asked answers next, and how.
    answers: Vec<(usize, bool)>,
}

fn settings() -> impl Strategy<Value = Setting> {
    let set = (prop::collection::btree_set(ME..8, 1..6), any::<prop::sample::Index>());
    let set = set.prop_map(|(owners, quorum)| {
        let quorum = quorum.index(owners.len()) as u8 + 1;
        (Vec::from_iter(owners), quorum)
    });
    (
        prop::collection::vec(set, 1..4),
        prop::collection::btree_set(2u64..8, 0..3),
        0u64..4,
        any::<bool>(),
        prop::collection::vec((any::<usize>(), prop::bool::weighted(0.7)), 0..16),
    )
        .prop_map(|(sets, down, fallbacks, strict, answers)| Setting {
            sets,
            down,
            fallbacks,
            strict,
            answers,
        })
}

impl Setting {
    fn plan(&self) -> Plan {
        let sets: Vec<_> = self.sets.iter().map(|(owners, quorum)| (&owners[..], *quorum)).collect();
        let reach: Vec<_> = self.down.iter().map(|&n| (n, DOWN)).collect();
        let fallbacks: Vec<u64> = (20..20 + self.fallbacks).collect();
        Plan { strict: self.strict, ..plan_over(&sets, &reach, &fallbacks) }
    }
}

/// The question to each node, and its answer: written down without a thought for speed, or for the plan.
#[derive(Debug, Default)]
struct Ledger {
    open: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    stands_for: BTreeMap<u64, u64>,
}

impl Ledger {
    fn note(&mut self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Send(to, _, Message::Merge(merge)) = effect {
                self.open.insert(to.bits());
                self.stands_for.extend(merge.stands_for.map(|owner| (to.bits(), owner.bits())));
            }
        }
    }

    /// Whether a node holds a copy for an owner of the set.
    fn serves(&self, n: u64, setting: &Setting, owners: &[u64]) -> bool {
        match self.stands_for.get(&n) {
            Some(owner) => !setting.strict && owners.contains(owner),
            None => owners.contains(&n),
        }
    }

    fn verdict(&self, setting: &Setting) -> Verdict {
        let asked_fallbacks = self.stands_for.len() as u64;
        let spare = if setting.strict { 0 } else { setting.fallbacks - asked_fallbacks };
        let mut verdict = Verdict::Succeed;
        for (owners, quorum) in &setting.sets {
            let count = |nodes: &BTreeSet<u64>| {
                nodes.iter().filter(|&&n| self.serves(n, setting, owners)).count() as u64
            };
            let acked = count(&self.acked);
            let others: BTreeSet<u64> = self.open.difference(&[ME].into()).copied().collect();
            let hope = acked + count(&self.open) + spare.min(count(&others));
            if hope < u64::from(*quorum) {
                return Verdict::Fail;
            }
            if acked < u64::from(*quorum) {
                verdict = Verdict::Wait;
            }
        }
        verdict
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// In whatever order the nodes answer: the client is told at the answer that settles it in the last open set, or
    /// that leaves one of them without hope, and which of the two it was.
    #[test]
    fn a_write_is_acked_when_it_has_won_in_every_set_and_no_sooner_or_later(setting in settings()) {
        let mut out = Vec::new();
        let mut put = Put::start(setting.plan(), subject(), Tried::Never, no_questions(), &mut out);
        put.handle(at(0), Event::Staged(staged()), &mut out);
        let mut ledger = Ledger { open: [ME].into(), ..Ledger::default() };
        let mut answers = setting.answers.iter();
        while setting.plan().out_of_reach().is_none() {
            ledger.note(&out);
            let answered = out.drain(..).find_map(|effect| match effect {
                Effect::Respond(Answer::Written(_)) => Some(Verdict::Succeed),
                Effect::Respond(_) => Some(Verdict::Fail),
                _ => None,
            });
            prop_assert_eq!(answered.unwrap_or(Verdict::Wait), ledger.verdict(&setting), "{:?}", ledger);
            let Some(&(nth, yes)) = answers.next().filter(|_| answered.is_none()) else { break };
            let from = *ledger.open.iter().nth(nth % ledger.open.len()).unwrap();
            ledger.open.remove(&from);
            ledger.acked.extend(yes.then_some(from));
            let event = match (from, yes) {
                (ME, true) => Event::CommittedHere,
                (ME, false) => Event::RefusedHere(local_failure()),
                (from, yes) => Event::Merged(node(from), if yes { DONE } else { refused() }),
            };
            put.handle(at(0), event, &mut out);
        }
    }
}
