//! Answers in any order, repeated, missing or from strangers: every request is answered once, in time, and ends.

use std::collections::BTreeSet;

use proptest::prelude::*;
use starling_wire::replica::{Held, ReadAnswer, Recalled};

use super::*;
use crate::Event;
use crate::{Get, Put, put};

#[derive(Debug, Clone)]
struct Setting {
    others: Vec<Reach>,
    fallbacks: u64,
    quorum: u8,
    strict: bool,
    retry: bool,
    /// Contexts that it needs, modulo what there is.
    blind: u8,
    deletes: bool,
}

fn settings() -> impl Strategy<Value = Setting> {
    let reach = prop_oneof![4 => Just(UP), 1 => Just(SUSPECT), 1 => Just(DOWN)];
    (prop::collection::vec(reach, 0..5), 0u64..4, any::<bool>(), any::<bool>()).prop_flat_map(
        |(others, fallbacks, strict, retry)| {
            let n = others.len() as u8 + 1;
            (1..=n, 0..=n, any::<bool>()).prop_map(move |(quorum, blind, deletes)| Setting {
                others: others.clone(),
                fallbacks,
                quorum,
                strict,
                retry,
                blind,
                deletes,
            })
        },
    )
}

impl Setting {
    fn plan(&self) -> Plan {
        let others: Vec<_> = self.others.iter().zip(2..).map(|(&reach, n)| (n, reach)).collect();
        let fallbacks: Vec<u64> = (20..20 + self.fallbacks).collect();
        let mut plan = Plan { strict: self.strict, ..plan(&others, &fallbacks).needing(self.quorum) };
        plan.sets.each_mut().for_each(|set| set.contexts = self.blind);
        plan
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// The nth open question is answered in this way; `again` leaves it open for a repeated answer.
    Answer {
        nth: usize,
        how: u8,
        again: bool,
    },
    PeerDown(u64),
    Stranger,
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (any::<usize>(), 0u8..8, prop::bool::weighted(0.2))
            .prop_map(|(nth, how, again)| Step::Answer { nth, how, again }),
        1 => (2u64..24).prop_map(Step::PeerDown),
        1 => Just(Step::Stranger),
        2 => (1u64..400).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..40)
}

enum Machine {
    Put(Put),
    Get(Get),
}

enum Input {
    Put(Event),
    Get(Event),
}

/// The questions that have been asked and not answered.
#[derive(Debug, Clone)]
enum Open {
    /// Where no other node holds anything; after others were asked whether it is new.
    Coordinate(bool, bool),
    CommitHere,
    ReadHere,
    MergeHere,
    Merge(NodeId),
    Recall(NodeId),
    Read(NodeId, bool),
}

struct World {
    machine: Machine,
    plan: Plan,
    now: Instant,
    open: Vec<Open>,
    answers: Vec<(Instant, Answer)>,
    acked: BTreeSet<NodeId>,
}

impl World {
    fn start(setting: &Setting, write: bool) -> Self {
        let plan = setting.plan();
        let mut out = Vec::new();
        let machine = match write {
            true => {
                let tried = if setting.retry { put::Tried::Elsewhere } else { put::Tried::Never };
                let questions = Questions {
                    names_what_it_replaces: setting.blind == 0,
                    deletes: setting.deletes,
                    ..no_questions()
                };
                Machine::Put(Put::start(plan.clone(), subject(), tried, questions, &mut out))
            }
            false => Machine::Get(Get::start(plan.clone(), bucket(), key(), &mut out)),
        };
        let mut world = Self {
            machine,
            plan,
            now: Instant::ORIGIN,
            open: Vec::new(),
            answers: Vec::new(),
            acked: BTreeSet::new(),
        };
        world.take(out);
        world
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Coordinate(heard) => self.open.push(Open::Coordinate(heard.is_absent, heard.is_new)),
                Effect::ReadHere => self.open.push(Open::ReadHere),
                Effect::MergeHere(..) => self.open.push(Open::MergeHere),
                Effect::KeepHint(owner, _) => assert_ne!(owner, node(ME)),
                Effect::Send(to, _, message) => self.open.push(match message {
                    Message::Merge(_) => Open::Merge(to),
                    Message::Recall(_) => Open::Recall(to),
                    Message::Read(read) => Open::Read(to, read.digest.is_some()),
                    other => panic!("{other:?}"),
                }),
                Effect::Respond(answer) => {
                    if let Answer::Written(written) = &answer
                        && written.receipt.dot.is_some()
                    {
                        let owner = |n: &&NodeId| n.bits() < 20;
                        let counted = self.acked.iter().filter(|n| !self.plan.strict || owner(n));
                        assert!(counted.count() >= usize::from(self.plan.sets.first().quorum), "{written:?}");
                    }
                    self.answers.push((self.now, answer));
                }
            }
        }
    }

    fn input(&mut self, input: Input) {
        let mut out = Vec::new();
        match (&mut self.machine, input) {
            (Machine::Put(put), Input::Put(event)) => put.handle(self.now, event, &mut out),
            (Machine::Get(get), Input::Get(event)) => get.handle(self.now, event, &mut out),
            _ => unreachable!("inputs are made for the machine"),
        }
        self.take(out);
    }

    fn put(&mut self, event: Event) {
        self.input(Input::Put(event));
    }

    fn get(&mut self, event: Event) {
        self.input(Input::Get(event));
    }

    fn is_write(&self) -> bool {
        matches!(self.machine, Machine::Put(_))
    }

    fn is_over(&self) -> bool {
        match &self.machine {
            Machine::Put(put) => put.is_over(),
            Machine::Get(get) => get.is_over(),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        match &self.machine {
            Machine::Put(put) => put.next_deadline(),
            Machine::Get(get) => get.next_deadline(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Answer { nth, how, again } if !self.open.is_empty() => {
                let nth = nth % self.open.len();
                let open = self.open[nth].clone();
                let local = matches!(
                    open,
                    Open::Coordinate(..) | Open::CommitHere | Open::ReadHere | Open::MergeHere
                );
                if local || !again {
                    self.open.remove(nth);
                }
                self.answer(open, how);
            }
            Step::Answer { .. } => {}
            Step::PeerDown(n) if self.is_write() => self.put(Event::PeerDown(node(n))),
            Step::PeerDown(n) => self.get(Event::PeerDown(node(n))),
            Step::Stranger if self.is_write() => self.put(Event::Merged(node(99), DONE)),
            Step::Stranger => self.get(Event::Answered(node(99), ReadAnswer::Same)),
            Step::Pass(ms) => {
                let until = self.now + Duration::from_millis(ms);
                while let Some(due) = self.next_deadline().filter(|&due| due <= until) {
                    self.tick(due);
                }
                self.now = until;
            }
        }
    }

    fn tick(&mut self, due: Instant) {
        assert!(due >= self.now, "a deadline in the past would spin");
        self.now = due;
        match self.is_write() {
            true => self.put(Event::Tick),
            false => self.get(Event::Tick),
        }
    }

    fn answer(&mut self, open: Open, how: u8) {
        match (open, how) {
            (Open::Coordinate(..), 0) => self.put(Event::RefusedHere(local_failure())),
            (Open::Coordinate(_, false), 1) => self.put(Event::LateHere),
            (Open::Coordinate(..), 2) => self.put(Event::AheadHere(local_failure())),
            (Open::Coordinate(true, _), _) => self.put(Event::AbsentHere),
            (Open::Coordinate(..), _) => {
                self.open.push(Open::CommitHere);
                self.put(Event::Staged(staged()));
            }
            (Open::CommitHere, 0) => self.put(Event::RefusedHere(local_failure())),
            (Open::CommitHere, _) => {
                self.acked.insert(node(ME));
                self.put(Event::CommittedHere);
            }
            (Open::ReadHere, 0) => self.get(Event::UnreadHere("damaged".into())),
            (Open::ReadHere, 1) => self.get(Event::ReadHere(Record::default())),
            (Open::ReadHere, _) => self.get(Event::ReadHere(record(1, "v"))),
            (Open::MergeHere, _) if self.is_write() => self.put(Event::MergedHere),
            (Open::MergeHere, _) => self.get(Event::MergedHere),
            (Open::Merge(from), 0) => self.merged(from, refused()),
            (Open::Merge(from), 1) => self.merged(from, Merged::Done { durable: false }),
            (Open::Merge(from), _) => {
                self.acked.insert(from);
                self.merged(from, DONE);
            }
            (Open::Recall(from), how) => {
                let record = record(9, "first");
                let nothing = Held {
                    since: WallTime::from_millis(if how == 3 { 9_000 } else { 0 }),
                    context: record.context().clone(),
                    is_empty: how == 4,
                    is_sure: how != 5,
                };
                let recalled = match how {
                    0 => Recalled::Known { dot: Some(record.siblings()[0].dot), shown: held(&record) },
                    1 => Recalled::Claimed,
                    2 => Recalled::Refused(Refusal::NotReady),
                    _ => Recalled::Nothing(nothing),
                };
                self.put(Event::Recalled(from, recalled));
            }
            (Open::Read(from, compared), how) => {
                let answer = match how {
                    0 => ReadAnswer::Unknown,
                    1 => ReadAnswer::Refused(Refusal::NotReady),
                    2 => ReadAnswer::Record(held(&record(from.bits(), "w"))),
                    3 => ReadAnswer::Record(held(&Record::default())),
                    _ if compared => ReadAnswer::Same,
                    _ => ReadAnswer::Record(held(&record(1, "v"))),
                };
                self.get(Event::Answered(from, answer));
            }
        }
    }

    fn merged(&mut self, from: NodeId, answer: Merged) {
        match self.is_write() {
            true => self.put(Event::Merged(from, answer)),
            false => self.get(Event::Merged(from, answer)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once_in_time_and_ends(
        setting in settings(), write: bool, steps in steps(),
    ) {
        let mut world = World::start(&setting, write);
        for step in steps {
            world.step(step);
        }
        while let Some(due) = world.next_deadline() {
            prop_assert!(due <= world.plan.deadline);
            world.tick(due.max(world.now));
        }
        prop_assert!(world.is_over());
        prop_assert_eq!(world.answers.len(), 1);
        prop_assert!(world.answers[0].0 <= world.plan.deadline);
    }
}
