//! The accept loop that both doors share: bounded, patient when places or the system's means run short, and graceful at
//! the end.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use crate::places::{Admission, Places, Seat};
use crate::service::{Door, FrontEvent, KvService};

/// Told once when the node stops: `true`, or the sender gone.
pub type Shutdown = watch::Receiver<bool>;

/// Completes at shutdown.
pub(crate) async fn stopped(mut shutdown: Shutdown) {
    // An error means that the sender is gone: the daemon is no longer there.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// How one door greets.
pub(crate) trait Greeter: 'static {
    /// Which door.
    const DOOR: Door;
    /// The message to a connection that is refused because the door is full.
    const FULL: &'static [u8];
    /// Connections beyond the limit that get in for a moment.
    const SPARE: usize;

    /// Holds one conversation to its end; ends it soon after `shutdown`.
    fn converse(
        &self,
        stream: TcpStream,
        seat: Seat,
        shutdown: Shutdown,
    ) -> impl Future<Output = ()> + 'static;
}

/// Accepts until shutdown, then lets the conversations finish within the drain timeout and cuts off the rest.
pub(crate) async fn serve<S: KvService, G: Greeter>(
    listener: TcpListener,
    service: Rc<S>,
    greeter: G,
    shutdown: Shutdown,
) {
    let limits = service.limits();
    let mut conversations = JoinSet::new();
    {
        let mut stop = std::pin::pin!(stopped(shutdown.clone()));
        let places = Places::new(limits.max_connections, G::SPARE);
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = conversations.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, addr)) => {
                    pause = FIRST_PAUSE;
                    let seat = tokio::select! {
                        biased;
                        () = &mut stop => break,
                        seat = find_seat(&places, addr, &mut conversations) => seat,
                    };
                    match seat {
                        Some(seat) => begin(stream, seat, &service, &greeter, &shutdown, &mut conversations),
                        None => turn_away::<S, G>(&stream, &service),
                    }
                    // The connection that gave up its place gives up its descriptor before the next one is taken.
                    tokio::task::yield_now().await;
                }
                Err(error) => pause = back_off::<S, G>(&service, &error, pause).await,
            }
        }
    }
    drop(listener);
    drain(conversations, limits.drain_timeout).await;
}

/// A place for a new connection, for which it may have to wait a moment: who comes after it waits in the system's queue.
async fn find_seat(places: &Rc<Places>, addr: SocketAddr, conversations: &mut JoinSet<()>) -> Option<Seat> {
    loop {
        match places.admit(addr) {
            Admission::Taken(seat) => return Some(seat),
            Admission::Full => return None,
            Admission::Later(when) => tokio::select! {
                Some(_) = conversations.join_next() => {}
                () = sleep_until(when) => {}
            },
        }
    }
}

fn turn_away<S: KvService, G: Greeter>(stream: &TcpStream, service: &Rc<S>) {
    service.count(G::DOOR, FrontEvent::Refused);
    // A fresh socket's buffer is empty: the message fits, or the client is beyond help.
    let _ = stream.try_write(G::FULL);
}

fn begin<S: KvService, G: Greeter>(
    stream: TcpStream,
    seat: Seat,
    service: &Rc<S>,
    greeter: &G,
    shutdown: &Shutdown,
    conversations: &mut JoinSet<()>,
) {
    // Without it a reply waits for the peer's delayed ack; a socket that refuses it still works.
    let _ = stream.set_nodelay(true);
    service.count(G::DOOR, FrontEvent::Opened);
    let place = seat.place.clone();
    let conversation = greeter.converse(stream, seat, shutdown.clone());
    let service = Rc::clone(service);
    conversations.spawn_local(async move {
        tokio::select! {
            biased;
            () = conversation => {}
            () = place.lost() => service.count(G::DOOR, FrontEvent::MadeRoom),
        }
        service.count(G::DOOR, FrontEvent::Closed);
    });
}

/// Running out of descriptors or memory lasts; a client that hung up while queueing does not, and costs one pause.
async fn back_off<S: KvService, G: Greeter>(
    service: &Rc<S>,
    error: &std::io::Error,
    pause: Duration,
) -> Duration {
    service.count(G::DOOR, FrontEvent::AcceptFailed);
    tracing::warn!(door = G::DOOR.as_str(), %error, ?pause, "cannot accept connections: check the open-file limit");
    sleep(pause).await;
    (pause * 2).min(LONGEST_PAUSE)
}

async fn drain(mut conversations: JoinSet<()>, limit: Duration) {
    let all = async { while conversations.join_next().await.is_some() {} };
    if timeout(limit, all).await.is_err() {
        conversations.shutdown().await;
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
