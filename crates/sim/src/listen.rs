//! A listener hears everything that passes between the nodes and their world.

use starling_node::{Effect, Event};
use starling_types::Instant;

use crate::world::World;

/// The traffic between a node and its world.
#[derive(Debug, Clone, Copy)]
pub enum Passed<'a> {
    /// The node is told.
    In(&'a Event),
    /// The node wants.
    Out(&'a Effect),
}

/// Told when, and of which node.
pub type Listener = Box<dyn FnMut(Instant, usize, Passed<'_>)>;

impl World {
    /// Has `listener` hear everything from now on.
    pub fn listen(&mut self, listener: Listener) {
        self.listener = Some(listener);
    }

    pub(crate) fn heard(&mut self, node: usize, passed: Passed<'_>) {
        if let Some(listener) = &mut self.listener {
            listener(self.now, node, passed);
        }
    }
}
