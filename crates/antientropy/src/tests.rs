//! Stories, told in words, and random days for several replicas.

mod random;
mod stories;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use starling_causality::{Dot, Hlc, Mint, Payload, Record};
use starling_types::{
    ActorId, BucketName, ExchangeId, Instant, Key, NodeId, Now, PartitionBits, PartitionId, QualifiedKey,
    Token, WallTime,
};

use crate::{Pace, Rows, Shared, Sweep};

/// Rows of a page: few, so that pages follow each other.
const PAGE: usize = 4;
const PACE: Pace =
    Pace { period: Duration::from_secs(60), soon: Duration::from_secs(1), gap: Duration::from_millis(20) };

fn node(n: u64) -> NodeId {
    NodeId::from_bits(n)
}

fn at(ms: u64) -> Now {
    Now {
        instant: Instant::ORIGIN + Duration::from_millis(ms),
        wall: WallTime::from_millis(1_000_000 + ms),
        fraction: 0,
    }
}

fn key(name: &str) -> QualifiedKey {
    QualifiedKey::new(0, BucketName::default_bucket(), Key::new(name.to_owned()).unwrap())
}

/// One value, written by `actor` at `time`, by a client that had seen `base`.
fn write(base: &Record, actor: u64, time: u64) -> Record {
    let dot = Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_parts(time, 0) };
    base.write(Mint::plain(base.context(), dot, Payload::Value(Bytes::from(format!("{actor}@{time}")))))
}

fn record(actor: u64) -> Record {
    write(&Record::default(), actor, 1_000)
}

fn bits() -> PartitionBits {
    PartitionBits::try_from(2).unwrap()
}

/// All four partitions.
fn all() -> Shared {
    Shared::new(bits(), bits().partitions())
}

fn sweep(me: u64) -> Sweep {
    Sweep::new(node(me), PACE, me, ExchangeId::from_bits(u128::from(me) << 64))
}

/// The committed records of a replica.
type Replica = BTreeMap<QualifiedKey, Record>;

/// A page of it.
fn rows(replica: &Replica, from: Token) -> Rows {
    let mut rest = replica.iter().filter(|(key, _)| key.token() >= from);
    let entries = rest.by_ref().take(PAGE).map(|(key, record)| (key.clone(), record.digest())).collect();
    Rows { entries, next: rest.next().map(|(key, _)| key.token()), unreadable: Vec::new() }
}

fn partition(key: &QualifiedKey) -> PartitionId {
    bits().partition_of(key.token())
}

/// A sweep that shares everything with the peers given.
fn in_layout(me: u64, peers: &[u64], now: Now) -> Sweep {
    let mut sweep = sweep(me);
    let shared = peers.iter().map(|&peer| (node(peer), all())).collect();
    sweep.handle(now, crate::Event::Layout { seed: 0, shared }, &mut Vec::new());
    sweep
}
