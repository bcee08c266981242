//! The network's side of the reactor.

use std::net::SocketAddr;

use starling_node::Event;
use starling_transport::{ClientId, GreetingError, Inbox};
use starling_types::NodeId;
use starling_wire::client::{AdminReply, AdminRequest};
use starling_wire::hello::{Hello, NodeHello, PROTOCOLS};
use starling_wire::{Envelope, Failure, KvReply, Message};

use super::{Reactor, Whom};

impl Inbox for Reactor {
    fn hello(&self) -> Hello {
        let node = self.node.borrow();
        Hello {
            protocols: PROTOCOLS,
            cluster: node.view().cluster(),
            node: Some(node.control_plane().hello().clone()),
            wall: node.shown_time(self.clock.now()),
        }
    }

    fn peer_up(&self, peer: NodeHello, addr: SocketAddr) {
        tracing::info!(node = %peer.node, name = peer.name, %addr, "connected");
        self.push(Event::PeerUp(peer, addr));
        self.turn();
    }

    fn peer_down(&self, peer: NodeId, reason: &str) {
        tracing::info!(node = %peer, reason, "connection lost");
        self.push(Event::PeerDown(peer));
        if reason.contains(starling_transport::RIVAL) {
            self.push(Event::Rival(None));
        }
        self.turn();
    }

    fn dial_failed(&self, _addr: SocketAddr, _expect: Option<NodeId>, error: &GreetingError) {
        if error.to_string().contains(starling_transport::RIVAL) {
            self.push(Event::Rival(None));
            self.turn();
        }
    }

    fn rival(&self, peer: NodeId, addr: SocketAddr) {
        self.push(Event::Rival(Some((peer, addr))));
        self.turn();
    }

    fn peer_frame(&self, from: NodeId, envelope: Envelope) {
        self.push(Event::PeerMessage(from, envelope));
    }

    fn client_frame(&self, client: ClientId, envelope: Envelope) {
        let exchange = envelope.exchange;
        match envelope.message {
            Message::Request(mut request) => {
                if let Err(bad) = request.check() {
                    let refused = KvReply::Failed(Failure::from(bad));
                    return self.reply(client, exchange, Message::Reply(refused));
                }
                // A client is never a hop.
                request.forwarded = false;
                let handle = self.wait(Whom::Quic(client, exchange), request.op.name());
                self.push(Event::Request(handle, request));
            }
            Message::Admin(AdminRequest::Status) => {
                let status = starling_frontend::KvService::status(self).to_string();
                self.reply(client, exchange, Message::AdminReply(AdminReply::Status(status)));
            }
            Message::Admin(request) => {
                let handle = self.wait(Whom::Quic(client, exchange), "admin");
                self.push(Event::Admin(handle, request));
            }
            other => tracing::debug!(client = client.0, message = other.name(), "ignored"),
        }
    }

    fn client_gone(&self, _client: ClientId) {}

    fn batch_end(&self) {
        self.turn();
    }
}
