//! Whole conversations: bytes in, bytes out.

use starling_types::limits::MAX_KEY;
use starling_wire::client::KvReply;
use starling_wire::{Failure, FailureKind, QuorumChoice};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;
use crate::places::{Admission, Places};
use crate::testing::{Fake, running};

const PIPE: usize = 64 << 10;

/// A response taken apart.
#[derive(Debug)]
struct Seen {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(n, _)| *n == name)
            .map(|(_, value)| value)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A place that is not asked for by others.
fn seat() -> Seat {
    match Places::new(1, 0).admit(([10, 0, 0, 1], 1).into()) {
        Admission::Taken(seat) => seat,
        other => panic!("{other:?}"),
    }
}

async fn converse<T>(service: &Rc<Fake>, client: impl AsyncFnOnce(DuplexStream) -> T) -> T {
    let (near, far) = duplex(PIPE);
    let (_node, shutdown) = running();
    let server = serve(far, Rc::clone(service), Rc::new(service.limits()), (seat(), shutdown));
    tokio::join!(client(near), server).0
}

/// Sends `input`, then no more, and reads to the end.
async fn raw(service: &Rc<Fake>, input: &[u8]) -> Vec<u8> {
    converse(service, async |stream| {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut output = Vec::new();
        // A server that hangs up early is one of the things to test.
        let write = async { drop(writer.write_all(input).await) };
        let (read, ()) = tokio::join!(reader.read_to_end(&mut output), write);
        read.unwrap();
        output
    })
    .await
}

fn take_apart(output: &[u8]) -> Seen {
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap_or_else(|| {
        panic!("no response, but {}", output.escape_ascii());
    });
    let head = String::from_utf8(output[..end].to_vec()).unwrap().replace("\r\n", "\n");
    let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
    Seen { status, head, body: output[end + 4..].to_vec() }
}

/// One request on a connection of its own. `lines` are further header lines.
async fn request(service: &Rc<Fake>, method: &str, target: &str, lines: &[&str], body: &[u8]) -> Seen {
    let mut input = format!("{method} {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n");
    for line in lines {
        input += &format!("{line}\r\n");
    }
    if !body.is_empty() {
        input += &format!("content-length: {}\r\n", body.len());
    }
    let input = [input.as_bytes(), b"\r\n", body].concat();
    take_apart(&raw(service, &input).await)
}

async fn get(service: &Rc<Fake>, target: &str) -> Seen {
    request(service, "GET", target, &[], b"").await
}

async fn put(service: &Rc<Fake>, target: &str, body: &[u8]) -> Seen {
    request(service, "PUT", target, &[], body).await
}

#[tokio::test]
async fn pages_about_the_node() {
    let service = Fake::new();
    let table = [
        ("/healthz", "text/plain; charset=utf-8", "ok\n"),
        ("/readyz", "text/plain; charset=utf-8", "ready\n"),
        ("/metrics", "text/plain; version=0.0.4", "starling_requests_total 1\n"),
        ("/v1/status", "application/json", r#"{"state":"serving"}"#),
        ("/v1/ring", "application/json", r#"{"partitions":[]}"#),
    ];
    for (target, kind, body) in table {
        let seen = get(&service, target).await;
        assert_eq!((seen.status, seen.header("content-type"), seen.text().as_str()), (200, Some(kind), body));
        let seen = request(&service, "POST", target, &[], b"x").await;
        assert_eq!((seen.status, seen.header("allow")), (405, Some("GET, HEAD")));
    }
    service.unready.set(true);
    let seen = get(&service, "/readyz").await;
    assert_eq!(seen.status, 503);
    assert!(seen.json()["detail"].as_str().unwrap().contains("starling cluster init"));
    assert_eq!(get(&service, "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_value_is_written_read_and_deleted() {
    let service = Fake::new();
    let seen = put(&service, "/v1/kv/b/k", b"v\0\xff").await;
    assert_eq!((seen.status, seen.header("x-starling-context")), (204, Some("AAAAAAAAAAE")));
    let seen = get(&service, "/v1/kv/b/k").await;
    assert_eq!((seen.status, seen.body.as_slice()), (200, b"v\0\xff".as_slice()));
    assert_eq!(seen.header("content-type"), Some("application/octet-stream"));
    assert_eq!(seen.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(seen.header("x-starling-context"), Some("AAAAAAAAAAE"));
    assert_eq!(seen.header("x-starling-dot"), Some("0000000000000001@0000000000000001"));
    let seen = request(&service, "HEAD", "/v1/kv/b/k", &[], b"").await;
    assert_eq!((seen.status, seen.header("content-length"), seen.body.len()), (200, Some("3"), 0));
    assert_eq!(get(&service, "/v1/kv/other/k").await.status, 404);
    assert_eq!(request(&service, "DELETE", "/v1/kv/b/k", &[], b"").await.status, 204);
    let seen = get(&service, "/v1/kv/b/k").await;
    assert_eq!((seen.status, seen.json()["outcome"].as_str()), (404, Some("not_applied")));
    assert_eq!(put(&service, "/v1/kv/b/empty", b"").await.status, 204);
    assert_eq!(get(&service, "/v1/kv/b/empty").await.status, 200);
}

#[tokio::test]
async fn an_absent_key_has_a_context_when_there_was_a_delete() {
    let reply = starling_wire::client::ReadReply {
        siblings: vec![],
        context: Some(crate::testing::token(3)),
        deleted: None,
    };
    let response = answer::read(reply, answer::Siblings::Json).unwrap_err().into_response();
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["x-starling-context"], "AAAAAAAAAAM");
}

#[tokio::test]
async fn contexts_decide_what_a_write_replaces() {
    let service = Fake::new();
    put(&service, "/v1/kv/b/k", b"one").await;
    let seen = put(&service, "/v1/kv/b/k", b"two").await;
    assert_eq!(
        (seen.status, seen.header("x-starling-siblings"), seen.header("x-starling-context")),
        (204, Some("2"), None)
    );
    let context = get(&service, "/v1/kv/b/k").await.header("x-starling-context").unwrap().to_owned();
    let line = format!("X-Starling-Context: {context}");
    let seen = request(&service, "PUT", "/v1/kv/b/k", &[&line], b"three").await;
    assert_eq!(seen.header("x-starling-context"), Some("AAAAAAAAAAM"));
    assert_eq!(get(&service, "/v1/kv/b/k").await.text(), "three");
    put(&service, "/v1/kv/b/k", b"four").await;
    assert_eq!(
        put(&service, "/v1/kv/b/k?context=local", b"five").await.header("x-starling-context"),
        Some("AAAAAAAAAAU")
    );
    assert_eq!(get(&service, "/v1/kv/b/k").await.text(), "five");

    let twice = request(&service, "PUT", "/v1/kv/b/k?context=local", &[&line], b"x").await;
    assert_eq!(twice.status, 400);
    for bad in ["", "a b", "AA==", "\u{ff}"] {
        let seen =
            request(&service, "PUT", "/v1/kv/b/k", &[&format!("X-Starling-Context: {bad}")], b"x").await;
        assert_eq!(seen.status, 400, "{bad}: {seen:?}");
    }
    assert_eq!(get(&service, "/v1/kv/b/k").await.text(), "five");
}

#[tokio::test]
async fn siblings_come_as_parts_or_as_json() {
    let service = Fake::new();
    put(&service, "/v1/kv/b/k", b"one\r\n--starling-0--\r\n").await;
    put(&service, "/v1/kv/b/k", b"two").await;
    let seen = get(&service, "/v1/kv/b/k").await;
    assert_eq!((seen.status, seen.header("x-starling-siblings")), (300, Some("2")));
    assert_eq!(seen.header("x-starling-context"), Some("AAAAAAAAAAI"));
    assert_eq!(seen.header("content-type"), Some("multipart/mixed; boundary=starling-1"));
    assert_eq!(seen.header("content-length").unwrap(), seen.body.len().to_string());
    let parts = concat!(
        "--starling-1\r\nContent-Type: application/octet-stream\r\nContent-Length: 21\r\n",
        "x-starling-dot: 0000000000000001@0000000000000001\r\n\r\none\r\n--starling-0--\r\n\r\n",
        "--starling-1\r\nContent-Type: application/octet-stream\r\nContent-Length: 3\r\n",
        "x-starling-dot: 0000000000000001@0000000000000002\r\n\r\ntwo\r\n--starling-1--\r\n",
    );
    assert_eq!(seen.text(), parts);

    let seen =
        request(&service, "GET", "/v1/kv/b/k", &["accept: text/html, Application/JSON;q=0.9"], b"").await;
    assert_eq!((seen.status, seen.header("content-type")), (300, Some("application/json")));
    let json = seen.json();
    assert_eq!(json["context"], "AAAAAAAAAAI");
    assert_eq!(json["siblings"][1]["value"], "dHdv");
    assert_eq!(json["siblings"][1]["dot"], "0000000000000001@0000000000000002");
    assert_eq!(json["siblings"][1]["time_ms"], 0);
}

#[tokio::test]
async fn keys_are_the_bytes_behind_the_percent_signs() {
    let table: &[(&str, &[u8])] = &[
        ("a/b", b"a/b"),
        ("a%2fb", b"a/b"),
        ("%00", b"\0"),
        ("%FF%fe", b"\xff\xfe"),
        ("../x", b"../x"),
        ("%2e%2e", b".."),
        ("%252e", b"%2e"),
        ("?w=1", b""),
    ];
    for (path, key) in table {
        let service = Fake::new();
        let seen = put(&service, &format!("/v1/kv/b/{path}"), b"v").await;
        if key.is_empty() {
            assert_eq!(seen.status, 400, "{path}");
            continue;
        }
        assert_eq!((seen.status, service.log.borrow()[0].key.as_bytes()), (204, *key), "{path}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused_before_anything_is_asked() {
    let long = format!("/v1/kv/b/{}", "k".repeat(MAX_KEY + 1));
    let table = [
        ("GET", "/v1/kv/b/%zz", 400, "percent-encoding"),
        ("GET", "/v1/kv/b/%", 400, "percent-encoding"),
        ("GET", "/v1/kv/b/", 400, "the key is empty"),
        ("GET", "/v1/kv/b%20c/k", 400, "bucket name"),
        ("GET", long.as_str(), 400, "4097 bytes"),
        ("GET", "/v1/kv/b/k?ttl=1", 400, "no query parameter"),
        ("GET", "/v1/kv/b/k?r=0", 400, "a number from 1 to 7"),
        ("PUT", "/v1/kv/b/k?timeout_ms=99999", 400, "30000"),
        ("GET", "/v1/kv/b", 404, "/v1/kv/{bucket}/{key}"),
        ("GET", "/", 404, "nothing here"),
        ("GET", "/v1/kv", 404, "nothing here"),
        ("OPTIONS", "*", 404, "nothing here"),
        ("POST", "/v1/kv/b/k", 405, "GET, HEAD, PUT, DELETE"),
    ];
    let service = Fake::new();
    for (method, target, status, words) in table {
        let seen = request(&service, method, target, &[], b"").await;
        let shown = format!("{method} {target:.60}");
        assert_eq!(
            (seen.status, seen.header("content-type")),
            (status, Some("application/problem+json")),
            "{shown}"
        );
        let json = seen.json();
        assert!(json["detail"].as_str().unwrap().contains(words), "{shown}: {json}");
        assert_eq!(
            (json["status"].as_u64(), json["outcome"].as_str()),
            (Some(status.into()), Some("not_applied"))
        );
    }
    assert!(service.log.borrow().is_empty());
}

#[tokio::test]
async fn the_query_reaches_the_request() {
    let service = Fake::new();
    let seen = put(&service, "/v1/kv/b/k?w=3&strict=true&timeout_ms=50&ttl_ms=900&receipt=1", b"v").await;
    assert_eq!((seen.status, seen.header("x-starling-context")), (200, Some("AAAAAAAAAAE")));
    let json = seen.json();
    assert_eq!((json["acked"].as_u64(), json["durable"].as_bool()), (Some(2), Some(true)));
    assert_eq!(json["coordinator"], "0000000000000007");
    get(&service, "/v1/kv/b/k?r=1").await;
    let log = service.log.borrow();
    assert_eq!(log[0].quorum, QuorumChoice { r: None, w: Some(3), strict: Some(true) });
    assert!(matches!(log[0].op, starling_wire::KvOp::Put { ttl_ms: Some(900), .. }));
    assert_eq!((log[0].timeout_ms, log[1].quorum.r), (50, Some(1)));
}

#[tokio::test]
async fn failures_have_a_status_and_an_outcome() {
    let table = [
        (FailureKind::BadRequest, 400, None),
        (FailureKind::TooLarge, 413, None),
        (FailureKind::NoSuchBucket, 404, None),
        (FailureKind::TooManySiblings, 409, None),
        (FailureKind::Overloaded, 429, Some("1")),
        (FailureKind::NotReady, 503, Some("1")),
        (FailureKind::QuorumNotReached, 503, None),
        (FailureKind::Storage, 503, None),
        (FailureKind::Deadline, 504, None),
        (FailureKind::DiskFull, 507, None),
    ];
    for (kind, status, retry) in table {
        let service = Fake::failing(kind);
        for seen in [get(&service, "/v1/kv/b/k").await, put(&service, "/v1/kv/b/k", b"v").await] {
            assert_eq!((seen.status, seen.header("retry-after")), (status, retry), "{kind:?}");
            let json = seen.json();
            assert_eq!(
                (json["outcome"].as_str(), json["detail"].as_str()),
                (Some("unknown"), Some("it went wrong"))
            );
        }
    }
    let service = Fake::failing(FailureKind::Overloaded);
    service.failure.borrow_mut().as_mut().unwrap().retry_after_ms = Some(2_001);
    assert_eq!(get(&service, "/v1/kv/b/k").await.header("retry-after"), Some("3"));
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let service = Fake::new();
    let one = "PUT /v1/kv/b/k?context=local HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx";
    let last = "GET /v1/kv/b/k HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let output = raw(&service, format!("{}{last}", one.repeat(500)).as_bytes()).await;
    let text = String::from_utf8(output).unwrap();
    assert_eq!((text.matches("HTTP/1.1 204").count(), text.matches("HTTP/1.1 200").count()), (500, 1));
}

#[tokio::test]
async fn a_lost_request_is_answered_unknown() {
    let service = Fake::new();
    service.held.set(true);
    let seen = converse(&service, async |mut stream| {
        stream
            .write_all(b"DELETE /v1/kv/b/k HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        while service.waiting.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        service.waiting.borrow_mut().clear();
        let mut output = Vec::new();
        stream.read_to_end(&mut output).await.unwrap();
        take_apart(&output)
    })
    .await;
    assert_eq!((seen.status, seen.json()["outcome"].as_str()), (503, Some("unknown")));
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight() {
    let service = Fake::new();
    service.held.set(true);
    let (mut near, far) = duplex(PIPE);
    let (node, shutdown) = running();
    let server = serve(far, Rc::clone(&service), Rc::new(service.limits()), (seat(), shutdown));
    let client = async {
        near.write_all(b"GET /v1/kv/b/k HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        while service.waiting.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        node.send(true).unwrap();
        // The server must have heard of it before the answer comes, or it leaves with the connection open.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        let (_, reply) = service.waiting.borrow_mut().pop().unwrap();
        reply.send(KvReply::Failed(Failure::refused(FailureKind::Deadline, "late")));
        let mut output = Vec::new();
        near.read_to_end(&mut output).await.unwrap();
        take_apart(&output)
    };
    let (seen, ()) = tokio::join!(client, server);
    assert_eq!((seen.status, seen.header("connection")), (504, Some("close")));
}

#[tokio::test]
async fn a_node_shows_what_it_holds_itself() {
    let service = Fake::new();
    for (key, value) in [("a", "one"), ("a", "two"), ("%00%ff", "x"), ("c", "y")] {
        put(&service, &format!("/v1/kv/b/{key}"), value.as_bytes()).await;
    }
    put(&service, "/v1/kv/other/k", b"z").await;
    let seen = get(&service, "/v1/local/b/a").await;
    assert_eq!((seen.status, seen.header("content-type")), (200, Some("application/json")));
    let json = seen.json();
    assert_eq!(json["siblings"][1]["value"], "dHdv");
    assert_eq!(json["siblings"][1]["dot"], "0000000000000001@0000000000000002");
    assert_eq!((&json["context"], &json["tombstone"]), (&"AAAAAAAAAAI".into(), &false.into()));
    assert_eq!(get(&service, "/v1/local/b/absent").await.status, 404);

    let first = get(&service, "/v1/local?bucket=b&limit=2").await.json();
    assert_eq!(first["records"][0]["key"], "AP8=");
    let rest = format!("/v1/local?bucket=b&limit=2&cursor={}", first["cursor"].as_str().unwrap());
    let rest = get(&service, &rest).await.json();
    assert_eq!(
        (rest["records"][0]["key"].as_str(), &rest["cursor"]),
        (Some("Yw=="), &serde_json::Value::Null)
    );
    assert!(rest["records"][1].is_null());

    for (target, status) in [
        ("/v1/local?limit=0", 400),
        ("/v1/local?cursor=%25", 400),
        ("/v1/local/b", 404),
        ("/v1/local/b/", 400),
    ] {
        assert_eq!(get(&service, target).await.status, status, "{target}");
    }
    assert_eq!(request(&service, "PUT", "/v1/local/b/a", &[], b"x").await.status, 405);
    *service.failure.borrow_mut() = Some(Failure::refused(FailureKind::Storage, "damaged"));
    assert_eq!(get(&service, "/v1/local/b/a").await.status, 503);
}

#[tokio::test]
async fn a_key_s_place_is_explained() {
    let service = Fake::new();
    let seen = get(&service, "/v1/key/b/a/%00/explain/explain").await;
    assert_eq!((seen.status, seen.json()["key_bytes"].as_u64()), (200, Some(11)));
    assert_eq!(get(&service, "/v1/key/b/a").await.status, 404);
    assert_eq!(get(&service, "/v1/key/b/explain").await.status, 404);
    service.unready.set(true);
    let seen = get(&service, "/v1/key/b/a/explain").await;
    assert_eq!(seen.status, 503);
    assert!(seen.json()["detail"].as_str().unwrap().contains("cluster init"));
}

mod hostile;
mod stated;
