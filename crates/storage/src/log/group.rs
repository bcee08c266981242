//! Batches that go to the log with one write.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{ALIGNMENT, FRAME_HEADER, FrameHeader, FramePosition};
use super::sequence::Sequence;

/// A group under construction. Begun with [`super::Log::group`], where its frames will follow.
#[derive(Debug)]
pub(crate) struct Group {
    next: FramePosition,
    begins: FramePosition,
    buffer: BytesMut,
    oversized: Option<usize>,
}

/// A finished group: the bytes that go to the file.
#[derive(Debug, Clone)]
pub(crate) struct Frames {
    bytes: Bytes,
    pub(super) begins: FramePosition,
    pub(super) next: FramePosition,
    pub(super) oversized: Option<usize>,
}

impl Group {
    /// A group behind `place`'s predecessor.
    pub(super) fn new(place: FramePosition) -> Self {
        Self { next: place, begins: place, buffer: BytesMut::new(), oversized: None }
    }

    /// Adds a batch: what `write` appends to the buffer, expected to be about `hint` bytes. Says which sequence it has,
    /// and where in [`Frames::into_bytes`] it will be.
    pub(crate) fn push(
        &mut self,
        hint: usize,
        write: impl FnOnce(&mut BytesMut),
    ) -> (Sequence, Range<usize>) {
        let start = self.buffer.len();
        self.buffer.reserve(FRAME_HEADER + hint + ALIGNMENT + TERMINATOR);
        self.buffer.put_bytes(0, FRAME_HEADER);
        write(&mut self.buffer);
        let payload = start + FRAME_HEADER..self.buffer.len();
        self.seal(start, payload.clone());
        let padding = self.buffer.len().next_multiple_of(ALIGNMENT) - self.buffer.len();
        self.buffer.put_bytes(0, padding);
        let sequence = self.next.sequence;
        self.next.sequence = sequence.next();
        (sequence, payload)
    }

    /// Fills in the header of a frame.
    fn seal(&mut self, start: usize, payload: Range<usize>) {
        let Ok(length) = u32::try_from(payload.len()) else {
            self.oversized = Some(payload.len());
            return;
        };
        let (header, sum) = FrameHeader::encode(self.next, length, &self.buffer[payload]);
        self.buffer[start..start + FRAME_HEADER].copy_from_slice(&header);
        self.next.previous = sum;
    }

    /// Finishes the group.
    pub(crate) fn freeze(mut self) -> Frames {
        self.buffer.put_bytes(0, TERMINATOR);
        let Self { next, begins, buffer, oversized } = self;
        Frames { bytes: buffer.freeze(), begins, next, oversized }
    }
}

impl Frames {
    /// Whether there is no batch in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.frame_bytes() == 0
    }

    /// The frames, with the payloads where [`Group::push`] said.
    pub(crate) fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Bytes of the frames.
    pub(super) fn frame_bytes(&self) -> usize {
        self.bytes.len() - TERMINATOR
    }

    /// The frames and the zeros behind them, as far as there is `room`.
    pub(super) fn within(&self, room: usize) -> &[u8] {
        &self.bytes[..self.bytes.len().min(room)]
    }
}

/// Zeros behind the frames of a group: the length of what would be the next frame's header.
const TERMINATOR: usize = FRAME_HEADER;
