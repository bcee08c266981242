//! The known members and their status: the state that gossip makes equal everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use starling_types::{Generation, Instant, NodeId, limits};
use starling_wire::gossip::{Claim, MemberInfo, Record, Status};

use crate::suspicion::Suspicion;

/// The part of a member's state that takes part in precedence: the greater standing wins, from any sender and in any
/// order. Leaving is final within a generation, so it comes before the incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    generation: Generation,
    left: bool,
    incarnation: u64,
    status: Status,
}

impl Standing {
    pub(crate) fn new(generation: Generation, incarnation: u64, status: Status) -> Self {
        Self { generation, left: status == Status::Left, incarnation, status }
    }

    pub(crate) fn of_claim(claim: &Claim) -> Self {
        Self::new(claim.generation, claim.incarnation, claim.status)
    }

    pub(crate) fn of_record(record: &Record) -> Self {
        Self::new(record.info.generation, record.incarnation, record.status)
    }

    /// The same without suspicion, which is local and ends by itself: what tables are compared by.
    pub(crate) fn settled(self) -> Self {
        let status = if self.status == Status::Suspect { Status::Alive } else { self.status };
        Self { status, ..self }
    }

    fn digest(self, node: NodeId) -> u64 {
        let settled = self.settled();
        [node.bits(), self.generation.0, self.incarnation, u64::from(u8::from(settled.status))]
            .into_iter()
            .fold(0, |sum, word| scramble(sum ^ word))
    }
}

/// One member as this node sees it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) info: MemberInfo,
    pub(crate) incarnation: u64,
    pub(crate) status: Status,
    /// Present exactly while `status` is Suspect and this is not our own entry.
    pub(crate) suspicion: Option<Suspicion>,
    /// A decaying peak of its round trips.
    pub(crate) slowest: Duration,
    /// When a difference of its shared state was last noticed.
    pub(crate) differed: Option<Instant>,
}

impl Entry {
    fn new(info: MemberInfo, incarnation: u64, status: Status) -> Self {
        Self { info, incarnation, status, suspicion: None, slowest: Duration::ZERO, differed: None }
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing::new(self.info.generation, self.incarnation, self.status)
    }

    /// Alive or Suspect.
    pub(crate) fn is_live(&self) -> bool {
        self.status <= Status::Suspect
    }

    pub(crate) fn record(&self) -> Record {
        Record { info: self.info.clone(), incarnation: self.incarnation, status: self.status }
    }

    pub(crate) fn claim(&self, by: NodeId) -> Claim {
        let (node, generation) = (self.info.node, self.info.generation);
        Claim { node, generation, incarnation: self.incarnation, status: self.status, by }
    }
}

/// All members, this node included. An entry's standing never falls; at most [`limits::MAX_MEMBERS`] entries.
#[derive(Debug)]
pub(crate) struct Table {
    me: NodeId,
    entries: BTreeMap<NodeId, Entry>,
    /// Members that an operator has removed: hearsay does not bring them back.
    forgotten: BTreeSet<NodeId>,
    digest: u64,
    live: usize,
}

impl Table {
    pub(crate) fn new(me: MemberInfo) -> Self {
        let (node, entry) = (me.node, Entry::new(me, FIRST_INCARNATION, Status::Alive));
        let digest = entry.standing().digest(node);
        let entries = BTreeMap::from([(node, entry)]);
        Self { me: node, entries, forgotten: BTreeSet::new(), digest, live: 1 }
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Entry> {
        self.entries.get(&node)
    }

    /// For the fields that take no part in precedence.
    pub(crate) fn get_mut(&mut self, node: NodeId) -> Option<&mut Entry> {
        self.entries.get_mut(&node)
    }

    pub(crate) fn me(&self) -> &Entry {
        self.entries.get(&self.me).expect("made with the table and never removed")
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.info.node != self.me)
    }

    /// Other members that are Alive or Suspect, in the order of their ids.
    pub(crate) fn live_others(&self) -> impl Iterator<Item = &Entry> {
        self.others().filter(|entry| entry.is_live())
    }

    /// Live members, this node included.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Equal for tables that hold the same settled standings. Not secret: it shows accidents, not attacks.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Adds a member; `false` if the table is full.
    pub(crate) fn insert(&mut self, info: MemberInfo, incarnation: u64, status: Status) -> bool {
        if self.entries.len() >= limits::MAX_MEMBERS {
            return false;
        }
        let node = info.node;
        self.entries.insert(node, Entry::new(info, incarnation, status));
        self.count(node);
        true
    }

    /// Changes an entry and returns what `change` returns.
    pub(crate) fn change<T>(&mut self, node: NodeId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.discount(node);
        let result = self.entries.get_mut(&node).map(change);
        self.count(node);
        result
    }

    /// Removes a dead or departed member and remembers not to take hearsay of it; whether it was there.
    pub(crate) fn forget(&mut self, node: NodeId) -> bool {
        if node == self.me || self.get(node).is_none_or(Entry::is_live) {
            return false;
        }
        self.discount(node);
        self.entries.remove(&node);
        if self.forgotten.len() >= limits::MAX_MEMBERS {
            self.forgotten.pop_first();
        }
        self.forgotten.insert(node)
    }

    pub(crate) fn is_forgotten(&self, node: NodeId) -> bool {
        self.forgotten.contains(&node)
    }

    /// The member itself was heard.
    pub(crate) fn remember(&mut self, node: NodeId) {
        self.forgotten.remove(&node);
    }

    fn count(&mut self, node: NodeId) {
        if let Some(entry) = self.entries.get(&node) {
            self.digest ^= entry.standing().digest(node);
            self.live += usize::from(entry.is_live());
        }
    }

    fn discount(&mut self, node: NodeId) {
        if let Some(entry) = self.entries.get(&node) {
            self.digest ^= entry.standing().digest(node);
            self.live -= usize::from(entry.is_live());
        }
    }
}

/// A member's own first word. 0 is left for hearsay, so that the member's word about itself always wins.
pub(crate) const FIRST_INCARNATION: u64 = 1;
/// The incarnation of what others say of a member that has not spoken.
pub(crate) const HEARSAY: u64 = 0;

/// The finaliser of splitmix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{info, node};

    fn standing(generation: u64, incarnation: u64, status: Status) -> Standing {
        Standing::new(Generation(generation), incarnation, status)
    }

    #[test]
    fn precedence_is_generation_then_leaving_then_incarnation_then_status() {
        let rising = [
            standing(1, 1, Status::Alive),
            standing(1, 1, Status::Suspect),
            standing(1, 1, Status::Dead),
            standing(1, 2, Status::Alive),
            standing(1, 9, Status::Dead),
            standing(1, 1, Status::Left),
            standing(2, 0, Status::Alive),
        ];
        assert!(rising.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn equal_tables_have_equal_digests_however_they_came_about() {
        let mut one = Table::new(info(1, 1));
        one.insert(info(2, 1), 1, Status::Alive);
        one.insert(info(3, 1), 1, Status::Alive);
        one.change(node(2), |entry| entry.status = Status::Dead);
        let mut two = Table::new(info(3, 1));
        two.insert(info(2, 1), 1, Status::Dead);
        two.insert(info(1, 1), 1, Status::Suspect);
        assert_eq!(one.digest(), two.digest(), "suspicion is local and does not count");
        assert_eq!((one.live(), two.live()), (2, 2));
        two.change(node(2), |entry| entry.incarnation = 2);
        assert_ne!(one.digest(), two.digest());
    }

    #[test]
    fn only_the_dead_and_departed_are_forgotten() {
        let mut table = Table::new(info(1, 1));
        let alone = table.digest();
        table.insert(info(2, 1), 1, Status::Alive);
        assert!(!table.forget(node(1)) && !table.forget(node(2)) && !table.forget(node(3)));
        table.change(node(2), |entry| entry.status = Status::Left);
        assert!(table.forget(node(2)));
        assert_eq!(table.digest(), alone);
        assert!(table.is_forgotten(node(2)));
    }

    #[test]
    fn a_full_table_takes_nobody() {
        let mut table = Table::new(info(0, 1));
        for bits in 1..limits::MAX_MEMBERS as u64 {
            assert!(table.insert(info(bits, 1), 1, Status::Alive));
        }
        assert!(!table.insert(info(u64::MAX, 1), 1, Status::Alive));
        assert_eq!(table.live(), limits::MAX_MEMBERS);
    }
}
