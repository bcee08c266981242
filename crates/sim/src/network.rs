//! Links between nodes: which nodes may reach each other, and the fate of a frame on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::ChaCha8Rng;

use crate::seed::Seed;
use crate::toll::{Harm, Toll};

/// How bad the network is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// Share of frames lost.
    pub loss: f64,
    /// Share of frames that arrive twice.
    pub repeats: f64,
    /// Least and usual delay.
    pub delay: (Duration, Duration),
    /// Share of frames that take up to twenty times as long.
    pub spikes: f64,
}

impl Weather {
    /// Nothing lost, a millisecond at most.
    pub const CALM: Self = Self {
        loss: 0.0,
        repeats: 0.0,
        delay: (Duration::from_micros(100), Duration::from_millis(1)),
        spikes: 0.02,
    };
}

#[derive(Debug)]
pub(crate) struct Network {
    seed: Seed,
    links: BTreeMap<(usize, usize), ChaCha8Rng>,
    /// The ways that are cut, and whether a frame has been lost to it.
    blocked: BTreeMap<(usize, usize), bool>,
    held: BTreeSet<(usize, usize)>,
    pub(crate) weather: Weather,
    next_connection: u64,
}

impl Network {
    pub(crate) fn new(seed: Seed, weather: Weather) -> Self {
        Self {
            seed,
            links: BTreeMap::new(),
            blocked: BTreeMap::new(),
            held: BTreeSet::new(),
            weather,
            next_connection: 0,
        }
    }

    /// After how long a frame arrives; none if it is lost, two if it is repeated.
    pub(crate) fn send(&mut self, from: usize, to: usize, toll: &mut Toll) -> Vec<Duration> {
        let weather = self.weather;
        let rng = self.link(from, to);
        let (lost, twice) = (rng.random_bool(weather.loss), rng.random_bool(weather.repeats));
        let (first, second) = (delay(rng, weather), delay(rng, weather));
        if self.runs_into_a_cut(from, to, toll) {
            return Vec::new();
        }
        match (lost, twice) {
            (true, _) => {
                toll.count(Harm::Loss);
                Vec::new()
            }
            (false, false) => vec![first],
            (false, true) => vec![first, second],
        }
    }

    pub(crate) fn dial_delay(&mut self, from: usize, to: usize) -> Duration {
        let weather = self.weather;
        delay(self.link(from, to), weather) * 3
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
            self.blocked.entry((from, to)).or_default();
        } else {
            self.blocked.remove(&(from, to));
        }
    }

    pub(crate) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.blocked.contains_key(&(from, to))
    }

    /// Whether a frame is lost because its way is cut.
    pub(crate) fn runs_into_a_cut(&mut self, from: usize, to: usize, toll: &mut Toll) -> bool {
        let back = self.is_blocked(to, from);
        let Some(felt) = self.blocked.get_mut(&(from, to)) else {
            return false;
        };
        if !std::mem::replace(felt, true) {
            toll.count(if back { Harm::TwoWayPartition } else { Harm::OneWayPartition });
        }
        true
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

fn delay(rng: &mut ChaCha8Rng, weather: Weather) -> Duration {
    let (least, usual) = weather.delay;
    let spread = usual.saturating_sub(least).mul_f64(rng.random::<f64>());
    let stretch = if rng.random_bool(weather.spikes) { rng.random_range(1..=20) } else { 1 };
    (least + spread) * stretch
}
