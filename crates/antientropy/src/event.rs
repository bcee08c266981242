//! The events that go into the machine and the effects that come out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use starling_causality::Record;
pub use starling_types::Held;
use starling_types::{ExchangeId, NodeId, PartitionId, QualifiedKey, Token};
use starling_wire::Message;
use starling_wire::replica::ReadAnswer;
use starling_wire::sync::{Compare, Compared, Swept};

use crate::page::Rows;
use crate::shared::Shared;

/// The number of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScanTicket(pub u64);

/// One key's repair: its peer, and the number it goes under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Errand {
    /// The peer.
    pub peer: NodeId,
    /// The number that frames and answers bear.
    pub exchange: ExchangeId,
}

/// Input.
#[derive(Debug)]
pub enum Event {
    /// A layout is in force: the partitions that this node shares with each peer.
    Layout {
        /// Under which keys are hashed.
        seed: u64,
        /// All peers with which it shares any.
        shared: BTreeMap<NodeId, Shared>,
    },
    /// The peer answers.
    Up(NodeId),
    /// The peer is gone.
    Down(NodeId),
    /// A record of the partition is on its way to this node's disk.
    Staged(PartitionId),
    /// It is there.
    Committed(PartitionId),
    /// The answer to [`Effect::Scan`], which steps over damage; none if the scan failed as a whole.
    Scanned(ScanTicket, Option<Rows>),
    /// A peer that walks asks to compare a page.
    Asked(NodeId, ExchangeId, Compare),
    /// A peer has compared a page.
    Compared(NodeId, ExchangeId, Compared),
    /// The answer to [`Effect::ReadHere`]; none if the row is damaged.
    ReadHere(Errand, Option<Arc<Record>>),
    /// A peer's record.
    Fetched(Errand, ReadAnswer),
    /// The answer to [`Effect::MergeHere`]: done or not.
    MergedHere(Errand, bool),
    /// A peer has merged a record durably, or not.
    Merged(Errand, bool),
    /// A peer's pass is over.
    Swept(NodeId, Swept),
    /// This node may have lost records of the partition: until it is trusted it answers that it holds so much of it.
    Doubt(PartitionId, Held),
    /// Pull the partition from all others that have it, from the beginning; [`Effect::Pulled`] tells of each.
    Pull(PartitionId),
    /// The partition is whole again: nothing is pulled any more.
    Trust(PartitionId),
    /// This node stops: nothing is begun any more.
    Stop,
    /// Time has passed.
    Tick,
}

/// Output.
#[derive(Debug)]
pub enum Effect {
    /// Read a page of the data rows, from the first one at this token.
    Scan(ScanTicket, Token),
    /// Send to a peer, in the background.
    Send(NodeId, ExchangeId, Message),
    /// Show this node's record.
    ReadHere(Errand, QualifiedKey),
    /// Merge a peer's record into this node's, durably.
    MergeHere(Errand, QualifiedKey, Record),
    /// All that the peer holds of the partition is here, durably: as of a moment after [`Event::Pull`].
    Pulled {
        /// The partition.
        partition: PartitionId,
        /// The peer.
        peer: NodeId,
        /// How much of it the peer had.
        held: Held,
    },
}

starling_types::counters! {
    /// The work of sweeps since the start.
    Counters {
        /// Pages of records that other owners compared with their own for this node.
        pages = "starling_sweep_pages_total",
        /// Keys that a sweep of this node found different at another owner, and still did when it read them again.
        differences = "starling_sweep_differences_total",
        /// Passes of this node over what it shares with one other owner.
        passes = "starling_sweep_passes_total",
        /// Records that sweeps of this node brought up to date, here or at another owner.
        repaired = "starling_repaired_records_total",
        /// Pages and rows that could not be compared because of damage, here or at another owner.
        skipped = "starling_sweep_skipped_total",
        /// Pulls of a partition from a peer that were ended.
        pulls,
    }
}
