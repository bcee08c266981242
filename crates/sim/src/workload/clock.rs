//! The clock by which a client dates its requests.

use std::collections::BTreeMap;
use std::time::Duration;

use starling_types::{Instant, WallTime, limits};

use crate::world::World;

/// A clock of its own, or what nodes have shown it when they met.
#[derive(Debug)]
pub(super) struct Clock {
    offset_ms: i64,
    /// Whether it goes by its own clock, which is right within what right clocks may be off by.
    is_right: bool,
    told: Option<(Instant, WallTime)>,
    /// The start count of each node that it has met.
    met: BTreeMap<usize, u64>,
}

impl Clock {
    /// One that is off by so much, of clients that are off by at most `skew_ms`.
    pub(super) fn new(offset_ms: i64, skew_ms: i64) -> Self {
        let is_right = Duration::from_millis(skew_ms.unsigned_abs()) <= limits::MAX_SKEW;
        Self { offset_ms, is_right, told: None, met: BTreeMap::new() }
    }

    /// The time by which it dates requests.
    pub(super) fn wall(&self, world: &World) -> WallTime {
        let told = self.told.map(|(at, wall)| wall.after(world.now().since(at)));
        told.unwrap_or_else(|| world.true_wall(self.offset_ms))
    }

    /// A node that it connects to greets it.
    pub(super) fn meet(&mut self, world: &World, node: usize) {
        if self.is_right {
            return;
        }
        if let Some((life, wall)) = world.greeting(node)
            && self.met.insert(node, life) != Some(life)
        {
            self.told = Some((world.now(), wall));
        }
    }
}
