use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use bytes::{Buf as _, Bytes};
use proptest::prelude::*;
use starling_causality::{Dot, Hlc};
use starling_types::{ActorId, BucketName, Key};
use starling_wire::client::{ReadReply, SiblingView};
use starling_wire::{KvOp, QuorumChoice};

use super::*;

fn value(text: String) -> KvReply {
    let dot = Dot { actor: ActorId::from_bits(1), hlc: Hlc::from_bits(1) };
    let sibling = SiblingView { value: Bytes::from(text), dot, expires_at: None };
    KvReply::Read(ReadReply { siblings: vec![sibling], context: None, deleted: None })
}

fn ask(key: String) -> Ask {
    let (bucket, key) = (BucketName::default_bucket(), Key::new(key).unwrap());
    Ask { bucket, key, op: KvOp::Get, quorum: QuorumChoice::default(), life: None }
}

/// A request of a key of its own, which has begun.
fn asked(pipeline: &Rc<Pipeline>, shape: Shape) -> ReplyTo {
    pipeline.ask(Protocol::V2, shape, ask(format!("key-{}", pipeline.len())));
    pipeline.begin().unwrap().next().unwrap().1
}

fn drained(pipeline: &Pipeline) -> String {
    let mut out = Output::default();
    pipeline.drain(&mut out);
    String::from_utf8(out.copy_to_bytes(out.remaining()).to_vec()).unwrap()
}

proptest! {
    #[test]
    fn replies_leave_in_order_whatever_the_order_of_answers(
        order in Just((0..20_usize).collect::<Vec<_>>()).prop_shuffle(),
        drain_at in prop::collection::vec(any::<bool>(), 20),
    ) {
        let pipeline = Rc::<Pipeline>::default();
        let mut asked: Vec<_> = (0..20).map(|_| Some(asked(&pipeline, Shape::Value))).collect();
        let mut got = String::new();
        for (number, drain) in order.into_iter().zip(drain_at) {
            asked[number].take().unwrap().send(value(format!("{number}")));
            if drain {
                got += &drained(&pipeline);
            }
        }
        got += &drained(&pipeline);
        let expected: String = (0..20).map(|n| format!("${}\r\n{n}\r\n", n.to_string().len())).collect();
        prop_assert_eq!(got, expected);
        prop_assert_eq!((pipeline.len(), pipeline.held()), (0, 0));
    }
}

#[test]
fn several_keys_make_one_reply_and_hold_up_those_behind() {
    let pipeline = Rc::<Pipeline>::default();
    pipeline.gather(Protocol::V2, Harvest::Values, ["a", "b", "c"].map(|key| ask(key.into())).into());
    let parts: Vec<_> = pipeline.begin().unwrap().map(|(_, reply)| reply).collect();
    pipeline.answer(Protocol::V2, Reply::OK);
    assert_eq!(drained(&pipeline), "");
    assert!(pipeline.held() > 0);
    for (number, part) in parts.into_iter().enumerate().rev() {
        assert_eq!(drained(&pipeline), "");
        part.send(value(format!("v{number}")));
    }
    assert_eq!(drained(&pipeline), "*3\r\n$2\r\nv0\r\n$2\r\nv1\r\n$2\r\nv2\r\n+OK\r\n");
}

#[test]
fn a_request_that_is_lost_is_answered_unknown() {
    let pipeline = Rc::<Pipeline>::default();
    drop(asked(&pipeline, Shape::Stored));
    let reply = drained(&pipeline);
    assert!(reply.starts_with("-LOADING ") && reply.contains("outcome=unknown"), "{reply}");
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn only_the_reply_that_can_leave_wakes_the_connection() {
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    let pipeline = Rc::<Pipeline>::default();
    let first = asked(&pipeline, Shape::Stored);
    let second = asked(&pipeline, Shape::Stored);
    assert!(pipeline.poll_front(&mut cx).is_pending());
    drop(second);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    drop(first);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(pipeline.poll_front(&mut cx).is_ready());
}

#[test]
fn a_reply_that_lets_another_request_begin_wakes_the_connection() {
    let wakes = Arc::<Wakes>::default();
    let waker = Waker::from(Arc::clone(&wakes));
    let mut cx = Context::from_waker(&waker);
    let pipeline = Rc::<Pipeline>::default();
    let _first = asked(&pipeline, Shape::Stored);
    for _ in 0..2 {
        pipeline.ask(Protocol::V2, Shape::Stored, ask("k".into()));
    }
    let second = pipeline.begin().unwrap().next().unwrap().1;
    assert!(pipeline.begin().is_none() && pipeline.waiting_bytes() > 0);
    assert!(pipeline.poll_front(&mut cx).is_pending());
    drop(second);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(pipeline.poll_front(&mut cx).is_ready() && pipeline.can_begin());
}

#[test]
fn what_arrives_after_the_end_is_dropped() {
    let pipeline = Rc::<Pipeline>::default();
    let asked = asked(&pipeline, Shape::Value);
    pipeline.answer(Protocol::V2, Reply::OK);
    pipeline.close();
    asked.send(value("late".into()));
    assert_eq!((drained(&pipeline).as_str(), pipeline.len(), pipeline.held()), ("", 0, 0));
}
