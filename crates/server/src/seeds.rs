//! Places where other members may be found, should they have moved: names among them are looked up again and again.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use starling_node::Event;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tracing::warn;

use crate::host::Host;
use crate::metrics;
use crate::reactor::Reactor;

/// A name may lead somewhere else after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// The system's resolver may take longer; a start does not.
const PATIENCE: Duration = Duration::from_secs(5);

/// The addresses that the seeds lead to, as far as they lead anywhere.
pub async fn look_up(seeds: Vec<Host>) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for seed in seeds {
        match timeout(PATIENCE, lookup_host(seed.to_string())).await {
            Ok(Ok(found)) => addresses.extend(found),
            Ok(Err(why)) => warn!(%seed, %why, "a seed cannot be looked up"),
            Err(_) => warn!(%seed, "a seed was not looked up in time"),
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Looks the names up again, and tells the node where they lead, for as long as it runs. `known` is where they led.
pub async fn keep_looking_up(reactor: Rc<Reactor>, seeds: Vec<Host>, mut known: Vec<SocketAddr>) {
    metrics::seeds_lead_to(known.len());
    if seeds.iter().all(|seed| seed.literal().is_some()) {
        return;
    }
    loop {
        tokio::time::sleep(AGAIN).await;
        let found = look_up(seeds.clone()).await;
        metrics::seeds_looked_up();
        metrics::seeds_lead_to(found.len());
        // A resolver that fails takes nothing back.
        if !found.is_empty() && found != known {
            reactor.push(Event::Seeds(found.clone()));
            known = found;
        }
    }
}
