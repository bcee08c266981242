//! Everything that a node says of itself, at one moment: what its doors render.

use std::sync::Arc;

use starling_ring::Layout;
use starling_types::Now;
use starling_types::counters::Metric;
use starling_vnode as vnode;

use crate::node::Node;
use crate::shard;
use crate::status::Status;

/// A node at one moment.
#[derive(Debug, Clone)]
pub struct Report {
    /// For people.
    pub status: Status,
    /// Why it does not take client requests.
    pub unready: Option<String>,
    /// The layout in force.
    pub layout: Option<Arc<Layout>>,
    /// The counters of its machines.
    pub counters: Counters,
    /// Requests under way, those that only linger included.
    pub in_flight: usize,
    /// Bytes of requests in flight.
    pub in_flight_bytes: usize,
    /// Bytes of records in memory for reads.
    pub cached_bytes: usize,
}

/// The counters of a node's machines since its start.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// The data plane.
    pub shard: shard::Counters,
    /// The replicas that it holds.
    pub vnodes: vnode::Counters,
    /// The replay of hints.
    pub hints: starling_handoff::Counters,
    /// Those of custody.
    pub custody: starling_custody::Counters,
    /// The comparison with other owners.
    pub sweep: starling_antientropy::Counters,
    /// The members.
    pub gossip: starling_gossip::Counters,
}

impl Counters {
    /// All that are shown.
    pub fn metrics(&self) -> Vec<Metric> {
        let Self { shard, vnodes, hints, custody, sweep, gossip } = self;
        [
            shard.metrics(),
            vnodes.metrics(),
            hints.metrics(),
            custody.metrics(),
            sweep.metrics(),
            gossip.metrics(),
        ]
        .concat()
    }
}

impl Node {
    /// The counters of its machines.
    pub fn counters(&self) -> Counters {
        let shard = self.data_plane();
        Counters {
            shard: shard.counters(),
            vnodes: shard.vnodes.counters(),
            hints: shard.hints.counters(),
            custody: shard.custody.counters(),
            sweep: shard.sweep.counters(),
            gossip: self.control_plane().members().counters(),
        }
    }

    /// All that it says of itself when the system's clocks say `now`.
    pub fn report(&self, now: Now) -> Report {
        let shard = self.data_plane();
        Report {
            status: self.status(now),
            unready: self.unfit(),
            layout: self.view().layout().cloned(),
            counters: self.counters(),
            in_flight: shard.under_way(),
            in_flight_bytes: shard.in_flight_bytes(),
            cached_bytes: shard.vnodes.cached_bytes(),
        }
    }
}
