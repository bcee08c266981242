//! Conditions that a client states are honoured or refused, at every door, and a refusal leaves everything as it was.

use std::cell::RefCell;
use std::rc::Rc;

use serde_json::Value;
use starling_transport::{ChannelInbox, Credentials, Dialer, Sent};
use starling_types::{BucketName, ClusterId, Key, LayoutVersion, Outcome, RequestId, WallTime};
use starling_wire::{Envelope, FailureKind, KvOp, KvReply, KvRequest, Message, QuorumChoice, Seen};
use tokio::sync::oneshot;

use crate::support::command::run_at;
use crate::support::http;
use crate::support::node::{Cluster, Node};
use crate::support::resp::Reply;

#[test]
fn what_cannot_be_honoured_is_refused_and_changes_nothing() {
    let cluster = Cluster::of_three();
    let node = &cluster.nodes[0];
    let mut resp = node.resp();
    assert_eq!(resp.ask("SET lock held"), Reply::ok());
    let is_untouched = |what: &str| {
        let got = http::get(node.http, "/v1/kv/default/lock").unwrap();
        assert_eq!((got.status, got.body.as_str()), (200, "held"), "{what}");
    };
    for (line, status) in [
        ("If-None-Match: *", 501),
        ("If-Match: \"stale\"", 501),
        ("If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT", 501),
        ("Idempotency-Key: 1", 501),
        ("Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", 501),
        ("Content-Range: bytes 2-3/9", 400),
        ("X-Starling-Contxt: AAAA", 400),
        ("Content-Encoding: gzip", 415),
        ("Expect: more", 417),
    ] {
        for (method, body) in [("PUT", b"B".as_slice()), ("DELETE", b"")] {
            let path = "/v1/kv/default/lock?context=quorum";
            let got = http::request_with(node.http, method, path, &[line], body).unwrap();
            let json: Value = serde_json::from_str(&got.body).unwrap();
            assert_eq!((got.status, &json["outcome"]), (status, &"not_applied".into()), "{method} {line}");
            is_untouched(line);
        }
    }
    for query in ["ttl_ms=0", "timeout_ms=0", "timeout_ms=30001", "w=1&w=2", "context=maybe", "If-Match=x"] {
        let got = http::request(node.http, "PUT", &format!("/v1/kv/default/lock?{query}"), b"B").unwrap();
        assert_eq!(got.status, 400, "{query}: {got:?}");
        assert!(got.body.contains("not_applied"), "{query}: {got:?}");
        is_untouched(query);
    }
    for words in ["EX 0", "PX 0", "EX -1", "NX", "EX 1 EX 1", "SOON"] {
        assert!(resp.ask(&format!("SET lock B {words}")).error().starts_with("ERR "), "{words}");
        is_untouched(words);
    }
    for option in
        [["--ttl-ms", "0"], ["--timeout-ms", "0"], ["--timeout-ms", "30001"], ["--context", "not base64!"]]
    {
        let words = [["put", "lock", "B"].as_slice(), &option].concat();
        let done = run_at(node.quic, &cluster.tls, &words);
        assert_eq!(done.code, 2, "{option:?}: {done:?}");
        is_untouched(option[0]);
    }
}

#[test]
fn receipts_say_what_a_write_rests_on() {
    let cluster = Cluster::of_three();
    let node = &cluster.nodes[1];
    let put =
        |query: &str| http::request(node.http, "PUT", &format!("/v1/kv/default/k?receipt=1&{query}"), b"v");
    for (query, context) in [("", "none"), ("context=quorum", "quorum"), ("context=local", "local")] {
        let got = put(query).unwrap();
        let json: Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!(
            (&json["context"], &json["unvouched"]),
            (&context.into(), &false.into()),
            "{query}: {got:?}"
        );
    }
    let cli = |words: &[&str]| run_at(node.quic, &cluster.tls, words).well().json();
    let written = cli(&["-o", "json", "put", "k", "v", "--receipt"]);
    assert_eq!(written["receipt"]["context"], "quorum");
    let token = written["context"].as_str().unwrap();
    let written = cli(&["-o", "json", "put", "k", "w", "--receipt", "--context", token]);
    assert_eq!(written["receipt"]["context"], "client");
    assert_eq!(
        cli(&["-o", "json", "del", "k", "--receipt", "--context", "local"])["receipt"]["context"],
        "local"
    );
    let Reply::Array(parts) = node.resp().ask("STARLING.PUT k v CONTEXT QUORUM RECEIPT") else {
        panic!("no array")
    };
    let Reply::Array(fields) = &parts[2] else { panic!("no receipt: {parts:?}") };
    let context = fields.iter().position(|field| *field == Reply::bulk("context")).unwrap();
    assert_eq!(fields[context + 1], Reply::bulk("quorum"));
}

/// Hears the answer to one message.
struct Listener(RefCell<Option<oneshot::Sender<Message>>>);

impl ChannelInbox for Listener {
    fn frame(&self, envelope: Envelope) {
        if let Some(sender) = self.0.borrow_mut().take() {
            let _ = sender.send(envelope.message);
        }
    }

    fn gone(&self, _reason: &str) {}
}

/// A node's answer to `request` on a connection of our own, past the client and its checks.
async fn answer(node: &Node, request: KvRequest) -> Message {
    let credentials = Credentials::load_client(&node.tls).unwrap();
    let dialer = Dialer::bind(&credentials, node.quic).unwrap();
    let (sender, receiver) = oneshot::channel();
    let listener = Rc::new(Listener(RefCell::new(Some(sender))));
    let channel = dialer.connect(node.quic, ClusterId::NONE, listener).await.unwrap();
    let (cluster, id) = (channel.cluster(), request.id);
    let message = Message::Request(request);
    let envelope = Envelope {
        cluster,
        epoch: LayoutVersion::NONE,
        exchange: starling_types::ExchangeId::from_bits(id.bits()),
        deadline_ms: 5_000,
        message,
    };
    assert_eq!(channel.send(&envelope), Sent::Queued);
    receiver.await.unwrap()
}

#[test]
fn a_node_takes_no_span_past_its_limits_from_those_who_do_not_check() {
    let cluster = Cluster::of_three();
    let node = &cluster.nodes[0];
    let put = |number, ttl_ms, timeout_ms| KvRequest {
        id: RequestId::from_bits(number),
        attempt: 0,
        // Long ago: but an impossible request is refused before its age is looked at.
        issued: WallTime::default(),
        began: WallTime::default(),
        timeout_ms,
        patience_ms: 0,
        bucket: BucketName::default_bucket(),
        key: Key::new("k").unwrap(),
        op: KvOp::Put { value: "v".into(), seen: Seen::Quorum, ttl_ms },
        quorum: QuorumChoice::default(),
        forwarded: false,
    };
    let requests = [put(1, Some(0), 0), put(2, None, 30_001), put(3, Some(u64::MAX), 0)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for request in requests {
        let answered = tokio::task::LocalSet::new().block_on(&runtime, answer(node, request));
        let Message::Reply(KvReply::Failed(failure)) = answered else { panic!("{answered:?}") };
        assert_eq!((failure.kind, failure.outcome), (FailureKind::BadRequest, Outcome::NotApplied));
        assert!(failure.detail.contains("cannot be"), "{failure}");
    }
    assert_eq!(node.resp().ask("GET k"), Reply::Null);
}
