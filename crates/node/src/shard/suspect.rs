//! Partitions that may have lost records: what they answer, and how they become whole again.
//!
//! ```text
//! lost or damaged -> surveyed: which rows cannot be read -> pulled from the other owners
//!                 -> rows that still cannot be read are given up -> trusted, as soon as that is durable
//! ```
//! Until then the vnode merges, and answers reads with what it has, which counts towards nothing; it does not
//! coordinate. What was found is durable before anything rests on it, so that a crash on the way changes nothing.

mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use starling_antientropy as antientropy;
use starling_types::{Generation, Instant, NodeId, PartitionId, Token};
use starling_vnode::{self as vnode, CellKey, Done, Refused, RowSpace};

use super::row_range::{RowRange, covers, data_key, single_row, token_of, tokens_of, touch, unreadable};
use super::{Context, Shard, Turn};
use crate::event::{Effect, Log, RowPage, ScanId};
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
    /// Rows that could not be read before the pull began: what others hold of them takes their place.
    unreadable: Vec<RowRange>,
    /// Owners all of whose records are here by now: those that have lost nothing themselves, and others.
    whole: BTreeSet<NodeId>,
    partly: BTreeSet<NodeId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Surveying(u64),
    Pulling,
    /// So many rows are being given up.
    GivingUp(usize),
    /// To be written down as whole.
    Whole,
    Storing(u64),
    /// The disk refused something on the way to [`Stage::Whole`].
    Refused,
}

impl Suspects {
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
    /// Whether this node can say that a key is absent.
    pub(super) fn vouches(&self, turn: &Turn<'_>, token: Token) -> bool {
        let partition = turn.view.layout().map(|layout| layout.partition_of(token));
        partition.is_none_or(|partition| !self.suspects.partitions.contains_key(&partition))
    }

    /// What a start found to be lost, or an earlier one did; it is written down already, or being so.
    pub(crate) fn lost_before_start(&mut self, turn: &mut Turn<'_>, losses: &Losses) {
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
        let owned = layout.partitions_of(turn.view.me).filter(|&p| lost.touch(&bits.range(p)));
        let owned: Vec<PartitionId> = owned.collect();
        let words =
            format!("{} partitions may have lost records when the store was last opened", owned.len());
        for partition in owned {
            self.doubt(turn, partition, "records may have been lost when the store was opened");
        }
        turn.out.push(Effect::Log(Log::Alarm(words)));
        // Should none of it be owned here any more, the row goes as well.
        self.suspects.is_stale |= self.suspects.partitions.is_empty();
        self.go_on(turn);
    }

    /// Other members know a later life of this node: its disk is one from before that.
    pub(crate) fn lose_everything(&mut self, turn: &mut Turn<'_>, raise: Generation) {
        self.suspects.raise = Some(raise);
        self.suspects.is_stale = true;
        let layout = turn.view.layout().cloned();
        let owned = layout.iter().flat_map(|layout| layout.partitions_of(turn.view.me));
        for partition in owned.collect::<Vec<_>>() {
            self.doubt(turn, partition, "the data directory is from before this node's last life");
        }
        self.go_on(turn);
        self.pump(turn);
    }

    /// The partition may have lost records now, whatever was pulled before.
    fn doubt(&mut self, turn: &mut Turn<'_>, partition: PartitionId, why: &str) {
        if !turn.view.owns(partition) {
            return;
        }
        self.vnodes.retire_actor(partition);
        self.suspects.is_stale = true;
        if let Some(suspect) = self.suspects.partitions.get_mut(&partition) {
            suspect.stage = Stage::Waiting;
            suspect.whole.clear();
            suspect.partly.clear();
            return;
        }
        self.counters.doubted += 1;
        let suspect = Suspect {
            why: why.into(),
            stage: Stage::Waiting,
            unreadable: Vec::new(),
            whole: BTreeSet::new(),
            partly: BTreeSet::new(),
        };
        self.suspects.partitions.insert(partition, suspect);
        self.sweep_event(turn, antientropy::Event::Doubt(partition));
    }

    /// Rows that could not be read: their partitions may have lost records, unless that is known.
    pub(crate) fn rows_damaged(&mut self, turn: &mut Turn<'_>, ranges: &[RowRange]) {
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
        let seed = turn.view.cluster().hash_seed();
        let keys = self.vnodes.whole_since(range).filter_map(|row| data_key(seed, row));
        for key in keys.collect::<Vec<_>>() {
            let op = self.op(Context::Mend);
            self.vnode(turn, vnode::Event::Read(op, CellKey::data(key)));
        }
    }

    /// A record that is still in memory is not lost.
    fn mend_from_memory(&mut self, turn: &Turn<'_>, range: &RowRange) {
        let key = single_row(range).and_then(|row| data_key(turn.view.cluster().hash_seed(), row));
        let Some(cell) = key.map(CellKey::data) else { return };
        if self.vnodes.in_memory(&cell).is_some() {
            let op = self.op(Context::Mend);
            self.vnode(turn, vnode::Event::Mend(op, cell));
        }
    }

    fn note_unreadable(&mut self, turn: &mut Turn<'_>, partition: PartitionId, range: &RowRange) {
        let known = self.suspects.partitions.get(&partition).map_or(&[][..], |s| &s.unreadable);
        if known.iter().any(|known| covers(known, range)) {
            return;
        }
        // Found before anything is pulled, it is known in time; later, what was pulled before does not count.
        if !self.suspects.partitions.contains_key(&partition) || self.suspects.has_begun_to_pull(partition) {
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
        let first = layout.bits().range(partition).start().bits().to_be_bytes();
        scan(turn, partition, serial, Bytes::copy_from_slice(&first));
    }

    /// A page of a partition that is looked through.
    pub(crate) fn surveyed(
        &mut self,
        turn: &mut Turn<'_>,
        partition: PartitionId,
        serial: u64,
        page: Result<RowPage, String>,
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
                unreadable(&page).into_iter().for_each(|range| {
                    if tokens_of(&range).is_some_and(|of| touch(&of, &tokens)) {
                        suspect.remember(range);
                    }
                });
                let next = page.next.filter(|key| token_of(key) <= *tokens.end());
                match next {
                    Some(next) => scan(turn, partition, serial, next),
                    None => self.pull_from_others(turn, partition),
                }
            }
            Err(_) => {
                suspect.stage = Stage::Waiting;
                self.suspects.again = Some(turn.now.instant + AGAIN);
            }
        }
        self.pump(turn);
    }

    fn pull_from_others(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        if let Some(suspect) = self.suspects.partitions.get_mut(&partition) {
            suspect.stage = Stage::Pulling;
        }
        self.sweep_event(turn, antientropy::Event::Pull(partition));
        self.give_up_when_pulled(turn, partition);
        self.go_on(turn);
    }

    /// Another owner's records are all here.
    pub(super) fn pulled(&mut self, turn: &mut Turn<'_>, partition: PartitionId, peer: NodeId, whole: bool) {
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        if suspect.stage != Stage::Pulling {
            return;
        }
        if whole {
            suspect.partly.remove(&peer);
            suspect.whole.insert(peer);
        } else {
            suspect.partly.insert(peer);
        }
        self.give_up_when_pulled(turn, partition);
    }

    fn give_up_when_pulled(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let needs = needs(turn, partition);
        let Some(suspect) = self.suspects.partitions.get(&partition) else { return };
        // Where all others have lost something too, there is nobody else to ask (semantics, section 3).
        let is_all_there_is =
            needs.others.iter().all(|n| suspect.whole.contains(n) || suspect.partly.contains(n));
        if suspect.whole.len() >= needs.whole || is_all_there_is {
            self.give_up_rows(turn, partition);
        }
    }

    /// What still cannot be read, nobody else had.
    fn give_up_rows(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let seed = turn.view.cluster().hash_seed();
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        let (mut cells, mut ranges) = (Vec::new(), Vec::new());
        for range in suspect.unreadable.clone() {
            match single_row(&range).and_then(|row| data_key(seed, row)) {
                Some(key) => cells.push(CellKey::data(key)),
                None => ranges.push(range),
            }
        }
        suspect.stage = if cells.is_empty() { Stage::Whole } else { Stage::GivingUp(cells.len()) };
        self.suspects.is_stale |= cells.is_empty();
        for (first, end) in ranges {
            self.vnodes.give_up(first, end);
        }
        for cell in cells {
            let op = self.op(Context::GiveUp(partition));
            self.vnode(turn, vnode::Event::Discard(op, cell));
        }
        self.store_losses(turn);
    }

    /// A row was given up, or could be read after all.
    pub(super) fn gave_up(
        &mut self,
        turn: &mut Turn<'_>,
        partition: PartitionId,
        result: &Result<Done, Refused>,
    ) {
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        suspect.stage = match (suspect.stage, result) {
            (Stage::GivingUp(_), Err(_)) => Stage::Refused,
            (Stage::GivingUp(1), Ok(_)) => Stage::Whole,
            (Stage::GivingUp(rows), Ok(_)) => Stage::GivingUp(rows - 1),
            (other, _) => other,
        };
        match suspect.stage {
            Stage::Refused => self.suspects.again = Some(turn.now.instant + AGAIN),
            Stage::Whole => self.suspects.is_stale = true,
            _ => {}
        }
        self.store_losses(turn);
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
    fn remember(&mut self, range: RowRange) {
        if self.unreadable.iter().any(|known| covers(known, &range)) {
            return;
        }
        self.unreadable.push(range);
        if self.unreadable.len() > MOST_RANGES {
            let ranges = std::mem::take(&mut self.unreadable);
            let first = ranges.iter().map(|(first, _)| first.clone()).min().unwrap_or_default();
            let ends: Option<Vec<Bytes>> = ranges.into_iter().map(|(_, end)| end).collect();
            self.unreadable.push((first, ends.and_then(|ends| ends.into_iter().max())));
        }
    }
}

/// Whom a partition can be pulled from, and from how many that have lost nothing it must be: with any W that took a
/// write, one of so many has it (semantics, section 3).
struct Needs {
    others: Vec<NodeId>,
    whole: usize,
}

fn needs(turn: &Turn<'_>, partition: PartitionId) -> Needs {
    let Some(layout) = turn.view.layout() else { return Needs { others: Vec::new(), whole: 0 } };
    let others: Vec<NodeId> = layout.owners(partition).filter(|&owner| owner != turn.view.me).collect();
    let n = others.len() + 1;
    let w = n / 2 + 1;
    Needs { whole: (n - w + 1).min(others.len()), others }
}

fn scan(turn: &mut Turn<'_>, partition: PartitionId, serial: u64, from: Bytes) {
    let (id, space) = (ScanId::Survey(partition, serial), RowSpace::Data);
    turn.out.push(Effect::Scan { id, space, prefix: Bytes::new(), from: Some(from) });
}
