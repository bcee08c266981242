//! Partitions that may have lost records: what they answer, and how they become whole again.
//!
//! ```text
//! lost or damaged -> surveyed: which rows cannot be read -> pulled from the other owners
//!                 -> rows that still cannot be read are given up
//!                 -> (too few whole copies: a person accepts it) -> trusted, as soon as that is durable
//! ```
//! Until then the vnode merges, and answers reads with what it has, which counts towards nothing; it does not
//! coordinate ([`word`]: what of that holds for a key). What was found is durable before anything rests on it, so that
//! a crash on the way changes nothing.

mod accept;
mod pulled;
mod stored;
pub(crate) mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use starling_antientropy::{self as antientropy, Held};
use starling_types::row::{RowRange, Space};
use starling_types::{BucketName, Generation, Instant, NodeId, PartitionId};
use starling_vnode::{self as vnode, RecordPage, Refused, ScanRange};

use super::row_range::{token_of, tokens_of, touch};
use super::{Context, Shard, Turn};
use crate::event::{Effect, Log};
use crate::losses::Losses;

/// Partitions that are surveyed at a time.
const SURVEYS: usize = 2;
/// Ranges of rows that cannot be read, remembered one by one in a partition; more than these count as one.
const MOST_RANGES: usize = 1_024;
/// What the disk refused is tried again after this long,
const AGAIN: Duration = Duration::from_secs(1);
/// and what it did not give after so long.
const UNREAD_AGAIN: Duration = Duration::from_secs(15);

/// What this node cannot vouch for.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    partitions: BTreeMap<PartitionId, Suspect>,
    /// Losses from before there was a layout.
    unplaced: Losses,
    /// The buckets that may lack something where nothing synced is lost; all if none is named.
    unsynced: BTreeSet<BucketName>,
    acceptances: Vec<accept::Acceptance>,
    serial: u64,
    /// The row under way.
    storing: Option<u64>,
    /// The row on disk is not what it should be.
    is_stale: bool,
    again: Option<Instant>,
    /// The generation to take once all that is lost is written down.
    raise: Option<Generation>,
}

/// One such partition.
#[derive(Debug)]
struct Suspect {
    why: String,
    stage: Stage,
    /// How much of it is here, as other owners are told.
    held: Held,
    /// Whether anything that was synced may be lost.
    synced: bool,
    /// A person has said that nothing more can come back.
    accepted: bool,
    /// Rows that could not be read before the pull began: what others hold of them takes their place.
    unreadable: Vec<RowRange>,
    /// Owners all of whose records are here by now, and how much of the partition they had themselves.
    pulled: BTreeMap<NodeId, Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Surveying(u64),
    Pulling,
    /// All owners were asked, and too few of them are whole: for a person to accept.
    Short,
    /// So many rows are being given up.
    GivingUp(usize),
    /// To be written down as whole.
    Whole,
    Storing(u64),
    /// The disk refused something on the way to [`Stage::Whole`].
    Refused,
}

impl Suspects {
    fn has_lost_synced(&self, partition: PartitionId) -> bool {
        self.partitions.get(&partition).is_some_and(|suspect| suspect.synced)
    }

    fn has_begun_to_pull(&self, partition: PartitionId) -> bool {
        let stage = self.partitions.get(&partition).map(|suspect| suspect.stage);
        stage.is_some_and(|stage| !matches!(stage, Stage::Waiting | Stage::Surveying(_)))
    }

    /// Partitions that cannot be vouched for.
    pub(crate) fn count(&self) -> usize {
        self.partitions.len()
    }

    /// Why, each reason once.
    pub(crate) fn reasons(&self) -> BTreeSet<&str> {
        self.partitions.values().map(|suspect| &*suspect.why).collect()
    }

    /// Why this one cannot be.
    pub(crate) fn reason(&self, partition: PartitionId) -> Option<&str> {
        self.partitions.get(&partition).map(|suspect| &*suspect.why)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.again
    }
}

impl Shard {
    /// What a start found to be lost, or an earlier one did; it is written down already, or being so.
    pub(super) fn lost_before_start(&mut self, turn: &mut Turn<'_>, losses: &Losses) {
        self.suspects.unplaced = losses.clone();
        self.place_losses(turn);
    }

    /// Losses belong to partitions once there are any.
    pub(super) fn place_losses(&mut self, turn: &mut Turn<'_>) {
        let Some(layout) = turn.view.layout() else { return };
        if self.suspects.unplaced.is_empty() {
            return;
        }
        let lost = std::mem::take(&mut self.suspects.unplaced);
        let bits = layout.bits();
        let owned: Vec<PartitionId> = layout.partitions_of(turn.view.me).collect();
        for partition in owned {
            let tokens = bits.range(partition);
            if lost.touch(&tokens) {
                self.doubt(turn, partition, "records may have been lost when the store was opened");
            } else if lost.touch_unsynced(&tokens) {
                self.doubt_unsynced(turn, partition, &lost.buckets);
            }
        }
        let found = self.suspects.partitions.len();
        let words = format!("{found} partitions may have lost records when the store was last opened");
        turn.out.push(Effect::Log(Log::Alarm(words)));
        // Should none of it be owned here any more, the row goes as well.
        self.suspects.is_stale |= self.suspects.partitions.is_empty();
        self.go_on(turn);
    }

    /// Other members know a later life of this node: its disk is one from before that.
    pub(super) fn lose_everything(&mut self, turn: &mut Turn<'_>, raise: Generation) {
        self.suspects.raise = Some(raise);
        self.suspects.is_stale = true;
        let layout = turn.view.layout().cloned();
        let owned = layout.iter().flat_map(|layout| layout.partitions_of(turn.view.me));
        for partition in owned.collect::<Vec<_>>() {
            self.doubt(turn, partition, "the data directory is from before this node's last life");
        }
        self.go_on(turn);
    }

    /// The partition may have lost records now, whatever was pulled before.
    fn doubt(&mut self, turn: &mut Turn<'_>, partition: PartitionId, why: &str) {
        self.doubt_as(turn, partition, Suspect::new(why, Held::Part, true));
    }

    /// What was acknowledged before it was synced may be gone: nobody else is worse off for it than these buckets.
    fn doubt_unsynced(
        &mut self,
        turn: &mut Turn<'_>,
        partition: PartitionId,
        buckets: &BTreeSet<BucketName>,
    ) {
        self.suspects.unsynced.clone_from(buckets);
        let held = if buckets.is_empty() { Held::Part } else { Held::Synced };
        let why = "the machine went down, and records that were never synced may be lost";
        self.doubt_as(turn, partition, Suspect::new(why, held, false));
    }

    fn doubt_as(&mut self, turn: &mut Turn<'_>, partition: PartitionId, found: Suspect) {
        if !turn.view.owns(partition) {
            return;
        }
        self.vnodes.retire_actor(partition);
        self.suspects.is_stale = true;
        let held = match self.suspects.partitions.get_mut(&partition) {
            Some(suspect) => suspect.join(found),
            None => {
                self.counters.doubted += 1;
                self.suspects.partitions.entry(partition).or_insert(found).held
            }
        };
        self.sweep_event(turn, antientropy::Event::Doubt(partition, held));
    }

    /// Rows that could not be read: their partitions may have lost records, unless that is known.
    pub(super) fn rows_damaged(&mut self, turn: &mut Turn<'_>, ranges: &[RowRange]) {
        let Some(layout) = turn.view.layout().cloned() else { return };
        let before = self.suspects.partitions.len();
        for range in ranges {
            if self.vnodes.are_given_up(range) {
                self.look_at_the_whole(turn, range);
                continue;
            }
            let Some(tokens) = tokens_of(range) else { continue };
            let first = layout.partition_of(*tokens.start());
            self.mend_from_memory(turn, range);
            for partition in (first.0..=layout.partition_of(*tokens.end()).0).map(PartitionId) {
                self.note_unreadable(turn, partition, range);
            }
        }
        if self.suspects.partitions.len() > before {
            let words =
                "stored records are damaged: their partitions are pulled from other owners; check the disk";
            turn.out.push(Effect::Log(Log::Alarm(words.into())));
        }
        self.go_on(turn);
    }

    /// In a range that was given up some rows were whole since: should one of them be damaged by now, its own read
    /// tells.
    fn look_at_the_whole(&mut self, turn: &Turn<'_>, range: &RowRange) {
        let cells = self.vnodes.whole_since(range).filter_map(|row| self.vnodes.cell_of(Space::Data, row));
        for cell in cells.collect::<Vec<_>>() {
            let op = self.calls.begin(Context::Mend);
            self.vnode(turn, vnode::Event::Read(op, cell));
        }
    }

    /// A record that is still in memory is not lost.
    fn mend_from_memory(&mut self, turn: &Turn<'_>, range: &RowRange) {
        let cell = range.single().and_then(|row| self.vnodes.cell_of(Space::Data, row));
        let Some(cell) = cell else { return };
        if self.vnodes.in_memory(&cell).is_some() {
            let op = self.calls.begin(Context::Mend);
            self.vnode(turn, vnode::Event::Mend(op, cell));
        }
    }

    fn note_unreadable(&mut self, turn: &mut Turn<'_>, partition: PartitionId, range: &RowRange) {
        let known = self.suspects.partitions.get(&partition).map_or(&[][..], |s| &s.unreadable);
        if known.iter().any(|known| known.covers(range)) {
            return;
        }
        // Found before anything is pulled, it is known in time; later, what was pulled before does not count.
        if !self.suspects.has_lost_synced(partition) || self.suspects.has_begun_to_pull(partition) {
            self.doubt(turn, partition, "stored records are damaged");
        }
        if let Some(suspect) = self.suspects.partitions.get_mut(&partition) {
            suspect.remember(range.clone());
        }
    }

    /// Begins whatever can be begun.
    fn go_on(&mut self, turn: &mut Turn<'_>) {
        let surveys = |s: &&mut Suspect| matches!(s.stage, Stage::Surveying(_));
        let mut under_way = self.suspects.partitions.values_mut().filter(surveys).count();
        let waiting = self.suspects.partitions.iter().filter(|(_, s)| s.stage == Stage::Waiting);
        for partition in waiting.map(|(&p, _)| p).take(SURVEYS).collect::<Vec<_>>() {
            if under_way < SURVEYS {
                under_way += 1;
                self.survey(turn, partition);
            }
        }
        self.store_losses(turn);
    }

    fn survey(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let Some(layout) = turn.view.layout() else { return };
        self.suspects.serial += 1;
        let serial = self.suspects.serial;
        if let Some(suspect) = self.suspects.partitions.get_mut(&partition) {
            suspect.stage = Stage::Surveying(serial);
        }
        let op = self.calls.begin(Context::Survey(partition, serial));
        self.scan_from(turn, op, *layout.bits().range(partition).start());
    }

    /// A page of a partition that is looked through.
    pub(super) fn surveyed(
        &mut self,
        turn: &mut Turn<'_>,
        partition: PartitionId,
        serial: u64,
        page: Result<RecordPage, Refused>,
    ) {
        let Some(layout) = turn.view.layout() else { return };
        let tokens = layout.bits().range(partition);
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        if suspect.stage != Stage::Surveying(serial) {
            return;
        }
        match page {
            // What is in it nobody knows: as long as that is so, the partition is suspect, and nothing is given up.
            Ok(page)
                if page.unread.iter().any(|range| tokens_of(range).is_some_and(|of| touch(&of, &tokens))) =>
            {
                suspect.stage = Stage::Waiting;
                self.suspects.again = Some(turn.now.instant + UNREAD_AGAIN);
            }
            Ok(page) => {
                let damaged = page.damaged.into_iter();
                let here = |range: &RowRange| tokens_of(range).is_some_and(|of| touch(&of, &tokens));
                damaged.filter(here).for_each(|range| suspect.remember(range));
                let next = page.next.filter(|key| token_of(key) <= *tokens.end());
                match next {
                    Some(next) => {
                        let op = self.calls.begin(Context::Survey(partition, serial));
                        self.vnode(turn, vnode::Event::Scan(op, ScanRange::Data, Some(next)));
                    }
                    None => self.pull_from_others(turn, partition),
                }
            }
            Err(_) => {
                suspect.stage = Stage::Waiting;
                self.suspects.again = Some(turn.now.instant + AGAIN);
            }
        }
    }

    fn pull_from_others(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        suspect.stage = Stage::Pulling;
        // Rows that cannot be read were synced, as far as anybody can tell.
        if !suspect.unreadable.is_empty() && !suspect.synced {
            (suspect.held, suspect.synced) = (Held::Part, true);
            self.suspects.is_stale = true;
            self.sweep_event(turn, antientropy::Event::Doubt(partition, Held::Part));
        }
        self.sweep_event(turn, antientropy::Event::Pull(partition));
        self.conclude_when_pulled(turn, partition);
        self.go_on(turn);
    }

    pub(super) fn tick_suspects(&mut self, turn: &mut Turn<'_>) {
        if self.suspects.again.take_if(|at| *at <= turn.now.instant).is_none() {
            return;
        }
        let refused = self.suspects.partitions.iter().filter(|(_, s)| s.stage == Stage::Refused);
        for partition in refused.map(|(&partition, _)| partition).collect::<Vec<_>>() {
            self.give_up_rows(turn, partition);
        }
        self.go_on(turn);
    }
}

impl Suspect {
    fn new(why: &str, held: Held, synced: bool) -> Self {
        Self {
            why: why.into(),
            stage: Stage::Waiting,
            held,
            synced,
            accepted: false,
            unreadable: Vec::new(),
            pulled: BTreeMap::new(),
        }
    }

    /// More may be lost than was known: what was pulled and accepted before does not count. How much is held then.
    fn join(&mut self, found: Self) -> Held {
        self.stage = Stage::Waiting;
        self.accepted = false;
        self.pulled.clear();
        self.held = self.held.min(found.held);
        self.synced |= found.synced;
        self.held
    }

    fn remember(&mut self, range: RowRange) {
        if self.unreadable.iter().any(|known| known.covers(&range)) {
            return;
        }
        self.unreadable.push(range);
        if self.unreadable.len() > MOST_RANGES {
            let ranges = std::mem::take(&mut self.unreadable);
            let first = ranges.iter().map(RowRange::start).min().cloned().unwrap_or_default();
            let ends: Option<Vec<&Bytes>> = ranges.iter().map(RowRange::end).collect();
            let end = ends.and_then(|ends| ends.into_iter().max().cloned());
            self.unreadable.push(RowRange::new(first, end));
        }
    }
}
