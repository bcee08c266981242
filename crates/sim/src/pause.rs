//! A process that stands still: what is meant for it waits, while its disk, its peers and the time go on.

use std::time::Duration;

use crate::toll::Harm;
use crate::troubles::GRACE;
use crate::world::{Happening, IDLE, World};

impl World {
    /// Stops a node's process for `span`. It keeps what it has in memory, and will not know that time has passed.
    pub fn pause(&mut self, node: usize, span: Duration) {
        if self.hosts[node].machine.is_none() {
            return;
        }
        let until = self.now + span;
        self.hosts[node].paused_until = Some(until);
        self.hosts[node].pause_felt = false;
        self.troubles.strike(node, self.now, span + GRACE);
        self.troubles.miss(node, self.now, span);
        for peer in (0..self.hosts.len()).filter(|&p| p != node) {
            self.after(IDLE, Happening::IdleCheck { a: node, b: peer });
        }
    }

    /// Whether a process stands still.
    pub fn is_paused(&self, node: usize) -> bool {
        self.hosts[node].paused_until.is_some_and(|until| self.now < until)
    }

    /// Puts off what is meant for a process that stands still; anything else is given back.
    pub(crate) fn put_off(&mut self, happening: Happening) -> Option<Happening> {
        let target = happening.target().filter(|&node| self.is_paused(node));
        let until = target.and_then(|node| Some((node, self.hosts[node].paused_until?)));
        let Some((node, until)) = until else {
            return Some(happening);
        };
        let host = &mut self.hosts[node];
        if !std::mem::replace(&mut host.pause_felt, true) {
            self.toll.count(Harm::Pause);
        }
        if matches!(happening, Happening::Tick { .. }) && host.tick_at == Some(self.now) {
            host.tick_at = Some(until);
        }
        self.after(until.since(self.now), happening);
        None
    }
}

impl Happening {
    /// The node whose process is to do something.
    const fn target(&self) -> Option<usize> {
        match self {
            Self::Frame { to: node, .. }
            | Self::Dial { from: node, .. }
            | Self::LinkLost { node, .. }
            | Self::Synced { node, .. }
            | Self::Refused { node, .. }
            | Self::Load { node, .. }
            | Self::Scan { node, .. }
            | Self::Tick { node, .. }
            | Self::Pressure { node }
            | Self::Request { node, .. }
            | Self::Admin { node, .. } => Some(*node),
            Self::IdleCheck { .. } | Self::Reply { .. } | Self::AdminReply { .. } | Self::Wake(_) => None,
        }
    }
}
