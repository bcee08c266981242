//! One lane's way out: frames are encoded into the lane's buffer when they are sent, and its writer hands all
//! that has gathered to the stream in one go. There is no timer: a batch is what came while the last was written.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use quinn::SendStream;
use starling_types::limits;
use starling_wire::{Envelope, FrameError};
use tokio::sync::Notify;

use crate::counters::{self, Counters};

/// The outcome for a frame that was offered to a lane.
#[derive(Debug)]
pub(crate) enum Offer {
    /// It will be written.
    Taken,
    /// Too large to share a lane: these bytes need a stream of their own.
    Large(Vec<u8>),
    /// The queue is full.
    Full,
    /// The lane takes no more.
    Closed,
    /// It cannot be encoded.
    Unfit(FrameError),
}

/// The queue of one lane.
#[derive(Debug)]
pub(crate) struct Lane {
    queue: RefCell<Queue>,
    wake: Notify,
    writer_waits: Cell<bool>,
    counters: Rc<Counters>,
}

#[derive(Debug, Default)]
struct Queue {
    buffer: Vec<u8>,
    frames: usize,
    /// The frames that the writer has taken and not yet handed to the stream.
    taken: Batch,
    closed: bool,
}

/// Frames and bytes on their way together.
#[derive(Debug, Default, Clone, Copy)]
struct Batch {
    frames: usize,
    bytes: usize,
}

impl Lane {
    pub(crate) fn new(counters: Rc<Counters>) -> Self {
        Self { queue: RefCell::default(), wake: Notify::new(), writer_waits: Cell::new(false), counters }
    }

    /// Encodes a frame into the queue.
    pub(crate) fn offer(&self, envelope: &Envelope) -> Offer {
        let offer = self.queue.borrow_mut().push(envelope, &self.counters);
        if matches!(offer, Offer::Taken) && self.writer_waits.replace(false) {
            self.wake.notify_one();
        }
        offer
    }

    /// Takes no more; the writer writes what there is and finishes the stream.
    pub(crate) fn close(&self) {
        self.queue.borrow_mut().closed = true;
        self.wake.notify_one();
    }

    /// Everything that has gathered; `None` when the lane is closed and empty.
    async fn gathered(&self) -> Option<Bytes> {
        loop {
            let batch = self.queue.borrow_mut().take();
            if batch.is_some() || self.queue.borrow().closed {
                return batch;
            }
            self.writer_waits.set(true);
            self.wake.notified().await;
        }
    }

    fn written(&self) {
        let batch = std::mem::take(&mut self.queue.borrow_mut().taken);
        counters::subtract(&self.counters.queued_frames, batch.frames);
        counters::subtract(&self.counters.queued_bytes, batch.bytes);
    }
}

/// A lane that goes away takes its share of the gauges along.
impl Drop for Lane {
    fn drop(&mut self) {
        let queue = self.queue.borrow();
        counters::subtract(&self.counters.queued_frames, queue.frames + queue.taken.frames);
        counters::subtract(&self.counters.queued_bytes, queue.buffer.len() + queue.taken.bytes);
    }
}

impl Queue {
    fn push(&mut self, envelope: &Envelope, counters: &Counters) -> Offer {
        if self.closed {
            return Offer::Closed;
        }
        if self.is_full() {
            counters::add(&counters.full, 1);
            return Offer::Full;
        }
        let start = self.buffer.len();
        if let Err(error) = envelope.encode(&mut self.buffer) {
            self.buffer.truncate(start);
            return Offer::Unfit(error);
        }
        let length = self.buffer.len() - start;
        if length > limits::LANE_FRAME {
            return Offer::Large(self.cut(start));
        }
        self.frames += 1;
        counters::add(&counters.frames_out, 1);
        counters::add(&counters.bytes_out, length);
        counters::add(&counters.queued_frames, 1);
        counters::add(&counters.queued_bytes, length);
        Offer::Taken
    }

    const fn is_full(&self) -> bool {
        self.frames + self.taken.frames >= limits::LANE_QUEUE_FRAMES
            || self.buffer.len() + self.taken.bytes >= limits::LANE_QUEUE_BYTES
    }

    /// A large frame keeps the buffer it has grown; what lay before it is the smaller part.
    fn cut(&mut self, start: usize) -> Vec<u8> {
        let before = self.buffer[..start].to_vec();
        let mut large = std::mem::replace(&mut self.buffer, before);
        large.drain(..start);
        large
    }

    /// The next buffer is made as large as this batch was, within reason: one allocation a batch.
    fn take(&mut self) -> Option<Bytes> {
        if self.buffer.is_empty() {
            return None;
        }
        let room = self.buffer.len().next_power_of_two().clamp(LEAST_BUFFER, limits::LANE_FRAME);
        let batch = std::mem::replace(&mut self.buffer, Vec::with_capacity(room));
        self.taken = Batch { frames: std::mem::take(&mut self.frames), bytes: batch.len() };
        Some(batch.into())
    }
}

/// Writes until the lane is closed and empty, or the connection is gone; the stream is not yet finished.
pub(crate) async fn write_lane(lane: &Lane, stream: &mut SendStream) -> Result<(), quinn::WriteError> {
    while let Some(mut batch) = lane.gathered().await {
        while !batch.is_empty() {
            let piece = batch.split_to(batch.len().min(PIECE));
            stream.write_chunk(piece).await?;
        }
        lane.written();
    }
    Ok(())
}

const LEAST_BUFFER: usize = 1 << 10;
/// Most bytes handed over at once, so that what is acknowledged early is freed early.
const PIECE: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use starling_types::{ClusterId, ExchangeId, LayoutVersion};
    use starling_wire::Message;
    use starling_wire::message::GoAway;

    use super::*;

    fn envelope(length: usize) -> Envelope {
        Envelope {
            cluster: ClusterId::NONE,
            epoch: LayoutVersion::NONE,
            exchange: ExchangeId::from_bits(1),
            deadline_ms: 0,
            message: Message::GoAway(GoAway { reason: "x".repeat(length) }),
        }
    }

    #[test]
    fn a_lane_is_bounded_in_frames_and_takes_again_when_its_writer_is_done() {
        let lane = Lane::new(Rc::default());
        for _ in 0..limits::LANE_QUEUE_FRAMES {
            assert!(matches!(lane.offer(&envelope(1)), Offer::Taken));
        }
        assert!(matches!(lane.offer(&envelope(1)), Offer::Full));
        assert!(lane.queue.borrow_mut().take().is_some());
        assert!(matches!(lane.offer(&envelope(1)), Offer::Full), "taken is not yet written");
        lane.written();
        assert!(matches!(lane.offer(&envelope(1)), Offer::Taken));
        assert_eq!(lane.counters.queued_frames.get(), 1);
        assert_eq!(lane.counters.full.get(), 2);
    }

    #[test]
    fn a_large_frame_leaves_the_lane_as_it_was() {
        let lane = Lane::new(Rc::default());
        assert!(matches!(lane.offer(&envelope(1)), Offer::Taken));
        let Offer::Large(bytes) = lane.offer(&envelope(limits::LANE_FRAME)) else {
            panic!("shares a lane");
        };
        assert_eq!(Envelope::decode(&bytes).unwrap(), envelope(limits::LANE_FRAME));
        let rest = lane.queue.borrow_mut().take().unwrap();
        assert_eq!(Envelope::decode(&rest).unwrap(), envelope(1));
    }

    #[test]
    fn a_closed_lane_refuses_but_hands_out_what_it_has() {
        let lane = Lane::new(Rc::default());
        lane.offer(&envelope(1));
        lane.close();
        assert!(matches!(lane.offer(&envelope(1)), Offer::Closed));
        assert!(lane.queue.borrow_mut().take().is_some());
        assert!(lane.queue.borrow_mut().take().is_none());
    }
}
