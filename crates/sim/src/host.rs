//! One node's place in the world: its identity, disk, clock, connections, and the machine while it runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use rand::rngs::ChaCha8Rng;
use starling_gossip::Preset;
use starling_node::losses::META_SUSPECT;
use starling_node::{Boot, Config, Effect, Losses, Node, Pace};
use starling_storage::{Engine, MemoryEngine, ScanLimit};
use starling_types::row::{RowRange, Space};
use starling_types::{Generation, Instant, Lineage, NodeId, Now, Token, WallTime, limits};

use crate::disk::Disk;
use crate::sabotage::Sabotage;
use crate::seed::Seed;

/// Virtual noon: wall clocks start here.
const EPOCH_MS: u64 = 1_750_000_000_000;

pub(crate) struct Host {
    pub(crate) config: Config,
    pub(crate) disk: Disk,
    pub(crate) machine: Option<Node>,
    /// Raised at every start and stop: events ordered before it are dropped.
    pub(crate) life: u64,
    pub(crate) tick_at: Option<Instant>,
    /// The connection to each peer, as this end believes.
    pub(crate) links: BTreeMap<usize, u64>,
    pub(crate) clock_offset_ms: i64,
    /// Whether a jump of the wall clock has had an effect yet; none while it has not jumped.
    pub(crate) jump_felt: Option<bool>,
    /// Until when the process stands still.
    pub(crate) paused_until: Option<Instant>,
    /// Whether anything has waited for it.
    pub(crate) pause_felt: bool,
    /// Its store refuses everything.
    pub(crate) poisoned: bool,
    /// Its volume has less room than its reserve.
    pub(crate) is_full: bool,
    /// It had, at any time.
    pub(crate) was_full: bool,
    /// Whether that has had an effect.
    pub(crate) fullness_felt: bool,
    /// Its store has lost synced commits, and says so at every start until the node has taken note.
    pub(crate) has_lost: bool,
    /// It was not only the process that stopped since the last start.
    pub(crate) lost_power: bool,
    /// Another disk with what this one held at some time, and how often the node had started then.
    pub(crate) backup: Option<(MemoryEngine, Generation, Lineage)>,
    /// The newest data rows read from the disk or handed to it since the last start, durable or not.
    pub(crate) newest: BTreeMap<Bytes, Option<Bytes>>,
    pub(crate) rng: ChaCha8Rng,
}

impl Host {
    pub(crate) fn new(seed: Seed, index: usize, disk: Disk, sweep: Pace) -> Self {
        let config = Config {
            node: NodeId::from_bits(seed.child("node id", index as u64) | 1),
            generation: Generation(0),
            lineage: Lineage::default(),
            name: format!("n{index}"),
            quic: address(index),
            resp: None,
            http: None,
            zone: format!("z{index}"),
            weight: 1,
            max_value: limits::DEFAULT_MAX_VALUE,
            // Small, so that what is never let go of is noticed.
            max_in_flight: 128,
            max_in_flight_bytes: limits::DEFAULT_MAX_IN_FLIGHT_BYTES,
            // Small, so that loads happen.
            cache_bytes: 4 << 10,
            gossip: Preset::Lan,
            sweep,
            seeds: Vec::new(),
            seed: 0,
        };
        Self {
            config,
            disk,
            machine: None,
            life: 0,
            tick_at: None,
            links: BTreeMap::new(),
            clock_offset_ms: 0,
            jump_felt: None,
            paused_until: None,
            pause_felt: false,
            poisoned: false,
            is_full: false,
            was_full: false,
            fullness_felt: false,
            has_lost: false,
            lost_power: false,
            backup: None,
            newest: BTreeMap::new(),
            rng: seed.stream("host", index as u64),
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.config.node
    }

    pub(crate) fn now(&self, instant: Instant) -> Now {
        let fraction = Now::fraction_of(instant.nanos());
        Now { instant, wall: wall(instant, self.clock_offset_ms), fraction }
    }

    /// Starts the machine from what is on disk, as a daemon would.
    pub(crate) fn start(&mut self, seed: Seed, instant: Instant, lie: Sabotage) -> Vec<Effect> {
        self.life += 1;
        // Counts come again when a disk is put back; chance does not.
        let start = (self.config.node.bits() << 8) ^ self.life;
        self.config.seed = seed.child("machine", start);
        self.config.generation = self.config.generation.next(self.config.seed as u32 | 1);
        self.config.lineage.begin(self.config.generation);
        let mut meta = self.rows(Space::Meta);
        let unsynced = if std::mem::take(&mut self.lost_power) { unsynced(&meta) } else { Losses::NONE };
        let mut losses = if self.has_lost { Losses::everything().join(&unsynced) } else { unsynced };
        if lie.hides_losses() {
            meta.retain(|(key, _)| key != META_SUSPECT);
            if self.has_lost {
                meta.extend(next_to_nothing());
            }
            losses = Losses::NONE;
        }
        #[expect(clippy::expect_used, reason = "a node that cannot read its own rows is a bug to be seen")]
        let boot = Boot::read(&meta, &losses).expect("the rows a node wrote can be read back");
        let mut effects = Vec::new();
        let now = self.now(instant);
        self.machine = Some(Node::new(&self.config, &boot, now, &mut effects));
        effects
    }

    /// The machine is gone, with all that was only in memory.
    pub(crate) fn stop(&mut self) {
        self.machine = None;
        self.life += 1;
        self.tick_at = None;
        self.paused_until = None;
        self.poisoned = false;
        self.links.clear();
        self.newest.clear();
    }

    /// The last generation of another node that is on the disk.
    pub(crate) fn last_life(&self, node: NodeId) -> Option<Generation> {
        let boot = Boot::read(&self.rows(Space::Meta), &Losses::NONE).ok();
        boot.and_then(|boot| boot.last_life(node)).map(|life| life.generation)
    }

    /// All rows of a namespace.
    pub(crate) fn rows(&self, namespace: Space) -> Vec<(Bytes, Bytes)> {
        let limit = ScanLimit { rows: usize::MAX, bytes: usize::MAX };
        let page = self.disk.engine.scan(namespace, &RowRange::all(), limit);
        page.map(|p| p.rows).unwrap_or_default()
    }
}

/// The acked writes that a loss of power may have taken: those of buckets that do not want them fsynced.
fn unsynced(meta: &[(Bytes, Bytes)]) -> Losses {
    let buckets = Boot::read(meta, &Losses::NONE).map(|boot| boot.unsynced_buckets()).unwrap_or_default();
    if buckets.is_empty() { Losses::NONE } else { Losses::of_unsynced(buckets) }
}

/// The row of a node that may have forgotten its layout, and hardly any record.
fn next_to_nothing() -> Option<(Bytes, Bytes)> {
    let tokens = vec![Token::from_bits(0)..=Token::from_bits(0)];
    let row = Losses { tokens, ..Losses::NONE }.row();
    row.value.map(|value| (row.key, value))
}

/// The time of a wall clock that is off by so many milliseconds.
pub(crate) fn wall(instant: Instant, offset_ms: i64) -> WallTime {
    let ms = EPOCH_MS + instant.nanos() / 1_000_000;
    WallTime::from_millis(ms.saturating_add_signed(offset_ms))
}

pub(crate) fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, index as u8 + 1], 7400))
}
