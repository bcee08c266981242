//! A person's word: nothing more of what was lost can come back.
//!
//! It deletes nothing. What is held stays, and what turns up later is merged as ever; only keys that nobody holds are
//! absent from then on, and no longer `unknown`.

use std::collections::BTreeSet;

use starling_coordinator::Reach;
use starling_types::PartitionId;
use starling_wire::client::AdminReply;

use super::pulled::Needs;
use super::{Stage, Suspects};
use crate::event::{Effect, ReplyHandle};
use crate::shard::{Shard, Turn};

/// Somebody waits until it is durable.
#[derive(Debug)]
pub(super) struct Acceptance {
    reply: ReplyHandle,
    partitions: BTreeSet<PartitionId>,
    /// Those that are written down.
    done: u32,
}

impl Suspects {
    /// Partitions that wait for a person.
    pub(crate) fn short(&self) -> usize {
        self.partitions.values().filter(|suspect| suspect.stage == Stage::Short).count()
    }
}

impl Shard {
    /// Takes the word for one partition, or for all that wait for it.
    pub(crate) fn accept_losses(
        &mut self,
        turn: &mut Turn<'_>,
        reply: ReplyHandle,
        partition: Option<PartitionId>,
    ) {
        let suspects = self.suspects.partitions.keys().copied();
        let asked: BTreeSet<PartitionId> =
            suspects.filter(|p| partition.is_none_or(|one| one == *p)).collect();
        let partitions: BTreeSet<PartitionId> =
            asked.iter().copied().filter(|&p| self.may_be_accepted(turn, p)).collect();
        if partitions.is_empty() {
            let answer = match (asked.is_empty(), partition) {
                (true, None) => AdminReply::LossesAccepted { partitions: 0 },
                (true, Some(one)) => AdminReply::Refused(nothing(one)),
                (false, _) => AdminReply::Refused(STILL_PULLED.into()),
            };
            return turn.out.push(Effect::RespondAdmin(reply, answer));
        }
        self.suspects.acceptances.push(Acceptance { reply, partitions: partitions.clone(), done: 0 });
        partitions.into_iter().for_each(|partition| self.accept(turn, partition));
        self.pump(turn);
    }

    fn accept(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        suspect.accepted = true;
        match suspect.stage {
            Stage::Short => self.conclude(turn, partition),
            _ => self.give_up_rows(turn, partition),
        }
    }

    /// Nobody who could be asked is left unasked.
    fn may_be_accepted(&self, turn: &Turn<'_>, partition: PartitionId) -> bool {
        let Some(suspect) = self.suspects.partitions.get(&partition) else { return false };
        let is_silent = |node| turn.view.reach(node) == Reach::Down;
        let mut others = Needs::of(turn, partition).others.into_iter();
        matches!(suspect.stage, Stage::Pulling | Stage::Short)
            && others.all(|other| suspect.pulled.contains_key(&other) || is_silent(other))
    }

    /// The partition is trusted, durably.
    pub(super) fn note_accepted(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        for acceptance in &mut self.suspects.acceptances {
            acceptance.done += u32::from(acceptance.partitions.remove(&partition));
        }
        for done in self.suspects.acceptances.extract_if(.., |a| a.partitions.is_empty()) {
            let reply = AdminReply::LossesAccepted { partitions: done.done };
            turn.out.push(Effect::RespondAdmin(done.reply, reply));
        }
    }
}

fn nothing(partition: PartitionId) -> String {
    format!(
        "this node may have lost nothing of partition {partition}: `starling cluster status` tells what it may have lost"
    )
}

const STILL_PULLED: &str = "other owners are up and still being asked for what this node lost: wait until `starling \
                            cluster status` says that too few whole copies are left; nothing was changed";
