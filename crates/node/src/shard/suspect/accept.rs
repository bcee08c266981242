//! A person's word: nothing more of what was lost can come back.
//!
//! It deletes nothing. What is held stays, and what turns up later is merged as ever; only keys that nobody holds are
//! absent from then on, and no longer `unknown`.

use std::collections::BTreeSet;

use starling_coordinator::Reach;
use starling_types::{NodeId, PartitionId};
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

/// What a person's word for a partition waits for.
enum Awaited {
    Nobody,
    /// Owners that do not answer.
    Silent(BTreeSet<NodeId>),
    /// Owners that do, or this node's own disk.
    Others,
}

impl Shard {
    /// Takes the word for one partition, or for all that wait for it.
    pub(in crate::shard) fn accept_losses(
        &mut self,
        turn: &mut Turn<'_>,
        reply: ReplyHandle,
        partition: Option<PartitionId>,
        without_silent: bool,
    ) {
        let suspects = self.suspects.partitions.keys().copied();
        let asked: Vec<PartitionId> = suspects.filter(|p| partition.is_none_or(|one| one == *p)).collect();
        let (mut ready, mut silent) = (BTreeSet::new(), BTreeSet::new());
        for &partition in &asked {
            match self.awaited(turn, partition) {
                Awaited::Nobody => drop(ready.insert(partition)),
                Awaited::Silent(_) if without_silent => drop(ready.insert(partition)),
                Awaited::Silent(owners) => silent.extend(owners),
                Awaited::Others => {}
            }
        }
        if ready.is_empty() {
            let answer = match (asked.is_empty(), partition) {
                (true, None) => AdminReply::LossesAccepted { partitions: 0 },
                (true, Some(one)) => AdminReply::Refused(nothing(one)),
                (false, _) => AdminReply::Refused(not_yet(&silent)),
            };
            return turn.out.push(Effect::RespondAdmin(reply, answer));
        }
        self.suspects.acceptances.push(Acceptance { reply, partitions: ready.clone(), done: 0 });
        ready.into_iter().for_each(|partition| self.accept(turn, partition));
    }

    fn accept(&mut self, turn: &mut Turn<'_>, partition: PartitionId) {
        let Some(suspect) = self.suspects.partitions.get_mut(&partition) else { return };
        suspect.accepted = true;
        match suspect.stage {
            Stage::Short => self.conclude(turn, partition),
            _ => self.give_up_rows(turn, partition),
        }
    }

    fn awaited(&self, turn: &Turn<'_>, partition: PartitionId) -> Awaited {
        let suspect = self.suspects.partitions.get(&partition);
        let Some(suspect) = suspect.filter(|s| matches!(s.stage, Stage::Pulling | Stage::Short)) else {
            return Awaited::Others;
        };
        let mut unheard = Needs::of(turn, partition).others;
        unheard.retain(|owner| !suspect.pulled.contains_key(owner));
        match unheard.iter().all(|&owner| turn.view.reach(owner) == Reach::Down) {
            _ if unheard.is_empty() => Awaited::Nobody,
            true => Awaited::Silent(unheard),
            false => Awaited::Others,
        }
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

fn not_yet(silent: &BTreeSet<NodeId>) -> String {
    if silent.is_empty() {
        return "other owners are up and still being asked for what this node lost: wait until `starling cluster \
                status` says that too few whole copies are left; nothing was changed"
            .into();
    }
    let silent: Vec<String> = silent.iter().map(NodeId::to_string).collect();
    format!(
        "owners that may have what this node lost do not answer ({}): bring them back, and it is pulled by itself; \
         only if none of them ever can come back, say so with --without-silent-owners; nothing was changed",
        silent.join(", ")
    )
}
