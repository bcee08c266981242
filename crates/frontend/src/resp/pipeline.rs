//! Replies back in the order of their requests. A slot stands for one request; its reply leaves when all before it
//! have left.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use starling_wire::client::KvReply;

use super::output::Output;
use super::reply::{Protocol, Reply};
use super::shape::{Gathering, Shape};
use crate::service::{ReplySink, ReplyTo};

/// A connection's requests that have not been answered in full.
#[derive(Debug, Default)]
pub struct Pipeline(RefCell<Slots>);

#[derive(Debug, Default)]
struct Slots {
    queue: VecDeque<Slot>,
    /// Number of the slot at the front.
    first: u64,
    /// Bytes of replies that wait for others before them.
    held: usize,
    /// The connection ended: whatever still arrives is dropped.
    closed: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Slot {
    /// As it was when the request arrived.
    protocol: Protocol,
    state: State,
}

#[derive(Debug)]
enum State {
    Answered(Reply),
    Asked(Shape),
    Gathering(Box<Gathering>),
}

impl Pipeline {
    /// Takes a reply that needed no asking.
    pub fn answer(&self, protocol: Protocol, reply: Reply) {
        let mut slots = self.0.borrow_mut();
        slots.held += reply.weight();
        slots.queue.push_back(Slot { protocol, state: State::Answered(reply) });
    }

    /// A slot for a request of one key, and the right to answer it.
    pub fn ask(self: &Rc<Self>, protocol: Protocol, shape: Shape) -> ReplyTo {
        let number = self.push(Slot { protocol, state: State::Asked(shape) });
        self.reply_to(number, 0)
    }

    /// A slot for a request of several keys, and the right to answer for each.
    pub fn gather(
        self: &Rc<Self>,
        protocol: Protocol,
        gathering: Gathering,
    ) -> impl Iterator<Item = ReplyTo> {
        let parts = gathering.parts();
        debug_assert!(parts > 0 && parts <= MAX_PARTS);
        let number = self.push(Slot { protocol, state: State::Gathering(Box::new(gathering)) });
        let pipeline = Rc::clone(self);
        (0..parts).map(move |part| pipeline.reply_to(number, part))
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.0.borrow().queue.len()
    }

    /// Whether everything is answered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of replies that wait for others before them.
    pub fn held(&self) -> usize {
        self.0.borrow().held
    }

    /// Moves the replies whose turn it is to `out`.
    pub fn drain(&self, out: &mut Output) {
        let mut slots = self.0.borrow_mut();
        slots.waker = None;
        while let Some((protocol, reply)) = slots.pop() {
            reply.encode(protocol, out);
        }
    }

    /// Ready when [`drain`](Self::drain) would move something.
    pub fn poll_front(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.0.borrow_mut();
        if slots.queue.front().is_some_and(Slot::is_answered) {
            return Poll::Ready(());
        }
        slots.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Forgets everything: nobody is left to answer.
    pub fn close(&self) {
        *self.0.borrow_mut() = Slots { closed: true, ..Slots::default() };
    }

    fn push(&self, slot: Slot) -> u64 {
        let mut slots = self.0.borrow_mut();
        slots.queue.push_back(slot);
        slots.first + slots.queue.len() as u64 - 1
    }

    fn reply_to(self: &Rc<Self>, number: u64, part: usize) -> ReplyTo {
        let sink: Rc<dyn ReplySink> = Rc::<Self>::clone(self);
        ReplyTo::new(sink, number << PART_BITS | part as u64)
    }
}

impl ReplySink for Pipeline {
    fn deliver(&self, slot: u64, reply: KvReply) {
        let waker = self.0.borrow_mut().deliver(slot >> PART_BITS, slot as usize % MAX_PARTS, reply);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Slots {
    /// The reply at the front, if it is there.
    fn pop(&mut self) -> Option<(Protocol, Reply)> {
        let Slot { protocol, state: State::Answered(reply) } = self.queue.front_mut()? else {
            return None;
        };
        let answered = (*protocol, std::mem::replace(reply, Reply::Null));
        self.queue.pop_front();
        self.first += 1;
        self.held -= answered.1.weight();
        Some(answered)
    }

    /// Takes a reply; returns whom to wake if the front can leave now.
    fn deliver(&mut self, number: u64, part: usize, reply: KvReply) -> Option<Waker> {
        if self.closed {
            return None;
        }
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let slot = self.queue.get_mut(index)?;
        let reply = match &mut slot.state {
            State::Answered(_) => return None,
            State::Asked(shape) => shape.reply(reply),
            State::Gathering(gathering) => gathering.add(part, reply)?,
        };
        self.held += reply.weight();
        slot.state = State::Answered(reply);
        if index == 0 { self.waker.take() } else { None }
    }
}

impl Slot {
    fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered(_))
    }
}

/// Most keys of one request.
pub const MAX_PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 10;

#[cfg(test)]
mod tests;
