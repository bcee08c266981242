//! What a node can say of a key.

use starling_antientropy::Held;
use starling_causality::Record;
use starling_types::planted::{self, Bug};
use starling_types::{BucketName, QualifiedKey, Token};

use super::pulled::Needs;
use super::{Stage, Suspect};
use crate::shard::{Shard, Turn};

/// How far a node's word goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// It can say that the key is absent.
    Full,
    /// What it holds is all there is; of keys that it does not hold it can say nothing until a person has.
    OfWhatItHolds,
    /// It is still pulling what it lost: what it has counts towards nothing, and it mints nothing.
    None,
}

impl Word {
    /// Whether it counts for this record.
    pub(crate) fn counts_for(self, record: &Record) -> bool {
        match self {
            Self::Full => true,
            Self::OfWhatItHolds => !record.is_empty(),
            Self::None => false,
        }
    }
}

impl Shard {
    /// What this node can say of a key.
    pub(in crate::shard) fn word(&self, turn: &Turn<'_>, key: &QualifiedKey) -> Word {
        let partition = turn.view.layout().map(|layout| layout.partition_of(key.token()));
        let suspect = partition.and_then(|p| Some((p, self.suspects.partitions.get(&p)?)));
        let suspect = suspect.filter(|_| !planted::on(Bug::SuspectVouches));
        let Some((partition, suspect)) = suspect else { return Word::Full };
        if suspect.held == Held::Synced && !self.suspects.unsynced.contains(key.bucket()) {
            return Word::Full;
        }
        if !self.suspects.has_begun_to_pull(partition) {
            return Word::None;
        }
        suspect.word(turn, &Needs::of(turn, partition), key.bucket())
    }

    /// Whether anything may be lost where the token lies.
    pub(in crate::shard) fn suspects(&self, turn: &Turn<'_>, token: Token) -> bool {
        let partition = turn.view.layout().map(|layout| layout.partition_of(token));
        partition.is_some_and(|partition| self.suspects.partitions.contains_key(&partition))
    }
}

impl Suspect {
    /// Once it is being pulled: a bucket need not wait for what a stricter one asks for.
    fn word(&self, turn: &Turn<'_>, needs: &Needs, bucket: &BucketName) -> Word {
        let n = u8::try_from(needs.others.len() + 1).unwrap_or(u8::MAX);
        let props = turn.view.buckets().props(bucket);
        let least = props.map_or(needs.least, |props| usize::from(props.vouchers(n)));
        let least = if planted::on(Bug::RefillHearsOne) { 1 } else { least };
        let is_synced = props.is_none_or(|props| props.durable);
        let have = self.have(if is_synced { Held::Synced } else { Held::All });
        if have >= least.max(1) {
            return Word::Full;
        }
        match (self.stage, needs.have_all_answered(self)) {
            // Accepted, or about to be trusted: so until that is written down.
            (_, true) if is_synced && self.synced => Word::OfWhatItHolds,
            (_, true) => Word::Full,
            (Stage::Whole | Stage::Storing(_), false) if self.accepted => Word::OfWhatItHolds,
            (_, false) => Word::None,
        }
    }
}
