//! A request on a node that is no owner: passed on once, to one owner at a time.

use std::time::Duration;

use starling_types::planted::{self, Bug};
use starling_types::{Instant, NodeId, Now, Outcome, WallTime, limits};
use starling_wire::{Class, Failure, FailureKind, KvReply, KvRequest, Message};

use crate::{Answer, Effect, Event};

/// One forwarded request.
#[derive(Debug)]
pub struct Forward {
    request: KvRequest,
    candidates: Vec<NodeId>,
    asked: Option<NodeId>,
    /// Asked before and never answered: they may still do it.
    in_doubt: Vec<NodeId>,
    sent_once: bool,
    patience: Instant,
    deadline: Instant,
    /// When it started, as both clocks showed it.
    start: Now,
    /// From when on the client or node that sent the request here may try elsewhere.
    asker_goes_elsewhere: Option<WallTime>,
    answered: bool,
}

impl Forward {
    /// Passes `request`, which may take as long as `limit`, on to the first of `candidates`, the reachable owners in
    /// order of preference. The wall time of `now` is the cluster's.
    pub fn start(
        now: Now,
        mut request: KvRequest,
        limit: Duration,
        candidates: Vec<NodeId>,
        out: &mut Vec<Effect>,
    ) -> Self {
        let deadline = now.instant + limit;
        request.forwarded = true;
        let asker_goes_elsewhere = request.may_go_elsewhere();
        let mut forward = Self {
            request,
            candidates,
            asked: None,
            in_doubt: Vec::new(),
            sent_once: false,
            patience: deadline,
            deadline,
            start: now,
            asker_goes_elsewhere,
            answered: false,
        };
        forward.ask_next(now.instant, out);
        forward
    }

    /// The one entrance.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Replied(from, reply) => self.replied(now, from, reply, out),
            Event::PeerDown(node) if self.asked == Some(node) => self.ask_next(now, out),
            Event::Tick if now >= self.deadline => self.give_up("no owner answered in time", out),
            Event::Tick if now >= self.patience => self.ask_next(now, out),
            _ => {}
        }
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        (!self.answered).then(|| self.patience.min(self.deadline))
    }

    /// Whether the client is answered.
    pub const fn is_over(&self) -> bool {
        self.answered
    }

    fn replied(&mut self, now: Instant, from: NodeId, reply: KvReply, out: &mut Vec<Effect>) {
        if self.asked == Some(from) {
            return self.answered(now, reply, out);
        }
        // An owner given up on says after all what it did. A failure settles nothing while the next one works.
        let KvReply::Failed(failure) = &reply else {
            return self.relay(reply, out);
        };
        if failure.outcome == Outcome::NotApplied {
            self.in_doubt.retain(|&n| n != from);
        }
    }

    fn answered(&mut self, now: Instant, reply: KvReply, out: &mut Vec<Effect>) {
        let KvReply::Failed(mut failure) = reply else {
            return self.relay(reply, out);
        };
        let not_applied = failure.outcome == Outcome::NotApplied;
        let elsewhere =
            matches!(failure.kind, FailureKind::NotReady | FailureKind::Storage | FailureKind::DiskFull);
        if not_applied && elsewhere && !self.candidates.is_empty() {
            self.asked = None;
            return self.ask_next(now, out);
        }
        if not_applied && self.request.op.is_write() && !self.in_doubt.is_empty() {
            failure.outcome = Outcome::Unknown;
            failure.detail = format!(
                "{}; but an owner asked before has not answered: retry with the same request id",
                failure.detail
            );
        }
        self.relay(KvReply::Failed(failure), out);
    }

    fn relay(&mut self, reply: KvReply, out: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.answered, true) {
            out.push(Effect::Respond(Answer::Relayed(reply)));
        }
    }

    /// The next owner gets it as a retry, if one that was asked before may have made it: it asks the others for the
    /// request id before it mints.
    fn ask_next(&mut self, now: Instant, out: &mut Vec<Effect>) {
        if self.candidates.is_empty() {
            // The owner that was asked may yet answer; only the deadline ends that.
            self.patience = self.deadline;
            if self.asked.is_none() {
                self.give_up("no owner of the key is within reach", out);
            }
            return;
        }
        let owner = self.candidates.remove(0);
        let left = self.deadline.since(now);
        // Half of what is left, so that even a short limit leaves time for another owner.
        let patience = (limits::RPC_TIMEOUT * 2).min(left / 2);
        self.request.began = self.wall(now);
        self.request.timeout_ms = millis(left).max(1);
        self.request.patience_ms = self.patience_told(millis(patience));
        self.in_doubt.extend(self.asked.replace(owner));
        let in_doubt = !self.in_doubt.is_empty() && !planted::on(Bug::RetryUnmarked);
        self.request.attempt = self.request.attempt.saturating_add(u8::from(in_doubt));
        self.sent_once = true;
        self.patience = now + patience;
        out.push(Effect::Send(owner, Class::Foreground, Message::Request(self.request.clone())));
    }

    /// The cluster's time.
    fn wall(&self, now: Instant) -> WallTime {
        self.start.wall.after(now.since(self.start.instant))
    }

    /// The owner is told how long this node will wait for it: less, if the sender of the request goes elsewhere before;
    /// and that it makes the only try, if no other will ever be made.
    fn patience_told(&self, patience: u32) -> u32 {
        match self.asker_goes_elsewhere {
            None if self.candidates.is_empty() && !self.sent_once => 0,
            None => patience.max(1),
            Some(at) => patience.min(millis(at.since(self.request.began))).max(1),
        }
    }

    fn give_up(&mut self, why: &str, out: &mut Vec<Effect>) {
        if std::mem::replace(&mut self.answered, true) {
            return;
        }
        let failure = match self.sent_once && self.request.op.is_write() {
            true => Failure::unknown(
                FailureKind::Deadline,
                format!("{why}; the write may have taken place: retry with the same request id"),
            ),
            false => Failure::refused(FailureKind::QuorumNotReached, format!("{why}; nothing was changed")),
        };
        out.push(Effect::Respond(Answer::Failed(failure)));
    }
}

fn millis(span: Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
