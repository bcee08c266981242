//! One request put to the service, one reply awaited.

use std::cell::RefCell;
use std::rc::Rc;

use starling_wire::client::KvReply;
use starling_wire::local::{LocalAsk, LocalPage};
use starling_wire::{Failure, FailureKind, KvRequest};
use tokio::sync::oneshot;

use crate::service::{KvService, ReplySink, ReplyTo};

/// Asks for what the node holds itself, runs the machine and waits.
pub(super) async fn look<S: KvService>(service: &S, ask: LocalAsk) -> Result<LocalPage, Failure> {
    let (sender, receiver) = oneshot::channel();
    service.local(ask, sender);
    service.turn();
    let lost = |_| Failure::refused(FailureKind::NotReady, "the node gave the request up without an answer");
    receiver.await.map_err(lost)?
}

/// Submits `request`, runs the machine and waits.
pub(super) async fn ask<S: KvService>(service: &S, request: KvRequest) -> KvReply {
    let (sender, receiver) = oneshot::channel();
    let exchange = Rc::new(Exchange(RefCell::new(Some(sender))));
    service.submit(request, ReplyTo::new(exchange, 0));
    service.turn();
    let lost = || Failure::unknown(FailureKind::NotReady, "the node gave the request up without an answer");
    receiver.await.unwrap_or_else(|_| KvReply::Failed(lost()))
}

struct Exchange(RefCell<Option<oneshot::Sender<KvReply>>>);

impl ReplySink for Exchange {
    fn deliver(&self, _: u64, reply: KvReply) {
        if let Some(sender) = self.0.borrow_mut().take() {
            // The client may be gone.
            let _ = sender.send(reply);
        }
    }

    fn is_heard(&self) -> bool {
        self.0.borrow().as_ref().is_some_and(|sender| !sender.is_closed())
    }
}
