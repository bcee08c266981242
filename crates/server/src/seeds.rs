//! Places where other members may be found, should they have moved: names among them are looked up again and again.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use starling_node::Event;
use tracing::warn;

use crate::host::Host;
use crate::metrics;
use crate::reactor::Reactor;

/// A name may lead somewhere else after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// The addresses that the seeds lead to, as far as they lead anywhere. On a thread of its own: looking up blocks.
pub async fn look_up(seeds: Vec<Host>) -> Vec<SocketAddr> {
    let looked_up = tokio::task::spawn_blocking(move || {
        let found =
            |seed: &Host| seed.resolve().map_err(|why| warn!(%seed, %why, "a seed cannot be looked up"));
        let mut addresses: Vec<_> = seeds.iter().filter_map(|seed| found(seed).ok()).flatten().collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    });
    // It panics only if the system's resolver does; then nothing was found.
    looked_up.await.unwrap_or_default()
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
