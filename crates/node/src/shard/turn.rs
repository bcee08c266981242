//! One turn of the shard: the time, the cluster as it is seen, and where effects and answers go.

use std::collections::VecDeque;

use bytes::Bytes;
use starling_causality::{ContextToken, VersionVector};
use starling_coordinator::{Answer, reply};
use starling_types::{ExchangeId, LayoutVersion, NodeId, Now, Outcome, QualifiedKey, WallTime};
use starling_vnode::Refused;
use starling_wire::client::WriteReply;
use starling_wire::{Class, Envelope, Failure, FailureKind, KvReply, Message};

use crate::change::Change;
use crate::event::{Effect, ReplyHandle};
use crate::view::View;

/// A bucket's incarnation, which its context tokens are bound to; raised when buckets can be dropped.
pub(super) const BUCKET_INCARNATION: u64 = 1;

/// One turn of the machine.
pub(crate) struct Turn<'a> {
    pub(crate) now: Now,
    pub(crate) view: &'a View,
    pub(crate) changes: &'a mut VecDeque<Change>,
    pub(crate) out: &'a mut Vec<Effect>,
}

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// To a client of this node.
    Client(ReplyHandle),
    /// To the node that passed the request on, under its number.
    Node(NodeId, ExchangeId),
}

/// A question of another node: the answer goes to it under its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) from: NodeId,
    pub(crate) exchange: ExchangeId,
    /// The layout that it goes by.
    pub(crate) epoch: LayoutVersion,
}

impl Turn<'_> {
    pub(crate) fn reply(&mut self, ask: Ask, message: Message) {
        self.send(ask.exchange, ask.from, Class::Foreground, 0, message);
    }

    pub(crate) fn send(
        &mut self,
        exchange: ExchangeId,
        node: NodeId,
        class: Class,
        deadline_ms: u32,
        message: Message,
    ) {
        let envelope = Envelope {
            cluster: self.view.cluster(),
            epoch: self.view.epoch(),
            exchange,
            deadline_ms,
            message,
        };
        self.out.push(Effect::Send(node, class, envelope));
    }

    pub(crate) fn answer(&mut self, route: Route, reply: KvReply) {
        match route {
            Route::Client(handle) => self.out.push(Effect::Respond(handle, reply)),
            Route::Node(node, exchange) => {
                self.send(exchange, node, Class::Foreground, 0, Message::Reply(reply));
            }
        }
    }

    /// This node's estimate of the cluster's time.
    pub(crate) fn cluster_time(&self) -> WallTime {
        self.view.cluster_wall(self.now)
    }

    pub(super) fn seal(&self, key: &QualifiedKey, seen: &VersionVector) -> Bytes {
        let token = ContextToken::seal(self.view.cluster(), BUCKET_INCARNATION, key, seen);
        token.as_bytes().clone()
    }
}

/// The answer as the client gets it, its context sealed for this cluster and key.
pub(super) fn phrase(turn: &Turn<'_>, key: &QualifiedKey, answer: Answer) -> KvReply {
    match answer {
        Answer::Read(record) => {
            let context = (!record.is_empty()).then(|| turn.seal(key, record.context()));
            // A node whose clock is contradicted judges no value's expiry by it.
            KvReply::Read(reply::show(&record, context, turn.cluster_time()))
        }
        Answer::Written(written) => KvReply::Written(WriteReply {
            context: written.context.map(|seen| turn.seal(key, &seen)),
            siblings: written.siblings,
            existed: written.existed,
            receipt: written.receipt,
        }),
        Answer::Relayed(reply) => reply,
        Answer::Failed(failure) => KvReply::Failed(failure),
    }
}

/// A vnode's refusal as the client is told.
pub(super) fn failure(refused: &Refused) -> Failure {
    let kind = match refused {
        Refused::TooManySiblings(_) => FailureKind::TooManySiblings,
        Refused::ForgedContext | Refused::FutureContext(_) => FailureKind::BadRequest,
        Refused::Busy => FailureKind::Overloaded,
        Refused::Unwanted
        | Refused::TooLate
        | Refused::Late
        | Refused::Outranked
        | Refused::Claimed
        | Refused::Superseded => FailureKind::Deadline,
        Refused::TooLarge { .. } => FailureKind::TooLarge,
        Refused::Load(_) | Refused::Damaged(_) | Refused::Commit(_) => FailureKind::Storage,
        Refused::NoSpace(_) | Refused::Full(_) => FailureKind::DiskFull,
    };
    match refused {
        // Nothing that is asked again at once would change that.
        Refused::Outranked => {
            let failure = Failure::unknown(kind, refused.to_string());
            return Failure { retry_after_ms: Some(1_000), ..failure };
        }
        Refused::Late | Refused::Claimed => {
            return Failure::unknown(kind, refused.to_string());
        }
        Refused::Superseded => {
            return Failure { outcome: Outcome::Applied, ..Failure::unknown(kind, refused.to_string()) };
        }
        _ => {}
    }
    match refused.nothing_staged() {
        true => Failure::refused(kind, refused.to_string()),
        false => Failure::unknown(kind, refused.to_string()),
    }
}
