//! A node from start to stop.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::{ChaCha12Rng, SysRng};
use rand::{Rng, SeedableRng, TryRng};
use starling_frontend::{Identity, KvService, serve_http, serve_resp};
use starling_node::{Config, Losses, Node};
use starling_storage::{
    Batch, Durability, DurableEngine, Engine, Options, ScanLimit, StorageError, Surroundings,
};
use starling_transport::{Authority, Credentials, EndpointSecrets, Transport};
use starling_types::NodeId;
use starling_types::row::{RowRange, Space};
use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::task::spawn_local;

use crate::clock::Clock;
use crate::config::Settings;
use crate::descriptors::{self, Shares};
use crate::disk_space::DiskSpace;
use crate::disk_watch;
use crate::error::StartError;
use crate::home::{Drawn, Home, Inhabitant, StoreState};
use crate::losses::{self, Past};
use crate::machine;
use crate::metrics::{self, StoreMetrics, Telemetry};
use crate::reactor::{Addresses, End, Parts, Reactor};
use crate::readers::Readers;
use crate::seeds;
use crate::storage_executor::StorageExecutor;

/// A node must be gone this long after it was asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);
/// A read that is under way when the node ends may take this long; then the store is left as a crash would leave it.
const READ_PATIENCE: Duration = Duration::from_secs(1);
/// Answers of the disk that are taken in one turn.
const ANSWERS_AT_ONCE: usize = 64;
/// QUIC connections beyond those of the clients: every peer may have two for a while, and those that greet.
const PEER_CONNECTIONS: usize = 2_048;
/// Histograms are folded this often.
const UPKEEP: Duration = Duration::from_secs(5);

/// A running node. Lives on one thread, inside a `LocalSet`.
pub struct Daemon {
    reactor: Rc<Reactor>,
    engine: Arc<DurableEngine>,
    transport: Rc<Transport>,
    stop_doors: watch::Sender<bool>,
    doors: Vec<tokio::task::JoinHandle<()>>,
}

impl Daemon {
    /// Opens the data directory and the ports, and starts to serve.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Self::start_over(settings, |engine| engine).await
    }

    /// As [`Daemon::start`], with something between the node and its store.
    async fn start_over(
        settings: Settings,
        between: impl FnOnce(Arc<DurableEngine>) -> Arc<dyn Engine>,
    ) -> Result<Self, StartError> {
        let clock = Clock::start();
        let mut rng = generator()?;
        let shares = Shares::of(descriptors::raise(), settings.limits.max_connections)
            .map_err(|e| StartError::Objection(e.to_string()))?;
        machine::remarks(&settings, shares).iter().for_each(|remark| tracing::warn!("{remark}"));
        let resp = listen("resp", settings.listen.resp).await?;
        let http = listen("http", settings.listen.http).await?;
        let quic = quic_addresses(&settings)?;
        let telemetry = Telemetry::install();
        let space = DiskSpace::new(
            settings.node.data.clone(),
            settings.storage.disk_reserve,
            settings.storage.engine(),
        );
        let (home, engine, past) = open(&settings, shares, &mut rng)?;
        let shared = between(engine.clone());
        let credentials = credentials(&settings, &home)?;
        let boot = losses::boot(&engine, &past)?;
        if let Some(objection) = boot.objection(settings.limits.max_value) {
            return Err(StartError::Objection(objection.to_string()));
        }
        let addresses = Addresses { resp: local(&resp), http: local(&http), quic: quic.advertise };
        let seeds = settings.cluster.seeds.clone();
        let found = seeds::look_up(seeds.clone()).await;
        let config = config(&settings, &home, addresses, found.clone(), rng.next_u64());
        let mut first_effects = Vec::new();
        let node = Node::new(&config, &boot, clock.now(), &mut first_effects);
        let (answers, mut answered) = unbounded_channel();
        let disk = StorageExecutor::new(shared.clone(), answers.clone());
        let readers = Readers::start(clock, &shared, &answers)
            .map_err(|source| StartError::System { what: "starting the threads that read", source })?;
        let secrets = EndpointSecrets::open_or_create(&home.tls())?;
        let max_clients = settings.limits.max_connections;
        let max_connections = max_clients + PEER_CONNECTIONS;
        let (reactor, first_effects) = Reactor::new(Parts {
            clock,
            node,
            first_effects,
            rng,
            engine: shared,
            store_report: engine.report().to_string(),
            disk,
            readers,
            telemetry,
            settings,
            connections: shares.connections,
            home,
        });
        let transport = Transport::bind(
            starling_transport::Config {
                listen: quic.listen,
                credentials,
                secrets,
                node: config.node,
                max_connections,
                max_clients,
            },
            reactor.clone(),
        )?;
        reactor.connect(transport.clone(), addresses, first_effects);
        let (stop_doors, stopping) = watch::channel(false);
        let doors = vec![
            spawn_local(serve_resp(resp, reactor.clone(), stopping.clone())),
            spawn_local(serve_http(http, reactor.clone(), stopping)),
        ];
        spawn_local(reactor.clone().run_timer());
        spawn_local(reactor.clone().run_pulse());
        spawn_local(seeds::keep_looking_up(reactor.clone(), seeds, found));
        spawn_local(upkeep(reactor.clone()));
        spawn_local(disk_watch::keep(space, reactor.clone(), engine.clone()));
        let disk = reactor.clone();
        spawn_local(async move {
            let mut batch = Vec::new();
            while answered.recv_many(&mut batch, ANSWERS_AT_ONCE).await > 0 {
                disk.answered(batch.drain(..));
            }
        });
        tokio::select! {
            biased;
            () = reactor.started() => {}
            end = reactor.ended() => return Err(StartError::Ended(end)),
        }
        Ok(Self { reactor, engine, transport, stop_doors, doors })
    }

    /// The identity of this node, and where it listens.
    pub fn identity(&self) -> Identity {
        self.reactor.identity()
    }

    /// Serves until `stop` completes, then finishes what is under way; or until the store fails.
    ///
    /// # Errors
    /// Why the node could not go on, or could not stop cleanly.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), String> {
        let early = tokio::select! {
            biased;
            end = self.reactor.ended() => Some(end),
            () = stop => None,
        };
        let end = match early {
            Some(end) => Some(end),
            None => self.drain().await,
        };
        self.transport.drain().await;
        let closed = match self.reactor.finish_reads(READ_PATIENCE) {
            true => self.engine.close(),
            false => Err(StorageError::Io { action: "reading", cause: "a read does not end".into() }),
        };
        match end {
            Some(End::Drained) => closed.map_err(|e| format!("the store could not be closed: {e}")),
            Some(End::StorageFailed(why)) => Err(format!("the node stops because its store failed: {why}")),
            None => Err("what was under way did not finish in time: the next start is an unclean one".into()),
        }
    }

    async fn drain(&self) -> Option<End> {
        tracing::debug!("stopping: no new requests are taken");
        let _ = self.stop_doors.send(true);
        self.reactor.drain();
        tokio::time::timeout(DRAIN_TIMEOUT, self.reactor.ended()).await.ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.doors.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

async fn upkeep(reactor: Rc<Reactor>) {
    let mut every = tokio::time::interval(UPKEEP);
    loop {
        every.tick().await;
        reactor.upkeep();
    }
}

fn generator() -> Result<ChaCha12Rng, StartError> {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).map_err(|e| StartError::System {
        what: "the system's random number generator failed",
        source: io::Error::other(e),
    })?;
    Ok(ChaCha12Rng::from_seed(seed))
}

async fn listen(door: &'static str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).await.map_err(|source| StartError::Listen { door, addr, source })
}

/// A listener that is bound has an address.
fn local(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
}

struct QuicAddresses {
    listen: SocketAddr,
    advertise: SocketAddr,
}

/// Bound for a moment: others must be told a port before the endpoint is there, and one that is taken is refused
/// before the data directory is touched.
fn quic_addresses(settings: &Settings) -> Result<QuicAddresses, StartError> {
    let wanted = settings.listen.quic;
    let error = |source| StartError::Listen { door: "quic", addr: wanted, source };
    let listen = std::net::UdpSocket::bind(wanted).and_then(|s| s.local_addr()).map_err(error)?;
    Ok(QuicAddresses { listen, advertise: settings.listen.advertise.unwrap_or(listen) })
}

fn open(
    settings: &Settings,
    shares: Shares,
    rng: &mut ChaCha12Rng,
) -> Result<(Home, Arc<DurableEngine>, Past), StartError> {
    let dir: &Path = &settings.node.data;
    // First: the open of a store may change it, and nothing is changed in a directory of another version.
    Inhabitant::of(dir)?;
    let engine = Arc::new(open_store(dir, settings, shares)?);
    if let Err(error) = Home::close(dir) {
        tracing::warn!(%error, "other users of this machine may read the data directory");
    }
    metrics::losses(engine.report().has_losses());
    let drawn = Drawn { node: NodeId::from_bits(rng.next_u64() | 1), start: rng.next_u32() | 1 };
    let (store, place) = birth(engine.as_ref())?;
    let home = Home::enter(dir, store, drawn, settings.cluster.cluster_id)?;
    let is_copy = store.node.is_some() && place != home.place();
    if store.node.is_none() || is_copy {
        settle_store(engine.as_ref(), &home, is_copy)?;
    }
    home.settle()?;
    Ok((home, engine, Past { has_rows: store.has_rows, is_copy, sync: settings.storage.sync }))
}

/// Opens the store. A node's own state cannot come from other owners: if rows of that are unreadable, their tables are
/// made anew at once, and the store counts as one that has lost something.
fn open_store(dir: &Path, settings: &Settings, shares: Shares) -> Result<DurableEngine, StorageError> {
    let options = Options { open_files: shares.tables, ..settings.storage.engine() };
    let surroundings = || Surroundings { observer: Arc::new(StoreMetrics::new()), ..Surroundings::default() };
    let engine = DurableEngine::open_in(dir, options, surroundings())?;
    let all = ScanLimit { rows: usize::MAX, bytes: usize::MAX };
    let meta = engine.scan(Space::Meta, &RowRange::all(), all)?;
    if !meta.unread.is_empty() {
        let (path, cause) = (dir.join("tables/meta"), "the disk does not give some rows".into());
        return Err(StorageError::ReadFailed { path, cause });
    }
    if meta.damaged.is_empty() {
        return Ok(engine);
    }
    tracing::error!("what the node must know of itself is damaged: its tables are rebuilt");
    engine.rebuild_at_next_open(Space::Meta)?;
    engine.close()?;
    drop(engine);
    DurableEngine::open_in(dir, options, surroundings())
}

/// The first row of a store: whose it is, and where it was when it was last written.
pub(crate) const META_BIRTH: &[u8] = b"birth";

/// Whose store it is, whether it holds anything but what every start writes, and where it was.
pub(crate) fn birth(engine: &DurableEngine) -> Result<(StoreState, u128), StorageError> {
    let limit = ScanLimit { rows: 3, bytes: 1 << 10 };
    let mut has_rows = false;
    for namespace in Space::ALL {
        let rows = engine.scan(namespace, &RowRange::all(), limit)?.rows;
        has_rows |= rows.iter().any(|(key, _)| key != META_BIRTH && key != losses::META_SYSTEM);
    }
    let row = engine.get(Space::Meta, META_BIRTH)?.unwrap_or_default();
    let node = row.first_chunk::<8>().map(|id| NodeId::from_bits(u64::from_be_bytes(*id)));
    let place = row.get(8..).and_then(|p| p.try_into().ok()).map_or(0, u128::from_be_bytes);
    Ok((StoreState { node, has_rows }, place))
}

/// Writes the birth row. A store that was written elsewhere is a copy: its mark of a clean stop is another
/// history's, and this one takes new actors (semantics, section 2).
fn settle_store(engine: &DurableEngine, home: &Home, is_copy: bool) -> Result<(), StorageError> {
    // In one batch: a start that fails after this one must not find a store that seems to be at home.
    let mut batch = if is_copy { Batch::from_iter([Losses::everything().row()]) } else { Batch::new() };
    batch.put(Space::Meta, META_BIRTH, birth_row(home));
    if is_copy {
        tracing::warn!("the data directory was copied or moved: the node starts as after an unclean stop");
        batch.delete(Space::Meta, starling_vnode::rows::META_CLEAN_STOP);
    }
    engine.commit(&[batch], Durability::Synced)
}

/// The value of [`META_BIRTH`].
pub(crate) fn birth_row(home: &Home) -> Vec<u8> {
    let node = home.inhabitant().node_id.bits().to_be_bytes();
    [&node[..], &home.place().to_be_bytes()].concat()
}

/// The certificate in the data directory; on the first start, one that the cluster's authority issues.
fn credentials(settings: &Settings, home: &Home) -> Result<Credentials, StartError> {
    let (dir, node) = (home.tls(), home.inhabitant().node_id);
    if !dir.join("node-key.pem").exists() {
        Authority::open_or_create(&settings.tls.dir)?.issue_node(node)?.save(&dir)?;
    }
    let credentials = Credentials::load_node(&dir)?;
    let certified = credentials.identity();
    if certified != starling_transport::Identity::Node(node) {
        return Err(StartError::OtherCertificate { path: dir, certified, node });
    }
    Ok(credentials)
}

fn config(
    settings: &Settings,
    home: &Home,
    addresses: Addresses,
    seeds: Vec<SocketAddr>,
    seed: u64,
) -> Config {
    let inhabitant = home.inhabitant();
    Config {
        node: inhabitant.node_id,
        generation: inhabitant.generation,
        lineage: inhabitant.lineage.clone(),
        name: settings.node.name.clone(),
        quic: addresses.quic,
        resp: Some(addresses.resp),
        http: Some(addresses.http),
        zone: settings.node.zone.to_string(),
        weight: settings.node.weight,
        max_value: settings.limits.max_value,
        max_in_flight: settings.limits.max_in_flight,
        max_in_flight_bytes: settings.limits.max_in_flight_bytes,
        cache_bytes: settings.storage.record_cache(),
        gossip: settings.gossip.preset,
        sweep: starling_node::Pace::default(),
        seeds,
        seed,
    }
}

#[cfg(test)]
mod tests;
