//! Conditions and checksums that a client states with a write are honoured, or refused with nothing done.

use super::*;

/// Each line with each kind of write; nothing may reach the service.
async fn refused(line: &str, status: u16, words: &str) {
    for (method, body) in [("PUT", b"v".as_slice()), ("DELETE", b"")] {
        let service = Fake::new();
        let seen = request(&service, method, "/v1/kv/b/k", &[line], body).await;
        let json = seen.json();
        assert_eq!(
            (seen.status, json["outcome"].as_str()),
            (status, Some("not_applied")),
            "{method} {line}: {json}"
        );
        assert!(json["detail"].as_str().unwrap().contains(words), "{method} {line}: {json}");
        assert!(service.log.borrow().is_empty(), "{method} {line}");
    }
}

#[tokio::test]
async fn conditions_checksums_and_parts_are_refused() {
    let table = [
        ("If-Match: \"x\"", 501, "X-Starling-Context"),
        ("if-match: *", 501, "X-Starling-Context"),
        ("If-None-Match: *", 501, "X-Starling-Context"),
        ("If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT", 501, "X-Starling-Context"),
        ("If: (<x>)", 501, "X-Starling-Context"),
        ("Idempotency-Key: 7", 501, "sent twice"),
        ("Content-Range: bytes 2-3/9", 400, "written whole"),
        ("Content-MD5: AAAAAAAAAAAAAAAAAAAAAA==", 501, "not verified"),
        ("Content-Digest: sha-256=:AA==:", 501, "not verified"),
        ("X-HTTP-Method-Override: DELETE", 400, "request line"),
        ("X-Starling-Contxt: AAAA", 400, "no header x-starling-contxt"),
        ("X-Starling-Siblings: 1", 400, "no header x-starling-siblings"),
        ("Content-Encoding: gzip", 415, "without their coding"),
        ("Expect: a-miracle", 417, "100-continue"),
        ("Transfer-Encoding: gzip, chunked", 501, "chunked, once"),
    ];
    for (line, status, words) in table {
        refused(line, status, words).await;
    }
}

#[tokio::test]
async fn what_http_says_to_pass_over_is_passed_over() {
    let lines = [
        "If-Modified-Since: Mon, 01 Jan 2001 00:00:00 GMT",
        "Range: bytes=0-0",
        "Content-Type: text/plain",
        "Content-Encoding: identity",
        "X-Request-Id: 7",
        "Cookie: a=b",
    ];
    assert_eq!(request(&Fake::new(), "PUT", "/v1/kv/b/k", &lines, b"v").await.status, 204);
    let service = Fake::new();
    put(&service, "/v1/kv/b/k", b"v").await;
    let conditions = ["If-None-Match: *", "If-Modified-Since: x", "Range: bytes=0-0"];
    assert_eq!(request(&service, "GET", "/v1/kv/b/k", &conditions, b"").await.status, 200);
}

#[tokio::test]
async fn queries_that_state_what_cannot_be_are_refused() {
    let table = [
        ("PUT", "ttl_ms=0", "a life of 0 ms"),
        ("PUT", "ttl_ms=316224000000001", "a life of 316224000000001 ms"),
        ("PUT", "timeout_ms=0", "a time limit of 0 ms"),
        ("DELETE", "timeout_ms=30001", "1 to 30000 ms"),
        ("GET", "timeout_ms=0", "a time limit of 0 ms"),
        ("DELETE", "ttl_ms=5", "no query parameter"),
        ("GET", "w=2", "no query parameter"),
        ("GET", "context=quorum", "no query parameter"),
        ("PUT", "context=both", "quorum, local or none"),
        ("PUT", "w=1&w=2", "there twice"),
        ("DELETE", "context=none", "deletes nothing"),
    ];
    for (method, query, words) in table {
        let service = Fake::new();
        let seen = request(&service, method, &format!("/v1/kv/b/k?{query}"), &[], b"").await;
        let json = seen.json();
        assert_eq!((seen.status, json["outcome"].as_str()), (400, Some("not_applied")), "{method} {query}");
        assert!(json["detail"].as_str().unwrap().contains(words), "{method} {query}: {json}");
        assert!(service.log.borrow().is_empty(), "{method} {query}");
    }
}

#[tokio::test]
async fn bodies_of_deletes_and_fields_behind_a_body_are_refused() {
    let service = Fake::new();
    let seen = request(&service, "DELETE", "/v1/kv/b/k", &[], b"{}").await;
    assert_eq!((seen.status, seen.json()["outcome"].as_str()), (400, Some("not_applied")));
    let head =
        "PUT /v1/kv/b/k HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let output =
        raw(&service, format!("{head}1\r\nx\r\n0\r\nX-Starling-Context: AAAA\r\n\r\n").as_bytes()).await;
    let seen = take_apart(&output);
    assert_eq!((seen.status, seen.json()["outcome"].as_str()), (400, Some("not_applied")));
    assert!(service.log.borrow().is_empty());
}

#[tokio::test]
async fn writers_say_what_they_have_seen() {
    let service = Fake::new();
    put(&service, "/v1/kv/b/k", b"v").await;
    for word in ["quorum", "local", "none"] {
        put(&service, &format!("/v1/kv/b/k?context={word}"), b"v").await;
    }
    for query in ["", "?context=local", "?context=quorum"] {
        request(&service, "DELETE", &format!("/v1/kv/b/k{query}"), &[], b"").await;
    }
    let log = service.log.borrow();
    let seen: Vec<_> = log.iter().map(|request| request.op.seen().cloned().unwrap()).collect();
    use starling_wire::Seen::{Local, Nothing, Quorum};
    assert_eq!(seen, [Nothing, Quorum, Local, Nothing, Quorum, Local, Quorum]);
}

#[tokio::test]
async fn a_write_that_fell_short_says_so() {
    let service = Fake::new();
    let seen = put(&service, "/v1/kv/b/k?context=quorum&receipt=1", b"v").await;
    assert_eq!(
        (seen.json()["context"].as_str(), seen.json()["unvouched"].as_bool()),
        (Some("quorum"), Some(false))
    );
    assert_eq!(seen.header("x-starling-reservations"), None);
    let seen = put(&service, "/v1/kv/b/k?context=local&receipt=1", b"v").await;
    assert_eq!(seen.json()["context"], "local");
    service.partial.set(true);
    let seen = put(&service, "/v1/kv/b/k?context=quorum&receipt=1", b"v").await;
    assert_eq!(seen.json()["context"], "partial");
    let seen = request(&service, "DELETE", "/v1/kv/b/k", &[], b"").await;
    assert_eq!((seen.status, seen.header("x-starling-reservations")), (204, Some("context=partial")));
}

/// One request is answered before the next is looked at, even when their keys differ.
#[tokio::test]
async fn pipelined_requests_act_in_their_order() {
    let service = Fake::new();
    let one = |line: &str| format!("{line} HTTP/1.1\r\nhost: a\r\n");
    let mut input = String::new();
    for n in 10..60 {
        input += &one("PUT /v1/kv/b/k?context=quorum");
        input += &format!("content-length: 2\r\n\r\n{n}");
    }
    input += &one("GET /v1/kv/b/k");
    input += "\r\n";
    input += &one("DELETE /v1/kv/b/k");
    input += "\r\n";
    input += &one("GET /v1/kv/b/k");
    input += "connection: close\r\n\r\n";
    let text = String::from_utf8(raw(&service, input.as_bytes()).await).unwrap();
    assert_eq!(text.matches("HTTP/1.1 204").count(), 51);
    assert!(text.contains("\r\n\r\n59HTTP/1.1 204") && text.contains("HTTP/1.1 404"), "{text}");
}
