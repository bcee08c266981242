//! The frame: a fixed header, then a MessagePack body (structs as arrays).
//!
//! ```text
//! u32 length of what follows | u8 frame version | u8 zero | u16 op | u128 cluster | u64 epoch
//! | u128 exchange | u32 deadline in ms from sending, 0 for none | body
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::{DeserializeOwned, Deserializer as _, Visitor};
use starling_types::{ClusterId, ExchangeId, LayoutVersion, limits};

use crate::message::Message;

/// Bytes before the body, the length field included.
pub const HEADER: usize = 52;
const LENGTH_FIELD: usize = 4;
const FRAME_VERSION: u8 = 1;
/// Deepest nesting of values in a body: more than any message has, and far less than a thread's stack bears.
const MAX_DEPTH: usize = 32;

/// A message with what every frame carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's cluster, [`ClusterId::NONE`] before `cluster init`.
    pub cluster: ClusterId,
    /// The newest layout the sender knows.
    pub epoch: LayoutVersion,
    /// The exchange this frame belongs to: the answer bears the number of the question.
    pub exchange: ExchangeId,
    /// Milliseconds until the sender loses interest; 0 for no deadline.
    pub deadline_ms: u32,
    /// The message.
    pub message: Message,
}

/// A frame that cannot be understood: the connection that brought it is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Length below the header's or above the limit.
    #[error("frame of {0} bytes: between {min} and {max} are allowed", min = HEADER, max = limits::MAX_MESSAGE)]
    Length(usize),
    /// A frame version of another release.
    #[error("frame version {0}: this release speaks {FRAME_VERSION}")]
    Version(u8),
    /// An op code of another release, or garbage.
    #[error("unknown op code {0}")]
    Op(u16),
    /// The body is not what the op code says.
    #[error("body of op {op}: {error}")]
    Body {
        /// The op code.
        op: u16,
        /// The error in the body.
        error: BodyError,
    },
}

/// A body that cannot be encoded or decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The serializer refused.
    #[error("encoding failed: {0}")]
    Encode(String),
    /// The bytes are no such structure.
    #[error("decoding failed: {0}")]
    Decode(String),
    /// Bytes are left over.
    #[error("bytes after the end")]
    Trailing,
}

impl Envelope {
    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let start = out.len();
        out.reserve(HEADER + 64);
        out.put_u32(0);
        out.put_u8(FRAME_VERSION);
        out.put_u8(0);
        out.put_u16(self.message.op());
        out.put_u128(self.cluster.bits());
        out.put_u64(self.epoch.0);
        out.put_u128(self.exchange.bits());
        out.put_u32(self.deadline_ms);
        if let Err(error) = self.message.encode(out) {
            // The bytes in `out` already must stay a stream of whole frames.
            out.truncate(start);
            let op = self.message.op();
            return Err(FrameError::Body { op, error });
        }
        let length = out.len() - start;
        if length > limits::MAX_MESSAGE {
            out.truncate(start);
            return Err(FrameError::Length(length));
        }
        let field = u32::try_from(length - LENGTH_FIELD).map_err(|_| FrameError::Length(length))?;
        out[start..start + LENGTH_FIELD].copy_from_slice(&field.to_be_bytes());
        Ok(())
    }

    /// Reads one whole frame, length field included.
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        let mut header = frame;
        if frame.len() < HEADER || frame.len() != frame_length(frame)?.unwrap_or(0) {
            return Err(FrameError::Length(frame.len()));
        }
        header.advance(LENGTH_FIELD);
        match header.get_u8() {
            FRAME_VERSION => {}
            other => return Err(FrameError::Version(other)),
        }
        header.advance(1);
        let op = header.get_u16();
        let cluster = ClusterId::from_bits(header.get_u128());
        let epoch = LayoutVersion(header.get_u64());
        let exchange = ExchangeId::from_bits(header.get_u128());
        let deadline_ms = header.get_u32();
        let message = Message::decode(op, header)
            .ok_or(FrameError::Op(op))?
            .map_err(|error| FrameError::Body { op, error })?;
        Ok(Self { cluster, epoch, exchange, deadline_ms, message })
    }
}

/// The whole length of the frame that starts `buffer`; `None` until its length field is complete.
pub fn frame_length(buffer: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(field) = buffer.first_chunk::<LENGTH_FIELD>() else {
        return Ok(None);
    };
    let length = (u32::from_be_bytes(*field) as usize).saturating_add(LENGTH_FIELD);
    if !(HEADER..=limits::MAX_MESSAGE).contains(&length) {
        return Err(FrameError::Length(length));
    }
    Ok(Some(length))
}

/// Cuts a stream of bytes into frames, however they arrive.
#[derive(Debug, Default)]
pub struct FrameBuffer {
    buffer: BytesMut,
}

impl FrameBuffer {
    /// Adds bytes as they came.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, refused above `limit` before it is buffered.
    pub fn next_frame(&mut self, limit: usize) -> Result<Option<Bytes>, FrameError> {
        match frame_length(&self.buffer)? {
            Some(length) if length > limit => Err(FrameError::Length(length)),
            Some(length) if length <= self.buffer.len() => Ok(Some(self.buffer.split_to(length).freeze())),
            _ => Ok(None),
        }
    }
}

pub(crate) fn encode_body<T: Serialize>(body: &T, out: &mut Vec<u8>) -> Result<(), BodyError> {
    rmp_serde::encode::write(out, body).map_err(|e| BodyError::Encode(e.to_string()))
}

/// `rmp_serde::from_slice` would accept trailing bytes: where the body ends, no further value may begin.
pub(crate) fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    use rmp_serde::decode::Error;
    let mut decoder = rmp_serde::Deserializer::from_read_ref(body);
    decoder.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut decoder).map_err(|e| BodyError::Decode(e.to_string()))?;
    match decoder.deserialize_any(Nothing) {
        Err(Error::InvalidMarkerRead(e)) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(value),
        _ => Err(BodyError::Trailing),
    }
}

/// Takes no value, and looks into none: any value that begins is refused at its first byte.
struct Nothing;

impl Visitor<'_> for Nothing {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the end")
    }
}
