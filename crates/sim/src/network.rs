//! Links between nodes: who may reach whom, and what happens to a frame on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::seed::Seed;

/// How bad the network is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// Share of frames lost.
    pub loss: f64,
    /// Share of frames that arrive twice.
    pub repeats: f64,
    /// Least and usual delay; one frame in fifty takes up to twenty times as long, and so overtakes nothing.
    pub delay: (Duration, Duration),
}

impl Weather {
    /// Nothing lost, a millisecond at most.
    pub const CALM: Self =
        Self { loss: 0.0, repeats: 0.0, delay: (Duration::from_micros(100), Duration::from_millis(1)) };
}

#[derive(Debug)]
pub(crate) struct Network {
    seed: Seed,
    links: BTreeMap<(usize, usize), ChaCha8Rng>,
    blocked: BTreeSet<(usize, usize)>,
    held: BTreeSet<(usize, usize)>,
    pub(crate) weather: Weather,
    next_connection: u64,
}

impl Network {
    pub(crate) fn new(seed: Seed, weather: Weather) -> Self {
        Self {
            seed,
            links: BTreeMap::new(),
            blocked: BTreeSet::new(),
            held: BTreeSet::new(),
            weather,
            next_connection: 0,
        }
    }

    /// After how long a frame arrives; none if it is lost, two if it is repeated.
    pub(crate) fn send(&mut self, from: usize, to: usize) -> Vec<Duration> {
        let weather = self.weather;
        let rng = self.link(from, to);
        let (lost, twice) = (rng.random_bool(weather.loss), rng.random_bool(weather.repeats));
        let (first, second) = (delay(rng, weather.delay), delay(rng, weather.delay));
        match (lost || self.is_blocked(from, to), twice) {
            (true, _) => Vec::new(),
            (false, false) => vec![first],
            (false, true) => vec![first, second],
        }
    }

    pub(crate) fn dial_delay(&mut self, from: usize, to: usize) -> Duration {
        let range = self.weather.delay;
        let rng = self.link(from, to);
        delay(rng, range) * 3
    }

    pub(crate) fn coin(&mut self, from: usize, to: usize) -> bool {
        self.link(from, to).random_bool(0.5)
    }

    pub(crate) fn connect(&mut self) -> u64 {
        self.next_connection += 1;
        self.next_connection
    }

    pub(crate) fn block(&mut self, from: usize, to: usize, blocked: bool) {
        if blocked {
            self.blocked.insert((from, to));
        } else {
            self.blocked.remove(&(from, to));
        }
    }

    pub(crate) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains(&(from, to))
    }

    pub(crate) fn hold(&mut self, from: usize, to: usize, held: bool) {
        if held {
            self.held.insert((from, to));
        } else {
            self.held.remove(&(from, to));
        }
    }

    pub(crate) fn is_held(&self, from: usize, to: usize) -> bool {
        self.held.contains(&(from, to))
    }

    pub(crate) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.is_blocked(a, b) || self.is_blocked(b, a)
    }

    pub(crate) fn heal(&mut self) {
        self.blocked.clear();
    }

    fn link(&mut self, from: usize, to: usize) -> &mut ChaCha8Rng {
        let index = ((from as u64) << 32) | to as u64;
        self.links.entry((from, to)).or_insert_with(|| self.seed.stream("link", index))
    }
}

fn delay(rng: &mut ChaCha8Rng, (least, usual): (Duration, Duration)) -> Duration {
    let spread = usual.saturating_sub(least).mul_f64(rng.random::<f64>());
    let stretch = if rng.random_bool(0.02) { rng.random_range(1..=20) } else { 1 };
    (least + spread) * stretch
}
