//! A node whose disk is from an earlier generation: how others treat it, and how it takes their claims.

use starling_types::row::RowWrite;
use starling_types::{BucketName, ClusterId, Key, PartitionBits, WallTime};
use starling_wire::gossip::{Body, Claim, Message as Gossip, Status};
use starling_wire::replica::{Merged, Read, ReadAnswer, Refusal};

use super::*;
use crate::losses::{Losses, META_SUSPECT};

pub(super) const OTHER: NodeId = NodeId::from_bits(2);

/// Node 1 of two, serving.
fn serving() -> Node {
    let boot = Boot { layout: Some(layout(5)), ..Boot::default() };
    let mut node = Node::new(&config(1), &boot, Now::default(), &mut Vec::new());
    give(&mut node, no_hints());
    node
}

pub(super) fn give(node: &mut Node, event: Event) -> Vec<Effect> {
    let mut out = Vec::new();
    node.handle(Now::default(), event, &mut out);
    out
}

pub(super) fn say(node: &mut Node, message: Message) -> Vec<Effect> {
    let (cluster, epoch) = (node.view().cluster(), node.view().epoch());
    let envelope = Envelope { cluster, epoch, exchange: ExchangeId::from_bits(9), deadline_ms: 0, message };
    give(node, Event::PeerMessage(OTHER, envelope))
}

/// Node 2 connects, and says how often it has started.
pub(super) fn meet(node: &mut Node, generation: u64) -> Vec<Effect> {
    let hello = NodeHello { generation: Generation(generation), ..hello(&config(2), None) };
    let addr = hello.quic;
    give(node, Event::PeerUp(hello, addr))
}

/// Node 2 connects with these starts in its memory, the last of which is this one.
fn meet_again(node: &mut Node, starts: &[Generation]) -> Vec<Effect> {
    let mut hello = NodeHello { generation: *starts.last().unwrap(), ..hello(&config(2), None) };
    starts.iter().for_each(|&start| hello.lineage.begin(start));
    let addr = hello.quic;
    give(node, Event::PeerUp(hello, addr))
}

/// Node 2 announces its own generation, and claims something of other nodes.
pub(super) fn gossip(generation: u64, claims: Vec<Claim>) -> Message {
    Message::Gossip(spoken(generation, claims))
}

fn spoken(generation: u64, claims: Vec<Claim>) -> Gossip {
    Gossip {
        generation: Generation(generation),
        incarnation: 1,
        members: 0,
        shared: 0,
        body: Body::Compare { claims },
        rumours: Vec::new(),
    }
}

pub(super) fn claim(node: u64, generation: u64) -> Claim {
    let node = NodeId::from_bits(node);
    Claim { node, generation: Generation(generation), incarnation: 1, status: Status::Alive, by: OTHER }
}

fn read() -> Message {
    let (bucket, key) = (BucketName::default_bucket(), Key::new("k").unwrap());
    Message::Read(Read { bucket, key, digest: None })
}

fn answer(effects: &[Effect]) -> Option<&Message> {
    effects.iter().find_map(|effect| match effect {
        Effect::Send(_, Class::Foreground, envelope) => Some(&envelope.message),
        _ => None,
    })
}

#[test]
fn a_node_from_before_its_last_life_is_asked_and_given_nothing_until_it_counts_beyond() {
    let mut node = serving();
    meet(&mut node, 5);
    assert_eq!(node.view().reach(OTHER), Reach::Up);
    give(&mut node, Event::PeerDown(OTHER));

    meet(&mut node, 3);
    assert_eq!(node.view().reach(OTHER), Reach::Down);
    let refused = say(&mut node, read());
    let not_ready = Message::ReadAnswer(ReadAnswer::Refused(Refusal::NotReady));
    assert_eq!(answer(&refused), Some(&not_ready));
    assert!(answer(&say(&mut node, Message::Merged(Merged::Done { durable: true }))).is_none());

    say(&mut node, gossip(4, Vec::new()));
    assert_eq!(node.view().reach(OTHER), Reach::Down, "still too few");
    say(&mut node, gossip(6, Vec::new()));
    assert_eq!(node.view().reach(OTHER), Reach::Up);
    assert!(say(&mut node, read()).iter().any(|e| matches!(e, Effect::Load(_))));
}

#[test]
fn a_node_that_counts_again_what_it_has_forgotten_is_given_nothing_until_it_counts_beyond() {
    let start = Generation::of;
    let known = [start(19, 1), start(20, 2), start(21, 3)];
    // Put back from start 19, it counts as far as it is known, or further: by fewer numbers drawn, or by higher ones.
    for forgetful in [
        vec![start(20, 8), start(21, 2)],
        vec![start(20, 8), start(21, 9)],
        vec![start(20, 8), start(21, 9), start(22, 4)],
    ] {
        let mut node = serving();
        meet_again(&mut node, &known);
        assert_eq!(node.view().reach(OTHER), Reach::Up);
        give(&mut node, Event::PeerDown(OTHER));

        let counts = forgetful.last().unwrap().count();
        meet_again(&mut node, &[&known[..1], &forgetful].concat());
        assert_eq!(node.view().reach(OTHER), Reach::Down, "{forgetful:?}");
        let claimed = node.control_plane().members().member(OTHER).unwrap().info.generation;
        assert!(claimed > *forgetful.last().unwrap(), "it is told so");
        // It starts once more before it hears of that.
        give(&mut node, Event::PeerDown(OTHER));
        meet_again(&mut node, &[&known[..1], &forgetful, &[start(counts + 1, 6)]].concat());
        assert_eq!(node.view().reach(OTHER), Reach::Down, "{forgetful:?}");

        let beyond = start(counts + 2, 6);
        say(&mut node, Message::Gossip(Gossip { generation: beyond, ..spoken(1, Vec::new()) }));
        assert_eq!(node.view().reach(OTHER), Reach::Up, "{forgetful:?}");
        give(&mut node, Event::PeerDown(OTHER));
        meet_again(&mut node, &[beyond, start(counts + 3, 7)]);
        assert_eq!(node.view().reach(OTHER), Reach::Up, "it has given up what was before");
    }
}

#[test]
fn a_node_that_remembers_what_is_known_of_it_may_have_started_often_since() {
    let mut node = serving();
    let mut starts = vec![Generation(1), Generation::of(2, 5)];
    meet_again(&mut node, &starts);
    give(&mut node, Event::PeerDown(OTHER));
    starts.extend((3..20).map(|count| Generation::of(count, 7)));
    meet_again(&mut node, &starts);
    assert_eq!(node.view().reach(OTHER), Reach::Up);
}

#[test]
fn an_overlong_or_disordered_lineage_counts_as_none() {
    let mut node = serving();
    meet_again(&mut node, &[Generation::of(2, 5)]);
    give(&mut node, Event::PeerDown(OTHER));
    meet_again(&mut node, &[Generation::of(2, 5), Generation::of(1, 1), Generation::of(2, 6)]);
    assert_eq!(node.view().reach(OTHER), Reach::Down);
}

pub(super) fn commit_of_losses(effects: &[Effect]) -> Option<(CommitId, &RowWrite)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Commit { id: id @ CommitId::Losses(_), rows, durable: true } => Some((*id, &rows[0])),
        _ => None,
    })
}

fn raised(effects: &[Effect]) -> Option<Generation> {
    effects.iter().find_map(|effect| match effect {
        Effect::RaiseGeneration(generation) => Some(*generation),
        _ => None,
    })
}

#[test]
fn a_node_that_is_known_in_a_later_life_writes_that_down_before_it_counts_beyond() {
    let mut node = serving();
    meet(&mut node, 5);
    let effects = say(&mut node, gossip(5, vec![claim(1, 7)]));
    assert_eq!(node.data_plane().suspect_partitions(), 4);
    assert_eq!(raised(&effects), None, "a crash now must find it as it was");
    let (commit, row) = commit_of_losses(&effects).unwrap();
    assert_eq!(&row.key[..], META_SUSPECT);
    let boot = Boot::read(&[(row.key.clone(), row.value.clone().unwrap())], &Losses::NONE).unwrap();
    assert_eq!(boot.losses, Losses::everything());

    let effects = give(&mut node, Event::Committed(commit, Ok(())));
    assert_eq!(raised(&effects), Some(Generation::of(8, 0)));
    give(&mut node, Event::GenerationRaised(Generation::of(8, 0)));
    let hello = node.control_plane().hello();
    assert_eq!(hello.generation, Generation::of(8, 0));
    assert!(!hello.misses(Generation::of(7, 5)), "what it has forgotten is given up");
    assert_eq!(node.data_plane().suspect_partitions(), 4, "that brings nothing back");
}

#[test]
fn what_the_disk_has_no_room_for_is_written_down_later_and_nothing_is_raised_before() {
    let mut node = serving();
    meet(&mut node, 5);
    let effects = say(&mut node, gossip(5, vec![claim(1, 7)]));
    let (commit, _) = commit_of_losses(&effects).unwrap();
    let full = CommitFailure::NoSpace("0 bytes left".into());
    let effects = give(&mut node, Event::Committed(commit, Err(full)));
    assert_eq!(raised(&effects), None);
    let later =
        Now { instant: Instant::from_nanos(2_000_000_000), wall: WallTime::from_millis(2_000), fraction: 0 };
    let mut effects = Vec::new();
    node.handle(later, Event::Tick, &mut effects);
    let (commit, _) = commit_of_losses(&effects).unwrap();
    let effects = give(&mut node, Event::Committed(commit, Ok(())));
    assert_eq!(raised(&effects), Some(Generation::of(8, 0)));
}

#[test]
fn a_single_copy_that_may_have_lost_something_waits_for_a_person() {
    let role = layout(5).members().next().unwrap().clone();
    let bits = PartitionBits::try_from(2).unwrap();
    let alone = Layout::first(ClusterId::from_bits(5), 1, bits, vec![role]).unwrap();
    let boot = Boot { layout: Some(alone), losses: Losses::everything(), lost_more: true, ..Boot::default() };
    let mut out = Vec::new();
    let mut node = Node::new(&config(1), &boot, Now::default(), &mut out);
    assert_eq!(node.data_plane().suspect_partitions(), 4);
    assert_eq!(work_off(&mut node, &mut out), [4, 0]);
    assert_eq!(node.data_plane().suspect_partitions(), 4, "there is nobody to ask");
    let word = AdminRequest::AcceptLosses { partition: None, without_silent: false };
    node.handle(Now::default(), Event::Admin(ReplyHandle(1), word), &mut out);
    assert_eq!(work_off(&mut node, &mut out), [0, 4]);
    assert_eq!(node.data_plane().suspect_partitions(), 0);
    assert_eq!(
        node.explain(BucketName::default_bucket(), Key::new("k").unwrap()).unwrap().suspect_here,
        None
    );
}

/// How often it says that a person must accept, and that one has.
fn work_off(node: &mut Node, out: &mut Vec<Effect>) -> [usize; 2] {
    let mut alarms = [0; 2];
    while let Some(effect) = out.pop() {
        let event = match effect {
            Effect::Scan { id, .. } => Event::Scanned(id, Ok(Page::default())),
            Effect::Commit { id, .. } => Event::Committed(id, Ok(())),
            Effect::Log(Log::Alarm(words)) => {
                alarms[0] += usize::from(words.contains("starling repair accept"));
                alarms[1] += usize::from(words.contains("as a person has accepted"));
                continue;
            }
            _ => continue,
        };
        node.handle(Now::default(), event, out);
    }
    alarms
}
