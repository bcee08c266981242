//! Random days: a partition is trusted only by the rule.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Act {
    Pulled(u64, Held, u64),
    Damaged(u8),
    Joined(u64),
    Survey { damaged: Option<u8>, readable: bool },
    Discarded(bool),
    Stored(bool),
    Accept,
    Tick,
}

fn act() -> impl Strategy<Value = Act> {
    let held = prop_oneof![1 => Just(Held::Part), 1 => Just(Held::Synced), 3 => Just(Held::All)];
    prop_oneof![
        8 => (2u64..6, held, 1u64..4).prop_map(|(n, held, fence)| Act::Pulled(n, held, fence)),
        1 => (0u8..4).prop_map(Act::Damaged),
        1 => (1u64..4).prop_map(Act::Joined),
        4 => (prop::option::of(0u8..4), prop::bool::weighted(0.8)).prop_map(|(damaged, readable)| Act::Survey { damaged, readable }),
        4 => prop::bool::weighted(0.8).prop_map(Act::Discarded),
        4 => prop::bool::weighted(0.8).prop_map(Act::Stored),
        1 => Just(Act::Accept),
        2 => Just(Act::Tick),
    ]
}

/// The knowledge of an onlooker: which nodes showed all that they had since the partition was last doubted, and what
/// the disk says.
#[derive(Default)]
struct Onlooker {
    sources: BTreeMap<u64, Held>,
    since: u64,
    accepted: bool,
    is_lost_on_disk: bool,
}

impl Story {
    fn act(&mut self, act: &Act, onlooker: &mut Onlooker) {
        match *act {
            Act::Pulled(n, held, fence) => {
                let counts = matches!(
                    self.custody.state(P),
                    State::Pulling { .. } | State::Unsure { is_short: true, .. }
                );
                if counts && fence >= onlooker.since {
                    onlooker.sources.insert(n, held);
                }
                let fence = LayoutVersion(fence);
                self.event(Event::Pulled { partition: P, source: node(n), held, fence });
            }
            Act::Damaged(n) => self.event(Event::Damaged(vec![row(0, n)])),
            Act::Joined(since) => {
                onlooker.since = onlooker.since.max(since);
                self.event(Event::Joined(P, LayoutVersion(since)));
            }
            Act::Survey { damaged, readable } if !self.scans.is_empty() => {
                let (partition, ticket) = self.scans.remove(0);
                let damaged = damaged.into_iter().map(|n| row(0, n)).collect();
                let page = Surveyed { damaged, ..Surveyed::default() };
                self.event(Event::Page(partition, ticket, readable.then_some(page)));
            }
            Act::Discarded(done) if !self.discards.is_empty() => self.discard(done),
            Act::Stored(done) if !self.stores.is_empty() => {
                if done {
                    onlooker.is_lost_on_disk = !self.stores[0].1.is_empty();
                }
                self.store(done);
            }
            Act::Accept => {
                let could = self.custody.short() == 1;
                self.accept(None, false);
                onlooker.accepted |= could;
            }
            Act::Tick if self.custody.next_deadline().is_some() => drop(self.tick()),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn a_partition_is_trusted_only_after_enough_whole_sources_or_a_persons_word(
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let mut story = Story::of(5, 1);
        let mut onlooker = Onlooker::default();
        for act in &acts {
            let was_unsure = story.custody.count() == 1;
            story.act(act, &mut onlooker);
            let told = story.told();
            if told.contains(&"trust p0".to_owned()) {
                prop_assert!(was_unsure && !onlooker.is_lost_on_disk, "what the disk says comes first");
                let synced = onlooker.sources.values().filter(|held| **held >= Held::Synced).count();
                prop_assert!(synced >= 3 || onlooker.accepted, "{:?}", onlooker.sources);
                onlooker = Onlooker::default();
            }
            if told.iter().any(|words| words.starts_with("doubt")) {
                onlooker.sources.clear();
                onlooker.accepted = false;
            }
            // A full answer rests on the same.
            let synced = onlooker.sources.values().filter(|held| **held >= Held::Synced).count();
            if story.custody.count() == 1 && story.word("default") == Word::Full {
                prop_assert!(synced >= 3);
            }
        }
    }

    /// After any acts, a quiet end in which all owners are whole makes it whole.
    #[test]
    fn it_becomes_whole_when_nothing_goes_wrong_any_more(acts in prop::collection::vec(act(), 1..80)) {
        let mut story = Story::of(5, 1);
        let mut onlooker = Onlooker::default();
        acts.iter().for_each(|act| story.act(act, &mut onlooker));
        for _ in 0..40 {
            if story.custody.next_deadline().is_some() {
                story.tick();
            }
            story.act(&Act::Survey { damaged: None, readable: true }, &mut onlooker);
            (2..6).for_each(|n| story.act(&Act::Pulled(n, Held::All, 3), &mut onlooker));
            (0..4).for_each(|_| story.act(&Act::Discarded(true), &mut onlooker));
            story.act(&Act::Stored(true), &mut onlooker);
        }
        prop_assert_eq!(story.custody.count(), 0);
        prop_assert_eq!(story.word("default"), Word::Full);
    }
}
