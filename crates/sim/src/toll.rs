//! The real effects of faults. A fault that changed nothing is not counted: a crash that lost nothing, a cut that no
//! frame ran into, a pause in which nothing waited.

use std::collections::BTreeMap;

/// A kind of fault, by its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// Frames lost by weather.
    Loss,
    /// Frames that reached a machine a second time.
    Duplication,
    /// Frames that arrived, but much later than usual.
    Delay,
    /// Frames that arrived after a later one of the same connection.
    Reordering,
    /// Ways that were cut in one direction only, and lost a frame.
    OneWayPartition,
    /// Ways that were cut while their way back was cut too, and lost a frame.
    TwoWayPartition,
    /// Unclean stops that lost data rows on their way to the disk.
    Crash,
    /// Clean stops.
    CleanStop,
    /// Groups of commits that were answered much later than usual.
    SlowDisk,
    /// Reads of rows that were answered much later than usual.
    SlowRead,
    /// Stores that a failed commit has poisoned.
    FailedDisk,
    /// Stretches in which a process stood still while something waited for it.
    Pause,
    /// Jumps of a wall clock under which a write was minted or a request refused.
    ClockOffset,
    /// Unclean stops that took back data rows which the disk had said to be durable.
    LostCommits,
    /// Damaged rows that a node came upon.
    BitRot,
    /// Stretches in which a write was refused because a disk was full.
    FullDisk,
    /// Disks from before a node's last start that were put back.
    OldDisk,
}

impl Harm {
    /// All kinds.
    pub const ALL: [Self; 17] = [
        Self::Loss,
        Self::Duplication,
        Self::Delay,
        Self::Reordering,
        Self::OneWayPartition,
        Self::TwoWayPartition,
        Self::Crash,
        Self::CleanStop,
        Self::SlowDisk,
        Self::SlowRead,
        Self::FailedDisk,
        Self::Pause,
        Self::ClockOffset,
        Self::LostCommits,
        Self::BitRot,
        Self::FullDisk,
        Self::OldDisk,
    ];

    /// Its name, for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Duplication => "duplication",
            Self::Delay => "delay",
            Self::Reordering => "reordering",
            Self::OneWayPartition => "one_way_partition",
            Self::TwoWayPartition => "two_way_partition",
            Self::Crash => "crash",
            Self::CleanStop => "clean_stop",
            Self::SlowDisk => "slow_disk",
            Self::SlowRead => "slow_read",
            Self::FailedDisk => "failed_disk",
            Self::Pause => "pause",
            Self::ClockOffset => "clock_offset",
            Self::LostCommits => "lost_commits",
            Self::BitRot => "bit_rot",
            Self::FullDisk => "full_disk",
            Self::OldDisk => "old_disk",
        }
    }
}

/// How often each kind took effect.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Toll(BTreeMap<Harm, u64>);

impl Toll {
    pub(crate) fn count(&mut self, harm: Harm) {
        *self.0.entry(harm).or_default() += 1;
    }

    /// How often one kind did.
    pub fn of(&self, harm: Harm) -> u64 {
        self.0.get(&harm).copied().unwrap_or_default()
    }

    /// How many kinds did at all.
    pub fn kinds(&self) -> usize {
        self.0.len()
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (&harm, times) in &other.0 {
            *self.0.entry(harm).or_default() += times;
        }
    }
}
