//! The node's custody: the machine of `starling-custody` among the others, and its effects carried out.

use std::collections::BTreeSet;

use starling_antientropy as antientropy;
use starling_custody::event::{self, Surveyed};
use starling_custody::{Effect as Wanted, Event, Holdings, OrderId, Ticket, Word};
use starling_types::row::{RowRange, Space};
use starling_types::{NodeId, PartitionId, QualifiedKey};
use starling_vnode::{self as vnode, RecordPage, Refused, ScanRange};
use starling_wire::client::AdminReply;

use super::{Context, Shard, Turn};
use crate::event::{CommitId, Effect, Log, ReplyHandle};
use crate::view::View;

impl Shard {
    /// How far this node's answer on a key counts.
    pub(super) fn word(&self, key: &QualifiedKey) -> Word {
        self.custody.word(key)
    }

    /// A layout is in force.
    pub(super) fn custody_layout(&mut self, turn: &mut Turn<'_>) {
        if let Some(holdings) = holdings(turn.view) {
            self.custody_event(turn, Event::Layout(holdings));
        }
    }

    /// The rules of buckets say how many owners must be heard after a loss.
    pub(super) fn custody_rules(&mut self, turn: &mut Turn<'_>) {
        let rules = turn.view.buckets().registers().map(|bucket| (bucket.name.clone(), bucket.props.clone()));
        self.custody_event(turn, Event::Rules(rules.collect()));
    }

    pub(super) fn custody_event(&mut self, turn: &mut Turn<'_>, event: Event) {
        let mut effects = Vec::new();
        self.custody.handle(turn.now.instant, event, &mut effects);
        effects.into_iter().for_each(|effect| self.custody_effect(turn, effect));
    }

    fn custody_effect(&mut self, turn: &mut Turn<'_>, effect: Wanted) {
        use antientropy::Event::{Doubt, Pull, Trust};
        match effect {
            Wanted::Scan(partition, ticket, from) => {
                let op = self.calls.begin(Context::Survey(partition, ticket));
                self.vnode(turn, vnode::Event::Scan(op, ScanRange::Data, Some(from)));
            }
            Wanted::Retire(partition) => self.vnodes.retire_actor(partition),
            Wanted::Doubt(partition, held) => self.sweep_event(turn, Doubt(partition, held)),
            Wanted::Pull(partition) => self.sweep_event(turn, Pull(partition)),
            Wanted::Trust(partition) | Wanted::Leave(partition) => self.sweep_event(turn, Trust(partition)),
            Wanted::Discard(partition, ticket, range) => self.give_up(turn, partition, ticket, range),
            Wanted::Store(Ticket(serial), losses) => {
                let (id, rows) = (CommitId::Losses(serial), vec![losses.row()]);
                turn.out.push(Effect::Commit { id, rows, durable: true });
            }
            Wanted::Noted(number) => turn.out.push(Effect::DamageNoted(number)),
            Wanted::Raise(generation) => turn.out.push(Effect::RaiseGeneration(generation)),
            Wanted::Accepted(OrderId(reply), result) => {
                let answer = match result {
                    Ok(partitions) => AdminReply::LossesAccepted { partitions },
                    Err(why) => AdminReply::Refused(why),
                };
                turn.out.push(Effect::RespondAdmin(ReplyHandle(reply), answer));
            }
            Wanted::Log(event::Log::Alarm(words)) => turn.out.push(Effect::Log(Log::Alarm(words))),
            Wanted::Log(event::Log::Recovered(words)) => turn.out.push(Effect::Log(Log::Recovered(words))),
        }
    }

    /// One row is given up as it is found then. Where it is not known which rows a damaged range had, the store mends the
    /// table, which leaves them out, as soon as their loss is noted: that it has is looked up.
    fn give_up(&mut self, turn: &mut Turn<'_>, partition: PartitionId, ticket: Ticket, range: RowRange) {
        match range.single().and_then(|row| self.vnodes.cell_of(Space::Data, row)) {
            Some(cell) => {
                let op = self.calls.begin(Context::GiveUp(partition, ticket));
                self.vnode(turn, vnode::Event::Discard(op, cell));
            }
            None => self.look_whether_mended(turn, partition, ticket, range),
        }
    }

    fn look_whether_mended(
        &mut self,
        turn: &Turn<'_>,
        partition: PartitionId,
        ticket: Ticket,
        range: RowRange,
    ) {
        let from = range.start().clone();
        let op = self.calls.begin(Context::LookAgain(partition, ticket, range));
        self.vnode(turn, vnode::Event::Scan(op, ScanRange::Data, Some(from)));
    }

    /// A page of a range in which there was damage.
    pub(super) fn looked_again(
        &mut self,
        turn: &mut Turn<'_>,
        (partition, ticket, range): (PartitionId, Ticket, RowRange),
        page: Result<RecordPage, Refused>,
    ) {
        let touches = |found: &RowRange| {
            found.end().is_none_or(|end| range.start() < end)
                && range.end().is_none_or(|end| found.start() < end)
        };
        let RecordPage { damaged, unread, next, .. } = match page {
            Ok(page) => page,
            Err(_) => return self.custody_event(turn, Event::GaveUp(partition, ticket, false)),
        };
        if damaged.iter().chain(&unread).any(touches) {
            return self.custody_event(turn, Event::GaveUp(partition, ticket, false));
        }
        match next.filter(|next| range.end().is_none_or(|end| next < end)) {
            Some(next) => self.look_whether_mended(turn, partition, ticket, range.resume(next)),
            None => self.custody_event(turn, Event::GaveUp(partition, ticket, true)),
        }
    }

    /// A page of a partition that is looked through.
    pub(super) fn surveyed(
        &mut self,
        turn: &mut Turn<'_>,
        partition: PartitionId,
        ticket: Ticket,
        page: Result<RecordPage, Refused>,
    ) {
        let RecordPage { damaged, unread, next, .. } = match page {
            Ok(page) => page,
            Err(_) => return self.custody_event(turn, Event::Page(partition, ticket, None)),
        };
        self.custody_event(turn, Event::Page(partition, ticket, Some(Surveyed { damaged, unread, next })));
    }

    /// Rows that could not be read: what is in memory is written anew, and the rest may be lost.
    pub(super) fn rows_damaged(&mut self, turn: &mut Turn<'_>, ranges: Vec<RowRange>) {
        ranges.iter().for_each(|range| self.mend_from_memory(turn, range));
        self.custody_event(turn, Event::Damaged(ranges));
    }

    /// A record that is still in memory is not lost.
    fn mend_from_memory(&mut self, turn: &Turn<'_>, range: &RowRange) {
        let cell = range.single().and_then(|row| self.vnodes.cell_of(Space::Data, row));
        if let Some(cell) = cell.filter(|cell| self.vnodes.in_memory(cell).is_some()) {
            let op = self.calls.begin(Context::Mend);
            self.vnode(turn, vnode::Event::Mend(op, cell));
        }
    }
}

/// Of each partition that this node owns, the owners whose acked writes must be here.
fn holdings(view: &View) -> Option<Holdings> {
    let layout = view.layout()?;
    let owners = |partition| vec![layout.owners(partition).collect::<BTreeSet<NodeId>>()];
    let sets = layout.partitions_of(view.me).map(|partition| (partition, owners(partition))).collect();
    Some(Holdings { bits: layout.bits(), sets })
}
