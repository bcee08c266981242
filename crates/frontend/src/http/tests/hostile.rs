//! Input that no well-behaved client sends: an error or the end, never a panic, never memory.

use super::*;
use crate::service::{FrontEvent, FrontLimits};

async fn status_of(input: &[u8]) -> Option<u16> {
    let service = Fake::new();
    let output = raw(&service, input).await;
    (!output.is_empty()).then(|| take_apart(&output).status)
}

/// Heads that two parsers could read differently, or that no parser should read.
#[tokio::test]
async fn ambiguous_or_broken_heads_are_refused() {
    let line = "PUT /v1/kv/b/k HTTP/1.1\r\n";
    let many: String = (0..10_000).map(|n| format!("x-{n}: y\r\n")).collect();
    let huge = format!("x: {}\r\n", "y".repeat(1 << 20));
    let table = [
        ("two lengths", "host: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx", 400),
        ("a negative length", "host: a\r\ncontent-length: -1\r\n\r\n", 400),
        ("a length with a sign", "host: a\r\ncontent-length: +1\r\n\r\nx", 400),
        ("a length past 2^64", "host: a\r\ncontent-length: 99999999999999999999\r\n\r\n", 400),
        ("an unknown framing", "host: a\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        ("a chunk size past 2^64", "host: a\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
        ("a chunk size that is none", "host: a\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", 400),
        ("no host", "content-length: 0\r\n\r\n", 400),
        ("two hosts", "host: a\r\nhost: b\r\ncontent-length: 0\r\n\r\n", 400),
        ("a folded header", "host: a\r\nx: 1\r\n 2\r\n\r\n", 400),
        ("a blank before the colon", "host : a\r\n\r\n", 400),
        ("NUL in a header", "host: a\r\nx: \0\r\n\r\n", 400),
        ("10,000 headers", &many, 431),
        ("a header of 1 MiB", &huge, 431),
    ];
    for (name, rest, status) in table {
        assert_eq!(status_of(format!("{line}{rest}").as_bytes()).await, Some(status), "{name}");
    }
    assert_eq!(status_of(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").await, Some(400));
    assert_eq!(status_of(b"GET /v1/kv/b/\x80\x01 HTTP/1.1\r\nhost: a\r\n\r\n").await, Some(400));
    assert_eq!(status_of(b"*1\r\n$4\r\nPING\r\n\r\n").await, Some(400));
}

/// With two framings the chunks count, and nothing after them is taken for a request.
#[tokio::test]
async fn what_hides_behind_a_second_framing_is_never_read() {
    let (length, chunked) = ("content-length: 5\r\n", "transfer-encoding: chunked\r\n");
    let hidden = "DELETE /v1/kv/b/k HTTP/1.1\r\nhost: a\r\n\r\n";
    for framings in [[length, chunked], [chunked, length]] {
        let service = Fake::new();
        let head = format!("PUT /v1/kv/b/k HTTP/1.1\r\nhost: a\r\n{}\r\n", framings.concat());
        let output = raw(&service, format!("{head}0\r\n\r\n{hidden}").as_bytes()).await;
        assert_eq!(
            output.windows(9).filter(|bytes| bytes == b"HTTP/1.1 ").count(),
            1,
            "{}",
            output.escape_ascii()
        );
        assert_eq!(service.log.borrow().len(), 1);
    }
}

#[tokio::test]
async fn an_old_client_needs_no_host_and_a_proxy_may_name_us_in_full() {
    assert_eq!(status_of(b"GET /healthz HTTP/1.0\r\n\r\n").await, Some(200));
    let full = b"GET http://a/healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert_eq!(status_of(full).await, Some(200));
}

fn small() -> FrontLimits {
    FrontLimits { max_value: 100, ..FrontLimits::default() }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let service = Fake::with_limits(small());
    assert_eq!(put(&service, "/v1/kv/b/k", &[b'x'; 100]).await.status, 204);
    let seen = put(&service, "/v1/kv/b/k", &[b'x'; 101]).await;
    assert_eq!((seen.status, seen.json()["outcome"].as_str()), (413, Some("not_applied")));
    assert!(seen.json()["detail"].as_str().unwrap().contains("at most 100"));

    let chunk = format!("20\r\n{}\r\n", "x".repeat(32));
    let head =
        "PUT /v1/kv/b/k HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunked = |chunks: usize| format!("{head}{}0\r\n\r\n", chunk.repeat(chunks));
    assert_eq!(take_apart(&raw(&service, chunked(3).as_bytes()).await).status, 204);
    assert_eq!(take_apart(&raw(&service, chunked(10_000).as_bytes()).await).status, 413);
    assert_eq!(service.log.borrow().len(), 2);
}

#[tokio::test]
async fn a_body_is_invited_only_when_it_will_be_taken() {
    let service = Fake::with_limits(small());
    let head = |len: usize| {
        format!("PUT /v1/kv/b/k HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {len}\r\n\r\n")
    };
    let output = raw(&service, head(101).as_bytes()).await;
    assert_eq!(take_apart(&output).status, 413);
    let last = "GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let output = raw(&service, format!("{}x{last}", head(1)).as_bytes()).await;
    assert!(output.starts_with(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204"), "{}", output.escape_ascii());
}

#[tokio::test(start_paused = true)]
async fn slow_heads_and_bodies_end_in_time() {
    let service = Fake::new();
    for head in ["GET /healthz HTT", "GET /healthz HTTP/1.1\r\nhost: a\r\n"] {
        assert_eq!(raw(&service, head.as_bytes()).await, b"", "{head}");
    }
    let body = "PUT /v1/kv/b/k HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc";
    assert_eq!(take_apart(&raw(&service, body.as_bytes()).await).status, 408);
    assert!(service.log.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_stays_and_is_no_error() {
    let service = Fake::new();
    converse(&service, async |mut stream| {
        for _ in 0..3 {
            tokio::time::sleep(std::time::Duration::from_secs(3_600)).await;
            stream.write_all(b"HEAD /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
            let mut seen = [0; 12];
            stream.read_exact(&mut seen).await.unwrap();
            assert_eq!(&seen, b"HTTP/1.1 200");
            let mut rest = [0; 1 << 10];
            while !rest.windows(4).any(|end| end == b"\r\n\r\n") {
                assert!(stream.read(&mut rest).await.unwrap() > 0);
            }
        }
    })
    .await;
    assert!(!service.events.borrow().contains(&(Door::Http, FrontEvent::Stalled)));
}

#[tokio::test]
async fn the_host_and_the_framing_are_certain() {
    let service = Fake::new();
    let put = "PUT /v1/kv/b/k HTTP/1.1\r\n";
    for (lines, status) in [
        ("host: evil.example\r\ncontent-length: 1\r\n\r\nx", 421),
        ("host: 127.0.0.1:7101\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx", 204),
        ("host: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ] {
        let output = raw(&service, format!("{put}{lines}").as_bytes()).await;
        assert_eq!(take_apart(&output).status, status, "{lines}");
    }
    assert_eq!(service.log.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let service = Fake::new();
    put(&service, "/v1/kv/b/k", &vec![b'x'; 1 << 20]).await;
    converse(&service, async |mut stream| {
        stream.write_all(b"GET /v1/kv/b/k HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // Kept open: the conversation ends only because the server gives up.
        stream
    })
    .await;
    assert!(service.events.borrow().contains(&(Door::Http, FrontEvent::Stalled)));
}

#[tokio::test]
async fn ranges_and_encodings_of_reads_are_ignored() {
    let service = Fake::new();
    assert_eq!(put(&service, "/v1/kv/b/k", b"\x1f\x8b").await.status, 204);
    let lines = ["range: bytes=0-0,0-0,0-0", "accept-encoding: gzip"];
    let seen = request(&service, "GET", "/v1/kv/b/k", &lines, b"").await;
    assert_eq!((seen.status, seen.body.as_slice()), (200, b"\x1f\x8b".as_slice()));
}

#[tokio::test]
async fn a_broken_off_body_stores_nothing() {
    let service = Fake::new();
    converse(&service, async |mut stream| {
        stream
            .write_all(b"PUT /v1/kv/b/k HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
            .await
            .unwrap();
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(service.log.borrow().is_empty());
}
