//! The fingerprint of a run: a hash over every event that was delivered, in order.

use std::fmt;

use starling_node::Event;
use starling_types::Instant;
use xxhash_rust::xxh3::Xxh3;

/// Hashes as the run goes.
#[derive(Clone, Default)]
pub struct Trace {
    hasher: Xxh3,
    events: u64,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} events, {:016x})", self.events, self.digest())
    }
}

impl Trace {
    /// The fingerprint so far.
    pub fn digest(&self) -> u64 {
        self.hasher.digest()
    }

    /// Events so far.
    pub const fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn frame(&mut self, now: Instant, node: usize, frame: &[u8]) {
        self.mark(now, node, 0);
        self.hasher.update(frame);
    }

    pub(crate) fn event(&mut self, now: Instant, node: usize, event: &Event) {
        match event {
            // Its frame was hashed when it arrived.
            Event::PeerMessage(..) => {}
            Event::Loaded(_, Ok(row)) => {
                self.mark(now, node, 1);
                self.hasher.update(row.as_deref().unwrap_or_default());
            }
            Event::Scanned(_, Ok(page)) => {
                self.mark(now, node, 2);
                page.rows.iter().for_each(|(key, _)| self.hasher.update(key));
            }
            Event::Tick => self.mark(now, node, 3),
            other => {
                self.mark(now, node, 4);
                self.hasher.update(format!("{other:?}").as_bytes());
            }
        }
    }

    fn mark(&mut self, now: Instant, node: usize, kind: u8) {
        self.events += 1;
        self.hasher.update(&now.nanos().to_le_bytes());
        self.hasher.update(&[kind, node as u8]);
    }
}
