//! Three nodes by hand: each an acceptor, some with a founding, and a network that is this file.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use starling_ring::Acceptor;
use starling_types::{Generation, LayoutVersion, Lineage};

use super::*;

fn node(n: u64) -> NodeId {
    NodeId::from_bits(n)
}

fn addr(n: u64) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 7_400 + n as u16))
}

fn hello(n: u64) -> NodeHello {
    NodeHello {
        node: node(n),
        generation: Generation(1),
        name: format!("n{n}"),
        quic: addr(n),
        resp: None,
        http: None,
        zone: "z".into(),
        weight: 1,
        layout: LayoutVersion::NONE,
        version: "0.1.0".into(),
        lineage: Lineage::default(),
    }
}

fn order(nodes: &[u64], cluster: u128) -> Order {
    Order {
        nodes: nodes.iter().map(|&n| addr(n)).collect(),
        copies: 3,
        bits: 4,
        cluster: ClusterId::from_bits(cluster),
        reply: ReplyHandle(7),
    }
}

/// One `cluster init` on its way, and what it has not been answered.
struct Init {
    founding: Founding,
    now: Instant,
    known: BTreeMap<SocketAddr, NodeHello>,
    asked: VecDeque<Effect>,
    dialed: Vec<SocketAddr>,
    end: Option<Result<Layout, String>>,
}

impl Init {
    fn new(nodes: &[u64], cluster: u128, known: &[u64]) -> Self {
        let now = Instant::ORIGIN;
        let mut init = Self {
            founding: Founding::new(now, order(nodes, cluster)),
            now,
            known: known.iter().map(|&n| (addr(n), hello(n))).collect(),
            asked: VecDeque::new(),
            dialed: Vec::new(),
            end: None,
        };
        init.event(Event::Tick);
        init
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.founding.handle(self.now, &self.known, event, &mut out);
        for effect in out {
            match effect {
                Effect::Connect(addr) => self.dialed.push(addr),
                Effect::Finished(ReplyHandle(7), result) => {
                    assert!(self.end.replace(result).is_none(), "the operator is told once");
                }
                Effect::Finished(..) => panic!("a stranger is told"),
                asked => self.asked.push_back(asked),
            }
        }
    }

    fn wait(&mut self) {
        let due = self.founding.next_deadline().unwrap();
        assert!(due > self.now, "a deadline in the past would spin");
        self.now = due;
        self.event(Event::Tick);
    }

    /// Delivers the oldest question to its node, and the answer.
    fn deliver(&mut self, nodes: &mut Nodes) {
        match self.asked.pop_front().expect("a question") {
            Effect::Propose(to, layout) => {
                let verdict = nodes.at(to).propose(to, &layout);
                self.event(Event::Verdict(to, verdict));
            }
            Effect::Decide(to, layout) => {
                let verdict = nodes.at(to).decide(&layout);
                self.event(Event::Verdict(to, verdict));
            }
            other => panic!("{other:?}"),
        }
    }

    fn finish(&mut self, nodes: &mut Nodes) -> Result<Layout, String> {
        for _ in 0..50 {
            if !self.asked.is_empty() {
                self.deliver(nodes);
            }
        }
        self.end.take().expect("an end")
    }
}

#[derive(Default)]
struct Nodes(BTreeMap<NodeId, Acceptor>);

impl Nodes {
    fn at(&mut self, node: NodeId) -> &mut Acceptor {
        self.0.entry(node).or_default()
    }

    fn decided(&self) -> Vec<Option<ClusterId>> {
        self.0.values().map(|a| a.decided().map(Layout::cluster)).collect()
    }
}

const ALL: [u64; 3] = [1, 2, 3];

#[test]
fn three_nodes_become_a_cluster() {
    let mut nodes = Nodes::default();
    let mut init = Init::new(&ALL, 5, &ALL);
    let layout = init.finish(&mut nodes).unwrap();
    assert_eq!((layout.cluster(), layout.n(), layout.members().len()), (ClusterId::from_bits(5), 3, 3));
    assert_eq!(nodes.decided(), [Some(ClusterId::from_bits(5)); 3]);
    assert!(init.founding.is_over() && init.founding.next_deadline().is_none());
}

#[test]
fn nodes_that_are_not_connected_are_dialed_until_they_are() {
    let mut nodes = Nodes::default();
    let mut init = Init::new(&ALL, 5, &[1, 3]);
    assert_eq!(init.dialed, [addr(2)]);
    init.wait();
    assert_eq!(init.dialed, [addr(2), addr(2)]);
    init.known.insert(addr(2), hello(2));
    init.event(Event::Tick);
    assert!(init.finish(&mut nodes).is_ok());
}

#[test]
fn a_node_that_never_comes_is_named_when_time_runs_out() {
    let mut init = Init::new(&ALL, 5, &[1, 3]);
    while init.end.is_none() {
        init.wait();
    }
    assert_eq!(init.now, Instant::ORIGIN + TIMEOUT);
    let why = init.end.unwrap().unwrap_err();
    assert!(
        why.contains("127.0.0.1:7402") && !why.contains("7401") && why.contains("same command again"),
        "{why}"
    );
}

#[test]
fn nobody_is_told_of_a_decision_before_all_have_accepted() {
    let mut nodes = Nodes::default();
    let mut init = Init::new(&ALL, 5, &ALL);
    for accepted in 0..3 {
        assert_eq!(nodes.0.len(), accepted);
        assert!(init.asked.iter().all(|e| matches!(e, Effect::Propose(..))));
        init.deliver(&mut nodes);
    }
    assert_eq!(nodes.decided(), [None; 3]);
    assert_eq!(init.asked.len(), 3);
    assert!(init.asked.iter().all(|e| matches!(e, Effect::Decide(..))));
    init.deliver(&mut nodes);
    assert!(init.end.is_none(), "not done before all have confirmed");
}

#[test]
fn lost_questions_and_repeated_answers_do_no_harm() {
    let mut nodes = Nodes::default();
    let mut init = Init::new(&ALL, 5, &ALL);
    init.asked.clear();
    init.wait();
    assert_eq!(init.asked.len(), 1, "asked again");
    while init.end.is_none() {
        let again = match &init.asked[0] {
            Effect::Propose(to, layout) => Effect::Propose(*to, layout.clone()),
            Effect::Decide(to, layout) => Effect::Decide(*to, layout.clone()),
            other => panic!("{other:?}"),
        };
        init.asked.push_back(again);
        init.deliver(&mut nodes);
        assert!(init.asked.len() < 20, "every answer may cause one question");
    }
    assert!(init.end.unwrap().is_ok());
}

#[test]
fn a_repeated_init_tells_the_same_cluster() {
    let mut nodes = Nodes::default();
    let first = Init::new(&ALL, 5, &ALL).finish(&mut nodes).unwrap();
    let again = Init::new(&ALL, 6, &ALL).finish(&mut nodes).unwrap();
    assert_eq!(again, first);
}

#[test]
fn an_init_that_died_at_any_step_is_finished_by_the_next() {
    for steps in 0..6 {
        let mut nodes = Nodes::default();
        let mut dies = Init::new(&ALL, 5, &ALL);
        for _ in 0..steps {
            dies.deliver(&mut nodes);
        }
        let layout = Init::new(&ALL, 6, &ALL).finish(&mut nodes).unwrap();
        let expected = if steps == 0 { 6 } else { 5 };
        assert_eq!(layout.cluster(), ClusterId::from_bits(expected), "after {steps}");
        assert_eq!(nodes.decided(), [Some(layout.cluster()); 3]);
    }
}

#[test]
fn of_two_that_race_both_tell_the_same_cluster() {
    // Every pattern of six turns says whose question is delivered next; the remaining questions follow.
    for pattern in 0..64u32 {
        let mut nodes = Nodes::default();
        let mut inits = [Init::new(&ALL, 5, &ALL), Init::new(&ALL, 6, &ALL)];
        for turn in 0..6 {
            let init = &mut inits[(pattern >> turn & 1) as usize];
            if !init.asked.is_empty() {
                init.deliver(&mut nodes);
            }
        }
        let ends = inits.map(|mut init| init.finish(&mut nodes).unwrap());
        assert_eq!(ends[0], ends[1], "pattern {pattern}");
        assert_eq!(nodes.decided(), [Some(ends[0].cluster()); 3]);
    }
}

#[test]
fn overlapping_inits_never_both_succeed() {
    let mut nodes = Nodes::default();
    assert!(Init::new(&[1, 2], 5, &[1, 2]).finish(&mut nodes).is_ok());
    let why = Init::new(&ALL, 6, &ALL).finish(&mut nodes).unwrap_err();
    assert!(why.contains("member of cluster"), "{why}");
    assert_eq!(nodes.at(node(3)).accepted(), None, "the third stays free for another cluster");
}

#[test]
fn an_order_that_makes_no_layout_is_refused_before_anybody_is_asked() {
    for (bits, zone) in [(99, "z"), (4, "not a zone\n")] {
        let mut order = order(&ALL, 5);
        order.bits = bits;
        let mut known: BTreeMap<_, _> = ALL.iter().map(|&n| (addr(n), hello(n))).collect();
        known.get_mut(&addr(2)).unwrap().zone = zone.into();
        let mut founding = Founding::new(Instant::ORIGIN, order);
        let mut out = Vec::new();
        founding.handle(Instant::ORIGIN, &known, Event::Tick, &mut out);
        assert!(matches!(&out[..], [Effect::Finished(_, Err(_))]), "{bits} {zone:?}: {out:?}");
    }
}
