//! A version vector: the highest time seen per actor.

use serde::{Deserialize, Serialize};
use starling_types::ActorId;

use crate::dot::Dot;
use crate::hlc::Hlc;
use crate::walk::{Pair, side_by_side};

/// A set of writes, closed downwards: for each actor, every dot up to a time. As a record's context it covers all
/// that the record has ever held or superseded; as a client's context, all that the client has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct VersionVector {
    /// Strictly ascending by actor, no time zero: equal vectors have equal bytes.
    entries: Vec<Entry>,
}

type Entry = (ActorId, Hlc);

/// How one version vector stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// Both cover the same writes.
    Equal,
    /// The first covers all of the second, and more.
    Descends,
    /// The second covers all of the first, and more.
    Precedes,
    /// Each covers something that the other does not.
    Concurrent,
}

impl VersionVector {
    /// Covers nothing.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The highest time seen of `actor`, [`Hlc::ZERO`] if none.
    pub fn get(&self, actor: ActorId) -> Hlc {
        self.position(actor).map_or(Hlc::ZERO, |at| self.entries[at].1)
    }

    /// Whether the write named `dot` is among those seen.
    pub fn covers(&self, dot: Dot) -> bool {
        dot.hlc <= self.get(dot.actor)
    }

    /// Covers `dot`, and with it every earlier one of its actor.
    pub fn raise(&mut self, dot: Dot) {
        match self.position(dot.actor) {
            Ok(at) => self.entries[at].1 = self.entries[at].1.max(dot.hlc),
            Err(_) if dot.hlc == Hlc::ZERO => {}
            Err(at) => {
                self.entries.reserve_exact(1);
                self.entries.insert(at, (dot.actor, dot.hlc));
            }
        }
    }

    /// Covers what `other` covers, too.
    pub fn join(&mut self, other: &Self) {
        if !matches!(self.compare(other), Relation::Equal | Relation::Descends) {
            *self = self.joined(other);
        }
    }

    /// Covers what either covers: the maximum per actor.
    pub fn joined(&self, other: &Self) -> Self {
        let mut entries = Vec::with_capacity(self.pairs(other).count());
        entries.extend(self.pairs(other).map(|pair| match pair {
            Pair::Left(&entry) | Pair::Right(&entry) => entry,
            Pair::Both(&(actor, ours), &(_, theirs)) => (actor, ours.max(theirs)),
        }));
        Self { entries }
    }

    /// The part of this that was minted no later than `most`: the minimum per actor; at [`Hlc::ZERO`] nothing is left
    /// of it.
    #[must_use]
    pub fn bounded(&self, most: Hlc) -> Self {
        self.iter().map(|(actor, hlc)| (actor, hlc.min(most))).collect()
    }

    /// How this vector stands to `other`.
    pub fn compare(&self, other: &Self) -> Relation {
        let (mut more, mut less) = (false, false);
        for pair in self.pairs(other) {
            match pair {
                Pair::Left(_) => more = true,
                Pair::Right(_) => less = true,
                Pair::Both((_, ours), (_, theirs)) => {
                    more |= ours > theirs;
                    less |= ours < theirs;
                }
            }
        }
        match (more, less) {
            (false, false) => Relation::Equal,
            (true, false) => Relation::Descends,
            (false, true) => Relation::Precedes,
            (true, true) => Relation::Concurrent,
        }
    }

    /// The highest time of any actor, [`Hlc::ZERO`] if empty: what the next mint must be above.
    pub fn max_hlc(&self) -> Hlc {
        self.entries.iter().map(|&(_, hlc)| hlc).max().unwrap_or(Hlc::ZERO)
    }

    /// Number of actors.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it covers nothing.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Actors with their highest times, ordered by actor.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (ActorId, Hlc)> + '_ {
        self.entries.iter().copied()
    }

    /// Appends [`ENTRY_BYTES`] per actor, ordered by actor.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) {
        for (actor, hlc) in self.iter() {
            out.extend_from_slice(&entry_bytes(actor, hlc));
        }
    }

    /// Reverses [`Self::encode_into`]; `None` unless `bytes` are exactly what it would write.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (chunks, []) = bytes.as_chunks::<ENTRY_BYTES>() else {
            return None;
        };
        let entries: Vec<Entry> = chunks.iter().map(entry_from).collect();
        let ascending = entries.is_sorted_by(|(earlier, _), (later, _)| earlier < later);
        let canonical = ascending && entries.iter().all(|&(_, hlc)| hlc != Hlc::ZERO);
        canonical.then_some(Self { entries })
    }

    fn position(&self, actor: ActorId) -> Result<usize, usize> {
        self.entries.binary_search_by_key(&actor, |&(actor, _)| actor)
    }

    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Pair<'a, Entry>> {
        side_by_side(&self.entries, &other.entries, |&(actor, _)| actor)
    }
}

impl FromIterator<Entry> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        let mut entries: Vec<Entry> = entries.into_iter().filter(|&(_, hlc)| hlc != Hlc::ZERO).collect();
        // Highest time first within an actor, so that the first of each actor is the one to keep.
        entries.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then(y.cmp(x)));
        entries.dedup_by_key(|&mut (actor, _)| actor);
        Self { entries }
    }
}

impl FromIterator<Dot> for VersionVector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        dots.into_iter().map(|dot| (dot.actor, dot.hlc)).collect()
    }
}

impl From<Vec<Entry>> for VersionVector {
    fn from(entries: Vec<Entry>) -> Self {
        entries.into_iter().collect()
    }
}

impl From<VersionVector> for Vec<Entry> {
    fn from(vector: VersionVector) -> Self {
        vector.entries
    }
}

/// One actor and time, each 8 bytes little-endian: also how records and digests write a dot.
pub(crate) fn entry_bytes(actor: ActorId, hlc: Hlc) -> [u8; ENTRY_BYTES] {
    let pair = u128::from(actor.bits()) | u128::from(hlc.bits()) << 64;
    pair.to_le_bytes()
}

/// Reverses [`entry_bytes`].
pub(crate) fn entry_from(bytes: &[u8; ENTRY_BYTES]) -> Entry {
    let pair = u128::from_le_bytes(*bytes);
    (ActorId::from_bits(pair as u64), Hlc::from_bits((pair >> 64) as u64))
}

/// Encoded size of one actor with its time.
pub(crate) const ENTRY_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn vector() -> impl Strategy<Value = VersionVector> {
        prop::collection::btree_map(0u64..6, 1u64..5, 0..5)
            .prop_map(|map| map.into_iter().map(entry).collect())
    }

    fn entry((actor, hlc): (u64, u64)) -> Entry {
        (ActorId::from_bits(actor), Hlc::from_bits(hlc))
    }

    fn as_map(vector: &VersionVector) -> BTreeMap<ActorId, Hlc> {
        vector.iter().collect()
    }

    #[test]
    fn a_vector_covers_every_dot_up_to_its_times() {
        let seen: VersionVector =
            [entry((1, 5)), entry((2, 3)), entry((1, 4)), entry((3, 0))].into_iter().collect();
        let dot = |actor, time| Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_bits(time) };
        assert!(seen.covers(dot(1, 5)) && seen.covers(dot(1, 1)) && seen.covers(dot(2, 3)));
        assert!(!seen.covers(dot(1, 6)) && !seen.covers(dot(2, 4)) && !seen.covers(dot(3, 1)));
        assert_eq!((seen.len(), seen.max_hlc()), (2, Hlc::from_bits(5)));
        assert_eq!(VersionVector::new().max_hlc(), Hlc::ZERO);
    }

    #[test]
    fn serialized_entries_are_put_in_order_whoever_wrote_them() {
        let vector: VersionVector =
            serde_json::from_str(r#"[["0000000000000002",7],["0000000000000001",3],["0000000000000002",9]]"#)
                .unwrap();
        assert_eq!(vector, [entry((1, 3)), entry((2, 9))].into_iter().collect());
        assert_eq!(
            serde_json::to_string(&vector).unwrap(),
            r#"[["0000000000000001",3],["0000000000000002",9]]"#
        );
    }

    proptest! {
        #[test]
        fn join_is_the_maximum_per_actor(a in vector(), b in vector()) {
            let mut expected = as_map(&a);
            for (actor, hlc) in b.iter() {
                let slot = expected.entry(actor).or_default();
                *slot = hlc.max(*slot);
            }
            let mut joined = a.clone();
            joined.join(&b);
            prop_assert_eq!(as_map(&joined), expected);
            prop_assert_eq!(joined, b.joined(&a));
        }

        #[test]
        fn a_bounded_vector_covers_exactly_what_is_no_later(a in vector(), most in 0u64..6) {
            let most = Hlc::from_bits(most);
            let bounded = a.bounded(most);
            for dot in (0u64..6).flat_map(|actor| (1u64..6).map(move |time| entry((actor, time)))) {
                let dot = Dot { actor: dot.0, hlc: dot.1 };
                prop_assert_eq!(bounded.covers(dot), a.covers(dot) && dot.hlc <= most);
            }
            prop_assert!(bounded.iter().all(|(_, hlc)| hlc != Hlc::ZERO));
        }

        #[test]
        fn raising_dot_by_dot_is_collecting(entries in prop::collection::vec((0u64..6, 0u64..5), 0..12)) {
            let mut raised = VersionVector::new();
            for (actor, hlc) in entries.iter().copied().map(entry) {
                raised.raise(Dot { actor, hlc });
            }
            prop_assert_eq!(raised, entries.into_iter().map(entry).collect());
        }

        #[test]
        fn the_four_relations_agree_with_coverage(a in vector(), b in vector()) {
            let covers = |x: &VersionVector, y: &VersionVector| y.iter().all(|(actor, hlc)| hlc <= x.get(actor));
            let expected = match (covers(&a, &b), covers(&b, &a)) {
                (true, true) => Relation::Equal,
                (true, false) => Relation::Descends,
                (false, true) => Relation::Precedes,
                (false, false) => Relation::Concurrent,
            };
            prop_assert_eq!(a.compare(&b), expected);
        }

        #[test]
        fn bytes_round_trip_and_only_the_canonical_form_is_read(a in vector(), b in vector()) {
            let mut bytes = Vec::new();
            a.encode_into(&mut bytes);
            prop_assert_eq!(VersionVector::decode(&bytes), Some(a.clone()));
            b.encode_into(&mut bytes);
            if let Some(read) = VersionVector::decode(&bytes) {
                prop_assert_eq!(read.len(), a.len() + b.len());
            }
            bytes.push(0);
            prop_assert_eq!(VersionVector::decode(&bytes), None);
        }
    }
}
