//! Replies back in the order of their requests. A slot stands for one request; its reply leaves when all before it have
//! left. A command begins when its turn has come at each of its keys.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use starling_wire::client::KvReply;

use super::ask::Ask;
use super::order::Order;
use super::output::Output;
use super::reply::{Protocol, Reply};
use super::shape::{Gathering, Harvest, Shape};
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
    /// Which requests may begin.
    order: Order<Vec<Ask>>,
    /// The peer is gone, though not all that it sent has begun.
    unheard: bool,
    /// The connection ended: replies that still arrive are dropped.
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

    /// A slot for a request of one key.
    pub fn ask(&self, protocol: Protocol, shape: Shape, ask: Ask) {
        self.join(Slot { protocol, state: State::Asked(shape) }, vec![ask]);
    }

    /// A slot for a request of several keys, each of them asked for by one of `asks`.
    pub fn gather(&self, protocol: Protocol, harvest: Harvest, asks: Vec<Ask>) {
        debug_assert!(!asks.is_empty() && asks.len() <= MAX_PARTS);
        let gathering = Gathering::new(harvest, asks.len());
        self.join(Slot { protocol, state: State::Gathering(Box::new(gathering)) }, asks);
    }

    /// The operations of the next request whose turn has come, and the right to answer each of them.
    pub fn begin(self: &Rc<Self>) -> Option<impl Iterator<Item = (Ask, ReplyTo)>> {
        let (number, asks) = self.0.borrow_mut().order.begin()?;
        let pipeline = Rc::clone(self);
        Some(asks.into_iter().enumerate().map(move |(part, ask)| (ask, pipeline.reply_to(number, part))))
    }

    /// Whether a request's turn has come that has not begun.
    pub fn can_begin(&self) -> bool {
        self.0.borrow().order.has_free()
    }

    /// Whether requests have yet to begin.
    pub fn has_waiting(&self) -> bool {
        self.0.borrow().order.has_waiting()
    }

    /// Bytes of requests that wait for others of their keys.
    pub fn waiting_bytes(&self) -> usize {
        self.0.borrow().order.waiting_bytes()
    }

    /// Requests that are not answered in full, or that have replies waiting.
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

    /// Ready when [`drain`](Self::drain) would move something, or a request can [`begin`](Self::begin).
    pub fn poll_front(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.0.borrow_mut();
        if slots.order.has_free() || slots.queue.front().is_some_and(Slot::is_answered) {
            return Poll::Ready(());
        }
        slots.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The peer is gone: nothing is read for it any more.
    pub fn hang_up(&self) {
        self.0.borrow_mut().unheard = true;
    }

    /// Forgets everything: the client is gone.
    pub fn close(&self) {
        *self.0.borrow_mut() = Slots { closed: true, ..Slots::default() };
    }

    fn join(&self, slot: Slot, asks: Vec<Ask>) {
        let mut slots = self.0.borrow_mut();
        slots.queue.push_back(slot);
        let number = slots.first + slots.queue.len() as u64 - 1;
        let (places, bytes) = (asks.iter().map(Ask::place).collect(), asks.iter().map(Ask::weight).sum());
        slots.order.join(number, places, bytes, asks);
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

    fn is_heard(&self) -> bool {
        let slots = self.0.borrow();
        !slots.unheard && !slots.closed
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

    /// Takes a reply; returns the waker to wake if the front can leave now, or a request can begin.
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
        self.order.leave(number);
        if index == 0 || self.order.has_free() { self.waker.take() } else { None }
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
