//! Verdicts on a first layout: never before what they promise is on disk.

mod buckets;
mod lives;
mod memory;

use starling_ring::{Refusal, Role};
use starling_types::row::Page;
use starling_types::{ClusterId, Lineage, PartitionBits, limits};

use starling_vnode::OpId;

use super::*;
use crate::boot::{Boot, Config};
use crate::event::{CommitId, Event, ScanId};
use crate::node::Node;

fn node() -> Node {
    Node::new(&config(1), &Boot::default(), Now::default(), &mut Vec::new())
}

pub(crate) fn config(n: u64) -> Config {
    Config {
        node: NodeId::from_bits(n),
        generation: Generation(1),
        lineage: Lineage::default(),
        name: format!("n{n}"),
        quic: format!("127.0.0.1:{}", 7_400 + n).parse().unwrap(),
        resp: None,
        http: None,
        zone: "z".into(),
        weight: 1,
        max_value: 1 << 10,
        max_in_flight: 16,
        max_in_flight_bytes: 1 << 20,
        cache_bytes: 1 << 16,
        gossip: gossip::Preset::default(),
        sweep: crate::Pace::default(),
        seeds: Vec::new(),
        seed: n,
    }
}

/// The answer to the first scan: there are no hints to count.
pub(crate) fn no_hints() -> Event {
    Event::Scanned(ScanId::AllHints(OpId(1)), Ok(Page::default()))
}

pub(crate) fn layout(cluster: u128) -> Layout {
    let role = |n: u64| Role {
        node: NodeId::from_bits(n),
        name: format!("n{n}"),
        addr: format!("127.0.0.1:{}", 7_400 + n).parse().unwrap(),
        zone: starling_ring::Zone::new("z").unwrap(),
        weight: starling_ring::Weight::ONE,
    };
    let bits = PartitionBits::try_from(2).unwrap();
    Layout::first(ClusterId::from_bits(cluster), 2, bits, vec![role(1), role(2)]).unwrap()
}

/// Node 2 says something; the verdicts that leave and the commits that are asked for.
fn hear(node: &mut Node, message: Message) -> (Vec<Verdict>, Vec<CommitId>) {
    let envelope = Envelope {
        cluster: ClusterId::NONE,
        epoch: LayoutVersion::NONE,
        exchange: ExchangeId::from_bits(9),
        deadline_ms: 0,
        message,
    };
    handle(node, Event::PeerMessage(NodeId::from_bits(2), envelope))
}

fn handle(node: &mut Node, event: Event) -> (Vec<Verdict>, Vec<CommitId>) {
    let mut out = Vec::new();
    node.handle(Now::default(), event, &mut out);
    let (mut verdicts, mut commits) = (Vec::new(), Vec::new());
    for effect in out {
        match effect {
            Effect::Send(_, _, envelope) => {
                if let Message::Verdict(verdict) = envelope.message {
                    verdicts.push(verdict);
                }
            }
            Effect::Commit { id: id @ CommitId::Control(_), durable, .. } => {
                assert!(durable);
                commits.push(id);
            }
            _ => {}
        }
    }
    (verdicts, commits)
}

fn propose(node: &mut Node, cluster: u128) -> (Vec<Verdict>, Vec<CommitId>) {
    let layout = layout(cluster);
    hear(node, Message::Propose(Propose { layout }))
}

fn decide(node: &mut Node, cluster: u128) -> (Vec<Verdict>, Vec<CommitId>) {
    let layout = layout(cluster);
    hear(node, Message::Decide(Decide { layout }))
}

fn stored(node: &mut Node, commit: CommitId) -> Vec<Verdict> {
    handle(node, Event::Committed(commit, Ok(()))).0
}

fn failed(node: &mut Node, commit: CommitId) -> Vec<Verdict> {
    handle(node, Event::Committed(commit, Err(CommitFailure::Failed("full".into())))).0
}

#[test]
fn no_verdict_leaves_before_the_acceptance_is_durable_however_often_it_is_asked_for() {
    let mut node = node();
    let accepted = Verdict::Accepted(layout(5).hash());
    let (early, first) = propose(&mut node, 5);
    let (repeated, again) = propose(&mut node, 5);
    let (rival, refusal) = propose(&mut node, 6);
    assert!(early.is_empty() && repeated.is_empty() && rival.is_empty());
    assert_eq!(stored(&mut node, first[0]), vec![accepted.clone()]);
    assert_eq!(stored(&mut node, again[0]), vec![accepted.clone()]);
    assert!(matches!(stored(&mut node, refusal[0])[..], [Verdict::Refused(_)]));
    let (at_once, commits) = propose(&mut node, 5);
    assert_eq!((at_once, commits.len()), (vec![accepted], 0));
}

/// Seven owners may each write a record as large as they come, and the node that merges them must be able to send it
/// on.
#[test]
fn a_node_that_takes_larger_values_than_can_be_merged_refuses_the_layout() {
    let with = |max_value| {
        let config = Config { max_value, ..config(1) };
        Node::new(&config, &Boot::default(), Now::default(), &mut Vec::new())
    };
    let role = |n| layout(5).members().find(|role| role.node == NodeId::from_bits(n)).unwrap().clone();
    let bits = PartitionBits::try_from(2).unwrap();
    let seven = Layout::first(ClusterId::from_bits(5), 7, bits, vec![role(1), role(2)]).unwrap();
    let propose = |max_value| hear(&mut with(max_value), Message::Propose(Propose { layout: seven.clone() }));
    let limit = limits::max_value_for(7);
    let (verdicts, commits) = propose(limit + 1);
    let refusal = Refusal::ValueLimit { max_value: limit as u64 + 1, copies: 7, limit: limit as u64 };
    assert_eq!((verdicts, commits.len()), (vec![Verdict::Refused(refusal)], 0));
    assert_eq!(propose(limit).1.len(), 1, "what fits is accepted");
}

#[test]
fn after_a_failed_commit_nothing_is_promised_on_the_word_of_memory() {
    let mut node = node();
    let (_, first) = propose(&mut node, 5);
    assert!(failed(&mut node, first[0]).is_empty());
    let (verdicts, again) = propose(&mut node, 5);
    assert!(verdicts.is_empty());
    assert_eq!(stored(&mut node, again[0]), [Verdict::Accepted(layout(5).hash())]);
}

#[test]
fn a_decision_is_confirmed_when_it_is_in_force_and_durable() {
    let mut node = node();
    let (_, commits) = propose(&mut node, 5);
    stored(&mut node, commits[0]);
    let (early, first) = decide(&mut node, 5);
    assert!(early.is_empty() && node.view().layout().is_none());
    failed(&mut node, first[0]);
    let (early, second) = decide(&mut node, 5);
    assert!(early.is_empty());
    let decided = Verdict::Decided(layout(5).hash());
    assert_eq!(stored(&mut node, second[0]), vec![decided.clone()]);
    assert_eq!(node.view().cluster(), ClusterId::from_bits(5));
    assert_eq!(decide(&mut node, 5).0, [decided]);
}

#[test]
fn a_decision_without_this_node_s_consent_is_refused() {
    let mut node = node();
    let (verdicts, commits) = decide(&mut node, 5);
    assert!(matches!(verdicts[..], [Verdict::Refused(_)]));
    assert!(commits.is_empty() && node.view().layout().is_none());
}

/// The gossip that leaves, and the state that is asked for.
fn talk(node: &mut Node, event: Event) -> (usize, usize) {
    let mut out = Vec::new();
    node.handle(Now::default(), event, &mut out);
    let said = |is: fn(&Message) -> bool| {
        let is_said =
            |effect: &&Effect| matches!(effect, Effect::Send(_, _, envelope) if is(&envelope.message));
        out.iter().filter(is_said).count()
    };
    (said(|m| matches!(m, Message::Gossip(_))), said(|m| matches!(m, Message::Shared(s) if s.reply)))
}

fn greeted(n: u64, layout: LayoutVersion) -> Event {
    let addr = config(n).quic;
    Event::PeerUp(NodeHello { layout, ..hello(&config(n), None) }, addr)
}

#[test]
fn a_node_without_a_cluster_gossips_with_nobody_and_a_member_with_members_alone() {
    let ping = |from: u64| {
        let message = starling_wire::gossip::Message {
            generation: Generation(1),
            incarnation: 0,
            members: 7,
            shared: 7,
            body: starling_wire::gossip::Body::Ping { seq: 1, reliable: true },
            rumours: Vec::new(),
        };
        let cluster = ClusterId::from_bits(1);
        let (epoch, exchange) = (LayoutVersion::FIRST, ExchangeId::from_bits(9));
        let message = Message::Gossip(message);
        let envelope = Envelope { cluster, epoch, exchange, deadline_ms: 0, message };
        Event::PeerMessage(NodeId::from_bits(from), envelope)
    };
    let mut fresh = node();
    fresh.handle(Now::default(), no_hints(), &mut Vec::new());
    assert_eq!(talk(&mut fresh, greeted(2, LayoutVersion::FIRST)), (0, 0));
    assert_eq!(talk(&mut fresh, ping(2)), (0, 1), "it asks for the layout that it may have missed");
    assert_eq!(fresh.control_plane().members().members().count(), 1, "it lists itself alone");

    let boot = Boot { layout: Some(layout(1)), ..Boot::default() };
    let mut member = Node::new(&config(1), &boot, Now::default(), &mut Vec::new());
    member.handle(Now::default(), no_hints(), &mut Vec::new());
    for (other, answers) in [(2, true), (3, false)] {
        member.handle(Now::default(), greeted(other, LayoutVersion::NONE), &mut Vec::new());
        assert_eq!(talk(&mut member, ping(other)).0 > 0, answers, "node {other}");
    }
    assert_eq!(member.control_plane().members().members().count(), 2, "a stranger is not listed");
}
