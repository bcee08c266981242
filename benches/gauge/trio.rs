//! Three nodes in one process, each over a store in memory. Frames arrive at once and in order, commits are done at
//! once, and time goes on by a tenth of a millisecond for each request: what is counted is the same in every run.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use starling_node::{Boot, Config, Effect, Event, Node, Pace, ReplyHandle};
use starling_storage::{Durability, Engine, MemoryEngine};
use starling_types::row::Page;
use starling_types::{
    BucketName, Generation, Instant, Key, Lineage, NodeId, Now, RequestId, WallTime, limits,
};
use starling_vnode::CellKey;
use starling_wire::client::{AdminRequest, KvOp};
use starling_wire::{KvReply, KvRequest};

pub struct Trio {
    members: [Member; 3],
    events: VecDeque<(usize, Event)>,
    replies: VecDeque<KvReply>,
    instant: Instant,
    requests: u64,
}

struct Member {
    node: Node,
    store: MemoryEngine,
}

impl Trio {
    /// Three nodes with a first layout of three copies, some seconds later.
    pub fn new() -> Result<Self> {
        let instant = Instant::ORIGIN;
        let mut effects = Vec::new();
        let mut start = |index: usize| {
            let mut out = Vec::new();
            let node = Node::new(&config(index), &Boot::default(), now(instant), &mut out);
            effects.push((index, out));
            Member { node, store: MemoryEngine::new() }
        };
        let members = [start(0), start(1), start(2)];
        let mut trio =
            Self { members, events: VecDeque::new(), replies: VecDeque::new(), instant, requests: 0 };
        for (index, out) in effects {
            trio.carry_out(index, out)?;
        }
        trio.meet();
        let init = AdminRequest::Init { nodes: (0..3).map(address).collect(), copies: 3, bits: 6 };
        trio.events.push_back((0, Event::Admin(ReplyHandle(0), init)));
        for _ in 0..5_000 {
            trio.pass(Duration::from_millis(1), false)?;
        }
        Ok(trio)
    }

    /// Asks one of the nodes, in turn, and returns the answer; what is left to do after it is done as well.
    pub fn ask(&mut self, key: u32, op: KvOp, counted: bool) -> Result<KvReply> {
        self.requests += 1;
        let index = usize::try_from(self.requests % 3)?;
        let (id, issued) = (RequestId::from_bits(u128::from(self.requests)), now(self.instant).wall);
        let request =
            KvRequest::new(id, issued, BucketName::new("default")?, Key::new(format!("key-{key}"))?, op);
        self.events.push_back((index, Event::Request(ReplyHandle(self.requests), request)));
        self.pass(Duration::from_micros(100), counted)?;
        self.replies.pop_front().context("no reply")
    }

    /// Time goes on, and everything that is due is done.
    fn pass(&mut self, span: Duration, counted: bool) -> Result<()> {
        self.instant = self.instant + span;
        for (index, member) in self.members.iter().enumerate() {
            if member.node.next_deadline().is_some_and(|at| at <= self.instant) {
                self.events.push_back((index, Event::Tick));
            }
        }
        let now = now(self.instant);
        while let Some((index, event)) = self.events.pop_front() {
            let mut effects = Vec::new();
            match counted {
                true => counted_handle(&mut self.members[index].node, now, event, &mut effects),
                false => self.members[index].node.handle(now, event, &mut effects),
            }
            self.carry_out(index, effects)?;
        }
        Ok(())
    }

    /// Every node is connected to every other.
    fn meet(&mut self) {
        for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            let hello = self.members[from].node.control_plane().hello().clone();
            self.events.push_back((to, Event::PeerUp(hello, address(from))));
        }
    }

    fn carry_out(&mut self, index: usize, effects: Vec<Effect>) -> Result<()> {
        for effect in effects {
            self.effect(index, effect)?;
        }
        Ok(())
    }

    fn effect(&mut self, index: usize, effect: Effect) -> Result<()> {
        let store = &self.members[index].store;
        let event = match effect {
            Effect::Send(to, _, envelope) => {
                let peer = (0..3).find(|&peer| id(peer) == to).context("a frame to nobody")?;
                self.events.push_back((peer, Event::PeerMessage(id(index), envelope)));
                return Ok(());
            }
            Effect::Respond(_, reply) => {
                self.replies.push_back(reply);
                return Ok(());
            }
            Effect::Load(cell) => loaded(store, cell)?,
            Effect::Commit { id, rows, .. } => {
                store.commit(&[rows.into_iter().collect()], Durability::Buffered)?;
                Event::Committed(id, Ok(()))
            }
            // There are no hints after a start, and nothing to sweep.
            Effect::Scan { id, .. } => Event::Scanned(id, Ok(Page::default())),
            Effect::RaiseGeneration(generation) => Event::GenerationRaised(generation),
            Effect::Drained => bail!("a node has stopped"),
            Effect::RespondAdmin(..)
            | Effect::RespondLocal(..)
            | Effect::Connect(..)
            | Effect::Disconnect(_)
            | Effect::DamageNoted(_)
            | Effect::Log(_) => return Ok(()),
        };
        self.events.push_back((index, event));
        Ok(())
    }
}

/// A function of its own, so that a profiler can tell it from what surrounds it.
#[inline(never)]
fn counted_handle(node: &mut Node, now: Now, event: Event, out: &mut Vec<Effect>) {
    node.handle(now, event, out);
    std::hint::black_box(node.next_deadline());
}

fn loaded(store: &MemoryEngine, cell: CellKey) -> Result<Event> {
    let (space, key) = cell.row();
    let row = store.get(space, &key)?;
    Ok(Event::Loaded(cell, Ok(row)))
}

fn config(index: usize) -> Config {
    Config {
        node: id(index),
        generation: Generation(1),
        lineage: Lineage::default(),
        name: format!("n{index}"),
        quic: address(index),
        resp: None,
        http: None,
        zone: format!("z{index}"),
        weight: 1,
        max_value: limits::DEFAULT_MAX_VALUE,
        max_in_flight: 1_000,
        max_in_flight_bytes: limits::DEFAULT_MAX_IN_FLIGHT_BYTES,
        cache_bytes: 64 << 20,
        gossip: starling_gossip::Preset::Lan,
        sweep: Pace::OFF,
        seeds: Vec::new(),
        seed: index as u64 + 1,
    }
}

const fn id(index: usize) -> NodeId {
    NodeId::from_bits(index as u64 + 1)
}

fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7_000 + index as u16))
}

fn now(instant: Instant) -> Now {
    let wall = WallTime::from_millis(1_750_000_000_000 + instant.nanos() / 1_000_000);
    Now { instant, wall, fraction: Now::fraction_of(instant.nanos()) }
}
