//! Bucket names, keys, values, and a key with its token.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;
use crate::token::Token;

/// A stored value: opaque bytes, at most [`limits::DEFAULT_MAX_VALUE`] unless configured.
pub type Value = Bytes;

/// A name or key that breaks its limit. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A bucket name is empty, too long, or has a character outside `[A-Za-z0-9._-]`.
    #[error(
        "bucket name {0:?} is not allowed: 1 to {max} characters of A-Z a-z 0-9 . _ -",
        max = limits::MAX_BUCKET_NAME
    )]
    Bucket(String),
    /// An empty key.
    #[error("the key is empty: a key has 1 to {max} bytes", max = limits::MAX_KEY)]
    EmptyKey,
    /// A key over the limit.
    #[error("the key has {0} bytes: a key has at most {max}", max = limits::MAX_KEY)]
    LongKey(usize),
}

/// A bucket's validated name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > limits::MAX_BUCKET_NAME || !name.bytes().all(allowed) {
            return Err(NameError::Bucket(name.chars().take(64).collect()));
        }
        Ok(Self(name.into()))
    }

    /// The bucket that exists from the start.
    pub fn default_bucket() -> Self {
        Self("default".into())
    }

    /// The bucket behind a database number of the Redis protocol: all of these exist from the start. `None` from
    /// [`limits::NUMBERED_BUCKETS`] on.
    pub fn numbered(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::default_bucket()),
            n if n < limits::NUMBERED_BUCKETS => Some(Self(format!("db{n}").into())),
            _ => None,
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// As text, without a copy on the way: a name goes with every message.
impl Serialize for BucketName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BucketName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = BucketName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a bucket name")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<BucketName, E> {
                BucketName::new(name).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Name)
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketName({:?})", &*self.0)
    }
}

/// A validated key: 1..=4,096 arbitrary bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct Key(Bytes);

impl Key {
    /// Checks and wraps a key.
    pub fn new(key: impl Into<Bytes>) -> Result<Self, NameError> {
        let key = key.into();
        match key.len() {
            0 => Err(NameError::EmptyKey),
            len if len > limits::MAX_KEY => Err(NameError::LongKey(len)),
            _ => Ok(Self(key)),
        }
    }

    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Bytes> for Key {
    type Error = NameError;

    fn try_from(key: Bytes) -> Result<Self, NameError> {
        Self::new(key)
    }
}

impl From<Key> for Bytes {
    fn from(key: Key) -> Bytes {
        key.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.0.escape_ascii())
    }
}

/// A key of a bucket with its place on the ring; ordered as stored, token first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QualifiedKey {
    token: Token,
    bucket: BucketName,
    key: Key,
}

impl QualifiedKey {
    /// Hashes `bucket` and `key` under the cluster's seed.
    pub fn new(seed: u64, bucket: BucketName, key: Key) -> Self {
        let token = Token::of(seed, bucket.as_str().as_bytes(), key.as_bytes());
        Self { token, bucket, key }
    }

    /// Where it lies on the ring.
    pub const fn token(&self) -> Token {
        self.token
    }

    /// Its bucket.
    pub const fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The key within the bucket.
    pub const fn key(&self) -> &Key {
        &self.key
    }
}

/// The token already is a good hash of bucket and key.
impl Hash for QualifiedKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.token.bits());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_keep_to_their_alphabet_and_length() {
        let longest = "x".repeat(limits::MAX_BUCKET_NAME);
        for good in ["a", "A.b_c-9", longest.as_str()] {
            assert!(BucketName::new(good).is_ok(), "{good}");
        }
        let too_long = "x".repeat(limits::MAX_BUCKET_NAME + 1);
        for bad in ["", "a b", "ä", "a/b", "a\0", too_long.as_str()] {
            assert!(BucketName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_bounded_and_the_error_names_the_limit() {
        assert!(Key::new(vec![0; limits::MAX_KEY]).is_ok());
        assert_eq!(Key::new(""), Err(NameError::EmptyKey));
        let error = Key::new(vec![0; limits::MAX_KEY + 1]).unwrap_err();
        assert!(error.to_string().contains("4096"), "{error}");
    }
}
