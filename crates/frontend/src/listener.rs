//! The accept loop that both doors share: bounded, patient when the system runs out of something, and graceful at
//! the end.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::service::{Door, FrontEvent, FrontLimits, KvService};

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

    /// Holds one conversation to its end; ends it soon after `shutdown`.
    fn converse(&self, stream: TcpStream, shutdown: Shutdown) -> impl Future<Output = ()> + 'static;
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
        let mut pause = FIRST_PAUSE;
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = conversations.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    pause = FIRST_PAUSE;
                    admit(stream, &service, &greeter, &limits, &shutdown, &mut conversations);
                }
                Err(error) => pause = back_off::<S, G>(&service, &error, pause).await,
            }
        }
    }
    drop(listener);
    drain(conversations, limits.drain_timeout).await;
}

fn admit<S: KvService, G: Greeter>(
    stream: TcpStream,
    service: &Rc<S>,
    greeter: &G,
    limits: &FrontLimits,
    shutdown: &Shutdown,
    conversations: &mut JoinSet<()>,
) {
    if conversations.len() >= limits.max_connections {
        service.count(G::DOOR, FrontEvent::Refused);
        // A fresh socket's buffer is empty: the message fits, or the client is beyond help.
        let _ = stream.try_write(G::FULL);
        return;
    }
    // Without it a reply waits for the peer's delayed ack; a socket that refuses it still works.
    let _ = stream.set_nodelay(true);
    service.count(G::DOOR, FrontEvent::Opened);
    let conversation = greeter.converse(stream, shutdown.clone());
    let service = Rc::clone(service);
    conversations.spawn_local(async move {
        conversation.await;
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
