//! Pages: the keys and digests of a run of tokens, which two nodes compare.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use starling_causality::Digest;
use starling_types::{QualifiedKey, Token};
use starling_wire::sync::{Entry, Fingerprint};
use xxhash_rust::xxh3::Xxh3;

use crate::shared::Shared;

/// The rows that a scan of the data brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The committed records from the token asked for on, in the order in which they are stored.
    pub entries: Vec<(QualifiedKey, Digest)>,
    /// Where the rest starts: tokens from here on are not, or not all, in `entries`.
    pub next: Option<Token>,
    /// Tokens of rows among them that cannot be read, and so are not in `entries`.
    pub unreadable: Vec<RangeInclusive<Token>>,
}

impl Rows {
    /// Whether all rows between two tokens, both included, could be read.
    pub(crate) fn are_whole(&self, from: Token, through: Token) -> bool {
        !self.unreadable.iter().any(|tokens| *tokens.start() <= through && from <= *tokens.end())
    }
}

/// All records between two tokens, both included, that two nodes should both have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    pub(crate) from: Token,
    pub(crate) through: Token,
    entries: Vec<(QualifiedKey, Digest)>,
}

impl Slice {
    /// Cuts a page out of what was read, at `through` at the latest.
    pub(crate) fn cut(shared: &Shared, from: Token, through: Token, rows: Rows) -> Self {
        let read = match rows.next {
            None => Token::from_bits(u64::MAX),
            // More rows with one token than fit a page: the rest of them is not compared.
            Some(next) if next <= from => from,
            Some(next) => Token::from_bits(next.bits() - 1),
        };
        let through = through.min(read);
        let mut entries = rows.entries;
        entries.retain(|(key, _)| (from..=through).contains(&key.token()) && shared.holds(key.token()));
        Self { from, through, entries }
    }

    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut hasher = Xxh3::new();
        for (key, digest) in &self.entries {
            let (bucket, name) = (key.bucket().as_str().as_bytes(), key.key().as_bytes());
            // Lengths, so that no two lists feed the same bytes; the token is keyed by the cluster.
            hasher.update(&key.token().bits().to_le_bytes());
            hasher.update(&(bucket.len() as u64).to_le_bytes());
            hasher.update(bucket);
            hasher.update(&(name.len() as u64).to_le_bytes());
            hasher.update(name);
            hasher.update(&digest.bits().to_le_bytes());
        }
        Fingerprint(hasher.digest128())
    }

    /// The keys that one side lacks or has differently, as far as `theirs` goes.
    pub(crate) fn differences(self, theirs: Self) -> Vec<QualifiedKey> {
        let through = theirs.through;
        let ours = self.entries.into_iter().filter(|(key, _)| key.token() <= through);
        let mut ours: BTreeMap<QualifiedKey, Digest> = ours.collect();
        let mut different: Vec<QualifiedKey> = Vec::new();
        for (key, digest) in theirs.entries {
            if ours.remove(&key) != Some(digest) {
                different.push(key);
            }
        }
        different.extend(ours.into_keys());
        different
    }

    /// As it is sent.
    pub(crate) fn list(self) -> Vec<Entry> {
        let entry = |(key, digest): (QualifiedKey, Digest)| Entry {
            bucket: key.bucket().clone(),
            key: key.key().clone(),
            digest,
        };
        self.entries.into_iter().map(entry).collect()
    }
}

/// The page that the other side listed. Tokens are computed here: only shared keys between `from` and `through` count,
/// even if it lists others.
pub(crate) fn listed(
    seed: u64,
    shared: &Shared,
    (from, through): (Token, Token),
    entries: Vec<Entry>,
) -> Slice {
    let entry = |e: Entry| (QualifiedKey::new(seed, e.bucket, e.key), e.digest);
    let rows = Rows { entries: entries.into_iter().map(entry).collect(), ..Rows::default() };
    Slice::cut(shared, from, through, rows)
}
