//! A few nodes on a calm network: a frame takes 1 ms, an fsync 2 ms.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use expect_test::ExpectFile;
use starling_node::Pace;
use starling_sim::world::Weather;
use starling_sim::{Notice, Sabotage, Seed, World, WorldOptions};
use starling_types::{BucketName, Key, NodeId, QualifiedKey, RequestId};
use starling_wire::client::{AdminReply, AdminRequest, Seen};
use starling_wire::{KvOp, KvReply, KvRequest, QuorumChoice};

use crate::names::KEY;
use crate::script::Script;

const MS: Duration = Duration::from_millis(1);

pub struct Stage {
    pub world: World,
    requests: u128,
    script: Rc<RefCell<Script>>,
}

impl Stage {
    /// Empty nodes that know nobody.
    pub fn empty(nodes: usize, sweep: Pace) -> Self {
        let options = WorldOptions {
            nodes,
            weather: Weather { delay: (MS, MS), spikes: 0.0, ..Weather::CALM },
            fsync: (2 * MS, 2 * MS),
            laggard: None,
            clock_skew_ms: 0,
            inline_loads: 1.0,
            slow_loads: 0.0,
            sabotage: Sabotage::None,
        };
        let mut world = World::sweeping(Seed(1), options, sweep);
        let script = Rc::new(RefCell::new(Script::default()));
        script.borrow_mut().names.nodes = (0..nodes).map(|node| world.id(node)).collect();
        let heard = script.clone();
        world.listen(Box::new(move |at, node, passed| heard.borrow_mut().hear(at, node, passed)));
        world.run_for(Duration::from_secs(1));
        Self { world, requests: 0, script }
    }

    /// Nodes of one cluster, three of which own every key.
    pub fn cluster(nodes: usize, sweep: Pace) -> Self {
        let mut stage = Self::empty(nodes, sweep);
        stage.init();
        stage.run(5_000);
        stage
    }

    pub fn init(&mut self) {
        let nodes = self.world.addresses();
        self.world.admin(0, AdminRequest::Init { nodes, copies: 3, bits: 3 });
        let notices = self.world.run_for(500 * MS);
        let done = |n: &Notice| matches!(n, Notice::Admin(_, AdminReply::Initialised(_)));
        assert!(notices.iter().any(done), "{notices:?}");
        let cluster = self.world.node(0).unwrap().view().cluster();
        self.script.borrow_mut().names.cluster = Some(cluster);
    }

    /// Says what comes, and writes down what happens from here on.
    pub fn tell(&mut self, words: &str) {
        let mut script = self.script.borrow_mut();
        script.say(words);
        script.on = true;
    }

    pub fn run(&mut self, ms: u64) {
        self.world.run_for(Duration::from_millis(ms));
    }

    /// Owners of the key, in the order of preference, and then the others.
    pub fn by_preference(&self) -> Vec<usize> {
        let view = self.world.node(0).unwrap().view();
        let layout = view.layout().unwrap();
        let key = QualifiedKey::new(
            layout.cluster().hash_seed(),
            BucketName::default_bucket(),
            Key::new(KEY).unwrap(),
        );
        let owners = layout.owners(layout.partition_of(key.token()));
        let number = |id: NodeId| (0..self.world.len()).find(|&node| self.world.id(node) == id).unwrap();
        let mut nodes: Vec<usize> = owners.map(number).collect();
        nodes.extend((0..self.world.len()).filter(|node| !nodes.contains(node)).collect::<Vec<_>>());
        nodes
    }

    /// A request is answered; 100 ms later all that follows is done.
    pub fn ask(&mut self, node: usize, request: KvRequest) -> KvReply {
        let handle = self.world.request(node, request);
        let notices = self.world.run_for(100 * MS);
        let answer = notices.into_iter().find_map(|notice| match notice {
            Notice::Reply(h, reply) if h == handle => Some(reply),
            _ => None,
        });
        answer.expect("answered within 100 ms")
    }

    /// A put that wants two acks.
    pub fn put(&mut self, node: usize, value: &str, seen: Seen) {
        let request = self.write(value, seen);
        self.ask(node, request);
    }

    /// A get that wants `r` answers.
    pub fn get(&mut self, node: usize, r: u8) -> KvReply {
        let request = self.request(KvOp::Get, r);
        self.ask(node, request)
    }

    /// The request of a put.
    pub fn write(&mut self, value: &str, seen: Seen) -> KvRequest {
        let value = Bytes::copy_from_slice(value.as_bytes());
        self.request(KvOp::Put { value, seen, ttl_ms: None }, 2)
    }

    fn request(&mut self, op: KvOp, quorum: u8) -> KvRequest {
        let wall = self.world.true_wall(0);
        self.requests += 1;
        KvRequest {
            id: RequestId::from_bits(self.requests),
            attempt: 0,
            issued: wall,
            began: wall,
            timeout_ms: 0,
            patience_ms: 0,
            bucket: BucketName::default_bucket(),
            key: Key::new(KEY).unwrap(),
            op,
            quorum: QuorumChoice { r: Some(quorum), w: Some(quorum), strict: None },
            forwarded: false,
        }
    }

    /// The story is as it was written down.
    pub fn end(self, expected: ExpectFile) {
        expected.assert_eq(&self.script.borrow().text);
    }
}
