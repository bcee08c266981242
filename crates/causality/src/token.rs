//! The context that a client has seen, as it carries it from a read to its next write.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use starling_types::{ClusterId, QualifiedKey};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::hlc::Hlc;
use crate::version_vector::{ENTRY_BYTES, VersionVector};

/// A causal context, sealed for the way through a client: opaque, versioned, checksummed, and bound to cluster,
/// bucket incarnation and key, so that it cannot be used where it would delete what no client has seen (semantics,
/// section 2). It guards against mistakes, not against forgers: hashes, not signatures.
///
/// ```text
/// token    = version u8 · binding u64 · (actor u64 · time u64)* · checksum u64     little-endian
/// binding  = xxh3-64 of cluster, incarnation, bucket, 0, key
/// checksum = xxh3-64 of everything before it, in this and every later version
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ContextToken(Bytes);

/// A token that cannot be used. Nothing was applied: read again for a fresh one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than any token.
    #[error("the context token has {length} bytes, no token has more than {limit}: read the key again")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most that a token of this kind (bytes or text) may have.
        limit: usize,
    },
    /// Altered on its way.
    #[error("the context token is damaged: pass it on unchanged, or read the key again")]
    Damaged,
    /// Intact, but of another cluster, another incarnation of the bucket, or another key.
    #[error("the context token belongs to another cluster, bucket or key: read this key to get one for it")]
    Foreign,
    /// Sealed by a later release.
    #[error("the context token has version {version}, this node reads up to {VERSION}: upgrade this node")]
    Newer {
        /// The version it names.
        version: u8,
    },
}

impl ContextToken {
    /// Seals `seen` for `key` of this incarnation of the bucket. Should it name more than [`MAX_ACTORS`] actors,
    /// those with the latest times go in: to claim less than was seen costs a sibling, never a value.
    pub fn seal(cluster: ClusterId, incarnation: u64, key: &QualifiedKey, seen: &VersionVector) -> Self {
        let latest = (seen.len() > MAX_ACTORS).then(|| latest(seen));
        let seen = latest.as_ref().unwrap_or(seen);
        let mut out = Vec::with_capacity(OVERHEAD + seen.len() * ENTRY_BYTES);
        out.push(VERSION);
        out.extend_from_slice(&binding(cluster, incarnation, key));
        seen.encode_into(&mut out);
        out.extend_from_slice(&xxh3_64(&out).to_le_bytes());
        Self(out.into())
    }

    /// The context of the client, if `bytes` are a token for `key`. Lengths are checked before anything is allocated.
    /// Times are not judged here: they may be later than any clock.
    pub fn open(
        bytes: &[u8],
        cluster: ClusterId,
        incarnation: u64,
        key: &QualifiedKey,
    ) -> Result<VersionVector, TokenError> {
        if bytes.len() > MAX_BYTES {
            return Err(TokenError::TooLong { length: bytes.len(), limit: MAX_BYTES });
        }
        let (version, bound, entries) = intact(bytes).ok_or(TokenError::Damaged)?;
        match version {
            0 => Err(TokenError::Damaged),
            VERSION if *bound != binding(cluster, incarnation, key) => Err(TokenError::Foreign),
            VERSION => VersionVector::decode(entries).ok_or(TokenError::Damaged),
            version => Err(TokenError::Newer { version }),
        }
    }

    /// The token for text interfaces: base64url without padding.
    pub fn to_text(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&self.0)
    }

    /// Reverses [`Self::to_text`]. Whether the token is any good, [`Self::open`] tells.
    pub fn from_text(text: &str) -> Result<Self, TokenError> {
        if text.len() > MAX_TEXT {
            return Err(TokenError::TooLong { length: text.len(), limit: MAX_TEXT });
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Damaged)?;
        Ok(Self(bytes.into()))
    }

    /// A token as it came over a binary interface. Whether it is any good, [`Self::open`] tells.
    pub const fn from_bytes(bytes: Bytes) -> Self {
        Self(bytes)
    }

    /// The token for binary interfaces.
    pub const fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Display for ContextToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

impl fmt::Debug for ContextToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContextToken({self})")
    }
}

/// Version, binding and entries, if the checksum matches.
fn intact(bytes: &[u8]) -> Option<(u8, &[u8; 8], &[u8])> {
    let (body, checksum) = bytes.split_last_chunk()?;
    if xxh3_64(body).to_le_bytes() != *checksum {
        return None;
    }
    let (&version, body) = body.split_first()?;
    let (bound, entries) = body.split_first_chunk()?;
    Some((version, bound, entries))
}

fn binding(cluster: ClusterId, incarnation: u64, key: &QualifiedKey) -> [u8; 8] {
    let mut hasher = Xxh3::new();
    hasher.update(&cluster.bits().to_le_bytes());
    hasher.update(&incarnation.to_le_bytes());
    hasher.update(key.bucket().as_str().as_bytes());
    hasher.update(&[0]);
    hasher.update(key.key().as_bytes());
    hasher.digest().to_le_bytes()
}

fn latest(seen: &VersionVector) -> VersionVector {
    let mut entries: Vec<_> = seen.iter().collect();
    entries.sort_unstable_by_key(|&(actor, hlc): &(_, Hlc)| std::cmp::Reverse((hlc, actor)));
    entries.truncate(MAX_ACTORS);
    entries.into_iter().collect()
}

/// Most actors that a token names.
pub const MAX_ACTORS: usize = 1_024;
/// Longest token, in bytes.
pub const MAX_BYTES: usize = OVERHEAD + MAX_ACTORS * ENTRY_BYTES;
/// Longest token, in characters.
pub const MAX_TEXT: usize = MAX_BYTES.div_ceil(3) * 4;

const VERSION: u8 = 1;
/// Version, binding and checksum.
const OVERHEAD: usize = 1 + 8 + 8;

#[cfg(test)]
mod tests;
