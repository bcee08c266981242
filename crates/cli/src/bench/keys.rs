//! Which keys a run touches, and what it writes.

use rand::{Rng, RngExt, SeedableRng};

/// A source of keys.
pub struct Keys {
    count: u32,
    order: Order,
}

enum Order {
    EachOnce(u32),
    Random(Box<rand::rngs::ChaCha8Rng>),
}

impl Keys {
    /// Every key once, then no more.
    pub const fn each_once(count: u32) -> Self {
        Self { count, order: Order::EachOnce(0) }
    }

    /// Keys at random, for ever.
    pub fn random(count: u32, seed: u64) -> Self {
        Self { count, order: Order::Random(Box::new(rand::rngs::ChaCha8Rng::seed_from_u64(seed))) }
    }

    /// The next key: 16 bytes.
    pub fn next_key(&mut self) -> Option<Vec<u8>> {
        let number = match &mut self.order {
            Order::EachOnce(next) if *next < self.count => {
                *next += 1;
                *next - 1
            }
            Order::EachOnce(_) => return None,
            Order::Random(rng) => rng.random_range(0..self.count),
        };
        Some(format!("bench:{number:010}").into_bytes())
    }
}

/// Bytes that do not compress.
pub fn value(size: usize, seed: u64) -> Vec<u8> {
    let mut value = vec![0; size];
    rand::rngs::ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut value);
    value
}
