//! The requests that wait for an answer on one connection. One sweep a connection enforces all deadlines: no timer a
//! request.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use starling_transport::ChannelInbox;
use starling_types::hash::TokenMap;
use starling_types::{ExchangeId, LayoutVersion};
use starling_wire::{Envelope, Message};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::clock;

/// The requests under way on one connection. A waiting request ends by a message, or by its sender being dropped: the
/// deadline has passed or the connection is gone.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    waiting: RefCell<TokenMap<ExchangeId, Waiting>>,
    /// No deadline is before it.
    earliest: Cell<Option<Instant>>,
    gone: Cell<bool>,
    /// The newest layout version by which the node has answered.
    epoch: Cell<LayoutVersion>,
    begun: Notify,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Message>,
    deadline: Instant,
}

impl Pending {
    /// Registers a request; an earlier one that waited under the same id on this connection waits no more. `None` if
    /// the connection is gone.
    pub(crate) fn wait(&self, request: ExchangeId, deadline: Instant) -> Option<oneshot::Receiver<Message>> {
        if self.gone.get() {
            return None;
        }
        let (answer, receiver) = oneshot::channel();
        let mut waiting = self.waiting.borrow_mut();
        if waiting.is_empty() {
            self.begun.notify_one();
        }
        waiting.insert(request, Waiting { answer, deadline });
        self.earliest.set(Some(self.earliest.get().map_or(deadline, |earliest| earliest.min(deadline))));
        Some(receiver)
    }

    /// The newest layout version by which the node has answered.
    pub(crate) const fn epoch(&self) -> LayoutVersion {
        self.epoch.get()
    }

    /// Takes back a request that was not sent.
    pub(crate) fn forget(&self, request: ExchangeId) {
        self.waiting.borrow_mut().remove(&request);
    }

    fn expire(&self, now: Instant) {
        if self.earliest.get().is_none_or(|earliest| now < earliest) {
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|_, waiting| now < waiting.deadline);
        self.earliest.set(waiting.values().map(|waiting| waiting.deadline).min());
    }

    async fn begun(&self) {
        while self.waiting.borrow().is_empty() {
            self.begun.notified().await;
        }
    }
}

impl ChannelInbox for Pending {
    /// A frame for which no request waits is late: its deadline has passed, or it was answered by an earlier try.
    fn frame(&self, envelope: Envelope) {
        self.epoch.set(self.epoch.get().max(envelope.epoch));
        let waiting = self.waiting.borrow_mut().remove(&envelope.exchange);
        if let Some(waiting) = waiting {
            // Fails when the caller has lost interest.
            let _ = waiting.answer.send(envelope.message);
        }
    }

    fn gone(&self, reason: &str) {
        tracing::debug!(reason, "connection gone");
        self.gone.set(true);
        self.waiting.borrow_mut().clear();
    }
}

/// Enforces deadlines, to within the length of a step, for as long as the connection is there.
pub(crate) async fn sweep(pending: Weak<Pending>) {
    while let Some(pending) = pending.upgrade().filter(|pending| !pending.gone.get()) {
        step(pending).await;
    }
}

async fn step(pending: Rc<Pending>) {
    pending.begun().await;
    tokio::time::sleep(STEP).await;
    pending.expire(clock::now());
}

const STEP: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use starling_types::{ClusterId, LayoutVersion};
    use starling_wire::message::GoAway;

    use super::*;

    fn id(bits: u128) -> ExchangeId {
        ExchangeId::from_bits(bits)
    }

    #[test]
    fn an_answer_finds_who_waits_and_a_late_one_finds_nobody() {
        let (pending, start) = (Pending::default(), clock::now());
        let second = Duration::from_secs(1);
        let mut soon = pending.wait(id(1), start + second).unwrap();
        let mut late = pending.wait(id(2), start + 2 * second).unwrap();
        pending.expire(start + second);
        assert!(matches!(soon.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(matches!(late.try_recv(), Err(oneshot::error::TryRecvError::Empty)));
        let message = Message::GoAway(GoAway { reason: "x".into() });
        for exchange in [id(1), id(2)] {
            let (cluster, epoch) = (ClusterId::NONE, LayoutVersion::NONE);
            pending.frame(Envelope { cluster, epoch, exchange, deadline_ms: 0, message: message.clone() });
        }
        assert_eq!(late.try_recv(), Ok(message));
        assert!(pending.waiting.borrow().is_empty());
    }

    #[test]
    fn a_connection_that_is_gone_keeps_nobody_waiting() {
        let (pending, deadline) = (Pending::default(), clock::now() + Duration::from_secs(1));
        let mut waiting = pending.wait(id(1), deadline).unwrap();
        pending.gone("test");
        assert!(matches!(waiting.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(pending.wait(id(2), deadline).is_none());
    }
}
