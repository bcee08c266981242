//! Positions on the ring: 64-bit tokens, and the Q = 2^b equal arcs (partitions) they fall into.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::limits;

/// A key's position in hash space. The circle is `[0, 2^64)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(u64);

impl Token {
    /// xxh3-64 of `bucket, 0x00, key` under the cluster's seed (semantics, section 1).
    pub fn of(seed: u64, bucket: &[u8], key: &[u8]) -> Self {
        let mut hasher = Xxh3::with_seed(seed);
        hasher.update(bucket);
        hasher.update(&[0]);
        hasher.update(key);
        Self(hasher.digest())
    }

    /// A given position, for tests and ranges.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The position as an integer.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:016x})", self.0)
    }
}

/// One of the Q equal arcs of the circle: the unit of placement and transfer, the virtual node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

/// b, where Q = 2^b is the number of partitions: 0..=16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct PartitionBits(u8);

/// A partition count beyond [`limits::MAX_PARTITION_BITS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("2^{0} partitions: at most 2^{max} are supported", max = limits::MAX_PARTITION_BITS)]
pub struct TooManyPartitions(u8);

impl TryFrom<u8> for PartitionBits {
    type Error = TooManyPartitions;

    fn try_from(bits: u8) -> Result<Self, TooManyPartitions> {
        if bits <= limits::MAX_PARTITION_BITS { Ok(Self(bits)) } else { Err(TooManyPartitions(bits)) }
    }
}

impl From<PartitionBits> for u8 {
    fn from(bits: PartitionBits) -> u8 {
        bits.0
    }
}

impl PartitionBits {
    /// b = 10, Q = 1024: enough for about 60 equal nodes.
    pub const DEFAULT: Self = Self(10);

    /// b itself.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Q.
    pub const fn count(self) -> u32 {
        1 << self.0
    }

    /// The partition that holds `token`. Every token has exactly one.
    pub const fn partition_of(self, token: Token) -> PartitionId {
        if self.0 == 0 { PartitionId(0) } else { PartitionId((token.0 >> (64 - self.0)) as u32) }
    }

    /// The first and last token of `partition`.
    pub const fn range(self, partition: PartitionId) -> RangeInclusive<Token> {
        if self.0 == 0 {
            return Token(0)..=Token(u64::MAX);
        }
        let shift = 64 - self.0 as u32;
        let first = (partition.0 as u64) << shift;
        Token(first)..=Token(first | ((1 << shift) - 1))
    }

    /// All partitions in ring order.
    pub fn partitions(self) -> impl Iterator<Item = PartitionId> {
        (0..self.count()).map(PartitionId)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// R9: every 64-bit position maps to exactly one partition, whose range holds it.
        #[test]
        fn every_token_has_one_partition(bits in 0u8..=limits::MAX_PARTITION_BITS, token: u64) {
            let ring = PartitionBits::try_from(bits).unwrap();
            let token = Token(token);
            let home = ring.partition_of(token);
            prop_assert!(home.0 < ring.count());
            prop_assert!(ring.range(home).contains(&token));
            let next = PartitionId((home.0 + 1) % ring.count());
            prop_assert!(next == home || !ring.range(next).contains(&token));
        }

        #[test]
        fn ranges_tile_the_circle(bits in 0u8..=8) {
            let ring = PartitionBits::try_from(bits).unwrap();
            let mut expected = 0u64;
            for partition in ring.partitions() {
                let range = ring.range(partition);
                prop_assert_eq!(range.start().0, expected);
                expected = range.end().0.wrapping_add(1);
            }
            prop_assert_eq!(expected, 0);
        }
    }

    #[test]
    fn seed_bucket_and_key_all_matter() {
        let token = Token::of(1, b"b", b"k");
        assert_ne!(token, Token::of(2, b"b", b"k"));
        assert_ne!(Token::of(1, b"bk", b""), Token::of(1, b"b", b"k"));
        assert_eq!(token, Token::of(1, b"b", b"k"));
    }
}
