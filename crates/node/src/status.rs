//! A node's report on itself for operators: the body of `GET /v1/status`.

use serde::Serialize;
use starling_types::Now;

use crate::disk::Room;
use crate::health::{Quorums, broken_links};
use crate::node::{ClockStatus, Node, Phase};

/// The status of one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// Its identity.
    pub node_id: String,
    /// Its name.
    pub name: String,
    /// Its cluster; absent before `cluster init`.
    pub cluster_id: Option<String>,
    /// Its software version.
    pub version: String,
    /// `starting`, `waiting` (for a layout), `serving`, `draining`.
    pub state: &'static str,
    /// `green`: keys are served, all members are alive and connected, and there is no alarm. `yellow`: keys are served,
    /// and something is to be looked at. `red`: this node takes no requests, or most would fail.
    pub health: &'static str,
    /// Whether keys can be served from here.
    pub quorums: Quorums,
    /// The layout in force; 0 before `cluster init`.
    pub layout_version: u64,
    /// All members it knows, itself included.
    pub members: Vec<Member>,
    /// The hints it keeps for absent owners.
    pub hints: Hints,
    /// How far its replicas are known to agree with others.
    pub repair: Repair,
    /// How its disk is.
    pub storage: Storage,
    /// Partitions on the move. Nothing in production moves one yet: layout changes will.
    pub transfers: Vec<String>,
    /// Its clocks.
    pub clock: ClockStatus,
    /// The conditions that an operator should look at.
    pub alarms: Vec<String>,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Member {
    /// Its identity.
    pub node_id: String,
    /// Its name.
    pub name: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub state: &'static str,
    /// Its failure domain.
    pub zone: String,
    /// Its share of the load.
    pub weight: u32,
    /// Whether a connection to it is up.
    pub connected: bool,
}

/// The hints that a node keeps for absent owners.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Hints {
    /// Records.
    pub count: u64,
    /// About how many bytes.
    pub bytes: u64,
}

/// How a node's disk is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Storage {
    /// New values are refused for want of room.
    pub disk_full: bool,
    /// They will be soon.
    pub disk_low: bool,
    /// A sync does not end: writes are refused here.
    pub disk_stalled: bool,
    /// Partitions that may have lost records: until other owners' are here they are not vouched for.
    pub suspect_partitions: usize,
    /// Why, each reason once.
    pub suspect_because: Vec<String>,
    /// Of these, partitions of which too few whole copies are left: a person must say that nothing more can come back
    /// (`starling repair accept`).
    pub losses_to_accept: usize,
}

/// How far replicas are known to agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Repair {
    /// No hint to deliver, no difference being repaired, and no partition behind: other owners were found equal in a
    /// pass that began after this node's last change. Where sweeps are switched off, only the hints count.
    pub quiescent: bool,
    /// Owned partitions that changed here since another owner was last found equal, or were never compared since the
    /// start; none where sweeps are switched off.
    pub behind_partitions: Option<usize>,
    /// Milliseconds since 1970: what was written before was the same on all other owners when they were last found
    /// equal; none while one of them was not since the start.
    pub repaired_through_ms: Option<u64>,
}

impl Node {
    /// The node's status when the system's clocks say `now`.
    pub fn status(&self, now: Now) -> Status {
        let me = self.control_plane().hello();
        let shard = self.data_plane();
        let tallies = shard.vnodes.hints().values();
        let hints = tallies.fold(Hints::default(), |sum, tally| Hints {
            count: sum.count + tally.rows,
            bytes: sum.bytes + tally.bytes,
        });
        let (members, alarms) = (self.members(), self.alarms(now));
        Status {
            node_id: me.node.to_string(),
            name: me.name.clone(),
            cluster_id: self.view().layout().map(|l| l.cluster().to_string()),
            version: me.version.clone(),
            state: self.state(),
            health: self.health(&members, &alarms),
            quorums: self.quorums(),
            layout_version: self.view().epoch().0,
            members,
            hints,
            repair: shard.repair(hints.count),
            storage: Storage {
                disk_full: shard.pressure.disk.is_full(),
                disk_low: shard.pressure.disk.room == Room::Low,
                disk_stalled: shard.pressure.disk.is_stalled,
                suspect_partitions: shard.custody.count(),
                suspect_because: shard.custody.reasons().into_iter().map(str::to_owned).collect(),
                losses_to_accept: shard.custody.short(),
            },
            clock: self.clock_status(now),
            transfers: Vec::new(),
            alarms,
        }
    }

    fn state(&self) -> &'static str {
        match self.phase() {
            Phase::Starting => "starting",
            Phase::Running if self.view().layout().is_none() => "waiting",
            Phase::Running => "serving",
            Phase::Draining | Phase::Sealing | Phase::Stopped => "draining",
        }
    }

    fn health(&self, members: &[Member], alarms: &[String]) -> &'static str {
        let is_well = |member: &Member| member.state == "alive" && member.connected;
        match (self.unfit(), members.iter().all(is_well) && alarms.is_empty()) {
            (Some(_), _) => "red",
            (None, false) => "yellow",
            (None, true) => "green",
        }
    }

    fn members(&self) -> Vec<Member> {
        let control = self.control_plane();
        let me = control.hello();
        let myself = Member {
            node_id: me.node.to_string(),
            name: me.name.clone(),
            state: "alive",
            zone: me.zone.clone(),
            weight: me.weight,
            connected: true,
        };
        let others = control.members().members().filter(|m| m.info.node != me.node).map(|m| Member {
            node_id: m.info.node.to_string(),
            name: m.info.name.clone(),
            state: word(m.status),
            zone: m.info.zone.clone(),
            weight: self.view().layout().and_then(|l| l.role(m.info.node)).map_or(1, |r| r.weight.into()),
            connected: control.is_connected(m.info.node),
        });
        std::iter::once(myself).chain(others).collect()
    }

    fn alarms(&self, now: Now) -> Vec<String> {
        let mut alarms = self.clock_alarms(now);
        alarms.extend(self.data_plane().pressure.disk.alarms());
        alarms.extend(self.quorums().complaint());
        alarms.extend(self.control_plane().rivals(now.instant));
        alarms.extend(broken_links(self.control_plane(), now.instant));
        alarms.extend(self.losses());
        let conflicts = self.data_plane().vnodes.counters().conflicts;
        if conflicts > 0 {
            alarms.push(format!(
                "{conflicts} merges found a replica that had forgotten its past: check its disk"
            ));
        }
        alarms
    }
}

impl Node {
    fn losses(&self) -> Vec<String> {
        let custody = &self.data_plane().custody;
        let reasons = custody.reasons().into_iter().collect::<Vec<_>>().join("; ");
        let (short, pulled) = (custody.short(), custody.count() - custody.short());
        let mut losses = Vec::new();
        if pulled > 0 {
            losses.push(format!(
                "{pulled} partitions are not vouched for until they are pulled from other owners: {reasons}"
            ));
        }
        if short > 0 {
            losses.push(format!(
                "{short} partitions have lost records and too few whole copies are left to tell which ({reasons}): \
                 what this node holds is served, and writes are taken; a key that it does not hold is answered \
                 `unknown`. Keep all data directories. If an owner or its disk can still be brought back, do that: \
                 what it has is pulled by itself. If not, `starling repair accept --all` at this node lets such keys \
                 be absent"
            ));
        }
        losses
    }
}

const fn word(status: starling_gossip::Status) -> &'static str {
    match status {
        starling_gossip::Status::Alive => "alive",
        starling_gossip::Status::Suspect => "suspect",
        starling_gossip::Status::Dead => "dead",
        starling_gossip::Status::Left => "left",
    }
}
