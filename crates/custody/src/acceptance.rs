//! An operator's acceptance of a loss: nothing more of what was lost can come back.
//!
//! It deletes nothing. Records held stay, and others that turn up later are merged as ever; only keys that no node
//! holds are absent from then on, and no longer `unknown`.

use std::collections::BTreeSet;

use starling_types::{NodeId, PartitionId};

use crate::custody::Custody;
use crate::event::{Effect, OrderId};
use crate::unsure::Stage;

/// The words that wait until they are durable.
#[derive(Debug, Default)]
pub(crate) struct Acceptances(Vec<Acceptance>);

#[derive(Debug)]
struct Acceptance {
    by: OrderId,
    partitions: BTreeSet<PartitionId>,
    /// Those that are written down.
    done: u32,
}

impl Acceptances {
    pub(crate) fn begin(&mut self, by: OrderId, partitions: BTreeSet<PartitionId>) {
        self.0.push(Acceptance { by, partitions, done: 0 });
    }

    /// The partition waits for no acceptance any more: it is trusted, durably, or not held.
    pub(crate) fn settle(&mut self, partition: PartitionId, is_trusted: bool, out: &mut Vec<Effect>) {
        for acceptance in &mut self.0 {
            acceptance.done += u32::from(acceptance.partitions.remove(&partition) && is_trusted);
        }
        let settled = self.0.extract_if(.., |acceptance| acceptance.partitions.is_empty());
        out.extend(settled.map(|done| Effect::Accepted(done.by, Ok(done.done))));
    }
}

impl Custody {
    /// Takes the acceptance for one partition, or for all that wait for it.
    pub(crate) fn accept(
        &mut self,
        by: OrderId,
        partition: Option<PartitionId>,
        without_silent: bool,
        out: &mut Vec<Effect>,
    ) {
        let asked = self.partitions.iter().filter(|(p, _)| partition.is_none_or(|one| one == **p));
        let (mut ready, mut silent, mut any) = (BTreeSet::new(), BTreeSet::new(), false);
        for (&partition, unsure) in asked {
            any = true;
            if !matches!(unsure.stage, Stage::Pulling | Stage::Short) {
                continue;
            }
            let unheard = self.sources(partition).unheard(unsure);
            match unheard.iter().any(|owner| self.up.contains(owner)) {
                true => {}
                false if unheard.is_empty() || without_silent => drop(ready.insert(partition)),
                false => silent.extend(unheard),
            }
        }
        if ready.is_empty() {
            let answer = match (any, partition) {
                (true, _) => Err(not_yet(&silent)),
                (false, None) => Ok(0),
                (false, Some(one)) => Err(nothing(one)),
            };
            return out.push(Effect::Accepted(by, answer));
        }
        for &partition in &ready {
            let Some(unsure) = self.partitions.get_mut(&partition) else { continue };
            unsure.accepted = true;
            match unsure.stage {
                Stage::Short => self.conclude(partition, out),
                _ => self.give_up_rows(partition, out),
            }
        }
        self.acceptances.begin(by, ready);
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
