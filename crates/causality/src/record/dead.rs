//! Which requests are known to be superseded.

use std::cmp::Reverse;

use starling_types::{RequestId, limits};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::sibling::Sibling;
use crate::dot::Dot;
use crate::hlc::Hlc;
use crate::version_vector::entry_bytes;

/// Requests of which a write has seen a dot: a further dot of theirs, that comes late, is no new value. Each bears the
/// highest time among the dots that were dropped for it, and of more than [`limits::DEAD_IDS`] the youngest are kept.
///
/// `join = maximum per request, then the highest eight`: whichever way records meet, the same eight are left. To forget
/// one is allowed: a late dot of it then stands beside what replaced it until the next write, and nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct DeadIds {
    /// Strictly ascending by id.
    ids: Vec<DeadId>,
}

/// A superseded request, and the highest time of its dots.
pub(super) type DeadId = (RequestId, Hlc);

impl DeadIds {
    pub(super) fn contains(&self, id: RequestId) -> bool {
        self.position(id).is_ok()
    }

    /// Whether it is known that this sibling's request was superseded: a rescued one was ended by a write that saw it
    /// as such, and by nothing else.
    pub(super) fn ends(&self, sibling: &Sibling) -> bool {
        match sibling.rescued {
            true => self.contains(rescue_id(sibling.dot)),
            false => sibling.id.is_some_and(|id| self.contains(id)),
        }
    }

    /// Notes that `id`, of which `at` is a time, was superseded.
    pub(super) fn add(&mut self, id: RequestId, at: Hlc) {
        match self.position(id) {
            Ok(found) => self.ids[found].1 = self.ids[found].1.max(at),
            Err(place) => self.ids.insert(place, (id, at)),
        }
    }

    /// Notes that the request behind `sibling` was superseded. That a rescued one was ended is kept before all else:
    /// no context says it.
    pub(super) fn bury(&mut self, sibling: &Sibling) {
        if let Some(id) = sibling.id {
            self.add(id, sibling.dot.hlc);
        }
        if sibling.rescued {
            self.add(rescue_id(sibling.dot), Hlc::from_bits(u64::MAX));
        }
    }

    pub(super) fn remove(&mut self, id: RequestId) {
        self.ids.retain(|&(dead, _)| dead != id);
    }

    /// The union of both.
    pub(super) fn joined(&self, other: &Self) -> Self {
        let mut both = self.clone();
        other.ids.iter().for_each(|&(id, at)| both.add(id, at));
        both
    }

    /// Drops the siblings that are known to be superseded, and then all but the youngest of what is known.
    pub(super) fn clear(&mut self, siblings: &mut Vec<Sibling>) {
        siblings.retain(|sibling| {
            let ended = self.ends(sibling);
            if ended {
                self.bury(sibling);
            }
            !ended
        });
        self.shorten();
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = DeadId> + '_ {
        self.ids.iter().copied()
    }

    /// The decoded ids; `None` unless they are in order and within their bound.
    pub(super) fn from_ordered(ids: Vec<DeadId>) -> Option<Self> {
        let ascending = ids.is_sorted_by(|(earlier, _), (later, _)| earlier < later);
        (ascending && ids.len() <= limits::DEAD_IDS).then_some(Self { ids })
    }

    fn shorten(&mut self) {
        if self.ids.len() > limits::DEAD_IDS {
            self.ids.sort_unstable_by_key(|&(id, at)| Reverse((at, id)));
            self.ids.truncate(limits::DEAD_IDS);
            self.ids.sort_unstable();
        }
    }

    fn position(&self, id: RequestId) -> Result<usize, usize> {
        self.ids.binary_search_by_key(&id, |&(dead, _)| dead)
    }
}

/// The name under which a rescued sibling ends: made from its dot, so that every replica finds the same one, and not
/// that of its request, which may long have been superseded on one of the sides that disagreed.
fn rescue_id(dot: Dot) -> RequestId {
    RequestId::from_bits(xxh3_128_with_seed(&entry_bytes(dot.actor, dot.hlc), RESCUE_SEED))
}

/// Stored by way of the ids: it never changes.
const RESCUE_SEED: u64 = u64::from_le_bytes(*b"rescued\0");
