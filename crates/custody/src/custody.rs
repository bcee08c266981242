//! The machine.

use std::collections::{BTreeMap, BTreeSet};

use starling_types::planted::{self, Bug};
use starling_types::row::RowRange;
use starling_types::{BucketName, Generation, Held, Instant, NodeId, PartitionId, QualifiedKey, Token};

use crate::acceptance::Acceptances;
use crate::event::{Counters, Effect, Event, Holdings, Log, Rules, Ticket};
use crate::losses::Losses;
use crate::sources::Sources;
use crate::tokens::tokens_of;
use crate::unsure::{Stage, Unsure};
use crate::word::Word;

/// The machine that knows how far one node can vouch for its partitions.
#[derive(Debug)]
pub struct Custody {
    me: NodeId,
    pub(crate) holdings: Option<Holdings>,
    rules: Rules,
    pub(crate) up: BTreeSet<NodeId>,
    pub(crate) partitions: BTreeMap<PartitionId, Unsure>,
    /// Losses from before there was a layout.
    pub(crate) unplaced: Losses,
    /// The buckets that may lack something where nothing synced is lost; all if none is named.
    pub(crate) unsynced: BTreeSet<BucketName>,
    pub(crate) acceptances: Acceptances,
    tickets: u64,
    pub(crate) row: Row,
    pub(crate) counters: Counters,
    /// Looked for after each event: a node asks for it in every turn.
    next: Option<Instant>,
}

/// The row that keeps what may be lost.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// The write of it that is under way.
    pub(crate) storing: Option<Ticket>,
    /// On disk it is not what it should be,
    pub(crate) is_stale: bool,
    /// and the disk refused it until this moment.
    pub(crate) again: Instant,
    /// The generation to take once all that is lost is written down.
    pub(crate) raise: Option<Generation>,
    /// To be answered once all that is lost is written down.
    pub(crate) note: Option<u64>,
}

/// How it stands with a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State<'a> {
    /// It is vouched for, if it is held at all.
    Whole,
    /// Something of it may be lost.
    Unsure {
        /// The loss that made it so.
        why: &'a str,
        /// All sources were heard, and too few are whole: a person must say that no more can come back.
        is_short: bool,
    },
    /// It is being pulled.
    Pulling {
        /// The loss that made it so.
        why: &'a str,
        /// Sources that have not shown all that they have.
        from: BTreeSet<NodeId>,
    },
}

impl Custody {
    /// A node that has lost nothing, and holds nothing before it has heard of a layout.
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            holdings: None,
            rules: Rules::new(),
            up: BTreeSet::new(),
            partitions: BTreeMap::new(),
            unplaced: Losses::NONE,
            unsynced: BTreeSet::new(),
            acceptances: Acceptances::default(),
            tickets: 0,
            row: Row::default(),
            counters: Counters::default(),
            next: None,
        }
    }

    /// The one entrance.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Layout(holdings) => self.layout(holdings, out),
            Event::Rules(rules) => self.rules = rules,
            Event::Up(node) => drop(self.up.insert(node)),
            Event::Down(node) => drop(self.up.remove(&node)),
            Event::Lost(losses) => {
                self.unplaced = losses;
                self.place_losses(out);
            }
            Event::LaterLife(generation) => self.lose_everything(generation, out),
            Event::Damaged(ranges) => self.damaged(&ranges, out),
            Event::Note(number) => self.row.note = Some(number),
            Event::Joined(partition, since) => {
                let why = "it came with a layout, and is being pulled from its owners before";
                self.doubt(partition, Unsure { since, ..Unsure::new(why, Held::Part, true) }, out);
            }
            Event::Page(partition, ticket, page) => self.surveyed(now, partition, ticket, page, out),
            Event::Pulled { partition, source, held, fence } => {
                self.pulled(partition, source, (held, fence), out);
            }
            Event::GaveUp(partition, ticket, done) => self.gave_up(now, partition, ticket, done, out),
            Event::Stored(ticket, done) => self.stored(now, ticket, done, out),
            Event::Accept { by, partition, without_silent } => {
                self.accept(by, partition, without_silent, out);
            }
            Event::Tick => {}
        }
        self.go_on(now, out);
        self.next = self.find_deadline(now);
    }

    /// When [`Event::Tick`] is due.
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// How far this node can answer for a key.
    pub fn word(&self, key: &QualifiedKey) -> Word {
        let unsure = self.unsure_at(key.token()).filter(|_| !planted::on(Bug::SuspectVouches));
        let Some((partition, unsure)) = unsure else { return Word::Full };
        if unsure.held == Held::Synced && !self.unsynced.contains(key.bucket()) {
            return Word::Full;
        }
        unsure.word(&self.sources(partition), key.bucket())
    }

    /// Whether anything may be lost where the token lies.
    pub fn is_unsure(&self, token: Token) -> bool {
        self.unsure_at(token).is_some()
    }

    /// How it stands with a partition.
    pub fn state(&self, partition: PartitionId) -> State<'_> {
        let Some(unsure) = self.partitions.get(&partition) else { return State::Whole };
        match unsure.stage {
            Stage::Pulling => {
                State::Pulling { why: &unsure.why, from: self.sources(partition).unheard(unsure) }
            }
            stage => State::Unsure { why: &unsure.why, is_short: stage == Stage::Short },
        }
    }

    /// Why one cannot be vouched for, if it cannot.
    pub fn why(&self, partition: PartitionId) -> Option<&str> {
        self.partitions.get(&partition).map(|unsure| &*unsure.why)
    }

    /// Partitions that cannot be vouched for.
    pub fn count(&self) -> usize {
        self.partitions.len()
    }

    /// Those among them that wait for a person.
    pub fn short(&self) -> usize {
        self.partitions.values().filter(|unsure| unsure.stage == Stage::Short).count()
    }

    /// Why they cannot be, each reason once.
    pub fn reasons(&self) -> BTreeSet<&str> {
        self.partitions.values().map(|unsure| &*unsure.why).collect()
    }

    /// The counts of partitions since the start.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn unsure_at(&self, token: Token) -> Option<(PartitionId, &Unsure)> {
        let partition = self.holdings.as_ref()?.bits.partition_of(token);
        Some((partition, self.partitions.get(&partition)?))
    }

    pub(crate) fn sources(&self, partition: PartitionId) -> Sources<'_> {
        let sets = self.holdings.as_ref().and_then(|holdings| holdings.sets.get(&partition));
        Sources { me: self.me, sets: sets.map_or(&[], Vec::as_slice), rules: &self.rules }
    }

    pub(crate) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn layout(&mut self, holdings: Holdings, out: &mut Vec<Effect>) {
        let left = self.partitions.keys().filter(|partition| !holdings.sets.contains_key(partition));
        for partition in left.copied().collect::<Vec<_>>() {
            self.partitions.remove(&partition);
            self.row.is_stale = true;
            out.push(Effect::Leave(partition));
            self.acceptances.settle(partition, false, out);
        }
        self.holdings = Some(holdings);
        self.place_losses(out);
        // Other owners may be enough, or all that there are.
        self.partitions
            .keys()
            .copied()
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|p| self.conclude_when_pulled(p, out));
    }

    /// Losses belong to partitions once there are any.
    fn place_losses(&mut self, out: &mut Vec<Effect>) {
        let Some(holdings) = self.holdings.as_ref().filter(|_| !self.unplaced.is_empty()) else { return };
        let bits = holdings.bits;
        let owned: Vec<PartitionId> = holdings.sets.keys().copied().collect();
        let lost = std::mem::take(&mut self.unplaced);
        for partition in owned {
            let tokens = bits.range(partition);
            if lost.touch(&tokens) {
                let why = "records may have been lost when the store was opened";
                self.doubt(partition, Unsure::new(why, Held::Part, true), out);
            } else if lost.touch_unsynced(&tokens) {
                // No bucket but these is worse off for it.
                self.unsynced.clone_from(&lost.buckets);
                let held = if lost.buckets.is_empty() { Held::Part } else { Held::Synced };
                let why = "the machine went down, and records that were never synced may be lost";
                self.doubt(partition, Unsure::new(why, held, false), out);
            }
        }
        let found = self.partitions.len();
        let words = format!("{found} partitions may have lost records when the store was last opened");
        out.push(Effect::Log(Log::Alarm(words)));
        // Should none of it be owned here any more, the row goes as well.
        self.row.is_stale |= self.partitions.is_empty();
    }

    fn lose_everything(&mut self, raise: Generation, out: &mut Vec<Effect>) {
        self.row.raise = Some(raise);
        self.row.is_stale = true;
        let owned = self.holdings.iter().flat_map(|holdings| holdings.sets.keys());
        for partition in owned.copied().collect::<Vec<_>>() {
            let why = "the data directory is from before this node's last life";
            self.doubt(partition, Unsure::new(why, Held::Part, true), out);
        }
    }

    /// The partition may have lost records now, even if it was pulled before.
    fn doubt(&mut self, partition: PartitionId, found: Unsure, out: &mut Vec<Effect>) {
        if !self.holdings.as_ref().is_some_and(|holdings| holdings.sets.contains_key(&partition)) {
            return;
        }
        out.push(Effect::Retire(partition));
        self.row.is_stale = true;
        if let Some(unsure) = self.partitions.get_mut(&partition) {
            unsure.join(found);
            return out.push(Effect::Doubt(partition, unsure.held));
        }
        self.counters.doubted += 1;
        out.push(Effect::Doubt(partition, found.held));
        self.partitions.insert(partition, found);
    }

    /// Rows that could not be read: their partitions may have lost records, unless that is known.
    fn damaged(&mut self, ranges: &[RowRange], out: &mut Vec<Effect>) {
        let Some(bits) = self.holdings.as_ref().map(|holdings| holdings.bits) else { return };
        let before = self.partitions.len();
        for range in ranges {
            let Some(tokens) = tokens_of(range) else { continue };
            let (first, last) = (bits.partition_of(*tokens.start()), bits.partition_of(*tokens.end()));
            (first.0..=last.0).for_each(|partition| self.note_unreadable(PartitionId(partition), range, out));
        }
        if self.partitions.len() > before {
            let words =
                "stored records are damaged: their partitions are pulled from other owners; check the disk";
            out.push(Effect::Log(Log::Alarm(words.into())));
        }
    }

    fn note_unreadable(&mut self, partition: PartitionId, range: &RowRange, out: &mut Vec<Effect>) {
        let known = self.partitions.get(&partition);
        if known.is_some_and(|unsure| unsure.remembers(range)) {
            return;
        }
        // Found before anything is pulled, it is known in time; later, what was pulled before does not count.
        if known.is_none_or(|unsure| !unsure.synced || unsure.has_begun_to_pull()) {
            self.doubt(partition, Unsure::new("stored records are damaged", Held::Part, true), out);
        } else {
            // With the rows goes what the present name has minted for them since it was taken.
            out.push(Effect::Retire(partition));
        }
        if let Some(unsure) = self.partitions.get_mut(&partition) {
            unsure.remember(range.clone());
        }
    }

    /// All that could be begun by now was: only later moments count.
    fn find_deadline(&self, now: Instant) -> Option<Instant> {
        let store = Some(self.row.again).filter(|_| self.row.is_stale && self.row.storing.is_none());
        self.partitions.values().filter_map(Unsure::due).chain(store).filter(|&at| at > now).min()
    }
}
