//! Hints: kept in the engine for absent owners, given back when they return (semantics, section 4).

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_causality::Record;
use starling_handoff::{self as handoff, HintReplay, HintRow};
use starling_types::{ExchangeId, Instant, NodeId, QualifiedKey, limits};
use starling_vnode::{self as vnode, CellKey, CellKind, RecordPage, Refused, ScanRange};
use starling_wire::replica::Merge;
use starling_wire::{Class, Message};

use super::{Context, Shard, Turn};
use crate::change::Change;
use crate::event::{Effect, Log};

/// A delivered hint must be acked within this time, in milliseconds; the replay gives up a little later.
const DELIVERY_MS: u32 = 5_000;

/// Hints on their way back.
#[derive(Default)]
pub(crate) struct Hints {
    replay: HintReplay,
    /// The hint that was sent, and its target, by the number of the delivery.
    deliveries: BTreeMap<ExchangeId, (NodeId, QualifiedKey)>,
}

impl Hints {
    /// Counts since the start.
    pub(crate) const fn counters(&self) -> handoff::Counters {
        self.replay.counters()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.replay.next_deadline()
    }

    /// Whether none is to be delivered now.
    pub(super) fn is_quiet(&self) -> bool {
        self.replay.is_quiet()
    }

    /// The hint that a target answers to, if it is a delivery.
    pub(super) fn delivered(&mut self, exchange: ExchangeId) -> Option<(NodeId, QualifiedKey)> {
        self.deliveries.remove(&exchange)
    }
}

impl Shard {
    pub(super) fn keep_hint(&mut self, turn: &Turn<'_>, target: NodeId, key: QualifiedKey, record: &Bytes) {
        // It was encoded by this node a moment ago; if it cannot be read, there is nothing to keep.
        let Ok(record) = Record::decode(record) else {
            return;
        };
        if !self.has_room_for_hint(&record) {
            // This hint counts towards no quorum: the absent owner is repaired by reads and sweeps instead.
            self.counters.hints_dropped += 1;
            return;
        }
        let lww = turn.view.buckets().is_lww(key.bucket());
        let op = self.calls.begin(Context::Hint(target));
        let cell = CellKey::hint(target, key);
        self.vnode(turn, vnode::Event::Merge { op, cell, record, origin: None, lww, durable: true });
    }

    /// Whether the quota of hints is not used up.
    pub(super) fn has_room_for_hints(&self) -> bool {
        self.vnodes.hints().values().map(|tally| tally.bytes).sum::<u64>() < limits::DEFAULT_HINT_BYTES
    }

    pub(super) fn hint_kept(&mut self, turn: &mut Turn<'_>, target: NodeId) {
        self.counters.hints_kept += 1;
        self.hint_event(turn, handoff::Event::Kept(target));
    }

    /// The target answers again, or is gone.
    pub(super) fn hint_target(&mut self, turn: &mut Turn<'_>, target: NodeId, up: bool) {
        let event = if up { handoff::Event::Up(target) } else { handoff::Event::Down(target) };
        if !up {
            self.hints.deliveries.retain(|_, (to, _)| *to != target);
        }
        self.hint_event(turn, event);
    }

    pub(super) fn tick_hints(&mut self, turn: &mut Turn<'_>) {
        self.hint_event(turn, handoff::Event::Tick);
    }

    pub(super) fn hint_event(&mut self, turn: &mut Turn<'_>, event: handoff::Event) {
        let mut effects = Vec::new();
        self.hints.replay.handle(turn.now.instant, event, &mut effects);
        for effect in effects {
            match effect {
                handoff::Effect::Scan(target, from) => {
                    let op = self.calls.begin(Context::HintPage(target));
                    self.vnode(turn, vnode::Event::Scan(op, ScanRange::HintsFor(target), from));
                }
                handoff::Effect::Deliver(target, row) => self.deliver(turn, target, row),
                handoff::Effect::Drop(target, row) => self.drop_hint(turn, target, row),
            }
        }
    }

    fn deliver(&mut self, turn: &mut Turn<'_>, target: NodeId, row: HintRow) {
        let exchange = self.requests.number();
        // A target that has heard of newer rules takes it under these; one that has not must learn them first.
        let props = turn.view.buckets().number(row.key.bucket());
        let merge = Merge {
            bucket: row.key.bucket().clone(),
            key: row.key.key().clone(),
            record: row.record,
            props,
            durable: true,
            origin: None,
            stands_for: None,
        };
        let delivery = (target, row.key);
        // An ack of an earlier try is for an earlier record: it must not pass for one of this.
        self.hints.deliveries.retain(|_, earlier| *earlier != delivery);
        self.hints.deliveries.insert(exchange, delivery);
        turn.send(exchange, target, Class::Background, DELIVERY_MS, Message::Merge(merge));
    }

    fn drop_hint(&mut self, turn: &Turn<'_>, target: NodeId, row: HintRow) {
        let Ok(record) = Record::decode(&row.record) else {
            return;
        };
        let op = self.calls.begin(Context::HintDrop(target));
        let cell = CellKey::hint(target, row.key);
        self.vnode(turn, vnode::Event::DropHint { op, cell, digest: record.digest() });
    }

    /// A page of the records kept for one target.
    pub(super) fn hints_scanned(
        &mut self,
        turn: &mut Turn<'_>,
        target: NodeId,
        page: Result<RecordPage, Refused>,
    ) {
        let page = page.unwrap_or_else(|error| {
            // The pass ends here and another follows; the rows stay, and an operator must know.
            let alarm = format!("hints kept for node {target} cannot be read: {error}");
            turn.out.push(Effect::Log(Log::Alarm(alarm)));
            self.hint_event(turn, handoff::Event::Kept(target));
            RecordPage::default()
        });
        self.discard_damaged_hints(turn, &page, true);
        let rows = page.records.into_iter();
        let rows = rows.map(|(cell, record)| HintRow { key: cell.key, record: record.encode() }).collect();
        self.hint_event(turn, handoff::Event::Page { target, rows, next: page.next });
    }

    /// Has a page of all hints read, to be counted.
    pub(super) fn count_hints(&mut self, turn: &Turn<'_>, from: Option<Bytes>) {
        let op = self.calls.begin(Context::HintCount);
        self.vnode(turn, vnode::Event::Scan(op, ScanRange::Hints, from));
    }

    /// Counts a page of hints after a start, and has their targets visited.
    pub(super) fn hints_counted(&mut self, turn: &mut Turn<'_>, page: Result<RecordPage, Refused>) {
        let page = page.unwrap_or_else(|error| {
            turn.out.push(Effect::Log(Log::Alarm(format!("stored hints could not be counted: {error}"))));
            RecordPage::default()
        });
        self.discard_damaged_hints(turn, &page, false);
        for (cell, record) in &page.records {
            if let CellKind::Hint(target) = cell.kind {
                self.vnodes.found_hint(target, record);
                self.hint_event(turn, handoff::Event::Kept(target));
            }
        }
        match page.next {
            Some(next) => self.count_hints(turn, Some(next)),
            None => turn.changes.push_back(Change::HintsCounted),
        }
    }
}
