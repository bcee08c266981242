//! The state a node starts with: its configuration, and the rows of its own `meta` keyspace.

mod lives;
mod restore;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::Bytes;
use starling_antientropy::Pace;
use starling_causality::Hlc;
use starling_gossip::Preset;
use starling_ring::{Acceptor, Layout, Refusal};
use starling_types::row::RowWrite;
use starling_types::{ActorId, BucketName, ClusterId, Formats, Generation, Lineage, NodeId, PartitionId};
use starling_vnode::rows;
use starling_wire::cluster::BucketRegister;

use crate::buckets::BucketTable;
use crate::losses::{Losses, META_SUSPECT};
use crate::meta::{decode, meta_row};

pub use crate::meta::BootError;
pub(crate) use lives::forgotten_life;
pub use lives::{Life, META_LIFE};
pub use restore::{restore_meta, suspect_everything};

/// The layout in force.
pub const META_LAYOUT: &[u8] = b"layout";
/// The acceptor of the first layout.
pub const META_ACCEPTOR: &[u8] = b"acceptor";
/// The bucket properties that were set explicitly, behind a format version.
pub const META_BUCKETS: &[u8] = b"buckets";

/// Format of the row of buckets.
const BUCKETS_FORMAT: u8 = 1;
const BUCKETS_FORMATS: Formats = Formats { oldest: 1, newest: BUCKETS_FORMAT as u32 };

/// The settings that the operator and the shell decided.
#[derive(Debug, Clone)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// This start; durable before the machine is made.
    pub generation: Generation,
    /// The starts that its disk remembers, this one last; durable like it.
    pub lineage: Lineage,
    /// Its name, for people.
    pub name: String,
    /// Where others reach it over QUIC.
    pub quic: SocketAddr,
    /// Where it speaks RESP.
    pub resp: Option<SocketAddr>,
    /// Where it speaks HTTP.
    pub http: Option<SocketAddr>,
    /// Its failure domain.
    pub zone: String,
    /// Its share of the load.
    pub weight: u32,
    /// Largest value it takes from clients, in bytes.
    pub max_value: usize,
    /// Requests in flight before it sheds load.
    pub max_in_flight: usize,
    /// Bytes in flight before it sheds load.
    pub max_in_flight_bytes: usize,
    /// Bytes of records kept for reads.
    pub cache_bytes: usize,
    /// How eager the failure detector is.
    pub gossip: Preset,
    /// How eager the comparison with other owners is.
    pub sweep: Pace,
    /// Where other members may be found, should they have moved since this node last heard of them.
    pub seeds: Vec<SocketAddr>,
    /// Seed of the machine's randomness: from the system's generator in a daemon, from the test in a simulation.
    pub seed: u64,
}

/// The state that the last run of this node left behind.
#[derive(Debug, Default)]
pub struct Boot {
    pub(crate) ceiling: Hlc,
    pub(crate) actors: BTreeMap<PartitionId, ActorId>,
    pub(crate) was_clean: bool,
    /// Its mark is still on disk, valid or not.
    pub(crate) is_marked: bool,
    /// The losses that are possible, as this start found them or an earlier one did.
    pub(crate) losses: Losses,
    /// This start found some of it.
    pub(crate) lost_more: bool,
    pub(crate) layout: Option<Layout>,
    pub(crate) acceptor: Acceptor,
    pub(crate) buckets: BucketTable,
    /// The last known generations of other members.
    pub(crate) lives: BTreeMap<NodeId, Life>,
}

impl Boot {
    /// The buckets whose writes are acknowledged before they are on any disk.
    pub fn unsynced_buckets(&self) -> BTreeSet<BucketName> {
        let unsynced = self.buckets.registers().filter(|bucket| !bucket.props.durable);
        unsynced.map(|bucket| bucket.name.clone()).collect()
    }

    /// Reads the rows of the `meta` keyspace. `losses` is what the store found to be missing when it was opened: the
    /// stop before it counts as unclean then, with or without a mark.
    pub fn read(meta: &[(Bytes, Bytes)], losses: &Losses) -> Result<Self, BootError> {
        let row = |name: &[u8]| meta.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let mut boot = Self::default();
        if let Some(value) = row(rows::META_HLC_CEILING) {
            boot.ceiling = ceiling(value)?;
        }
        // A mark that cannot be read, or came without its ceiling, is no mark: the node takes new actors, which
        // is always safe.
        let mark = row(rows::META_CLEAN_STOP).filter(|_| row(rows::META_HLC_CEILING).is_some());
        boot.is_marked = row(rows::META_CLEAN_STOP).is_some();
        boot.lost_more = !losses.is_empty();
        boot.losses = row(META_SUSPECT).map_or(Losses::NONE, |value| Losses::of_row(value)).join(losses);
        let mark = mark.filter(|_| losses.is_empty());
        if let Some(actors) = mark.and_then(|v| rows::decode_actors(v)) {
            boot.actors = actors.into_iter().collect();
            boot.was_clean = true;
        }
        if let Some(value) = row(META_LAYOUT) {
            boot.layout = Some(decode("layout", value)?);
        }
        if let Some(value) = row(META_ACCEPTOR) {
            boot.acceptor = decode("acceptor", value)?;
        }
        if let Some(value) = row(META_BUCKETS) {
            boot.buckets.join(buckets(value)?);
        }
        boot.lives = lives::lives(meta)?;
        Ok(boot)
    }

    /// The reason not to start a node of this cluster that takes values of up to `max_value` bytes, if there is one.
    pub fn objection(&self, max_value: usize) -> Option<Refusal> {
        Refusal::of_values(max_value, self.layout.as_ref()?)
    }

    /// The cluster the node belongs to, if it has a layout.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.layout.as_ref().map(Layout::cluster)
    }

    /// The last generation of another member that this node has heard of.
    pub fn last_life(&self, node: NodeId) -> Option<Life> {
        self.lives.get(&node).copied()
    }

    /// Whether the last writer wins in the bucket.
    pub fn is_lww(&self, bucket: &BucketName) -> bool {
        self.buckets.is_lww(bucket)
    }
}

/// The row that [`Boot::read`] finds the buckets in.
pub(crate) fn bucket_row(table: &BucketTable) -> RowWrite {
    meta_row(META_BUCKETS, &(BUCKETS_FORMAT, table.changed()))
}

fn buckets(value: &[u8]) -> Result<Vec<BucketRegister>, BootError> {
    let row = "table of buckets";
    let (format, registers) = decode::<(u8, Vec<BucketRegister>)>(row, value)?;
    check(row, BUCKETS_FORMATS, format).map(|()| registers)
}

fn check(row: &'static str, opens: Formats, found: u8) -> Result<(), BootError> {
    opens.check(found.into()).map_err(|format| BootError { row, words: format.to_string() })
}

fn ceiling(value: &[u8]) -> Result<Hlc, BootError> {
    let bits: [u8; 8] = value
        .try_into()
        .map_err(|_| BootError::damaged("clock ceiling", &format_args!("{} bytes", value.len())))?;
    Ok(Hlc::from_bits(u64::from_be_bytes(bits)))
}
