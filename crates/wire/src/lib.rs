//! # Everything that crosses a socket
//!
//! **Job.** The messages of every conversation, the frame around them, and the codec: compatibility is visible
//! in this one crate.
//!
//! **Invariants.** Every frame carries cluster id, layout epoch, request id and deadline. A frame's length is
//! checked before anything is buffered for it, and a body is refused unless the decoder consumed all of it. No
//! input makes the codec panic or allocate more than the frame's own size.
//!
//! **Deliberately absent.** Sockets (`starling-transport`), and any decision about what a message means.
//!
//! **How to read this crate.** [`message`] the table of all messages, then one file a conversation: [`hello`]
//! two ends introduce themselves, [`client`] what an application asks, [`replica`] what a coordinator asks of
//! replicas, [`sync`] how owners compare what they hold, [`cluster`] how layouts are decided and spread, [`export`] a
//! node's own rows for a backup, [`gossip`] membership; [`frame`] and the bytes. [`local`] stays within one process.

pub mod client;
pub mod cluster;
pub mod export;
pub mod frame;
pub mod gossip;
pub mod hello;
pub mod local;
pub mod message;
pub mod replica;
pub mod sync;
#[cfg(test)]
mod tests;

pub use client::{Failure, FailureKind, KvOp, KvReply, KvRequest, QuorumChoice, Seen};
pub use frame::{Envelope, FrameError};
pub use message::{Class, Message};
