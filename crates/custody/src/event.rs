//! The events that go into the machine and the effects that come out of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
pub use starling_types::Held;
use starling_types::row::RowRange;
use starling_types::{
    BucketName, BucketProps, Generation, LayoutVersion, NodeId, PartitionBits, PartitionId,
};

use crate::losses::Losses;

/// The number of something that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Ticket(pub u64);

/// The number of a person's order, as its asker gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrderId(pub u64);

/// The rules of all buckets.
pub type Rules = BTreeMap<BucketName, BucketProps>;

/// The partitions that this node holds under the layouts in force.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// How tokens fall into partitions.
    pub bits: PartitionBits,
    /// Of each partition that this node owns, the sets of owners whose acked writes must be here. In one layout: its
    /// owners. For a joiner: the owners under each earlier layout that is still live; it need not be among them.
    pub sets: BTreeMap<PartitionId, Vec<BTreeSet<NodeId>>>,
}

/// A page of a partition that is looked through.
#[derive(Debug, Clone, Default)]
pub struct Surveyed {
    /// Rows whose bytes are not those that were written, or that are no records.
    pub damaged: Vec<RowRange>,
    /// Rows that the disk did not give.
    pub unread: Vec<RowRange>,
    /// Where the next page begins, if there is one.
    pub next: Option<Bytes>,
}

/// Input.
#[derive(Debug)]
pub enum Event {
    /// Other layouts are in force.
    Layout(Holdings),
    /// The rules of the buckets have changed: how many must be heard follows from them.
    Rules(Rules),
    /// The node answers, or may.
    Up(NodeId),
    /// It is gone.
    Down(NodeId),
    /// A start found these, or an earlier one did: they are written down, or being so.
    Lost(Losses),
    /// Other members know a later generation of this node: its disk is one from before that. The generation is taken
    /// once all that is lost is written down.
    LaterLife(Generation),
    /// Rows that could not be read.
    Damaged(Vec<RowRange>),
    /// All that was found damaged so far was told: under this number it is said when that is written down.
    Note(u64),
    /// The partition came with a layout: all that was acked before is pulled from owners that have fenced off all
    /// layouts below that version. Said after that layout, and again after each start, until the partition was trusted:
    /// the row on disk does not tell the version.
    Joined(PartitionId, LayoutVersion),
    /// The answer to [`Effect::Scan`]; none if the disk refused.
    Page(PartitionId, Ticket, Option<Surveyed>),
    /// All that a source holds of the partition is here, durably: as of a moment after [`Effect::Pull`].
    Pulled {
        /// The partition.
        partition: PartitionId,
        /// The source.
        source: NodeId,
        /// How much of the partition it had. A range that it could not read counts as lost.
        held: Held,
        /// The source took no write under a layout below this one any more, when it showed its first page.
        fence: LayoutVersion,
    },
    /// The answer to [`Effect::Discard`]: whether the rows are gone, or turned out to be whole.
    GaveUp(PartitionId, Ticket, bool),
    /// The answer to [`Effect::Store`].
    Stored(Ticket, bool),
    /// A person says that nothing more can come back: of one partition, or of all that wait for it.
    Accept {
        /// Under which number it is answered.
        by: OrderId,
        /// All, if none is named.
        partition: Option<PartitionId>,
        /// Though owners do not answer that might have something.
        without_silent: bool,
    },
    /// Time has passed.
    Tick,
}

/// Output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Read a page of the partition's data rows, from this key on, to learn which cannot be read.
    Scan(PartitionId, Ticket, Bytes),
    /// Acked records of the partition may be forgotten here: this node must not mint under the same name.
    Retire(PartitionId),
    /// Until the partition is trusted, this node tells others that it holds so much of it.
    Doubt(PartitionId, Held),
    /// Pull the partition from all others that have it, from the beginning.
    Pull(PartitionId),
    /// No source has these rows, and they cannot be read: they are absent from now on.
    Discard(PartitionId, Ticket, RowRange),
    /// Write down what may be lost, durably.
    Store(Ticket, Losses),
    /// The damage told before that [`Event::Note`] is written down, durably, as far as it concerns this node.
    Noted(u64),
    /// All that is lost is written down: the generation may be taken.
    Raise(Generation),
    /// The partition is whole, durably: nothing of it is pulled any more.
    Trust(PartitionId),
    /// The partition is not held here any more: nothing of it is pulled.
    Leave(PartitionId),
    /// The answer to [`Event::Accept`]: so many partitions are vouched for again, durably; or why none will be.
    Accepted(OrderId, Result<u32, String>),
    /// For people.
    Log(Log),
}

/// Messages for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// Something is wrong.
    Alarm(String),
    /// It is right again.
    Recovered(String),
}

starling_types::counters! {
    /// The fate of partitions since the start.
    Counters {
        /// Times that a partition was suspected, after a loss or damage.
        doubted = "starling_suspected_total",
        /// Suspected partitions that were pulled and are vouched for again.
        refilled = "starling_refilled_total",
        /// Of these, partitions for which too few owners could be asked: something may be gone for good.
        refilled_short = "starling_refilled_short_total",
    }
}
