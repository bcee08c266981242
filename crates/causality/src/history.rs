//! Real histories for the tests: replicas that write with fresh, stale or no context, delete and merge, each beside
//! a model that knows every write's causal past as an explicit set.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use proptest::prelude::*;
use starling_types::{ActorId, Now, RequestId, WallTime};
use xxhash_rust::xxh3::xxh3_128;

use crate::{Dot, Hlc, HlcClock, Mint, Payload, Record, VersionVector};

const REPLICAS: usize = 4;
/// Few, so that steps meet; more than there are replicas, so that contexts grow stale.
const CLIENTS: usize = 5;
const NOON: u64 = 1_700_000_000_000;

/// A write, by its place in [`History::events`].
type EventId = usize;
type Events = BTreeSet<EventId>;

/// One write and all that its writer had seen.
pub(crate) struct Event {
    pub(crate) dot: Dot,
    deletes: bool,
    /// Every write that its writer had seen; for a delete also the deletes that its replica held.
    past: Events,
}

/// A replica, as the crate keeps it and as the model knows it.
#[derive(Clone, Default)]
pub(crate) struct Replica {
    pub(crate) record: Record,
    /// Every write that the record holds or has superseded.
    pub(crate) known: Events,
}

/// A client's context and the writes it has seen, likewise twice.
#[derive(Clone, Default)]
struct Client {
    context: VersionVector,
    seen: Events,
}

/// One step of a history. Numbers are taken modulo what there is to choose from.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Read { client: usize, replica: usize },
    Write { client: usize, replica: usize, delete: bool, expires: bool, blind: bool },
    Merge { from: usize, into: usize },
}

/// The result of some steps.
pub(crate) struct History {
    pub(crate) events: Vec<Event>,
    pub(crate) replicas: Vec<Replica>,
    /// Every state that any replica was ever in.
    pub(crate) states: Vec<Replica>,
    clients: Vec<Client>,
    clocks: Vec<HlcClock>,
}

impl History {
    pub(crate) fn replay(steps: &[Step]) -> Self {
        let mut history = Self {
            events: Vec::new(),
            replicas: vec![Replica::default(); REPLICAS],
            states: vec![Replica::default()],
            clients: vec![Client::default(); CLIENTS],
            clocks: vec![HlcClock::new(Hlc::ZERO); REPLICAS],
        };
        for step in steps {
            history.take(step);
        }
        history
    }

    /// The dots that a replica which knows `known` must hold: writes that no known write has seen.
    pub(crate) fn expected_siblings(&self, known: &Events) -> Vec<Dot> {
        let mut dots: Vec<Dot> = self.maximal(known).map(|id| self.events[id].dot).collect();
        dots.sort_unstable();
        dots
    }

    /// The context that a replica which knows `known` must have.
    pub(crate) fn expected_context(&self, known: &Events) -> VersionVector {
        known.iter().map(|&id| self.events[id].dot).collect()
    }

    fn maximal(&self, known: &Events) -> impl Iterator<Item = EventId> {
        let superseded: Events = known.iter().flat_map(|&id| self.events[id].past.iter().copied()).collect();
        known.difference(&superseded).copied().collect::<Events>().into_iter()
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Read { client, replica } => self.read(client % CLIENTS, replica % REPLICAS),
            Step::Write { client, replica, delete, expires, blind } => {
                let client = if blind { Client::default() } else { self.clients[client % CLIENTS].clone() };
                self.write(&client, replica % REPLICAS, delete, expires);
            }
            Step::Merge { from, into } => self.merge(from % REPLICAS, into % REPLICAS),
        }
    }

    fn read(&mut self, client: usize, replica: usize) {
        let client = &mut self.clients[client];
        client.context.join(self.replicas[replica].record.context());
        client.seen.extend(&self.replicas[replica].known);
    }

    fn write(&mut self, client: &Client, at: usize, deletes: bool, expires: bool) {
        let event = self.events.len();
        let dot = self.mint(client, at);
        let payload = match deletes {
            true => Payload::Tombstone,
            false => Payload::Value(value(event)),
        };
        let expires_at = expires.then(|| WallTime::from_millis(NOON + event as u64));
        let mut past = client.seen.clone();
        if deletes {
            past.extend(self.maximal(&self.replicas[at].known).filter(|&id| self.events[id].deletes));
        }
        let replica = &mut self.replicas[at];
        let id = Some(request(event));
        replica.record =
            replica.record.write(Mint { expires_at, id, ..Mint::plain(&client.context, dot, payload) });
        replica.known.extend(&client.seen);
        replica.known.insert(event);
        self.states.push(replica.clone());
        self.events.push(Event { dot, deletes, past });
    }

    /// Each replica's wall clock is off by its own 300 ms, and an hour passes in no time at all.
    fn mint(&mut self, client: &Client, at: usize) -> Dot {
        let wall = WallTime::from_millis(NOON + at as u64 * 300 + self.events.len() as u64);
        let above = client.context.max_hlc().max(self.replicas[at].record.context().max_hlc());
        let minted = self.clocks[at].mint(Now { wall, ..Now::default() }, above).unwrap();
        Dot { actor: ActorId::from_bits(0xa0 + at as u64), hlc: minted.hlc }
    }

    fn merge(&mut self, from: usize, into: usize) {
        let from = self.replicas[from].clone();
        let into = &mut self.replicas[into];
        let merge = into.record.merge(&from.record);
        assert!(!merge.conflict, "an honest history looks like amnesia");
        into.record = merge.record;
        into.known.extend(&from.known);
        self.states.push(into.clone());
    }
}

/// In no order, as clients draw them.
fn request(id: EventId) -> RequestId {
    RequestId::from_bits(xxh3_128(&id.to_le_bytes()))
}

/// Equal for some writes, so that equal values stand side by side; empty for some.
fn value(id: EventId) -> Bytes {
    Bytes::from(vec![b'v'; id % 3])
}

fn step() -> impl Strategy<Value = Step> {
    let any = || 0..REPLICAS * CLIENTS;
    let write =
        (any(), any(), prop::bool::weighted(0.35), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    prop_oneof![
        3 => (any(), any()).prop_map(|(client, replica)| Step::Read { client, replica }),
        4 => write.prop_map(|(client, replica, delete, expires, blind)| {
            Step::Write { client, replica, delete, expires, blind }
        }),
        3 => (any(), any()).prop_map(|(from, into)| Step::Merge { from, into }),
    ]
}

/// Histories of some length.
pub(crate) fn steps(length: Range<usize>) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), length)
}
