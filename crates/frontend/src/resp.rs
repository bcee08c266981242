//! The door for Redis clients: RESP2 and RESP3, a subset of the commands, and a few of our own.

pub mod ask;
mod block;
pub mod command;
pub mod connection;
mod data;
pub mod frame;
mod inline;
pub mod order;
pub mod output;
pub mod pipeline;
pub mod reply;
pub mod session;
pub mod shape;
mod words;

use std::cell::Cell;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};

use crate::listener::{self, Greeter, Shutdown};
use crate::places::Seat;
use crate::service::{Door, FrontLimits, KvService};
use session::Session;

/// Serves RESP on `listener` until `shutdown`; returns when every connection has ended. Must run in a
/// [`LocalSet`](tokio::task::LocalSet).
pub async fn serve_resp<S: KvService>(listener: TcpListener, service: Rc<S>, shutdown: Shutdown) {
    let limits = service.limits();
    let greeter = RespGreeter { service: Rc::clone(&service), limits, next_id: Cell::new(1) };
    listener::serve(listener, service, greeter, shutdown).await;
}

struct RespGreeter<S> {
    service: Rc<S>,
    limits: FrontLimits,
    next_id: Cell<u64>,
}

impl<S: KvService> Greeter for RespGreeter<S> {
    const DOOR: Door = Door::Resp;
    const FULL: &'static [u8] =
        b"-ERR max number of clients reached: raise limits.max_connections or close some\r\n";

    const SPARE: usize = 0;

    fn converse(
        &self,
        stream: TcpStream,
        seat: Seat,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + 'static {
        let id = self.next_id.replace(self.next_id.get() + 1);
        let peer = stream.peer_addr().map_or_else(|_| "?".into(), |peer| peer.to_string());
        let session = Session::new(id, peer, self.limits.max_value);
        let (service, limits) = (Rc::clone(&self.service), self.limits.clone());
        async move {
            connection::serve(stream, session, service, limits, (seat.place.clone(), shutdown)).await;
        }
    }
}

#[cfg(test)]
mod tests;
