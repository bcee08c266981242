//! The loop around one connection: read, begin what may begin, run the machine, write, each as much as there is at once.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use starling_wire::client::KvReply;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Sleep, sleep, timeout};

use super::frame::{FrameError, MAX_INLINE, Parser};
use super::output::Output;
use super::pipeline::Pipeline;
use super::reply::Reply;
use super::session::{Action, Session};
use crate::listener::{Shutdown, stopped};
use crate::places::{Place, Use};
use crate::service::{Door, FrontEvent, FrontLimits, KvService};
use crate::slice::Slice;

/// Serves one connection to its end, at its place.
pub(crate) async fn serve<IO, S>(
    io: IO,
    session: Session,
    service: Rc<S>,
    limits: FrontLimits,
    (place, shutdown): (Rc<Place>, Shutdown),
) where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: KvService,
{
    let mut connection = Connection {
        io,
        service,
        // Keys and contexts have limits of their own, independent of the largest value.
        parser: Parser::new(limits.max_value.max(MAX_INLINE)),
        limits,
        session,
        pipeline: Rc::default(),
        inbox: BytesMut::new(),
        out: Output::default(),
        reading: Reading::Open,
        place,
        stall: None,
        slow: None,
    };
    // An error means that the peer is gone, or might as well be: no report would reach it.
    if connection.run(shutdown).await.is_err() {
        connection.finish_unheard().await;
    }
    connection.pipeline.close();
}

struct Connection<IO, S> {
    io: IO,
    service: Rc<S>,
    limits: FrontLimits,
    session: Session,
    parser: Parser,
    pipeline: Rc<Pipeline>,
    inbox: BytesMut,
    out: Output,
    reading: Reading,
    place: Rc<Place>,
    /// Runs while the peer takes none of what is to be written.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs while a part of a request is there, and the rest of it would be read.
    slow: Option<Pin<Box<Sleep>>>,
}

/// Whether more requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Open,
    /// The peer sends no more, or said goodbye, or the node stops: what is in flight is finished.
    Over,
    /// The peer sent something that is no request: it is told so before the connection goes.
    Broken,
}

impl<IO: AsyncRead + AsyncWrite + Unpin, S: KvService> Connection<IO, S> {
    async fn run(&mut self, shutdown: Shutdown) -> io::Result<()> {
        let mut stop = pin!(stopped(shutdown));
        loop {
            if self.pump() {
                tokio::task::yield_now().await;
                continue;
            }
            if self.is_finished() {
                return self.part().await;
            }
            self.place.is(self.doing());
            let stopped = poll_fn(|cx| {
                if self.reading == Reading::Open && stop.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(true));
                }
                self.poll(cx).map_ok(|()| false)
            });
            if stopped.await? {
                self.reading = Reading::Over;
            }
        }
    }

    /// Submits what has been read, runs the machine and collects what it answered, as long as that makes room for
    /// more of what has been read. True: its slice of time is over before that.
    fn pump(&mut self) -> bool {
        let mut slice = Slice::begin();
        loop {
            let taken = self.take_requests(&mut slice);
            let begun = self.begin_requests();
            if taken + begun > 0 {
                self.service.turn();
            }
            self.pipeline.drain(&mut self.out);
            if (taken == 0 || !self.has_room()) && !self.pipeline.can_begin() {
                return false;
            }
            if slice.is_over() {
                return true;
            }
        }
    }

    fn doing(&self) -> Use {
        match self.pipeline.is_empty() && !self.out.has_remaining() {
            false => Use::Waiting,
            true if self.inbox.is_empty() => Use::Idle,
            true => Use::Asking,
        }
    }

    /// Submits what is to be asked for requests whose turn has come.
    fn begin_requests(&self) -> usize {
        let mut begun = 0;
        while let Some(parts) = self.pipeline.begin() {
            begun += 1;
            for (ask, reply) in parts {
                match ask.draft(&*self.service) {
                    Ok(request) => self.service.submit(request, reply),
                    Err(failure) => reply.send(KvReply::Failed(failure)),
                }
            }
        }
        begun
    }

    /// Requests that were read are carried out, as they would be had the peer stayed for the replies.
    async fn finish_unheard(&mut self) {
        self.reading = Reading::Over;
        self.pipeline.hang_up();
        loop {
            self.out = Output::default();
            if self.pump() {
                tokio::task::yield_now().await;
                continue;
            }
            if !self.pipeline.has_waiting() {
                return;
            }
            poll_fn(|cx| self.pipeline.poll_front(cx)).await;
        }
    }

    fn take_requests(&mut self, slice: &mut Slice) -> usize {
        let mut taken = 0;
        while self.reading == Reading::Open && self.has_room() && !slice.is_over() {
            let action = match self.parser.next(&mut self.inbox) {
                Ok(None) => break,
                Ok(Some(request)) => self.session.execute(&request, &*self.service),
                Err(error) => self.refuse(error),
            };
            taken += 1;
            slice.count();
            self.slow = None;
            self.act(action);
        }
        taken
    }

    fn refuse(&mut self, error: FrameError) -> Action {
        self.service.count(Door::Resp, FrontEvent::ProtocolError);
        self.inbox = BytesMut::new();
        self.reading = Reading::Broken;
        Action::Answer(Reply::error(format_args!("Protocol error: {error}")))
    }

    fn act(&mut self, action: Action) {
        let protocol = self.session.protocol;
        match action {
            Action::Answer(reply) => self.pipeline.answer(protocol, reply),
            Action::Bye(reply) => {
                self.pipeline.answer(protocol, reply);
                self.reading = Reading::Over;
            }
            Action::Ask(shape, ask) => self.pipeline.ask(protocol, shape, ask),
            Action::Gather(harvest, asks) => self.pipeline.gather(protocol, harvest, asks),
        }
    }

    /// Whether another request may be taken on: requests and replies that wait are bounded in number and in bytes.
    fn has_room(&self) -> bool {
        let waiting = self.pipeline.held() + self.pipeline.waiting_bytes() + self.out.remaining();
        self.pipeline.len() < self.limits.max_pipeline && waiting < self.limits.max_output
    }

    fn is_finished(&self) -> bool {
        self.reading != Reading::Open && self.pipeline.is_empty() && !self.out.has_remaining()
    }

    /// Ready when something happened that [`pump`](Self::pump) should see.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.out.has_remaining()
            && let Poll::Ready(written) = self.poll_write(cx)
        {
            return Poll::Ready(written);
        }
        if self.reading == Reading::Open && self.has_room() {
            if let Poll::Ready(read) = self.poll_read(cx) {
                return Poll::Ready(read);
            }
            if self.poll_slow(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
        } else {
            // It is not the peer that is slow.
            self.slow = None;
        }
        self.pipeline.poll_front(cx).map(Ok)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let written = pin!(self.io.write_buf(&mut self.out)).poll(cx);
        if let Poll::Ready(result) = written {
            self.stall = None;
            self.out.trim();
            let count = result?;
            return Poll::Ready(if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) });
        }
        let limit = self.limits.stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(limit)));
        std::task::ready!(stall.as_mut().poll(cx));
        self.service.count(Door::Resp, FrontEvent::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.make_space();
        let count = std::task::ready!(pin!(self.io.read_buf(&mut self.inbox)).poll(cx))?;
        if count == 0 {
            self.reading = Reading::Over;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once the rest of a request has been waited for too long: the peer is told so.
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.inbox.is_empty() {
            self.slow = None;
            return Poll::Pending;
        }
        let limit = self.limits.body_timeout;
        std::task::ready!(self.slow.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(cx));
        self.service.count(Door::Resp, FrontEvent::Stalled);
        self.inbox = BytesMut::new();
        self.reading = Reading::Broken;
        let words = format_args!("the request did not arrive whole within {} s", limit.as_secs());
        self.act(Action::Answer(Reply::error(words)));
        Poll::Ready(())
    }

    /// Room for what the request under way still needs, but never more than has arrived already: memory follows
    /// what a client sends, not what it announces.
    fn make_space(&mut self) {
        let have = self.inbox.len();
        if have == 0 && self.inbox.capacity() > INBOX_KEPT {
            self.inbox = BytesMut::new();
        }
        if self.inbox.capacity() - have < READ / 4 {
            let missing = self.parser.missing(have);
            self.inbox.reserve(missing.min(have).max(READ));
        }
    }

    /// Closes. Closing on bytes unread would make the system discard the error on its way to the peer, so what
    /// still comes is read and dropped for a moment.
    async fn part(&mut self) -> io::Result<()> {
        self.io.shutdown().await?;
        if self.reading == Reading::Broken {
            let discard = async {
                let mut sink = vec![0; READ];
                while self.io.read(&mut sink).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = timeout(LINGER, discard).await;
        }
        Ok(())
    }
}

/// Bytes read at once, at least.
const READ: usize = 16 << 10;
/// A larger buffer is given back when it is empty.
const INBOX_KEPT: usize = 256 << 10;
/// How long a refused peer may go on sending.
const LINGER: std::time::Duration = std::time::Duration::from_secs(2);
