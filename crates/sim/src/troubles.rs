//! Which node was in trouble, and when: what the judge of availability excuses by.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_types::Instant;

/// How long the effects of a trouble last: links are dialled anew, gossip must find its victim alive, lost rows come
/// back.
pub const GRACE: Duration = Duration::from_secs(6);

/// A kind of trouble that lasts until it is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// No process runs.
    Down,
    /// The way from one node to another is cut.
    Cut(usize, usize),
    /// Fsyncs take long.
    SlowDisk,
    /// The store refuses everything.
    FailedDisk,
    /// The disk has forgotten something, and may not have it back before the end of the run.
    Forgets,
    /// The volume has no room.
    Full,
    /// The wall clock is off.
    Clock,
}

/// Stretches of trouble, node by node.
#[derive(Debug, Default)]
pub struct Troubles {
    open: BTreeMap<(usize, Trouble), Instant>,
    past: BTreeMap<usize, Vec<(Instant, Instant)>>,
    absent: BTreeMap<usize, Vec<(Instant, Instant)>>,
    /// When a disk last forgot something.
    forgot: BTreeMap<usize, Instant>,
}

impl Troubles {
    /// A trouble of known length.
    pub fn strike(&mut self, node: usize, at: Instant, span: Duration) {
        let past = self.past.entry(node).or_default();
        match past.last_mut() {
            // Most follow each other closely.
            Some((_, end)) if *end >= at => *end = (*end).max(at + span),
            _ => past.push((at, at + span)),
        }
    }

    /// A node cannot be reached for some time of known length.
    pub fn miss(&mut self, node: usize, at: Instant, span: Duration) {
        self.absent.entry(node).or_default().push((at, at + span + GRACE));
    }

    /// A trouble begins.
    pub fn begin(&mut self, node: usize, trouble: Trouble, at: Instant) {
        if trouble == Trouble::Forgets {
            self.forgot.insert(node, at);
        }
        self.open.entry((node, trouble)).or_insert(at);
    }

    /// It ends, if there was one.
    pub fn end(&mut self, node: usize, trouble: Trouble, at: Instant) {
        if let Some(from) = self.open.remove(&(node, trouble)) {
            self.past.entry(node).or_default().push((from, at + GRACE));
            if trouble.is_absence() {
                self.miss(node, from, at.since(from));
            }
        }
    }

    /// It begins or ends.
    pub fn set(&mut self, node: usize, trouble: Trouble, at: Instant, on: bool) {
        if on { self.begin(node, trouble, at) } else { self.end(node, trouble, at) }
    }

    /// Whether a node's disk forgets something at that moment or later.
    pub fn forgets_after(&self, node: usize, at: Instant) -> bool {
        self.forgot.get(&node).is_some_and(|&last| last >= at)
    }

    /// No way is cut any more.
    pub fn mended(&mut self, at: Instant) {
        let cuts = self.open.keys().filter(|(_, trouble)| matches!(trouble, Trouble::Cut(..)));
        for (node, trouble) in cuts.copied().collect::<Vec<_>>() {
            self.end(node, trouble, at);
        }
    }

    /// Whether a node was in any trouble between two moments.
    pub fn touch(&self, node: usize, from: Instant, to: Instant) -> bool {
        let open = self.open.iter().any(|(&(n, _), &began)| n == node && began <= to);
        let past = self.past.get(&node).into_iter().flatten();
        open || past.into_iter().any(|&(began, ended)| began <= to && from <= ended)
    }

    /// When a node is there again that was absent between two moments; the later one if it was not.
    pub fn back(&self, node: usize, from: Instant, to: Instant) -> Instant {
        let absent = self.absent.get(&node).into_iter().flatten();
        absent.filter(|&&(a, b)| a <= to && from <= b).map(|&(_, b)| b).fold(to, Instant::max)
    }

    /// Whether it was absent at any time between two moments.
    pub fn absent(&self, node: usize, from: Instant, to: Instant) -> bool {
        let open = self.open.iter().any(|(&(n, t), &began)| n == node && t.is_absence() && began <= to);
        let past = self.absent.get(&node).into_iter().flatten();
        open || past.into_iter().any(|&(began, ended)| began <= to && from <= ended)
    }
}

impl Trouble {
    const fn is_absence(self) -> bool {
        matches!(self, Self::Down | Self::Cut(..) | Self::FailedDisk)
    }
}
