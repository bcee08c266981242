//! The row that keeps what is lost, until nothing is.

use starling_antientropy::{self as antientropy, Held};
use starling_types::PartitionId;
use starling_types::row::CommitFailure;

use super::pulled::Needs;
use super::{AGAIN, Stage};
use crate::event::{CommitId, Effect, Log};
use crate::losses::Losses;
use crate::shard::{Shard, Turn};

impl Shard {
    /// Writes down what is lost, if that has changed; one row at a time.
    pub(super) fn store_losses(&mut self, turn: &mut Turn<'_>) {
        let Some(layout) = turn.view.layout() else { return self.raise_when_stored(turn) };
        if !self.suspects.is_stale || self.suspects.storing.is_some() {
            return self.raise_when_stored(turn);
        }
        self.suspects.serial += 1;
        let serial = self.suspects.serial;
        let mut lost = Losses { buckets: self.suspects.unsynced.clone(), ..Losses::NONE };
        for (&partition, suspect) in &mut self.suspects.partitions {
            match suspect.stage {
                Stage::Whole => suspect.stage = Stage::Storing(serial),
                _ if suspect.synced => lost.tokens.push(layout.bits().range(partition)),
                _ => lost.unsynced.push(layout.bits().range(partition)),
            }
        }
        let row = lost.join(&self.suspects.unplaced).row();
        (self.suspects.storing, self.suspects.is_stale) = (Some(serial), false);
        turn.out.push(Effect::Commit { id: CommitId::Losses(serial), rows: vec![row], durable: true });
    }

    /// What is lost is written down, or not.
    pub(in crate::shard) fn losses_stored(
        &mut self,
        turn: &mut Turn<'_>,
        serial: u64,
        result: Result<(), CommitFailure>,
    ) {
        self.suspects.storing.take_if(|storing| *storing == serial);
        let stored = self.suspects.partitions.iter().filter(|(_, s)| s.stage == Stage::Storing(serial));
        let stored: Vec<PartitionId> = stored.map(|(&partition, _)| partition).collect();
        match result {
            Ok(()) => stored.into_iter().for_each(|partition| self.trust(turn, partition)),
            Err(_) => {
                for partition in stored {
                    if let Some(suspect) = self.suspects.partitions.get_mut(&partition) {
                        suspect.stage = Stage::Whole;
                    }
                }
                self.suspects.is_stale = true;
                self.suspects.again = Some(turn.now.instant + AGAIN);
                return;
            }
        }
        self.store_losses(turn);
    }

    fn raise_when_stored(&mut self, turn: &mut Turn<'_>) {
        if self.suspects.storing.is_none()
            && (!self.suspects.is_stale || turn.view.layout().is_none())
            && let Some(generation) = self.suspects.raise.take()
        {
            turn.out.push(Effect::RaiseGeneration(generation));
        }
    }

    fn trust(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let needs = Needs::of(turn, partition);
        let Some(suspect) = self.suspects.partitions.remove(&partition) else { return };
        self.sweep_event(turn, antientropy::Event::Trust(partition));
        self.counters.refilled += 1;
        self.note_accepted(turn, partition);
        if suspect.have(Held::All) >= needs.least.max(1) {
            let gave_up = suspect.unreadable.len();
            let words = format!("partition {partition} is whole again ({gave_up} rows could not be read)");
            return turn.out.push(Effect::Log(Log::Recovered(words)));
        }
        self.counters.refilled_short += 1;
        let what = match (suspect.accepted, suspect.synced && !needs.are_met(&suspect)) {
            (true, true) => "acked writes may be lost, as a person has accepted",
            (false, true) => "acked writes may be lost",
            (_, false) => "writes that were acked before they were synced may be lost",
        };
        let words = format!(
            "partition {partition} is served again though only {} of {} whole copies were found: {what} ({})",
            suspect.have(Held::All),
            needs.least.max(1),
            suspect.why
        );
        turn.out.push(Effect::Log(Log::Alarm(words)));
    }
}
