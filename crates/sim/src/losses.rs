//! The losses of a disk that a driver can cause and the node must notice: synced rows taken back, rot, no room, an old
//! disk.

use std::time::Duration;

use starling_node::event::CommitId;
use starling_node::node::Phase;
use starling_node::{Config, Disk, Event, Losses, Room};
use starling_storage::{CrashMode, Engine, ScanLimit};
use starling_types::Generation;
use starling_types::row::{RowRange, Space};

use crate::disk::Order;
use crate::sabotage::Sabotage;
use crate::toll::Harm;
use crate::troubles::Trouble;
use crate::world::{Happening, World};

/// A disk with room, or without.
pub(crate) fn disk(is_full: bool) -> Disk {
    Disk { room: if is_full { Room::Full } else { Room::Enough }, ..Disk::default() }
}

impl World {
    /// Kills a node; its disk loses the newest commits, synced ones among them.
    pub fn lose_commits(&mut self, node: usize, synced: usize) {
        if self.hosts[node].machine.is_none() {
            return;
        }
        let before = self.hosts[node].rows(Space::Data);
        self.troubles.begin(node, Trouble::Forgets, self.now);
        self.crash_as(node, CrashMode::LoseSynced(synced));
        if self.hosts[node].disk.engine.lost() > 0 && self.hosts[node].rows(Space::Data) != before {
            self.toll.count(Harm::LostCommits);
        }
    }

    /// Kills a node; its next start finds these losses, as a daemon would that compares what it knows of its last stop.
    pub fn find_lost(&mut self, node: usize, losses: &Losses) {
        self.crash_as(node, CrashMode::KeepSynced);
        let disk = &mut self.hosts[node].disk;
        let order = Order { id: CommitId::Seal, durable: true, answered: false };
        if disk.commit(order, vec![losses.row()], Sabotage::None).is_some() {
            disk.synced();
        }
    }

    /// Damages one of a node's data rows; which, `draw` decides.
    pub fn rot(&mut self, node: usize, draw: u64) {
        self.troubles.begin(node, Trouble::Forgets, self.now);
        let rows = self.rows(node, Space::Data);
        if let Some(row) = rows.get(usize::try_from(draw).unwrap_or(0) % rows.len().max(1)) {
            self.damage(node, Space::Data, row);
        }
    }

    /// Damages one of a node's rows.
    pub fn damage(&mut self, node: usize, namespace: Space, row: &[u8]) {
        self.hosts[node].disk.engine.corrupt(namespace, row);
        self.observer.rotten.insert((node, bytes::Bytes::copy_from_slice(row)));
    }

    /// A node's disk does not give one of its rows, until it heals.
    pub fn hide(&mut self, node: usize, namespace: Space, row: &[u8]) {
        self.hosts[node].disk.engine.hide(namespace, row);
    }

    /// A node's disk gives again what it has.
    pub fn heal_disk(&mut self, node: usize) {
        self.hosts[node].disk.engine.heal();
    }

    /// How many of a node's data rows are damaged.
    pub fn damaged(&self, node: usize) -> usize {
        self.hosts[node].disk.engine.damaged(Space::Data)
    }

    /// Tells a node which of its data rows are damaged, as scrubbing would.
    pub fn scrub(&mut self, node: usize) {
        let engine = &self.hosts[node].disk.engine;
        let limit = ScanLimit { rows: usize::MAX, bytes: usize::MAX };
        let page = engine.scan(Space::Data, &RowRange::all(), limit).unwrap_or_default();
        self.deliver(node, Event::Damaged(page.damaged, 0));
    }

    /// A node's volume has less room than its reserve, or none at all, or enough again.
    pub fn fill(&mut self, node: usize, is_full: bool, to_the_brim: bool) {
        self.troubles.set(node, Trouble::Full, self.now, is_full);
        let host = &mut self.hosts[node];
        host.disk.engine.set_no_space(is_full && to_the_brim);
        host.fullness_felt &= is_full;
        host.was_full |= is_full;
        if std::mem::replace(&mut host.is_full, is_full) != is_full {
            self.after(Duration::ZERO, Happening::Pressure { node });
        }
    }

    /// A node is told that its disk does not answer, or does again. (The disk of the simulator goes on.)
    pub fn stall(&mut self, node: usize, is_stalled: bool) {
        self.deliver(node, Event::Disk(Disk { is_stalled, ..Disk::default() }));
    }

    /// Whether a node's volume has ever been full.
    pub fn was_full(&self, node: usize) -> bool {
        self.hosts[node].was_full
    }

    /// A write was refused for want of space.
    pub(crate) fn feel_fullness(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if host.is_full && !std::mem::replace(&mut host.fullness_felt, true) {
            self.toll.count(Harm::FullDisk);
        }
    }

    /// Puts aside another disk with what a node's disk holds now.
    pub fn back_up(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let Config { generation, lineage, .. } = host.config.clone();
        host.backup = Some((host.disk.engine.copy(), generation, lineage));
    }

    /// Kills a node, and puts its backup in the place of its disk, if that can be noticed: the others know a start of it
    /// that the backup has not seen. Without one only the disk itself could. If all are to forget, the others are killed
    /// too: then their disks must know it.
    pub fn put_back(&mut self, node: usize, all_forget: bool) {
        let Some((_, generation, _)) = self.hosts[node].backup else { return };
        let others: Vec<usize> = (0..self.len()).filter(|&peer| peer != node).collect();
        if !others.iter().all(|&peer| self.knows_beyond(peer, node, generation, all_forget)) {
            self.hosts[node].backup = None;
            return;
        }
        self.replace_disk(node);
        if all_forget {
            others.into_iter().for_each(|peer| self.crash_as(peer, CrashMode::KeepAll));
        }
    }

    /// Kills a node if it runs, and puts its backup in the place of its disk, whether or not any node could notice.
    pub fn replace_disk(&mut self, node: usize) {
        let Some((engine, generation, lineage)) = self.hosts[node].backup.take() else { return };
        self.troubles.begin(node, Trouble::Forgets, self.now);
        self.crash_as(node, CrashMode::KeepSynced);
        let host = &mut self.hosts[node];
        engine.set_no_space(false);
        host.disk.engine = engine;
        (host.config.generation, host.config.lineage) = (generation, lineage);
        host.has_lost = false;
        self.toll.count(Harm::OldDisk);
        self.put_back = Some(node);
        if self.options.sabotage == Sabotage::KeepActors {
            self.forge_clean_mark(node);
        }
    }

    fn knows_beyond(&self, peer: usize, node: usize, life: Generation, on_disk: bool) -> bool {
        let id = self.id(node);
        let Some(machine) = self.node(peer) else { return false };
        let known = match on_disk {
            false => machine.control_plane().members().member(id).map(|member| member.info.generation),
            true => self.hosts[peer].last_life(id),
        };
        known.is_some_and(|known| known.count() > life.count())
    }

    /// Updates the known losses of a node's disk after a turn of its machine.
    pub(crate) fn note_losses(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        let has_noted = host.machine.as_ref().is_some_and(|machine| machine.phase() == Phase::Running);
        host.has_lost &= !has_noted;
    }
}
