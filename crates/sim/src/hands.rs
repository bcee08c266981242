//! The driver's means to act on the world: send requests, kill and start nodes, cut links, spoil disks and clocks.

use std::time::Duration;

use starling_node::{CommitId, Event, ReplyHandle};
use starling_storage::CrashMode;
use starling_types::WallTime;
use starling_types::row::{RowWrite, Space};
use starling_wire::KvRequest;
use starling_wire::client::AdminRequest;

use crate::disk::Order;
use crate::losses::disk;
use crate::sabotage::Sabotage;
use crate::toll::Harm;
use crate::troubles::Trouble;
use crate::world::{Happening, IDLE, SLOW, Weather, World};

impl World {
    /// A client sends a request; it may be lost, and so may its answer.
    pub fn request(&mut self, node: usize, mut request: KvRequest) -> ReplyHandle {
        self.options.sabotage.tamper(&mut request);
        let handle = self.handle();
        self.asked.insert(handle, request.key.clone());
        if let Some(delay) = self.client_way(node) {
            self.after(delay, Happening::Request { node, handle, request });
        }
        handle
    }

    /// The start count and the time that a node shows to a client that connects to it.
    pub(crate) fn greeting(&self, node: usize) -> Option<(u64, WallTime)> {
        let host = &self.hosts[node];
        let machine = host.machine.as_ref().filter(|_| !self.is_paused(node))?;
        Some((host.life, machine.shown_time(self.now_at(node))?))
    }

    /// An operator sends a request.
    pub fn admin(&mut self, node: usize, request: AdminRequest) -> ReplyHandle {
        let handle = self.handle();
        self.after(Duration::from_millis(1), Happening::Admin { node, handle, request });
        handle
    }

    /// Kills a node; its disk loses what a disk may lose, by chance.
    pub fn crash(&mut self, node: usize) {
        self.kill(node, None);
    }

    /// Kills a node with a given loss.
    pub fn crash_as(&mut self, node: usize, mode: CrashMode) {
        self.kill(node, Some(mode));
    }

    fn kill(&mut self, node: usize, mode: Option<CrashMode>) {
        if self.hosts[node].machine.is_none() {
            return;
        }
        self.counters.crashes += 1;
        self.unclean.push((node, self.now));
        self.vanish(node);
        let mode = mode.unwrap_or_else(|| self.hosts[node].disk.crash_mode());
        self.hosts[node].lost_power |= mode != CrashMode::KeepAll;
        let lost = self.hosts[node].disk.crash_as(mode);
        if lost > 0 {
            self.toll.count(Harm::Crash);
        }
        let lost = self.hosts[node].disk.engine.lost();
        self.hosts[node].has_lost |= lost > 0;
        match self.options.sabotage {
            Sabotage::ForgeCleanMark => self.forge_clean_mark(node),
            Sabotage::KeepActors if lost > 0 => self.forge_clean_mark(node),
            _ => {}
        }
    }

    /// Starts a node that is down.
    pub fn start(&mut self, node: usize) {
        if self.hosts[node].machine.is_some() {
            return;
        }
        self.counters.starts += 1;
        self.troubles.end(node, Trouble::Down, self.now);
        self.troubles.end(node, Trouble::FailedDisk, self.now);
        let effects = self.hosts[node].start(self.seed, self.now, self.options.sabotage);
        self.recount(node);
        let full = self.hosts[node].is_full.then_some(Event::Disk(disk(true)));
        self.turn(node, effects, full.into_iter().collect());
    }

    /// Asks a node to stop cleanly; [`crate::Notice::Stopped`] follows. One that stands still does not hear it.
    pub fn drain(&mut self, node: usize) {
        if !self.is_paused(node) {
            self.deliver(node, Event::Drain);
        }
    }

    /// Cuts or mends the way from one node to another.
    pub fn cut(&mut self, from: usize, to: usize, cut: bool) {
        self.counters.cuts += u64::from(cut);
        self.network.block(from, to, cut);
        for node in [from, to] {
            self.troubles.set(node, Trouble::Cut(from, to), self.now, cut);
        }
        if cut {
            self.after(IDLE, Happening::IdleCheck { a: from, b: to });
        }
    }

    /// Frames from one node to another wait from now on; [`World::release`] sends them on.
    pub fn hold(&mut self, from: usize, to: usize) {
        self.network.hold(from, to, true);
    }

    /// Ends [`World::hold`]: what waited arrives now, or is lost.
    pub fn release(&mut self, from: usize, to: usize, lose: bool) {
        self.network.hold(from, to, false);
        for happening in std::mem::take(&mut self.held) {
            match happening {
                Happening::Frame { to: t, from: f, .. } if (f, t) == (from, to) => {
                    if !lose {
                        self.after(Duration::ZERO, happening);
                    }
                }
                other => self.held.push(other),
            }
        }
    }

    /// The network becomes (or stops being) a calm one, nothing is cut.
    pub fn set_weather(&mut self, weather: Weather) {
        self.network.weather = weather;
    }

    /// Mends every way.
    pub fn mend(&mut self) {
        self.network.heal();
        self.troubles.mended(self.now);
    }

    /// How long a node's fsyncs take from now on.
    pub fn set_fsync(&mut self, node: usize, least: Duration, most: Duration) {
        self.hosts[node].disk.fsync = (least, most);
        self.troubles.set(node, Trouble::SlowDisk, self.now, most > SLOW);
    }

    /// Makes a node's next write to disk fail; its store is poisoned until it is restarted.
    pub fn fail_disk(&mut self, node: usize) {
        self.hosts[node].disk.engine.fail_next_commit();
    }

    /// Takes back what waits for a node's next write: it may come long after everything has healed.
    pub fn spare_disk(&mut self, node: usize) {
        self.hosts[node].disk.engine.spare_next_commit();
    }

    /// Sets how far a node's wall clock is off.
    pub fn set_clock(&mut self, node: usize, offset_ms: i64) {
        self.hosts[node].jump_felt = (offset_ms != 0).then_some(false);
        self.hosts[node].clock_offset_ms = offset_ms;
        self.worst_clock_ms = self.worst_clock_ms.max(offset_ms.unsigned_abs());
        self.troubles.set(node, Trouble::Clock, self.now, offset_ms != 0);
    }

    /// Lets every node take no more than so many requests at a time. They are started anew.
    pub fn crowd(&mut self, most: usize) {
        for node in 0..self.hosts.len() {
            self.hosts[node].config.max_in_flight = most;
            self.crash_as(node, CrashMode::KeepAll);
            self.start(node);
        }
    }

    pub(crate) fn forge_clean_mark(&mut self, node: usize) {
        let actors = self.observer.actors.iter().filter(|((n, _), _)| *n == node);
        let actors = actors.map(|(&(_, partition), &actor)| (partition, actor));
        let row = RowWrite {
            space: Space::Meta,
            key: bytes::Bytes::from_static(starling_vnode::rows::META_CLEAN_STOP),
            value: Some(starling_vnode::rows::encode_actors(actors)),
        };
        let disk = &mut self.hosts[node].disk;
        let order = Order { id: CommitId::Seal, durable: true, answered: true };
        if disk.commit(order, vec![row], Sabotage::None).is_some() {
            disk.synced();
        }
    }
}
