//! # Giving hints back
//!
//! **Job.** Replays the records that this node keeps for absent owners, as soon as their owner is back. (Moving
//! whole partitions joins this crate with layout changes.)
//!
//! **Invariants.**
//! - A row is dropped only after its owner has acked that very record; a record that grew meanwhile stays.
//! - At most [`limits::HINT_WINDOW`] records are under way to one target; a target that does not answer is left
//!   alone until it is heard of again or a pause is over.
//!
//! **Deliberately absent.** Which rows exist and how they are read and dropped: effects name them, the node
//! carries them out through the vnode.
//!
//! **How to read this crate.** One machine, [`HintReplay`]; per target a pass over its rows, page by page.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use starling_types::{Instant, NodeId, QualifiedKey, limits};

/// A record that waits for its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintRow {
    /// The key.
    pub key: QualifiedKey,
    /// The encoded record.
    pub record: Bytes,
}

/// Input.
#[derive(Debug)]
pub enum Event {
    /// The target answers.
    Up(NodeId),
    /// The target is gone.
    Down(NodeId),
    /// A hint for the target was kept.
    Kept(NodeId),
    /// The answer to [`Effect::Scan`].
    Page {
        /// The target.
        target: NodeId,
        /// Its rows.
        rows: Vec<HintRow>,
        /// Where the next page starts, if there is one.
        next: Option<Bytes>,
    },
    /// The target answered a [`Effect::Deliver`]: done or not.
    Delivered {
        /// The target.
        target: NodeId,
        /// The key.
        key: QualifiedKey,
        /// Whether the target holds it durably now.
        done: bool,
    },
    /// Time has passed.
    Tick,
}

/// Output.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read a page of the rows for `target`, from the start or a cursor.
    Scan(NodeId, Option<Bytes>),
    /// Send this record to its owner.
    Deliver(NodeId, HintRow),
    /// Drop the row, if it is still what was delivered.
    Drop(NodeId, HintRow),
}

/// Pause before another pass after one that left something behind.
const RETRY: Duration = Duration::from_secs(3);
/// A delivery unanswered for this long has failed.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);

starling_types::counters! {
    /// Counts since the start.
    Counters {
        /// Hints acked by their owner.
        delivered = "starling_hints_delivered_total",
    }
}

/// The replay of all targets.
#[derive(Debug, Default)]
pub struct HintReplay {
    targets: BTreeMap<NodeId, Target>,
    counters: Counters,
    /// Looked for after each event: a node asks for it in every turn.
    next: Option<Instant>,
}

#[derive(Debug, Default)]
struct Target {
    up: bool,
    pass: Pass,
    queue: VecDeque<HintRow>,
    in_flight: BTreeMap<QualifiedKey, (HintRow, Instant)>,
    /// Something was kept, or could not be delivered, since the pass began.
    again: bool,
    due: Option<Instant>,
}

/// Where a target's pass over its rows stands.
#[derive(Debug, Default, PartialEq, Eq)]
enum Pass {
    #[default]
    Idle,
    /// A page is being read.
    Reading,
    /// More pages follow from here.
    More(Bytes),
    /// The last page was read.
    Last,
}

impl HintReplay {
    /// The one entrance.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Up(node) => {
                let target = self.targets.entry(node).or_default();
                target.up = true;
                target.due = Some(now);
            }
            Event::Down(node) => self.down(node),
            Event::Kept(node) => {
                let target = self.targets.entry(node).or_default();
                target.again = true;
                target.due.get_or_insert(now + RETRY);
            }
            Event::Page { target, rows, next } => self.page(target, rows, next),
            Event::Delivered { target, key, done } => self.delivered(target, &key, done, out),
            Event::Tick => {}
        }
        for (&node, target) in &mut self.targets {
            target.work(now, node, out);
        }
        self.next = self.targets.values().filter(|t| t.up).filter_map(Target::next_deadline).min();
    }

    /// When [`Event::Tick`] is due.
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Whether nothing is being delivered, or waits to be, to a target that answers.
    pub fn is_quiet(&self) -> bool {
        self.targets.values().all(|t| !t.up || (t.pass == Pass::Idle && !t.again))
    }

    /// The counts of handoff so far.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    fn down(&mut self, node: NodeId) {
        let Some(target) = self.targets.get_mut(&node) else {
            return;
        };
        *target = Target { again: target.again || target.pass != Pass::Idle, ..Target::default() };
    }

    fn page(&mut self, node: NodeId, rows: Vec<HintRow>, next: Option<Bytes>) {
        let Some(target) = self.targets.get_mut(&node) else {
            return;
        };
        // A page asked for before the target went away is not worth keeping.
        if target.pass == Pass::Reading {
            target.queue.extend(rows);
            target.pass = next.map_or(Pass::Last, Pass::More);
        }
    }

    fn delivered(&mut self, node: NodeId, key: &QualifiedKey, done: bool, out: &mut Vec<Effect>) {
        let Some(target) = self.targets.get_mut(&node) else {
            return;
        };
        let Some((row, _)) = target.in_flight.remove(key) else {
            return;
        };
        if done {
            self.counters.delivered += 1;
            out.push(Effect::Drop(node, row));
        } else {
            target.again = true;
        }
    }
}

impl Target {
    fn work(&mut self, now: Instant, node: NodeId, out: &mut Vec<Effect>) {
        if !self.up {
            return;
        }
        self.expire(now);
        if self.pass == Pass::Idle && self.due.is_some_and(|due| now >= due) {
            self.due = None;
            self.again = false;
            self.pass = Pass::Reading;
            out.push(Effect::Scan(node, None));
        }
        while self.in_flight.len() < limits::HINT_WINDOW {
            let Some(row) = self.queue.pop_front() else { break };
            self.in_flight.insert(row.key.clone(), (row.clone(), now));
            out.push(Effect::Deliver(node, row));
        }
        if self.queue.is_empty() {
            self.next_page(now, node, out);
        }
    }

    fn next_page(&mut self, now: Instant, node: NodeId, out: &mut Vec<Effect>) {
        match std::mem::take(&mut self.pass) {
            Pass::More(cursor) => {
                self.pass = Pass::Reading;
                out.push(Effect::Scan(node, Some(cursor)));
            }
            Pass::Last if self.in_flight.is_empty() => {
                if self.again {
                    self.due.get_or_insert(now + RETRY);
                }
            }
            other => self.pass = other,
        }
    }

    fn expire(&mut self, now: Instant) {
        let before = self.in_flight.len();
        self.in_flight.retain(|_, (_, since)| now.since(*since) < DELIVERY_TIMEOUT);
        self.again |= self.in_flight.len() < before;
    }

    fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.in_flight.values().map(|(_, since)| *since + DELIVERY_TIMEOUT).min();
        let due = if self.pass == Pass::Idle { self.due } else { None };
        [oldest, due].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
