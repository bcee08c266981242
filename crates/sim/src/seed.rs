//! Chance, as a tree: one seed, and a named stream for every source of it.

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use xxhash_rust::xxh3::Xxh3;

/// The root of a run's randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// The stream of source `name`, number `index`. Streams do not disturb each other.
    pub fn stream(self, name: &str, index: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.child(name, index))
    }

    /// A seed for something that draws by itself.
    pub fn child(self, name: &str, index: u64) -> u64 {
        let mut hasher = Xxh3::with_seed(self.0);
        hasher.update(name.as_bytes());
        hasher.update(&index.to_le_bytes());
        hasher.digest()
    }
}
