//! The knowledge that a write needs before it is made: of other tries of its request, and of what it replaces.

use starling_coordinator::put::{Questions, Tried};
use starling_custody::Word;
use starling_types::{QualifiedKey, WallTime, limits};
use starling_vnode::{ClientWrite, Refused};
use starling_wire::client::Seen;
use starling_wire::{Failure, KvOp, KvRequest};

use super::timing::Timing;
use super::turn::failure;
use super::{Shard, Turn};

impl Shard {
    /// The knowledge here of other tries of a write.
    pub(super) fn tried(
        &mut self,
        turn: &Turn<'_>,
        request: &KvRequest,
        write: &ClientWrite,
        timing: &Timing,
    ) -> Result<Tried, Failure> {
        let token = write.key.token();
        if self.vnodes.recall(request.id, token).is_some() {
            return Ok(Tried::Here);
        }
        let is_only = request.attempt == 0 && write.tries.elsewhere.is_none();
        if !is_only && !self.vnodes.claim(turn.now, request.id, token, request.attempt) {
            return Err(failure(&Refused::Claimed));
        }
        let is_late = timing.is_late(turn.now.instant);
        self.counters.writes_late += u64::from(request.attempt == 0 && is_late);
        Ok(if request.attempt > 0 || is_late { Tried::Elsewhere } else { Tried::Never })
    }

    /// The questions that must be answered before a write is made.
    pub(super) fn questions(
        &self,
        turn: &Turn<'_>,
        request: &KvRequest,
        key: &QualifiedKey,
        timing: &Timing,
    ) -> Questions {
        let is_blind =
            matches!(&request.op, KvOp::Put { seen, .. } | KvOp::Delete { seen } if *seen == Seen::Quorum);
        let word = self.word(key);
        Questions {
            issued: timing.no_later,
            asks_until: timing.asks_until(turn.now.instant),
            names_what_it_replaces: !is_blind,
            deletes: matches!(request.op, KvOp::Delete { .. }) && word == Word::Full,
            remembers: self.forgotten_until(turn) < timing.no_later,
            is_sure: word != Word::None,
        }
    }

    /// Of requests issued until then, in the cluster's time, this node may have known and have forgotten. It goes by
    /// when they came: a client's clock may be ahead.
    pub(super) fn forgotten_until(&self, turn: &Turn<'_>) -> WallTime {
        let remembers = self.vnodes.remembers_for(turn.now);
        turn.cluster_time().after(limits::REQUEST_MAX_LEAD).before(remembers)
    }
}
