//! Two processes under one identity: a data directory was copied, and both copies were started.
//!
//! The first that is connected stays. The other is refused where the first is connected, and named as long as it tries.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use starling_types::{Instant, NodeId};

use super::{ControlPlane, Turn};
use crate::event::{Effect, Log};

/// A process that has not been heard of for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(30);

/// The last sign of each second process, and where it was. `None`: this process is one.
#[derive(Debug, Default)]
pub(super) struct Rivals(BTreeMap<Option<NodeId>, (Option<SocketAddr>, Instant)>);

impl Rivals {
    fn met(&mut self, node: Option<NodeId>, addr: Option<SocketAddr>, now: Instant) -> bool {
        let before = self.0.insert(node, (addr, now));
        before.is_none_or(|(_, at)| now.since(at) >= GONE_AFTER)
    }

    fn present(&self, now: Instant) -> impl Iterator<Item = (Option<NodeId>, Option<SocketAddr>)> {
        let is_here = move |at: Instant| now.since(at) < GONE_AFTER;
        self.0.iter().filter(move |(_, (_, at))| is_here(*at)).map(|(&node, &(addr, _))| (node, addr))
    }
}

impl ControlPlane {
    pub(super) fn met_rival(&mut self, turn: &mut Turn<'_>, rival: Option<(NodeId, SocketAddr)>) {
        let (node, addr) = rival.unzip();
        if self.rivals.met(node, addr, turn.now.instant) {
            turn.out.push(Effect::Log(Log::Alarm(self.words(node, addr))));
        }
    }

    /// A line about each second process that was heard of lately.
    pub(crate) fn rivals(&self, now: Instant) -> Vec<String> {
        self.rivals.present(now).map(|(node, addr)| self.words(node, addr)).collect()
    }

    fn words(&self, node: Option<NodeId>, addr: Option<SocketAddr>) -> String {
        let (Some(node), Some(addr)) = (node, addr) else {
            return "members refuse this process, because another one runs as this node, from a copy of its data \
                    directory: stop one of the two, and keep both directories until the cluster is green"
                .into();
        };
        let name = self.gossip.member(node).map_or("", |member| &member.info.name);
        format!(
            "two processes run as {name} ({node}): the one at {addr} is refused, the one that was connected first goes \
             on; stop one of the two, and keep both data directories until the cluster is green"
        )
    }
}
