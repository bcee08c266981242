//! A record's identity for comparison between replicas.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::{Record, Sibling};
use crate::version_vector::{ENTRY_BYTES, entry_bytes};
use starling_types::planted::{self, Bug};

/// Two replicas hold the same record iff their digests are equal (semantics, section 6): xxh3-128 of the context and
/// of each sibling's dot, kind and expiry. A dot names one value for ever, so values need no hashing; the format
/// version stays out, so that replicas of different releases agree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(u128);

impl Digest {
    /// From [`Self::bits`].
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The digest as an integer, for encoding.
    pub const fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Record {
    /// The record's identity. Replicas of every release must compute it alike: it never changes.
    pub fn digest(&self) -> Digest {
        let mut hasher = Xxh3::new();
        // The count separates context from siblings: no two records feed the same bytes.
        let entries = if planted::on(Bug::DigestWithoutContext) { 0 } else { self.context.len() as u64 };
        hasher.update(&entries.to_le_bytes());
        for (actor, hlc) in self.context.iter().filter(|_| !planted::on(Bug::DigestWithoutContext)) {
            hasher.update(&entry_bytes(actor, hlc));
        }
        for sibling in &self.siblings {
            hasher.update(&line(sibling));
        }
        Digest(hasher.digest128())
    }
}

/// A sibling as it is hashed: dot, kind, whether it expires, and when.
fn line(sibling: &Sibling) -> [u8; ENTRY_BYTES + 10] {
    let expires_ms = sibling.expires_at.map_or(0, |end| end.millis());
    let mut line = [0; ENTRY_BYTES + 10];
    line[..ENTRY_BYTES].copy_from_slice(&entry_bytes(sibling.dot.actor, sibling.dot.hlc));
    line[ENTRY_BYTES] = u8::from(sibling.is_tombstone());
    line[ENTRY_BYTES + 1] = u8::from(sibling.expires_at.is_some());
    line[ENTRY_BYTES + 2..].copy_from_slice(&expires_ms.to_le_bytes());
    line
}
