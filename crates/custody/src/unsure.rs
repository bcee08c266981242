//! One partition that cannot be vouched for.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_types::row::RowRange;
use starling_types::{Held, Instant, LayoutVersion, NodeId};

use crate::event::Ticket;

/// Ranges of rows that cannot be read, remembered one by one in a partition; more than these count as one.
const MOST_RANGES: usize = 1_024;

#[derive(Debug)]
pub(crate) struct Unsure {
    pub(crate) why: String,
    pub(crate) stage: Stage,
    /// How much of it is here, as other owners are told.
    pub(crate) held: Held,
    /// Whether anything that was synced may be lost.
    pub(crate) synced: bool,
    /// A person has said that nothing more can come back.
    pub(crate) accepted: bool,
    /// Sources must have fenced off all layouts below this one.
    pub(crate) since: LayoutVersion,
    /// Rows that could not be read before the pull began: what others hold of them takes their place.
    pub(crate) unreadable: Vec<RowRange>,
    /// Owners all of whose records are here by now, and how much of the partition they had themselves.
    pub(crate) pulled: BTreeMap<NodeId, Held>,
}

/// ```text
/// waiting -> surveying -> pulling -> giving up -> (short: a person accepts it, or more is pulled) -> whole -> storing
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// For its turn, and for this moment.
    Waiting(Instant),
    Surveying(Ticket),
    Pulling,
    /// All owners were asked, and too few of them are whole: for a person to accept.
    Short,
    /// So many rows are being given up.
    GivingUp(Ticket, usize),
    /// The disk refused one of them; again at that moment.
    Refused(Instant),
    /// To be written down as whole.
    Whole,
    Storing(Ticket),
}

impl Unsure {
    pub(crate) fn new(why: &str, held: Held, synced: bool) -> Self {
        Self {
            why: why.into(),
            stage: Stage::Waiting(Instant::ORIGIN),
            held,
            synced,
            accepted: false,
            since: LayoutVersion::NONE,
            unreadable: Vec::new(),
            pulled: BTreeMap::new(),
        }
    }

    /// More may be lost than was known: what was pulled and accepted before does not count.
    pub(crate) fn join(&mut self, found: Self) {
        self.stage = Stage::Waiting(Instant::ORIGIN);
        self.accepted = false;
        self.pulled.clear();
        self.held = self.held.min(found.held);
        self.synced |= found.synced;
        self.since = self.since.max(found.since);
    }

    pub(crate) const fn has_begun_to_pull(&self) -> bool {
        !matches!(self.stage, Stage::Waiting(_) | Stage::Surveying(_))
    }

    pub(crate) fn remembers(&self, range: &RowRange) -> bool {
        self.unreadable.iter().any(|known| known.covers(range))
    }

    pub(crate) fn remember(&mut self, range: RowRange) {
        if self.remembers(&range) {
            return;
        }
        self.unreadable.push(range);
        if self.unreadable.len() > MOST_RANGES {
            let ranges = std::mem::take(&mut self.unreadable);
            let first = ranges.iter().map(RowRange::start).min().cloned().unwrap_or_default();
            let ends: Option<Vec<&Bytes>> = ranges.iter().map(RowRange::end).collect();
            let end = ends.and_then(|ends| ends.into_iter().max().cloned());
            self.unreadable.push(RowRange::new(first, end));
        }
    }

    /// When it can go on by itself.
    pub(crate) const fn due(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting(at) | Stage::Refused(at) => Some(at),
            _ => None,
        }
    }
}
