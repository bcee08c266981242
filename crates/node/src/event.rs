//! The events that go into the node and the effects that come out of it.

use std::net::SocketAddr;

use bytes::Bytes;
use starling_types::row::{CommitFailure, LoadFailure, Page, RowRange, RowWrite, Space};
use starling_types::{Generation, NodeId};
use starling_vnode::{CellKey, OpId, Ticket};
use starling_wire::client::{AdminReply, AdminRequest};
use starling_wire::hello::NodeHello;
use starling_wire::local::{LocalAsk, LocalPage};
use starling_wire::{Class, Envelope, Failure, KvReply, KvRequest};

use crate::disk::Disk;

/// The shell's number for a client that waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyHandle(pub u64);

/// The number of a commit; commits become durable in the order in which they were issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommitId {
    /// Of the shard's records.
    Shard(Ticket),
    /// Of what the control plane must not forget.
    Control(u64),
    /// The removal of the mark of a clean stop.
    Unseal,
    /// The mark of a clean stop.
    Seal,
    /// The losses that are possible.
    Losses(u64),
}

/// The number of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScanId {
    /// A page of records.
    Records(OpId),
    /// A page of all hints, to count them: to be read before anything is carried out that came later. A hint that was
    /// kept or dropped meanwhile would be counted twice, or for ever.
    AllHints(OpId),
    /// A page of this node's own rows, for a backup: with the number of a commit up to which all are in it.
    Export(ReplyHandle),
}

/// Input.
#[derive(Debug)]
pub enum Event {
    /// A client asks.
    Request(ReplyHandle, KvRequest),
    /// An operator asks.
    Admin(ReplyHandle, AdminRequest),
    /// A client of the local door looks at this node's own records.
    Local(ReplyHandle, LocalAsk),
    /// A connection to a node is usable: both ends have introduced themselves.
    PeerUp(NodeHello, SocketAddr),
    /// The last connection to a node is gone.
    PeerDown(NodeId),
    /// A node said something.
    PeerMessage(NodeId, Envelope),
    /// A process was refused that runs as this member, at this address, beside the one that is connected; or this process
    /// was, because another one runs as this node.
    Rival(Option<(NodeId, SocketAddr)>),
    /// The names given as places where members may be found lead to these addresses now.
    Seeds(Vec<SocketAddr>),
    /// The answer to [`Effect::Load`].
    Loaded(CellKey, Result<Option<Bytes>, LoadFailure>),
    /// The answer to [`Effect::Scan`].
    Scanned(ScanId, Result<Page, String>),
    /// The answer to [`Effect::Commit`].
    Committed(CommitId, Result<(), CommitFailure>),
    /// The disk is in another state than before.
    Disk(Disk),
    /// Data rows from one key on, up to another or the end, were found to be unreadable by a read that no request
    /// needed. The store keeps what can be read of them as it is until [`Effect::DamageNoted`] of that number.
    Damaged(Vec<RowRange>, u64),
    /// The answer to [`Effect::RaiseGeneration`], once it is durable.
    GenerationRaised(Generation),
    /// [`crate::Node::next_deadline`] has come.
    Tick,
    /// Finish what is under way, refuse what is new, and stop.
    Drain,
}

/// Output.
#[derive(Debug)]
pub enum Effect {
    /// Send to a node. May be lost; nothing waits for it without a deadline.
    Send(NodeId, Class, Envelope),
    /// Answer a client.
    Respond(ReplyHandle, KvReply),
    /// Answer an operator.
    RespondAdmin(ReplyHandle, AdminReply),
    /// Show records of this node's own.
    RespondLocal(ReplyHandle, Result<LocalPage, Failure>),
    /// Read one row.
    Load(CellKey),
    /// Read a page of rows whose keys start with `prefix`, from `from` or the start.
    Scan {
        /// Its number.
        id: ScanId,
        /// The keyspace.
        space: Space,
        /// The prefix of the keys.
        prefix: Bytes,
        /// The first key.
        from: Option<Bytes>,
    },
    /// Write rows atomically.
    Commit {
        /// Its number.
        id: CommitId,
        /// The rows.
        rows: Vec<RowWrite>,
        /// Whether it must be fsynced before it is answered.
        durable: bool,
    },
    /// Try to connect.
    Connect(SocketAddr, Option<NodeId>),
    /// Close what connects to a node, losing what is under way: it leads to a process that is gone.
    Disconnect(NodeId),
    /// The damage that was told up to this number is durably noted: its rows may be absent from now on.
    DamageNoted(u64),
    /// Make this the durable count of this node's starts: other members know it under a higher one than it had.
    RaiseGeneration(Generation),
    /// Everything is finished and on disk: the process may exit.
    Drained,
    /// Tell the operator.
    Log(Log),
}

/// An event that an operator's log should show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Log {
    /// A member joined, or is heard of again.
    MemberUp(NodeId),
    /// A member is suspected.
    MemberSuspect(NodeId),
    /// A member is presumed dead.
    MemberDead(NodeId),
    /// A member said goodbye.
    MemberLeft(NodeId),
    /// This node has a layout.
    LayoutAdopted(String),
    /// A frame of another cluster was dropped.
    ForeignFrame(NodeId),
    /// Something that must not happen did.
    Alarm(String),
    /// The state that an alarm had told of is over.
    Recovered(String),
}
