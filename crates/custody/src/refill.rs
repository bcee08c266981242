//! How a partition becomes whole again: surveyed, pulled, what cannot be read given up, and written down.

use std::time::Duration;

use starling_types::row::RowRange;
use starling_types::{Held, Instant, LayoutVersion, NodeId, PartitionId};

use crate::custody::Custody;
use crate::event::{Effect, Log, Surveyed, Ticket};
use crate::losses::Losses;
use crate::tokens::{first_row, token_of, tokens_of, touch};
use crate::unsure::Stage;

/// Partitions that are surveyed at a time.
const SURVEYS: usize = 2;
/// An operation that the disk refused is tried again after this long,
const AGAIN: Duration = Duration::from_secs(1);
/// and a read of rows that it did not give after so long.
const UNREAD_AGAIN: Duration = Duration::from_secs(15);

impl Custody {
    /// Begins all that can be begun.
    pub(crate) fn go_on(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let refused = self
            .partitions
            .iter()
            .filter(|(_, unsure)| matches!(unsure.stage, Stage::Refused(at) if at <= now));
        for partition in refused.map(|(&partition, _)| partition).collect::<Vec<_>>() {
            self.give_up_rows(partition, out);
        }
        while self.surveying() < SURVEYS
            && let Some(partition) = self.next_to_survey(now)
        {
            self.survey(partition, out);
        }
        self.store(now, out);
    }

    fn surveying(&self) -> usize {
        self.partitions.values().filter(|unsure| matches!(unsure.stage, Stage::Surveying(_))).count()
    }

    /// One that the disk does not give as a whole waits for longer, and does not hold up the others.
    fn next_to_survey(&self, now: Instant) -> Option<PartitionId> {
        let is_due = |stage| matches!(stage, Stage::Waiting(at) if at <= now);
        self.partitions.iter().find(|(_, unsure)| is_due(unsure.stage)).map(|(&partition, _)| partition)
    }

    fn survey(&mut self, partition: PartitionId, out: &mut Vec<Effect>) {
        let ticket = self.ticket();
        let (Some(holdings), Some(unsure)) = (&self.holdings, self.partitions.get_mut(&partition)) else {
            return;
        };
        unsure.stage = Stage::Surveying(ticket);
        out.push(Effect::Scan(partition, ticket, first_row(*holdings.bits.range(partition).start())));
    }

    /// A page of a partition that is looked through.
    pub(crate) fn surveyed(
        &mut self,
        now: Instant,
        partition: PartitionId,
        ticket: Ticket,
        page: Option<Surveyed>,
        out: &mut Vec<Effect>,
    ) {
        let (Some(holdings), Some(unsure)) = (&self.holdings, self.partitions.get_mut(&partition)) else {
            return;
        };
        if unsure.stage != Stage::Surveying(ticket) {
            return;
        }
        let tokens = holdings.bits.range(partition);
        let here = |range: &RowRange| tokens_of(range).is_some_and(|of| touch(&of, &tokens));
        let Some(page) = page else {
            return unsure.stage = Stage::Waiting(now + AGAIN);
        };
        // Its contents are not known: as long as that is so, the partition is unsure, and nothing is given up.
        if page.unread.iter().any(here) {
            return unsure.stage = Stage::Waiting(now + UNREAD_AGAIN);
        }
        page.damaged.into_iter().filter(here).for_each(|range| unsure.remember(range));
        match page.next.filter(|key| token_of(key) <= *tokens.end()) {
            Some(next) => out.push(Effect::Scan(partition, ticket, next)),
            None => self.pull(partition, out),
        }
    }

    fn pull(&mut self, partition: PartitionId, out: &mut Vec<Effect>) {
        let Some(unsure) = self.partitions.get_mut(&partition) else { return };
        unsure.stage = Stage::Pulling;
        // Rows that cannot be read were synced, as far as this node can tell.
        if !unsure.unreadable.is_empty() && !unsure.synced {
            (unsure.held, unsure.synced) = (Held::Part, true);
            self.row.is_stale = true;
            out.push(Effect::Doubt(partition, Held::Part));
        }
        out.push(Effect::Pull(partition));
        self.conclude_when_pulled(partition, out);
    }

    /// A source's records are all here, if it had fenced off what came before.
    pub(crate) fn pulled(
        &mut self,
        partition: PartitionId,
        source: NodeId,
        (held, fence): (Held, LayoutVersion),
        out: &mut Vec<Effect>,
    ) {
        let Some(unsure) = self.partitions.get_mut(&partition) else { return };
        if matches!(unsure.stage, Stage::Pulling | Stage::Short) && fence >= unsure.since {
            unsure.pulled.insert(source, held);
            self.conclude_when_pulled(partition, out);
        }
    }

    pub(crate) fn conclude_when_pulled(&mut self, partition: PartitionId, out: &mut Vec<Effect>) {
        let sources = self.sources(partition);
        let Some(unsure) = self.partitions.get(&partition) else { return };
        match unsure.stage {
            Stage::Pulling if sources.are_enough(unsure) || sources.unheard(unsure).is_empty() => {
                self.give_up_rows(partition, out);
            }
            Stage::Short => self.conclude(partition, out),
            _ => {}
        }
    }

    /// No source had the rows that still cannot be read.
    pub(crate) fn give_up_rows(&mut self, partition: PartitionId, out: &mut Vec<Effect>) {
        let ticket = self.ticket();
        let Some(unsure) = self.partitions.get_mut(&partition) else { return };
        unsure.stage = Stage::GivingUp(ticket, unsure.unreadable.len());
        out.extend(unsure.unreadable.iter().map(|range| Effect::Discard(partition, ticket, range.clone())));
        if unsure.unreadable.is_empty() {
            self.conclude(partition, out);
        }
    }

    /// A row was given up, or could be read after all.
    pub(crate) fn gave_up(
        &mut self,
        now: Instant,
        partition: PartitionId,
        ticket: Ticket,
        done: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(unsure) = self.partitions.get_mut(&partition) else { return };
        match unsure.stage {
            Stage::GivingUp(of, rows) if of == ticket => match (done, rows) {
                (false, _) => unsure.stage = Stage::Refused(now + AGAIN),
                (true, 1) => self.conclude(partition, out),
                (true, rows) => unsure.stage = Stage::GivingUp(of, rows - 1),
            },
            _ => {}
        }
    }

    /// Trusted, as soon as that is written down; or left to a person.
    pub(crate) fn conclude(&mut self, partition: PartitionId, out: &mut Vec<Effect>) {
        let Some(unsure) = self.partitions.get(&partition) else { return };
        let sources = self.sources(partition);
        let is_enough = sources.are_enough(unsure) || !unsure.synced || unsure.accepted;
        if !is_enough && unsure.stage != Stage::Short {
            let copies = sources.copies(unsure, Held::Synced, None);
            let words = format!(
                "partition {partition}: only {} of {} whole copies are left ({}): reads of keys that this node does \
                 not hold answer `unknown` until more can be pulled, or `starling repair accept` says that nothing \
                 can; nothing is to be deleted for that",
                copies.found, copies.needed, unsure.why
            );
            out.push(Effect::Log(Log::Alarm(words)));
        }
        self.row.is_stale |= is_enough;
        if let Some(unsure) = self.partitions.get_mut(&partition) {
            unsure.stage = if is_enough { Stage::Whole } else { Stage::Short };
        }
    }

    /// Writes down what is lost, if that has changed; one row at a time.
    fn store(&mut self, now: Instant, out: &mut Vec<Effect>) {
        let bits = self.holdings.as_ref().map(|holdings| holdings.bits);
        if let (Some(bits), true, None) = (bits, self.row.is_stale && self.row.again <= now, self.row.storing)
        {
            let ticket = self.ticket();
            let mut lost = Losses { buckets: self.unsynced.clone(), ..Losses::NONE };
            for (&partition, unsure) in &mut self.partitions {
                match unsure.stage {
                    Stage::Whole => unsure.stage = Stage::Storing(ticket),
                    _ if unsure.synced => lost.tokens.push(bits.range(partition)),
                    _ => lost.unsynced.push(bits.range(partition)),
                }
            }
            (self.row.storing, self.row.is_stale) = (Some(ticket), false);
            out.push(Effect::Store(ticket, lost.join(&self.unplaced)));
        }
        if self.row.storing.is_none() && (!self.row.is_stale || bits.is_none()) {
            out.extend(self.row.note.take().map(Effect::Noted));
            out.extend(self.row.raise.take().map(Effect::Raise));
        }
    }

    /// The losses are written down, or not.
    pub(crate) fn stored(&mut self, now: Instant, ticket: Ticket, done: bool, out: &mut Vec<Effect>) {
        self.row.storing.take_if(|storing| *storing == ticket);
        let stored = self.partitions.iter_mut().filter(|(_, unsure)| unsure.stage == Stage::Storing(ticket));
        if done {
            let stored: Vec<PartitionId> = stored.map(|(&partition, _)| partition).collect();
            return stored.into_iter().for_each(|partition| self.trust(partition, out));
        }
        stored.for_each(|(_, unsure)| unsure.stage = Stage::Whole);
        self.row.is_stale = true;
        self.row.again = now + AGAIN;
    }

    fn trust(&mut self, partition: PartitionId, out: &mut Vec<Effect>) {
        let Some(unsure) = self.partitions.remove(&partition) else { return };
        let sources = self.sources(partition);
        let (copies, are_enough) = (sources.copies(&unsure, Held::All, None), sources.are_enough(&unsure));
        out.push(Effect::Trust(partition));
        self.counters.refilled += 1;
        self.acceptances.settle(partition, true, out);
        if copies.are_enough() {
            let gave_up = unsure.unreadable.len();
            let words = format!("partition {partition} is whole again ({gave_up} rows could not be read)");
            return out.push(Effect::Log(Log::Recovered(words)));
        }
        self.counters.refilled_short += 1;
        let what = match (unsure.accepted, unsure.synced && !are_enough) {
            (true, true) => "acked writes may be lost, as a person has accepted",
            (false, true) => "acked writes may be lost",
            (_, false) => "writes that were acked before they were synced may be lost",
        };
        let words = format!(
            "partition {partition} is served again though only {} of {} whole copies were found: {what} ({})",
            copies.found, copies.needed, unsure.why
        );
        out.push(Effect::Log(Log::Alarm(words)));
    }
}
