//! What was pulled, and whether that is enough (semantics, section 3).
//!
//! ```text
//! enough for a bucket: min(N - 1, N - least_w + 1) other owners that have lost nothing of it themselves
//! ```
//! Whatever W of at least `least_w` owners took a write, one of those has it. Where all others were asked and too few
//! are whole, there is nobody else to ask: what was never synced is served as it is then, and for the rest a person
//! must say that nothing more can come back.

use std::collections::BTreeSet;

use starling_antientropy::Held;
use starling_types::planted::{self, Bug};
use starling_types::row::Space;
use starling_types::{NodeId, PartitionId};
use starling_vnode::{self as vnode, Done, Refused};

use super::{AGAIN, Stage, Suspect};
use crate::event::{Effect, Log};
use crate::shard::{Context, Shard, Turn};

impl Shard {
    /// Another owner's records are all here.
    pub(in crate::shard) fn pulled(
        &mut self,
        turn: &mut Turn<'_>,
        partition: PartitionId,
        peer: NodeId,
        held: Held,
    ) {
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        if matches!(suspect.stage, Stage::Pulling | Stage::Short) {
            suspect.pulled.insert(peer, held);
            self.conclude_when_pulled(turn, partition);
        }
    }

    pub(super) fn conclude_when_pulled(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let needs = Needs::of(turn, partition);
        let Some(suspect) = self.suspects.partitions.get(&partition) else { return };
        match suspect.stage {
            Stage::Pulling if needs.are_met(suspect) || needs.have_all_answered(suspect) => {
                self.give_up_rows(turn, partition);
            }
            Stage::Short => self.conclude(turn, partition),
            _ => {}
        }
    }

    /// What still cannot be read, nobody else had.
    pub(super) fn give_up_rows(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        let (mut cells, mut ranges) = (Vec::new(), Vec::new());
        for range in suspect.unreadable.clone() {
            match range.single().and_then(|row| self.vnodes.cell_of(Space::Data, row)) {
                Some(cell) => cells.push(cell),
                None => ranges.push(range),
            }
        }
        suspect.stage = Stage::GivingUp(cells.len());
        ranges.into_iter().for_each(|range| self.vnodes.give_up(range));
        if cells.is_empty() {
            return self.conclude(turn, partition);
        }
        for cell in cells {
            let op = self.calls.begin(Context::GiveUp(partition));
            self.vnode(turn, vnode::Event::Discard(op, cell));
        }
    }

    /// A row was given up, or could be read after all.
    pub(in crate::shard) fn gave_up(
        &mut self,
        turn: &mut Turn<'_>,
        partition: PartitionId,
        result: &Result<Done, Refused>,
    ) {
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        match (suspect.stage, result) {
            (Stage::GivingUp(_), Err(_)) => {
                suspect.stage = Stage::Refused;
                self.suspects.again = Some(turn.now.instant + AGAIN);
            }
            (Stage::GivingUp(1), Ok(_)) => self.conclude(turn, partition),
            (Stage::GivingUp(rows), Ok(_)) => suspect.stage = Stage::GivingUp(rows - 1),
            _ => {}
        }
    }

    /// Trusted, as soon as that is written down; or left to a person.
    pub(super) fn conclude(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let needs = Needs::of(turn, partition);
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        let is_enough = needs.are_met(suspect) || !suspect.synced || suspect.accepted;
        if is_enough {
            suspect.stage = Stage::Whole;
            self.suspects.is_stale = true;
        } else if suspect.stage != Stage::Short {
            suspect.stage = Stage::Short;
            let words = format!(
                "partition {partition}: only {} of {} whole copies are left ({}): reads of keys that this node does \
                 not hold answer `unknown` until more can be pulled, or `starling repair accept` says that nothing \
                 can; nothing is to be deleted for that",
                needs.whole(suspect),
                needs.least.max(1),
                suspect.why
            );
            turn.out.push(Effect::Log(Log::Alarm(words)));
        }
        self.store_losses(turn);
    }
}

/// Whom a partition can be pulled from, and from how many that are whole it must be for the strictest bucket.
pub(super) struct Needs {
    pub(super) others: BTreeSet<NodeId>,
    pub(super) least: usize,
}

impl Needs {
    pub(super) fn of(turn: &Turn<'_>, partition: PartitionId) -> Self {
        let Some(layout) = turn.view.layout() else { return Self { others: BTreeSet::new(), least: 0 } };
        let others: BTreeSet<NodeId> = layout.owners(partition).filter(|&o| o != turn.view.me).collect();
        let n = u8::try_from(others.len() + 1).unwrap_or(u8::MAX);
        let buckets = turn.view.buckets().registers();
        let least = buckets.map(|bucket| bucket.props.vouchers(n)).max().unwrap_or(0);
        let least = if planted::on(Bug::RefillHearsOne) { 1 } else { least };
        Self { others, least: usize::from(least) }
    }

    /// What was synced can be told for every bucket; and so can the rest, or it is as good as it gets.
    pub(super) fn are_met(&self, suspect: &Suspect) -> bool {
        let have = |held| suspect.have(held) >= self.least;
        let is_all = have(Held::All) || (have(Held::Synced) && self.have_all_answered(suspect));
        !self.others.is_empty() && is_all
    }

    pub(super) fn have_all_answered(&self, suspect: &Suspect) -> bool {
        self.others.iter().all(|other| suspect.pulled.contains_key(other))
    }

    /// How many whole copies were found, of what is lost.
    pub(super) fn whole(&self, suspect: &Suspect) -> usize {
        suspect.have(if suspect.synced { Held::Synced } else { Held::All })
    }
}

impl Suspect {
    /// From how many owners that had at least so much.
    pub(super) fn have(&self, held: Held) -> usize {
        self.pulled.values().filter(|&&had| had >= held).count()
    }
}
