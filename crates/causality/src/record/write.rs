//! A write at the replica that coordinates it.

use starling_types::{RequestId, WallTime};

use super::Record;
use super::sibling::{Payload, Sibling};
use crate::dot::Dot;
use crate::hlc::Hlc;
use crate::version_vector::VersionVector;

/// One write, about to be made.
#[derive(Debug, Clone)]
pub struct Mint<'a> {
    /// The writer's context, already bounded as *one id, one value* demands (semantics, section 3), and joined with
    /// this record's context if the write is blind.
    pub seen: &'a VersionVector,
    /// Freshly minted: above `seen` and above the record's context.
    pub dot: Dot,
    /// Its value or tombstone.
    pub payload: Payload,
    /// When that reads as absent; `None` is never.
    pub expires_at: Option<WallTime>,
    /// The request behind it; a tombstone bears none, even if one is given. `None` where the last write wins.
    pub id: Option<RequestId>,
    /// Its place among the last writes where the last one wins; `None` is the time of the dot.
    pub rank: Option<Hlc>,
}

impl<'a> Mint<'a> {
    /// A write whose request has no name, never expires, and ranks by its dot.
    pub const fn plain(seen: &'a VersionVector, dot: Dot, payload: Payload) -> Self {
        Self { seen, dot, payload, expires_at: None, id: None, rank: None }
    }

    /// Whether the write supersedes `sibling`: its writer saw it, or both are deletes and this one ranks higher. (A
    /// delete tells nothing that a later one does not; without that, deletes by writers who have seen nothing would
    /// pile up.)
    fn supersedes(&self, sibling: &Sibling) -> bool {
        let deletes = sibling.is_tombstone() && self.payload == Payload::Tombstone;
        let rank = (self.rank.unwrap_or(self.dot.hlc), self.dot);
        self.seen.covers(sibling.dot) || (deletes && sibling.rank() < rank)
    }

    fn into_sibling(self) -> Sibling {
        Sibling {
            id: self.id.filter(|_| self.payload != Payload::Tombstone),
            rank: self.rank.filter(|&rank| rank != self.dot.hlc),
            dot: self.dot,
            payload: self.payload,
            expires_at: self.expires_at,
            rescued: false,
        }
    }
}

impl Record {
    /// The record after a write: drops exactly what [`Mint::seen`] covers, every other dot of a request of which that
    /// covers one, and, for a delete, the deletes that rank below it; adds the new one; the context grows by what was
    /// seen and the dot. Whether the request was made before, the caller has asked ([`Self::dot_of`],
    /// [`Self::is_superseded`]).
    #[must_use]
    pub fn write(&self, mint: Mint<'_>) -> Self {
        let mut context = self.context.joined(mint.seen);
        context.raise(mint.dot);
        let mut dead = self.dead.clone();
        let mut siblings = Vec::with_capacity(self.siblings.len() + 1);
        for sibling in &self.siblings {
            match mint.supersedes(sibling) {
                true => dead.bury(sibling),
                false => siblings.push(sibling.clone()),
            }
        }
        if let Some(id) = mint.id {
            dead.remove(id);
        }
        dead.clear(&mut siblings);
        let written = mint.into_sibling();
        match siblings.binary_search_by_key(&written.dot, |sibling| sibling.dot) {
            Ok(at) => siblings[at] = written,
            Err(at) => siblings.insert(at, written),
        }
        Self { context, siblings, dead }
    }

    /// This record, knowing that `ids` were superseded: the node remembers a dot of each that this record covers and
    /// no longer holds.
    #[must_use]
    pub fn supersede(&self, ids: impl IntoIterator<Item = RequestId>) -> Self {
        let mut after = self.clone();
        let unknown: Vec<RequestId> = ids.into_iter().filter(|&id| !self.is_superseded(id)).collect();
        // Which dots were dropped is no longer known, only that they are no later than all that was seen.
        let at = self.context.max_hlc();
        unknown.into_iter().for_each(|id| after.dead.add(id, at));
        after.dead.clear(&mut after.siblings);
        after
    }
}
