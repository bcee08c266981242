//! Connections: made by dialing, used by frames, and noticed to be gone, sooner or later, by either end.

use std::time::Duration;

use starling_node::{Event, View};
use starling_types::NodeId;
use starling_wire::Envelope;

use crate::host;
use crate::toll::Harm;
use crate::troubles::Trouble;
use crate::world::{Happening, IDLE, Passage, World};

/// A closing reaches the other end within this.
const CLOSED: Duration = Duration::from_millis(5);

impl World {
    pub(crate) fn frame(&mut self, to: usize, from: usize, connection: u64, passage: Passage, bytes: &[u8]) {
        let current = self.hosts[to].links.get(&from) == Some(&connection);
        if !current || self.network.runs_into_a_cut(from, to, &mut self.toll) {
            self.counters.frames_lost += 1;
            return;
        }
        self.arrived(connection, from, passage);
        self.trace.frame(self.now, to, bytes);
        #[expect(clippy::expect_used, reason = "a frame that does not survive the codec is a bug to be seen")]
        let envelope = Envelope::decode(bytes).expect("what was encoded is decoded");
        let sender = self.hosts[from].id();
        self.deliver(to, Event::PeerMessage(sender, envelope));
    }

    fn arrived(&mut self, connection: u64, from: usize, passage: Passage) {
        let newest = self.newest_frame.entry((connection, from)).or_default();
        let overtaken = passage.number < *newest;
        *newest = passage.number.max(*newest);
        let harms = [
            (Harm::Duplication, passage.again),
            (Harm::Delay, passage.late),
            (Harm::Reordering, overtaken && !passage.again),
        ];
        harms.into_iter().filter(|(_, done)| *done).for_each(|(harm, _)| self.toll.count(harm));
    }

    /// Whether nothing has passed between two nodes for long.
    pub(crate) fn is_silent(&self, a: usize, b: usize) -> bool {
        self.network.is_cut(a, b) || self.is_paused(a) || self.is_paused(b)
    }

    pub(crate) fn dial(&mut self, from: usize, to: usize, life: u64) {
        let up = self.lives(from, life) && self.hosts[to].machine.is_some();
        if !up || from == to || self.is_silent(from, to) || self.linked(from, to) {
            return;
        }
        // An end that still believes in an older connection may notice its end before the new one, or never.
        for (node, peer) in [(from, to), (to, from)] {
            if self.hosts[node].links.contains_key(&peer) && self.network.coin(node, peer) {
                self.hosts[node].links.remove(&peer);
                let id = self.hosts[peer].id();
                self.counters.disconnections += 1;
                self.deliver(node, Event::PeerDown(id));
            }
        }
        let connection = self.network.connect();
        self.counters.connections += 1;
        self.hosts[from].links.insert(to, connection);
        self.hosts[to].links.insert(from, connection);
        self.greet(from, to);
        self.greet(to, from);
    }

    fn greet(&mut self, node: usize, peer: usize) {
        let hello = self.hosts[peer].machine.as_ref().map(|m| m.control_plane().hello().clone());
        if let Some(hello) = hello {
            self.deliver(node, Event::PeerUp(hello, host::address(peer)));
        }
    }

    fn linked(&self, a: usize, b: usize) -> bool {
        let one = self.hosts[a].links.get(&b);
        one.is_some() && one == self.hosts[b].links.get(&a)
    }

    /// Both ends of a connection that nothing passes notice it.
    pub(crate) fn part(&mut self, a: usize, b: usize) {
        for (node, peer) in [(a, b), (b, a)] {
            if let Some(&connection) = self.hosts[node].links.get(&peer) {
                match self.is_paused(node) {
                    true => self.after(Duration::ZERO, Happening::LinkLost { node, peer, connection }),
                    false => self.link_lost(node, peer, connection),
                }
            }
        }
    }

    pub(crate) fn link_lost(&mut self, node: usize, peer: usize, connection: u64) {
        if self.hosts[node].links.get(&peer) == Some(&connection) {
            self.hosts[node].links.remove(&peer);
            self.counters.disconnections += 1;
            let id = self.hosts[peer].id();
            self.deliver(node, Event::PeerDown(id));
        }
    }

    /// Whether a node reaches every other, and knows it.
    pub(crate) fn sees_all(&self, node: usize) -> bool {
        let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != node);
        let sees = |view: &View| others.clone().all(|(_, host)| view.is_up(host.id()));
        self.node(node).is_some_and(|machine| sees(machine.view()))
    }

    /// A node closes its connection to another, which notices it if it still has it.
    pub(crate) fn disconnect(&mut self, node: usize, peer: NodeId) {
        let Some(peer) = self.hosts.iter().position(|host| host.id() == peer) else { return };
        if let Some(&connection) = self.hosts[node].links.get(&peer) {
            self.after(Duration::ZERO, Happening::LinkLost { node, peer, connection });
            self.after(CLOSED, Happening::LinkLost { node: peer, peer: node, connection });
        }
    }

    /// The machine is gone; its peers will notice, sooner or later.
    pub(crate) fn vanish(&mut self, node: usize) {
        let links = std::mem::take(&mut self.hosts[node].links);
        for (peer, connection) in links {
            let soon = self.network.coin(node, peer);
            let span = if soon { Duration::from_millis(5) } else { IDLE };
            self.after(span, Happening::LinkLost { node: peer, peer: node, connection });
        }
        self.observer.gone(node);
        self.troubles.begin(node, Trouble::Down, self.now);
        self.hosts[node].stop();
    }
}
