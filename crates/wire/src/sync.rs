//! How two owners compare what they hold. The one that drives a pass sends the fingerprint of a page of its records;
//! the other answers that its own are equal, or lists what it has. Differences are read once more and then merged,
//! with [`crate::replica`]'s records.

use serde::{Deserialize, Serialize};
use starling_causality::Digest;
use starling_types::{BucketName, Key, Token};

use crate::replica::Refusal;

/// A page of the sender's records in the partitions that it shares with the receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The sender's number of the pass.
    pub pass: u64,
    /// Whether the pass begins here.
    pub first: bool,
    /// The first token of the page.
    pub from: Token,
    /// The last token of the page.
    pub through: Token,
    /// Of the records whose tokens lie between: keys and digests in the order in which they are stored.
    pub fingerprint: Fingerprint,
}

/// Equal lists of keys and digests, and only they, have equal fingerprints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub u128);

/// One record of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: Key,
    /// The committed record's.
    pub digest: Digest,
}

/// The answer to a [`Compare`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compared {
    /// The receiver holds the same.
    #[serde(rename = "s")]
    Same,
    /// It does not.
    #[serde(rename = "d")]
    Different {
        /// The last token that the entries cover: before the page's, where the receiver has more than fits.
        through: Token,
        /// The entries that it holds, in the order in which they are stored.
        entries: Vec<Entry>,
    },
    /// It may have lost records there: what it lists is all that it has, the same or not.
    #[serde(rename = "p")]
    Partial {
        /// The records that may be lost were never synced: of buckets that wait for the disk it has all.
        synced: bool,
        /// As in [`Compared::Different`].
        through: Token,
        /// The entries that it holds, in the order in which they are stored.
        entries: Vec<Entry>,
    },
    /// Its rows there cannot be read.
    #[serde(rename = "u")]
    Unreadable,
    /// Not compared.
    #[serde(rename = "x")]
    Refused(Refusal),
}

/// A pass is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// The sender's number of the pass.
    pub pass: u64,
    /// Whether both ends hold the same in all partitions that they share.
    pub equal: bool,
}
