//! Bodies: a request's read within its limits, a response's sent without copying values.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::timeout;

/// Why a body was not read in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// More bytes than allowed, announced or sent.
    TooLarge,
    /// Not there in time.
    Slow,
    /// The connection or its framing broke.
    Broken,
    /// Fields stood behind it.
    Trailers,
}

/// Reads a body of at most `limit` bytes within `time`. One that announces more is refused unread.
pub async fn collect<B>(body: B, limit: usize, time: Duration) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyError::TooLarge);
    }
    timeout(time, gather(body, limit)).await.unwrap_or(Err(BodyError::Slow))
}

/// Reads a body and drops it, for a moment: a client that writes all of its request before it reads would
/// otherwise have its connection reset before it sees the answer.
pub async fn discard<B: Body>(body: B) {
    let all = async {
        let mut body = pin!(body);
        while let Some(Ok(_)) = body.frame().await {}
    };
    let _ = timeout(LINGER, all).await;
}

/// Memory follows what arrives, not what was announced. The copy is deliberate: a slice of the connection's buffer
/// would keep all of it as long as the value is kept.
async fn gather<B: Body<Data = Bytes>>(body: B, limit: usize) -> Result<Bytes, BodyError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    let mut value = BytesMut::with_capacity(announced.min(FIRST_BUFFER));
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        let data = frame.map_err(|_| BodyError::Broken)?.into_data().map_err(|_| BodyError::Trailers)?;
        if data.len() > limit - value.len() {
            return Err(BodyError::TooLarge);
        }
        value.extend_from_slice(&data);
    }
    Ok(value.freeze())
}

/// A response's body: pieces sent one after the other.
#[derive(Debug, Default)]
pub struct Chunks {
    pieces: VecDeque<Bytes>,
    len: u64,
}

impl Chunks {
    /// Appends a piece.
    pub fn push(&mut self, piece: impl Into<Bytes>) {
        let piece = piece.into();
        if !piece.is_empty() {
            self.len += piece.len() as u64;
            self.pieces.push_back(piece);
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(piece: Bytes) -> Self {
        let mut chunks = Self::default();
        chunks.push(piece);
        chunks
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let piece = this.pieces.pop_front();
        this.len -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.len)
    }
}

const FIRST_BUFFER: usize = 64 << 10;
const LINGER: Duration = Duration::from_secs(2);
