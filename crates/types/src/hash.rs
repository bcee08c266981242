//! Hash tables for the hot path: fixed hashers, so that every process behaves alike. Their iteration order is
//! still meaningless: code that iterates uses ordered collections.

use std::hash::{BuildHasherDefault, Hasher};

/// A table whose keys hash to a token they already carry ([`crate::QualifiedKey`]) or to one random integer
/// ([`crate::RequestId`]).
#[expect(clippy::disallowed_types, reason = "fixed hasher; looked up, never iterated where order is seen")]
pub type TokenMap<K, V> = std::collections::HashMap<K, V, TokenHashBuilder>;

/// Builds [`TokenHasher`]s.
pub type TokenHashBuilder = BuildHasherDefault<TokenHasher>;

/// Passes through integers that are already well mixed, folding what comes in pieces.
#[derive(Debug, Default, Clone, Copy)]
pub struct TokenHasher(u64);

const FOLD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(FOLD).rotate_left(29);
    }

    fn write_u128(&mut self, value: u128) {
        self.write_u64((value >> 64) as u64);
        self.write_u64(value as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}
