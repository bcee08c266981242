//! The manifest of a backup.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use starling_types::row::Space;
use starling_types::{BucketName, ClusterId, Formats, Generation, LayoutVersion, NodeId};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::BackupError;
use crate::files;
use crate::utc::Utc;

/// The formats of backups that this version reads.
pub const FORMATS: Formats = Formats { oldest: 1, newest: 1 };
/// The manifest's name.
pub const FILE: &str = "manifest.json";

/// The manifest of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the directory's format.
    pub format_version: u32,
    /// Whether everything is in it.
    pub state: State,
    /// The node that the rows are from.
    pub origin: Origin,
    /// The only buckets whose rows are in it; none if all are.
    pub buckets: Option<Vec<BucketName>>,
    /// When it was begun.
    pub begun_at: Utc,
    /// When it was completed.
    pub ended_at: Option<Utc>,
    /// Runs that it took: one more than it was cut off.
    pub runs: u32,
    /// The number of the store's last commit when the first row was read.
    pub first_sequence: u64,
    /// The same for the last row. Commits after the first and up to this one may or may not be in it.
    pub last_sequence: u64,
    /// Rows and bytes.
    pub totals: Amounts,
    /// Ranges that the node could not read when they were asked for.
    pub unreadable: Vec<Gap>,
    /// The files with the rows, in their order.
    pub chunks: Vec<Chunk>,
    /// Where a run that was cut off goes on; none when complete.
    pub cursor: Option<Cursor>,
}

/// Whether everything is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The run was cut off, or still goes on.
    Partial,
    /// The node was read to the end.
    Complete,
}

/// The node whose rows a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The node.
    pub node_id: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Its cluster, if it had one.
    pub cluster_id: Option<ClusterId>,
    /// How often it had started.
    pub generation: Generation,
    /// The layout in force.
    pub layout_version: LayoutVersion,
    /// The release it ran.
    pub release: String,
}

impl Origin {
    /// Whether both are the same node of the same cluster.
    pub fn is_same_node(&self, other: &Self) -> bool {
        (self.node_id, self.cluster_id) == (other.node_id, other.cluster_id)
    }
}

/// Rows and bytes of every namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amounts {
    /// Records of the partitions the node holds.
    pub data: Amount,
    /// Copies it kept for absent owners.
    pub hints: Amount,
    /// Rows about itself and the cluster.
    pub meta: Amount,
}

/// So many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amount {
    /// Rows.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Amounts {
    /// Counts a row.
    pub fn count(&mut self, namespace: Space, bytes: u64) {
        let tally = match namespace {
            Space::Data => &mut self.data,
            Space::Hints => &mut self.hints,
            Space::Meta => &mut self.meta,
        };
        tally.rows += 1;
        tally.bytes = tally.bytes.saturating_add(bytes);
    }

    /// Of all namespaces together.
    pub const fn all(&self) -> Amount {
        Amount {
            rows: self.data.rows.saturating_add(self.hints.rows).saturating_add(self.meta.rows),
            bytes: self.data.bytes.saturating_add(self.hints.bytes).saturating_add(self.meta.bytes),
        }
    }
}

/// Keys that the node could not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Where.
    #[serde(with = "namespace_name")]
    pub namespace: Space,
    /// The first key, in base64.
    #[serde(with = "base64_text")]
    pub start: Bytes,
    /// The first key behind them; none if the namespace could not be read to its end.
    pub end: Option<Base64>,
}

/// Bytes that are written in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Base64(#[serde(with = "base64_text")] pub Bytes);

/// A file with rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Its name in the directory.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u32,
    /// The checksum of all of it: xxh3-128, in hexadecimal.
    pub xxh3: String,
}

impl Chunk {
    /// The name of the chunk with this number, counted from 1.
    pub fn name(number: u32) -> String {
        format!("chunk-{number:06}.rows")
    }
}

/// The row at which reading goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The namespace.
    #[serde(with = "namespace_name")]
    pub namespace: Space,
    /// The first key, in base64; empty at the start.
    #[serde(with = "base64_text")]
    pub from: Bytes,
}

impl Cursor {
    /// The first row. Data, then hints, then meta: what the clock's ceiling says is read after everything it covers.
    pub const START: Self = Self { namespace: Space::ALL[0], from: Bytes::new() };

    /// Where reading goes on behind a page of this namespace; none at the end of the last one.
    pub fn behind(namespace: Space, next: Option<Bytes>) -> Option<Self> {
        let following = Space::ALL.get(usize::from(namespace.code()) + 1);
        match next {
            Some(from) => Some(Self { namespace, from }),
            None => following.map(|&namespace| Self { namespace, from: Bytes::new() }),
        }
    }
}

/// The manifest as it is written: with a checksum over its own compact JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    format_version: u32,
    xxh3: String,
    backup: Manifest,
}

impl Manifest {
    /// The manifest in `dir`; none if there is none.
    ///
    /// # Errors
    /// If it cannot be read, is not what was written, or is a newer version's.
    pub fn load(dir: &Path) -> Result<Option<Self>, BackupError> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::decode(&path, &bytes).map(Some),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(BackupError::io("reading", &path)(e)),
        }
    }

    /// Reads a manifest from its bytes; `path` is for messages.
    ///
    /// # Errors
    /// As [`Manifest::load`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self, BackupError> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let bad = |why: String| BackupError::Manifest { path: path.into(), why };
        // The version is read by itself first: a newer release may have added fields.
        let version: Version = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let other = |format| BackupError::OtherFormat { path: path.into(), format };
        FORMATS.check(version.format_version).map_err(other)?;
        let sealed: Sealed = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        let sum = sealed.backup.sum();
        match sum == sealed.xxh3 && sealed.backup.format_version == sealed.format_version {
            true => Ok(sealed.backup),
            false => Err(bad(format!("its checksum is {sum}, and it says {}", sealed.xxh3))),
        }
    }

    /// Replaces the manifest in `dir`.
    pub(crate) fn store(&self, dir: &Path) -> Result<(), BackupError> {
        let path = dir.join(FILE);
        let sealed = Sealed { format_version: self.format_version, xxh3: self.sum(), backup: self.clone() };
        let failed = BackupError::io("writing", &path);
        let mut json = serde_json::to_vec_pretty(&sealed).map_err(|e| failed(e.into()))?;
        json.push(b'\n');
        files::replace(&path, &json).map_err(failed)
    }

    fn sum(&self) -> String {
        #[expect(clippy::expect_used, reason = "plain data with text keys has a form in JSON")]
        let json = serde_json::to_vec(self).expect("a manifest encodes");
        format!("{:016x}", xxh3_64(&json))
    }
}

mod namespace_name {
    use super::*;

    pub(super) fn serialize<S: Serializer>(namespace: &Space, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(namespace.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Space, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = Space::ALL.into_iter().find(|namespace| namespace.name() == name);
        known.ok_or_else(|| serde::de::Error::custom(format!("there is no namespace {name:?}")))
    }
}

mod base64_text {
    use super::*;

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
    }
}
