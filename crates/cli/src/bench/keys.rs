//! Which keys a run touches, and what it writes.

use std::cell::RefCell;

use bytes::Bytes;
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

/// Values that do not compress, neither by themselves nor beside each other: pieces of a long noise.
pub struct Values {
    noise: Bytes,
    size: usize,
    places: RefCell<rand::rngs::ChaCha8Rng>,
}

impl Values {
    /// Values of `size` bytes.
    pub fn new(size: usize, seed: u64) -> Self {
        let mut places = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
        let mut noise = vec![0; size.max(1) * VARIETY];
        places.fill_bytes(&mut noise);
        Self { noise: noise.into(), size, places: RefCell::new(places) }
    }

    /// The next one.
    pub fn next_value(&self) -> Bytes {
        let start = self.places.borrow_mut().random_range(0..=self.noise.len() - self.size);
        self.noise.slice(start..start + self.size)
    }
}

/// How many values the noise is long.
const VARIETY: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_size_and_differ() {
        let values = Values::new(100, 1);
        let some: std::collections::BTreeSet<Bytes> = (0..50).map(|_| values.next_value()).collect();
        assert!(some.len() > 40 && some.iter().all(|value| value.len() == 100));
        assert_eq!(Values::new(0, 1).next_value(), Bytes::new());
    }
}
