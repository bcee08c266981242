//! Which connections lead to which peer, and which of them is sent on.
//!
//! Both ends may dial at once; both connections stay usable, so no frame is lost by the choice. To agree without
//! talking, both ends send on the one dialed by the lower node id, of several such on the youngest.

use std::collections::BTreeMap;
use std::rc::Rc;

use starling_types::{Generation, NodeId};
use starling_wire::hello::NodeHello;

use crate::link::Link;

/// The peers of one node.
#[derive(Debug)]
pub(crate) struct Peers {
    me: NodeId,
    links: BTreeMap<NodeId, Vec<PeerLink>>,
    next_serial: u64,
}

#[derive(Debug)]
struct PeerLink {
    link: Rc<Link>,
    generation: Generation,
    dialed_by_me: bool,
    serial: u64,
}

/// The meaning of a new link.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The peer was not connected.
    New,
    /// It was: this link is one more.
    Another,
    /// It was, but has restarted since, or thinks nothing of these links any more: they lead nowhere.
    Restarted(Vec<Rc<Link>>),
}

impl Peers {
    pub(crate) const fn new(me: NodeId) -> Self {
        Self { me, links: BTreeMap::new(), next_serial: 0 }
    }

    /// Adds a usable link to `peer`.
    pub(crate) fn add(
        &mut self,
        peer: NodeId,
        generation: Generation,
        link: Rc<Link>,
        dialed_by_me: bool,
    ) -> Arrival {
        let serial = self.next_serial;
        self.next_serial += 1;
        let links = self.links.entry(peer).or_default();
        let known = !links.is_empty();
        // A node never dials a peer that it is connected to: one that does has lost its earlier dial, or is another
        // process, be it under the same count of starts because an old disk was put back.
        let is_dialed_again = |known: &PeerLink| !dialed_by_me && !known.dialed_by_me;
        let is_stale = |known: &mut PeerLink| known.generation != generation || is_dialed_again(known);
        let stale: Vec<_> = links.extract_if(.., is_stale).collect();
        links.push(PeerLink { link, generation, dialed_by_me, serial });
        let i_am_lower = self.me < peer;
        links.sort_by_key(|l| (l.dialed_by_me != i_am_lower, std::cmp::Reverse(l.serial)));
        match (known, stale.is_empty()) {
            (false, _) => Arrival::New,
            (true, true) => Arrival::Another,
            (true, false) => Arrival::Restarted(stale.into_iter().map(|stale| stale.link).collect()),
        }
    }

    /// A link to another process that runs as the same node: it is there still, and the newcomer does not remember its
    /// start, as a process that came after it would.
    pub(crate) fn rival(&self, newcomer: &NodeHello) -> Option<&Rc<Link>> {
        let links = self.links.get(&newcomer.node)?;
        let is_rival = |known: &&PeerLink| known.link.is_open() && newcomer.misses(known.generation);
        links.iter().find(is_rival).map(|known| &known.link)
    }

    /// Forgets a link; true if it was the last to `peer`.
    pub(crate) fn remove(&mut self, peer: NodeId, link: &Rc<Link>) -> bool {
        let Some(links) = self.links.get_mut(&peer) else {
            return false;
        };
        let before = links.len();
        links.retain(|known| !Rc::ptr_eq(&known.link, link));
        let last = links.is_empty();
        if last {
            self.links.remove(&peer);
        }
        last && before > 0
    }

    /// The link to send on.
    pub(crate) fn link(&self, peer: NodeId) -> Option<&Rc<Link>> {
        self.links.get(&peer)?.iter().map(|known| &known.link).find(|link| link.is_usable())
    }

    /// The links of this node's own dialing to `peer` that nothing is sent on.
    pub(crate) fn surplus(&self, peer: NodeId) -> Vec<Rc<Link>> {
        let preferred = self.link(peer);
        let links = self.links.get(&peer).map(Vec::as_slice).unwrap_or_default();
        let surplus = |known: &&PeerLink| {
            known.dialed_by_me
                && known.link.is_usable()
                && !preferred.is_some_and(|p| Rc::ptr_eq(p, &known.link))
        };
        links.iter().filter(surplus).map(|known| known.link.clone()).collect()
    }

    /// The peers that can be sent to.
    pub(crate) fn connected(&self) -> Vec<NodeId> {
        self.links.keys().copied().filter(|peer| self.link(*peer).is_some()).collect()
    }

    /// Every link to `peer`.
    pub(crate) fn links_to(&self, peer: NodeId) -> Vec<Rc<Link>> {
        self.links.get(&peer).into_iter().flatten().map(|known| known.link.clone()).collect()
    }

    /// All links, to all peers.
    pub(crate) fn all(&self) -> Vec<Rc<Link>> {
        self.links.values().flatten().map(|known| known.link.clone()).collect()
    }
}
