//! The addresses to dial, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use starling_types::{Instant, NodeId};
use starling_wire::hello::NodeHello;

use super::{ControlPlane, Turn};
use crate::event::Effect;

/// Pause between attempts to connect to a member.
const RECONNECT: Duration = Duration::from_secs(1);
/// The member with the higher id leaves dialing to the other for this long.
const RECONNECT_PATIENCE: Duration = Duration::from_secs(3);

/// Connections to other nodes.
pub(super) struct Peers {
    /// Connected nodes, by the address they were dialed at or announced.
    pub(super) by_addr: BTreeMap<SocketAddr, NodeHello>,
    pub(super) connected: BTreeSet<NodeId>,
    pub(super) dial_at: BTreeMap<NodeId, Instant>,
    /// Since when a member that is not connected is not.
    apart: BTreeMap<NodeId, Instant>,
    /// Members for whom whoever answers at their address is taken next time: members may have changed places.
    anyone: BTreeSet<NodeId>,
    pub(super) seeds: Vec<SocketAddr>,
}

impl Peers {
    pub(super) fn new(me: &NodeHello, seeds: &[SocketAddr]) -> Self {
        Self {
            by_addr: BTreeMap::from([(me.quic, me.clone())]),
            connected: BTreeSet::new(),
            dial_at: BTreeMap::new(),
            apart: BTreeMap::new(),
            anyone: BTreeSet::new(),
            seeds: seeds.to_vec(),
        }
    }
}

impl ControlPlane {
    /// Since when a member has not been connected; none while it is.
    pub(crate) fn apart_since(&self, node: NodeId) -> Option<Instant> {
        self.peers.apart.get(&node).copied()
    }

    pub(super) fn together(&mut self, node: NodeId) {
        self.peers.apart.remove(&node);
    }

    /// Lower id dials; the other waits a little before it tries as well.
    pub(super) fn plan_dials(&mut self, turn: &mut Turn<'_>) {
        let Some(layout) = self.view.layout() else { return };
        for role in layout.members().filter(|r| r.node != self.me.node) {
            if !self.peers.connected.contains(&role.node) {
                let wait = if self.me.node < role.node { Duration::ZERO } else { RECONNECT_PATIENCE };
                self.peers.dial_at.entry(role.node).or_insert(turn.now.instant + wait);
                self.peers.apart.entry(role.node).or_insert(turn.now.instant);
            }
        }
    }

    pub(super) fn dial_due(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.instant;
        let due: Vec<NodeId> =
            self.peers.dial_at.iter().filter(|(_, at)| **at <= now).map(|(&n, _)| n).collect();
        for node in due {
            self.peers.dial_at.insert(node, now + RECONNECT);
            if let Some(addr) = self.address(node) {
                turn.out.push(Effect::Connect(addr, self.expected_at(addr, node)));
            }
            // A member that moved while this node was down may answer at one of these.
            let seeds = self.peers.seeds.iter().filter(|a| !self.peers.by_addr.contains_key(a));
            turn.out.extend(seeds.map(|&addr| Effect::Connect(addr, None)));
        }
    }

    /// The node that must answer: the member, and every other time any, should another have come to live there.
    fn expected_at(&mut self, addr: SocketAddr, node: NodeId) -> Option<NodeId> {
        let is_known = self.peers.by_addr.contains_key(&addr);
        let anyone = !self.peers.anyone.remove(&node) && self.peers.anyone.insert(node);
        (anyone || is_known).then_some(node)
    }

    /// The address that a connected node announced.
    pub(super) fn announced(&self, node: NodeId) -> Option<SocketAddr> {
        self.peers.by_addr.values().find(|hello| hello.node == node).map(|hello| hello.quic)
    }

    /// The address that a member announces of itself beats the one that the layout remembers.
    pub(super) fn address(&self, node: NodeId) -> Option<SocketAddr> {
        let said = self.gossip.members().find(|m| m.info.node == node).map(|m| m.info.quic);
        said.or_else(|| self.view.layout()?.role(node).map(|r| r.addr))
    }
}
