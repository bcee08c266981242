//! A stream that gives up on a peer which leaves its replies unread, or the head of a request half sent. An idle
//! connection it leaves alone.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::places::{Place, Use};
use crate::service::FrontLimits;

/// Fails a write that makes no progress for a while, and a read for the rest of a head that has been waited for too long;
/// otherwise as the stream within.
#[derive(Debug)]
pub(super) struct Guard<IO> {
    io: IO,
    place: Rc<Place>,
    /// An answer is being made.
    answering: Rc<Cell<bool>>,
    stall_timeout: Duration,
    head_timeout: Duration,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs while the rest of a head is waited for.
    slow: Option<Pin<Box<Sleep>>>,
}

impl<IO> Guard<IO> {
    /// For the connection at `place`.
    pub(super) fn new(io: IO, limits: &FrontLimits, place: Rc<Place>, answering: Rc<Cell<bool>>) -> Self {
        let (stall_timeout, head_timeout) = (limits.stall_timeout, limits.head_timeout);
        Self { io, place, answering, stall_timeout, head_timeout, stall: None, slow: None }
    }

    /// Of a request that is being answered the body is read, which has a time limit of its own.
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.place.what() != Use::Asking {
            self.slow = None;
            return Poll::Pending;
        }
        let limit = self.head_timeout;
        self.slow.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx)
    }

    fn watch<T>(&mut self, progress: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stall = None;
            return progress;
        }
        let limit = self.stall_timeout;
        ready!(self.stall.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Guard<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            if self.place.what() == Use::Idle && buf.filled().len() > before {
                self.place.is(Use::Asking);
            }
            return read;
        }
        ready!(self.poll_slow(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Guard<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.place.is(Use::Waiting);
        let progress = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(progress, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.place.is(Use::Waiting);
        let progress = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(progress, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_flush(cx);
        if progress.is_ready() && !self.answering.get() && self.place.what() == Use::Waiting {
            self.place.is(Use::Idle);
        }
        self.watch(progress, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
