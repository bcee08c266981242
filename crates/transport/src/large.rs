//! Messages too large to share a lane: each has a unidirectional stream of its own, so that what is small does
//! not wait behind it. Their number is bounded by the stream limit, their bytes by the queue on the way out and
//! by one budget for the whole endpoint on the way in.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use starling_types::limits;
use starling_wire::FrameError;
use starling_wire::frame::frame_length;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::JoinSet;

use crate::counters::{self, Counters};
use crate::link::Sent;
use crate::quic::LARGE_STREAMS;

/// Large frames that wait for a stream.
#[derive(Debug)]
pub(crate) struct LargeQueue {
    frames: RefCell<VecDeque<LargeFrame>>,
    /// Waiting or being written.
    bytes: Cell<usize>,
    closed: Cell<bool>,
    wake: Notify,
    counters: Rc<Counters>,
}

#[derive(Debug)]
struct LargeFrame {
    bytes: Bytes,
    priority: i32,
}

impl LargeQueue {
    pub(crate) fn new(counters: Rc<Counters>) -> Self {
        Self {
            frames: RefCell::default(),
            bytes: Cell::new(0),
            closed: Cell::new(false),
            wake: Notify::new(),
            counters,
        }
    }

    /// Queues an encoded frame, unless too much is waiting. One frame always fits, of any size.
    pub(crate) fn push(&self, frame: Vec<u8>, priority: i32) -> Sent {
        if self.closed.get() {
            return Sent::NotConnected;
        }
        let waiting = self.bytes.get();
        if waiting > 0 && waiting + frame.len() > limits::LANE_QUEUE_BYTES {
            counters::add(&self.counters.full, 1);
            return Sent::Full;
        }
        self.bytes.set(waiting + frame.len());
        counters::add(&self.counters.frames_out, 1);
        counters::add(&self.counters.bytes_out, frame.len());
        counters::add(&self.counters.queued_frames, 1);
        counters::add(&self.counters.queued_bytes, frame.len());
        self.frames.borrow_mut().push_back(LargeFrame { bytes: frame.into(), priority });
        self.wake.notify_one();
        Sent::Queued
    }

    /// Takes no more; what is queued is still written.
    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.wake.notify_one();
    }

    async fn next(&self) -> Option<LargeFrame> {
        loop {
            let next = self.frames.borrow_mut().pop_front();
            if next.is_some() || self.closed.get() {
                return next;
            }
            self.wake.notified().await;
        }
    }

    fn written(&self, length: usize) {
        self.bytes.set(self.bytes.get() - length);
        counters::subtract(&self.counters.queued_frames, 1);
        counters::subtract(&self.counters.queued_bytes, length);
    }
}

/// A queue that goes away takes its share of the gauges along.
impl Drop for LargeQueue {
    fn drop(&mut self) {
        counters::subtract(&self.counters.queued_frames, self.frames.borrow().len());
        counters::subtract(&self.counters.queued_bytes, self.bytes.get());
    }
}

/// Writes large frames, several at once, until the queue is closed and the other end has everything, or the
/// connection is gone.
pub(crate) async fn write_large(queue: Rc<LargeQueue>, connection: Connection) {
    let mut under_way = JoinSet::new();
    while let Some(frame) = queue.next().await {
        while under_way.try_join_next().is_some() {}
        if under_way.len() >= LARGE_STREAMS as usize {
            under_way.join_next().await;
        }
        let Ok(stream) = connection.open_uni().await else {
            return;
        };
        under_way.spawn_local(write_one(queue.clone(), stream, frame));
    }
    while under_way.join_next().await.is_some() {}
}

/// A failure means that the connection is gone, which its other tasks see as well.
async fn write_one(queue: Rc<LargeQueue>, mut stream: SendStream, frame: LargeFrame) {
    let length = frame.bytes.len();
    // Fails only on a stream that is already gone, and then so does the write.
    let _ = stream.set_priority(frame.priority);
    let written = stream.write_chunk(frame.bytes).await.is_ok();
    queue.written(length);
    if written && stream.finish().is_ok() {
        let _ = stream.stopped().await;
    }
}

/// The bytes that one endpoint may hold of large messages that have not arrived whole.
#[derive(Debug)]
pub(crate) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(units(BUDGET) as usize)))
    }

    /// Waits, in order of arrival, until `length` bytes are free.
    async fn reserve(&self, length: usize) -> Option<SemaphorePermit<'_>> {
        self.0.acquire_many(units(length)).await.ok()
    }
}

const fn units(bytes: usize) -> u32 {
    bytes.div_ceil(UNIT) as u32
}

/// Why a stream brought no large message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LargeError {
    /// The bytes are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// More bytes than the frame's length says, or fewer.
    #[error("a large message whose stream is not as long as it says")]
    Length,
    /// The connection or the sender's side of the stream is gone.
    #[error("the stream is gone")]
    Gone,
}

/// Reads the one frame of a stream. Its length is checked, and paid from the budget, before it is buffered.
pub(crate) async fn read_one(stream: &mut RecvStream, budget: &Budget) -> Result<Vec<u8>, LargeError> {
    let mut field = [0; 4];
    stream.read_exact(&mut field).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => LargeError::Length,
        ReadExactError::ReadError(_) => LargeError::Gone,
    })?;
    let length = frame_length(&field)?.ok_or(LargeError::Length)?;
    let _reserved = budget.reserve(length).await.ok_or(LargeError::Gone)?;
    let mut frame = Vec::with_capacity(length.min(FIRST_ALLOCATION));
    frame.extend_from_slice(&field);
    while let Some(chunk) = stream.read_chunk(usize::MAX, true).await.map_err(|_| LargeError::Gone)? {
        if frame.len() + chunk.bytes.len() > length {
            return Err(LargeError::Length);
        }
        frame.extend_from_slice(&chunk.bytes);
    }
    if frame.len() == length { Ok(frame) } else { Err(LargeError::Length) }
}

const UNIT: usize = 1 << 10;
const BUDGET: usize = 2 * limits::MAX_MESSAGE;
/// A length is only a claim until the bytes are there.
const FIRST_ALLOCATION: usize = 1 << 20;
