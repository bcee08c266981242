//! Company: membership is talked about among the members of one layout and with no other node. A node without a cluster
//! talks of it with nobody, so that it carries nothing from one cluster to another.

use starling_gossip as gossip;
use starling_types::NodeId;
use starling_wire::gossip::Message;
use starling_wire::hello::NodeHello;

use super::{ControlPlane, Turn};

impl ControlPlane {
    /// A node has connected: if it is a member as this one is, they are in company.
    pub(super) fn keep_company(&mut self, turn: &mut Turn<'_>, hello: &NodeHello) {
        if self.is_company(hello.node) {
            self.gossip(turn, gossip::Event::Learned(hello.member()));
            self.gossip(turn, gossip::Event::Connected(hello.node));
        }
    }

    /// The layout in force is a new one: those of its members that are connected are in company from now on.
    pub(super) fn meet_members(&mut self, turn: &mut Turn<'_>) {
        let me = self.me.node;
        let mut connected: Vec<NodeHello> = self.peers.by_addr.values().cloned().collect();
        connected.sort_unstable_by_key(|hello| hello.node);
        connected.dedup_by_key(|hello| hello.node);
        for hello in connected.iter().filter(|hello| hello.node != me) {
            self.keep_company(turn, hello);
        }
    }

    /// Gossip of a peer. A node without a layout has missed one, if it is a member in it: it asks for it. What a stranger
    /// says is not heard.
    pub(super) fn hear_gossip(&mut self, turn: &mut Turn<'_>, from: NodeId, message: Message) {
        if self.view.layout().is_none() {
            return self.send_shared(turn, from, true);
        }
        if self.is_company(from) {
            self.note_life(turn, from, message.generation);
            self.gossip(turn, gossip::Event::Message { from, message });
        }
    }

    fn is_company(&self, node: NodeId) -> bool {
        self.view.layout().is_some_and(|layout| layout.is_member(node))
    }
}
