//! Stories of one node among five, told in words, and random days against the rule that they illustrate.

mod joiners;
mod losses;
mod random;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use starling_types::row::RowRange;
use starling_types::{
    BucketName, BucketProps, Generation, Held, Instant, Key, LayoutVersion, NodeId, PartitionBits,
    PartitionId, QualifiedKey, Token,
};

use crate::tokens::first_row;
use crate::{Custody, Effect, Event, Holdings, Log, Losses, OrderId, Rules, State, Surveyed, Ticket, Word};

const P: PartitionId = PartitionId(0);

/// Node 1, and what it asked for that was not answered.
struct Story {
    custody: Custody,
    now: Instant,
    told: Vec<String>,
    scans: Vec<(PartitionId, Ticket)>,
    discards: Vec<(PartitionId, Ticket, RowRange)>,
    stores: Vec<(Ticket, Losses)>,
}

fn node(n: u64) -> NodeId {
    NodeId::from_bits(n)
}

fn bits() -> PartitionBits {
    PartitionBits::try_from(2).unwrap()
}

fn set(nodes: impl IntoIterator<Item = u64>) -> BTreeSet<NodeId> {
    nodes.into_iter().map(node).collect()
}

/// Some of the partitions, under these sets of owners each.
fn holdings(partitions: impl IntoIterator<Item = u32>, sets: &[BTreeSet<NodeId>]) -> Holdings {
    Holdings { bits: bits(), sets: partitions.into_iter().map(|p| (PartitionId(p), sets.to_vec())).collect() }
}

fn bucket(name: &str) -> BucketName {
    BucketName::new(name).unwrap()
}

/// `default`, and two others: `lax` takes single acks for nothing, and `memory` does not wait for the disk.
fn rules() -> Rules {
    let props = BucketProps::default;
    [
        (BucketName::default_bucket(), props()),
        (bucket("lax"), BucketProps { least_w: Some(5), ..props() }),
        (bucket("memory"), BucketProps { durable: false, ..props() }),
    ]
    .into()
}

/// A key that lies in [`P`].
fn key(name: &str) -> QualifiedKey {
    let keys = (0..).map(|n| Key::new(format!("k{n}")).unwrap());
    let mut keys = keys.map(|key| QualifiedKey::new(0, bucket(name), key));
    keys.find(|key| bits().partition_of(key.token()) == P).unwrap()
}

/// A row of the partition.
fn row(partition: u32, n: u8) -> RowRange {
    let first = first_row(*bits().range(PartitionId(partition)).start());
    RowRange::row(&[&first[..], &[n]].concat().into())
}

impl Story {
    /// Owners 1 to `n` of the first `partitions`, all up, with nothing lost.
    fn of(n: u64, partitions: u32) -> Self {
        let custody = Custody::new(node(1));
        let (told, scans, discards, stores) = Default::default();
        let mut story = Self { custody, now: Instant::ORIGIN, told, scans, discards, stores };
        story.event(Event::Rules(rules()));
        story.event(Event::Layout(holdings(0..partitions, &[set(1..=n)])));
        (2..=n).for_each(|n| story.event(Event::Up(node(n))));
        story
    }

    /// The same after a start that found everything lost.
    fn lost(n: u64, partitions: u32) -> Self {
        let mut story = Self::of(n, partitions);
        story.event(Event::Lost(Losses::everything()));
        story.told.clear();
        story
    }

    /// The same when nothing unreadable was found, and the pull of [`P`] has begun.
    fn pulling(n: u64) -> Self {
        let mut story = Self::lost(n, 1);
        story.store(true);
        story.survey(&[]);
        assert_eq!(story.told(), ["pull p0"]);
        story
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.custody.handle(self.now, event, &mut out);
        out.into_iter().for_each(|effect| self.take_note(effect));
    }

    fn take_note(&mut self, effect: Effect) {
        let words = match effect {
            Effect::Scan(partition, ticket, _) => {
                self.scans.push((partition, ticket));
                format!("scan {partition}")
            }
            Effect::Discard(partition, ticket, range) => {
                self.discards.push((partition, ticket, range));
                format!("discard {partition}")
            }
            Effect::Store(ticket, lost) => {
                let words = format!("store {} and {} ranges", lost.tokens.len(), lost.unsynced.len());
                self.stores.push((ticket, lost));
                words
            }
            Effect::Retire(_) => return,
            Effect::Doubt(partition, held) => format!("doubt {partition}: {held:?}"),
            Effect::Pull(partition) => format!("pull {partition}"),
            Effect::Noted(number) => format!("noted {number}"),
            Effect::Raise(generation) => format!("raise {}", generation.0),
            Effect::Trust(partition) => format!("trust {partition}"),
            Effect::Leave(partition) => format!("leave {partition}"),
            Effect::Accepted(_, Ok(partitions)) => format!("accepted {partitions}"),
            Effect::Accepted(_, Err(why)) => format!("refused: {}", why.split([',', ':']).next().unwrap()),
            Effect::Log(Log::Alarm(words)) => {
                format!("alarm: {}", words.split(" whole copies").next().unwrap())
            }
            Effect::Log(Log::Recovered(_)) => "recovered".into(),
        };
        self.told.push(words);
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    /// The first scan that waits finds these rows unreadable, and is the last one of its partition.
    fn survey(&mut self, damaged: &[RowRange]) {
        let (partition, ticket) = self.scans.remove(0);
        let page = Surveyed { damaged: damaged.to_vec(), ..Surveyed::default() };
        self.event(Event::Page(partition, ticket, Some(page)));
    }

    fn store(&mut self, done: bool) {
        let (ticket, _) = self.stores.remove(0);
        self.event(Event::Stored(ticket, done));
    }

    fn discard(&mut self, done: bool) {
        let (partition, ticket, _) = self.discards.remove(0);
        self.event(Event::GaveUp(partition, ticket, done));
    }

    fn pulled(&mut self, source: u64, held: Held) {
        let fence = LayoutVersion::FIRST;
        self.event(Event::Pulled { partition: P, source: node(source), held, fence });
    }

    fn accept(&mut self, partition: Option<PartitionId>, without_silent: bool) {
        self.event(Event::Accept { by: OrderId(7), partition, without_silent });
    }

    /// Lets the next deadline come; after how long it does.
    fn tick(&mut self) -> Duration {
        let due = self.custody.next_deadline().unwrap();
        let passed = due.since(self.now);
        self.now = due;
        self.event(Event::Tick);
        passed
    }

    fn word(&self, bucket: &str) -> Word {
        self.custody.word(&key(bucket))
    }

    /// The sources that [`P`] is being pulled from.
    fn from(&self) -> BTreeSet<NodeId> {
        match self.custody.state(P) {
            State::Pulling { from, .. } => from,
            other => panic!("{other:?}"),
        }
    }
}
