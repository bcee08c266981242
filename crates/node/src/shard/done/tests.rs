//! Loads end with what they are for.

use starling_types::row::LoadFailure;
use starling_types::{BucketName, Instant, Key, Now, RequestId, WallTime};
use starling_wire::client::QuorumChoice;
use starling_wire::{KvOp, KvReply, KvRequest, Message};

use super::*;
use crate::boot::Boot;
use crate::control::tests::{config, layout, no_hints};
use crate::event::{CommitId, Effect, Event as Input};
use crate::node::Node;

const NOW: Now =
    Now { instant: Instant::from_nanos(1_000_000_000), wall: WallTime::from_millis(1), fraction: 0 };
const CLIENT: ReplyHandle = ReplyHandle(5);
const LONG: Duration = Duration::from_secs(60);

fn handle(node: &mut Node, event: Input) -> Vec<Effect> {
    let mut out = Vec::new();
    node.handle(NOW, event, &mut out);
    out
}

/// One of two owners, both of them up.
fn node() -> Node {
    let boot = Boot { layout: Some(layout(5)), ..Boot::default() };
    let mut node = Node::new(&config(1), &boot, NOW, &mut Vec::new());
    handle(&mut node, no_hints());
    handle(&mut node, Input::Committed(CommitId::Unseal, Ok(())));
    let other = Node::new(&config(2), &Boot::default(), NOW, &mut Vec::new());
    let other = other.control_plane().hello();
    handle(&mut node, Input::PeerUp(other.clone(), other.quic));
    node
}

/// A client reads a key, for which one owner will do.
fn ask(node: &mut Node) -> CellKey {
    let request = KvRequest {
        id: RequestId::from_bits(1),
        attempt: 0,
        issued: NOW.wall,
        began: NOW.wall,
        timeout_ms: 0,
        patience_ms: 0,
        bucket: BucketName::default_bucket(),
        key: Key::new("k").unwrap(),
        op: KvOp::Get,
        quorum: QuorumChoice { r: Some(1), ..QuorumChoice::default() },
        forwarded: false,
    };
    let effects = handle(node, Input::Request(CLIENT, request));
    let load = effects
        .into_iter()
        .find_map(|effect| if let Effect::Load(cell) = effect { Some(cell) } else { None });
    load.expect("a load")
}

fn asks_others(effects: &[Effect]) -> bool {
    let read = |effect: &Effect| matches!(effect, Effect::Send(_, _, envelope) if matches!(envelope.message, Message::Read(_)));
    effects.iter().any(read)
}

#[test]
fn the_load_of_a_read_is_needed_as_long_as_its_client_is_there_and_no_longer() {
    let mut node = node();
    let cell = ask(&mut node);
    assert!(node.needs(&cell, LONG, |handle| handle == CLIENT));
    assert!(!node.needs(&cell, Duration::ZERO, |_| false));
    let effects = handle(&mut node, Input::Loaded(cell.clone(), Err(LoadFailure::Unwanted)));
    assert!(matches!(&effects[..], [Effect::Respond(CLIENT, KvReply::Failed(_))]), "{effects:?}");
    assert_eq!(node.data_plane().under_way(), 0);
    assert!(!node.needs(&cell, Duration::ZERO, |_| true));
}

#[test]
fn a_read_that_this_disk_is_too_busy_for_turns_to_another_owner() {
    let mut node = node();
    let cell = ask(&mut node);
    let effects = handle(&mut node, Input::Loaded(cell, Err(LoadFailure::Busy)));
    assert!(asks_others(&effects), "{effects:?}");
}
