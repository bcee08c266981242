//! The events of a request.

use starling_causality::{Record, Staged};
use starling_types::{BucketProps, NodeId};
use starling_wire::replica::{Merged, ReadAnswer, Recalled};
use starling_wire::{Failure, KvReply};

/// An event of a request. One that it does not wait for changes nothing.
#[derive(Debug, Clone)]
pub enum Event {
    /// The vnode here has a dot for the write.
    Staged(Staged),
    /// The vnode here has committed the write as demanded.
    CommittedHere,
    /// The vnode here refused a write or a merge; the failure says whether anything was staged.
    RefusedHere(Failure),
    /// The vnode here did not make the write: another try of the request may be under way by now.
    LateHere,
    /// The vnode here refused a context for lying further ahead than what it knows of.
    AheadHere(Failure),
    /// The vnode here holds no record either: there is nothing to delete.
    AbsentHere,
    /// This replica's record.
    ReadHere(Record),
    /// The record of this replica, which may have lost more: joins the answer, counts towards nothing.
    ReadHerePartly(Record),
    /// This replica cannot vouch for the key.
    UnreadHere(String),
    /// A merge asked of this node's vnode, after a recall or as a repair, is committed.
    MergedHere,
    /// Another node answered a merge.
    Merged(NodeId, Merged),
    /// Another owner answered what it was asked before a write.
    Recalled(NodeId, Recalled),
    /// Another owner answered a read.
    Answered(NodeId, ReadAnswer),
    /// An owner answered a request that was passed on to it.
    Replied(NodeId, KvReply),
    /// This node knows newer properties of the bucket, and their number.
    PropsChanged(BucketProps, u64),
    /// Another node knows the same properties as this one now.
    PropsAgree(NodeId),
    /// A node is gone.
    PeerDown(NodeId),
    /// Time has passed.
    Tick,
}
