//! The judge of reads on the way, of keys that any client writes (proof, section 2): the writes that a read from R
//! owners must have met, by real time and by what its context covers.
//!
//! ```text
//! a read of R owners met write a      a was acked by A owners before the read began, and R + A > N
//! unseen     it met a, and its context does not cover a
//! vanished   it met a, does not show it, and no write that may have replaced a had begun
//! undead     it shows f, and met a write that had surely replaced f
//! phantom    it shows a value whose write had not begun, or was refused
//! doubled    it shows one operation twice
//! backwards  a strict read whose context lacks what an earlier strict read's context covers
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::history::{Write, WriteId, WriteOutcome};

/// One answered read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// When the reader began.
    pub began: u64,
    /// When it had its answer.
    pub ended: u64,
    /// How many owners it heard.
    pub r: u8,
    /// Whether it was to be seen by every later one.
    pub strict: bool,
    /// The writes whose values it showed, one entry a value.
    pub shown: Vec<WriteId>,
    /// The effects of writes that its context covers, by numbers that the recorder gives them.
    pub covers: BTreeSet<u64>,
}

/// One ack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Of which write.
    pub write: WriteId,
    /// The effect that it names, by its number.
    pub effect: u64,
    /// When the writer had it.
    pub at: u64,
    /// How many owners it says hold it.
    pub owners: u8,
}

/// Everything about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SightHistory {
    /// Its name, for the report.
    pub key: String,
    /// Owners of the key.
    pub n: u8,
    /// Only one value is kept, even if its writer has not seen the others: nothing vanishes that others may have
    /// beaten.
    pub keeps_one: bool,
    /// All writes.
    pub writes: Vec<Write>,
    /// When each of them began.
    pub began: BTreeMap<WriteId, u64>,
    /// From when on each of them may be hidden, if it expires.
    pub hides_from: BTreeMap<WriteId, u64>,
    /// All acks that must be met: of writes that no loss can have taken.
    pub acks: Vec<Ack>,
    /// All reads.
    pub sights: Vec<Sight>,
}

/// A read that showed what it must not, or did not show what it must.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missight {
    /// The key.
    pub key: String,
    /// When the read began.
    pub began: u64,
    /// The fault.
    pub why: Why,
}

/// A fault of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It heard an owner that has this write, and its context does not cover it.
    Unseen(WriteId),
    /// It does not show this write, and no other can have replaced it.
    Vanished(WriteId),
    /// It shows the first, which the second had replaced.
    Undead(WriteId, WriteId),
    /// It shows what was refused, not yet begun, or never written.
    Phantom(WriteId),
    /// It shows two values of one write.
    Doubled(WriteId),
    /// It covers less than a strict read that ended at this time.
    Backwards(u64),
}

impl fmt::Display for Missight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: a read begun at {} ", self.key, self.began)?;
        match self.why {
            Why::Unseen(write) => write!(f, "has not seen {write}, though it was acked"),
            Why::Vanished(write) => write!(f, "does not show {write}, which nobody can have replaced"),
            Why::Undead(write, by) => write!(f, "shows {write}, though {by} had replaced it"),
            Why::Phantom(write) => write!(f, "shows {write}, which was never applied"),
            Why::Doubled(write) => write!(f, "shows {write} twice"),
            Why::Backwards(before) => write!(f, "has seen less than a strict one that ended at {before}"),
        }
    }
}

/// All that is wrong with the reads of one key, in a fixed order.
pub fn judge(history: &SightHistory) -> Vec<Missight> {
    let key = Key::new(history);
    let mut found: Vec<Missight> = history.sights.iter().flat_map(|sight| key.judge(sight)).collect();
    found.extend(key.backwards());
    found.sort();
    found
}

struct Key<'a> {
    history: &'a SightHistory,
    writes: BTreeMap<WriteId, &'a Write>,
    /// The writes that may have replaced a write.
    heirs: BTreeMap<WriteId, Vec<&'a Write>>,
    /// The writes that have surely replaced a write that is shown somewhere, directly or through others.
    successors: BTreeMap<WriteId, BTreeSet<WriteId>>,
}

impl<'a> Key<'a> {
    fn new(history: &'a SightHistory) -> Self {
        let (mut heirs, mut sure) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for write in &history.writes {
            write.seen.union(&write.perhaps).for_each(|&seen| heirs.entry(seen).or_default().push(write));
            write.seen.iter().for_each(|&seen| sure.entry(seen).or_default().push(write.id));
        }
        let shown: BTreeSet<WriteId> = history.sights.iter().flat_map(|s| s.shown.iter().copied()).collect();
        let successors = shown.into_iter().map(|write| {
            let mut found = BTreeSet::new();
            let mut open = vec![write];
            while let Some(id) = open.pop() {
                open.extend(sure.get(&id).into_iter().flatten().copied().filter(|&next| found.insert(next)));
            }
            (write, found)
        });
        let writes = history.writes.iter().map(|w| (w.id, w)).collect();
        Self { history, writes, heirs, successors: successors.collect() }
    }
}

impl Key<'_> {
    fn judge(&self, sight: &Sight) -> Vec<Missight> {
        let met: Vec<&Ack> = self.history.acks.iter().filter(|ack| self.meets(sight, ack)).collect();
        let shown: BTreeSet<WriteId> = sight.shown.iter().copied().collect();
        let mut why = BTreeSet::new();
        for ack in &met {
            if !sight.covers.contains(&ack.effect) {
                why.insert(Why::Unseen(ack.write));
            } else if !self.history.keeps_one && self.has_vanished(sight, ack.write, &shown) {
                why.insert(Why::Vanished(ack.write));
            }
        }
        for &write in &shown {
            let successors = &self.successors[&write];
            let by = met.iter().find(|ack| ack.write != write && successors.contains(&ack.write));
            why.extend(by.map(|ack| Why::Undead(write, ack.write)));
            why.extend(self.is_phantom(sight, write).then_some(Why::Phantom(write)));
            let times = sight.shown.iter().filter(|&&w| w == write).count();
            why.extend((times > 1).then_some(Why::Doubled(write)));
        }
        why.into_iter().map(|why| self.missight(sight, why)).collect()
    }

    fn missight(&self, sight: &Sight, why: Why) -> Missight {
        Missight { key: self.history.key.clone(), began: sight.began, why }
    }

    fn meets(&self, sight: &Sight, ack: &Ack) -> bool {
        ack.at < sight.began && u32::from(sight.r) + u32::from(ack.owners) > u32::from(self.history.n)
    }

    fn began(&self, write: WriteId) -> u64 {
        self.history.began.get(&write).copied().unwrap_or_default()
    }

    fn has_vanished(&self, sight: &Sight, write: WriteId, shown: &BTreeSet<WriteId>) -> bool {
        let hides = self.history.hides_from.get(&write).is_some_and(|&from| from <= sight.ended);
        if shown.contains(&write) || hides || self.writes.get(&write).is_none_or(|w| w.deletes) {
            return false;
        }
        // A write that replaced it through others had seen one that replaced it directly.
        let could = |w: &&Write| {
            w.id != write && w.outcome != WriteOutcome::Refused && self.began(w.id) <= sight.ended
        };
        !self.heirs.get(&write).is_some_and(|heirs| heirs.iter().any(could))
    }

    fn is_phantom(&self, sight: &Sight, write: WriteId) -> bool {
        let written = self.writes.get(&write);
        let refused = |w: &&Write| w.outcome == WriteOutcome::Refused || w.deletes;
        written.is_none_or(refused) || self.began(write) > sight.ended
    }

    /// The result of a strict read is held by N-R+1 owners.
    fn backwards(&self) -> Vec<Missight> {
        let mut strict: Vec<&Sight> = self.history.sights.iter().filter(|s| s.strict).collect();
        strict.sort_by_key(|sight| sight.began);
        let mut found = Vec::new();
        for sight in &strict {
            let meets = |before: &&&Sight| before.ended < sight.began && sight.r >= before.r;
            let more = |before: &&Sight| !before.covers.is_subset(&sight.covers);
            if let Some(before) = strict.iter().filter(meets).copied().find(more) {
                found.push(self.missight(sight, Why::Backwards(before.ended)));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
