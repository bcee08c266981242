//! The door for everything that is no Redis client: keys, health, metrics, status.

pub mod answer;
pub mod body;
mod exchange;
mod guard;
mod head;
mod local;
pub mod options;
pub mod problem;
pub mod routes;
mod stated;
pub mod target;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::error::Error as _;
use std::io;
use std::pin::pin;
use std::rc::Rc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::listener::{self, Greeter, Shutdown, stopped};
use crate::places::{Seat, Use};
use crate::service::{Door, FrontEvent, FrontLimits, KvService};
use crate::slice::Slice;
use guard::Guard;

/// Serves HTTP/1.1 on `listener` until `shutdown`; returns when every connection has ended. Must run in a
/// [`LocalSet`](tokio::task::LocalSet).
pub async fn serve_http<S: KvService>(listener: TcpListener, service: Rc<S>, shutdown: Shutdown) {
    let limits = Rc::new(service.limits());
    let greeter = HttpGreeter { service: Rc::clone(&service), limits };
    listener::serve(listener, service, greeter, shutdown).await;
}

struct HttpGreeter<S> {
    service: Rc<S>,
    limits: Rc<FrontLimits>,
}

impl<S: KvService> Greeter for HttpGreeter<S> {
    const DOOR: Door = Door::Http;
    const FULL: &'static [u8] =
        b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
        content-type: text/plain\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

    /// For health checks, Prometheus and a person with `curl`.
    const SPARE: usize = 8;

    fn converse(
        &self,
        stream: TcpStream,
        seat: Seat,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + 'static {
        serve(stream, Rc::clone(&self.service), Rc::clone(&self.limits), (seat, shutdown))
    }
}

/// Serves one connection to its end, at its place.
pub(crate) async fn serve<IO, S>(
    io: IO,
    service: Rc<S>,
    limits: Rc<FrontLimits>,
    (seat, shutdown): (Seat, Shutdown),
) where
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
    S: KvService,
{
    // Whether an answer is being made: once it is, and written, the connection is idle.
    let answering = Rc::new(Cell::new(false));
    let guarded = TokioIo::new(Guard::new(io, &limits, seat.place.clone(), answering.clone()));
    let (is_spare, slice) = (seat.is_spare(), RefCell::new(Slice::begin()));
    let (seat, slice, answering) = (&seat, &slice, &answering);
    let answer = service_fn(|request| {
        let (service, limits) = (Rc::clone(&service), Rc::clone(&limits));
        async move {
            seat.place.is(Use::Waiting);
            answering.set(true);
            take_turns(slice).await;
            let response = routes::answer(&*service, &limits, seat, request).await;
            answering.set(false);
            Ok::<_, Infallible>(response)
        }
    });
    // One that got in beyond the limit asks one thing and goes.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .keep_alive(!is_spare)
        .max_buf_size(MAX_HEAD)
        .serve_connection(guarded, answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(shutdown) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Some(event) = ended.err().and_then(|error| event_of(&error)) {
        service.count(Door::Http, event);
    }
}

/// Requests of one connection may follow each other without a pause: now and then others have their turn.
async fn take_turns(slice: &RefCell<Slice>) {
    slice.borrow_mut().count();
    if slice.borrow().is_over() {
        tokio::task::yield_now().await;
        slice.replace(Slice::begin());
    }
}

/// The event that an irregular end of a connection counts as; a client that merely hung up counts as nothing.
fn event_of(error: &hyper::Error) -> Option<FrontEvent> {
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let stalled = error.is_timeout() || io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut);
    match error.is_parse() || error.is_parse_too_large() {
        true => Some(FrontEvent::ProtocolError),
        false => stalled.then_some(FrontEvent::Stalled),
    }
}

/// Bytes that a request's line and headers may have.
const MAX_HEAD: usize = 64 << 10;

#[cfg(test)]
mod tests;
