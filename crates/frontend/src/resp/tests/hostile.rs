//! Input that no well-behaved client sends: an error or the end, never a panic, never memory.

use proptest::prelude::*;

use super::*;

/// Bytes that are no request: an error in its place, and then nothing more.
#[tokio::test]
async fn broken_bytes_cost_their_connection() {
    let nested = b"*1\r\n".repeat(100_000);
    let endless = vec![b'a'; 1 << 20];
    let table: &[(&[u8], &str)] = &[
        (b"*-1\r\n", "invalid multibulk length"),
        (b"*2147483647\r\n", "invalid multibulk length"),
        (b"*1\r\n$-2\r\n", "invalid bulk length"),
        (b"*1\r\n$9223372036854775808\r\n", "bulk of 9223372036854775808 bytes"),
        (b"*1\r\n$536870913\r\n", "bulk of 536870913 bytes"),
        (b"*1\r\n$00003\r\n", "invalid bulk length"),
        (b"*1\r\n$+3\r\n", "invalid bulk length"),
        (b"*3\r\n$3\r\nSET\r\n$-1\r\n", "invalid bulk length"),
        (&nested, "expected '$', got '*'"),
        (&endless, "too big inline request"),
        (b"get 'a\n", "unbalanced quotes"),
        (b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP port"),
        (b"PUT /v1/kv/default/k HTTP/1.1\r\n", "HTTP port"),
        (b"Host: localhost:7001\r\n", "HTTP port"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
    ];
    for (input, words) in table {
        let shown = input[..input.len().min(40)].escape_ascii();
        let service = Fake::new();
        let got = replies(&service, &[b"set a 1\nget a\n", *input, b"\r\nPING\r\n"].concat()).await;
        let error = got.strip_prefix("+OK\r\n$1\r\n1\r\n").unwrap_or_else(|| panic!("{shown}: {got}"));
        assert!(error.starts_with("-ERR Protocol error: ") && error.contains(words), "{shown}: {error}");
        assert_eq!(error.matches("\r\n").count(), 1, "{shown}: nothing follows the error, but: {error}");
        assert!(service.events.borrow().contains(&(Door::Resp, FrontEvent::ProtocolError)), "{shown}");
    }
}

/// Odd, but requests or nothing at all: the connection goes on.
#[tokio::test]
async fn odd_bytes_are_answered_or_ignored() {
    let table: &[(&[u8], &str)] = &[
        (b"", ""),
        (b"\n", ""),
        (b"\r\n \r\n", ""),
        (b"*0\r\n", ""),
        (b"\r\r\r\n", ""),
        (b"\0\n", "-ERR unknown command '\\x00'"),
        (b"\xff\xfe\n", "-ERR unknown command '\\xff\\xfe'"),
        (b"*1\r\n$0\r\n\r\n", "-ERR unknown command ''"),
        (b"*1\r\n$6\r\na\r\n+OK\r\n", "-ERR unknown command 'a\\r\\n+OK'"),
    ];
    for (input, expected) in table {
        let got = replies(&Fake::new(), &[*input, b"PING\r\n"].concat()).await;
        let reply =
            got.strip_suffix("+PONG\r\n").unwrap_or_else(|| panic!("{}: {got}", input.escape_ascii()));
        assert!(reply.starts_with(expected) && reply.is_empty() == expected.is_empty(), "{reply}");
        assert!(reply.matches('\n').count() <= 1, "{reply}");
    }
}

#[tokio::test]
async fn one_byte_at_a_time_is_enough() {
    let input = [request(&[b"SET", b"k", b"value"]), b"get k\r\n".to_vec()].concat();
    let got = converse(&Fake::new(), async |mut stream| {
        for byte in input {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        stream.shutdown().await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        output
    })
    .await;
    assert_eq!(got, "+OK\r\n$5\r\nvalue\r\n");
}

#[tokio::test]
async fn half_a_request_and_a_hangup_leave_nothing_behind() {
    let service = Fake::new();
    for input in ["*1000000\r\n", "*2\r\n$3\r\nGET\r\n$100\r\nabc", "get a", "*"] {
        assert_eq!(replies(&service, input.as_bytes()).await, "", "{input}");
    }
    assert!(service.log.borrow().is_empty());
}

#[tokio::test]
async fn too_many_keys_at_once_are_refused() {
    let mut words: Vec<&[u8]> = vec![b"MGET"];
    words.extend(std::iter::repeat_n(b"k".as_slice(), pipeline::MAX_PARTS + 1));
    let service = Fake::new();
    let got = replies(&service, &request(&words)).await;
    assert!(got.starts_with("-ERR MGET takes at most 1024 keys at a time"), "{got}");
    assert!(service.log.borrow().is_empty());
    words.pop();
    let got = replies(&service, &request(&words)).await;
    assert!(got.starts_with("*1024\r\n$-1\r\n"), "{got:.40}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_read_from_and_then_cut_off() {
    let limits = FrontLimits { max_output: 64 << 10, ..FrontLimits::default() };
    let service = Fake::with_limits(limits);
    let pings = b"PING\r\n".repeat(100_000);
    converse(&service, async |mut stream| {
        let written = timeout(Duration::from_secs(10), stream.write_all(&pings)).await;
        assert!(written.is_err(), "the server went on reading");
        // Replies waiting, replies in the pipe, and what one read more can bring.
        let bound = (64 << 10) / b"+PONG\r\n".len() * 2 + 4_096;
        assert!(service.commands() < bound, "{} commands", service.commands());
        // Kept open: the conversation ends only because the server gives up.
        stream
    })
    .await;
    assert!(service.events.borrow().contains(&(Door::Resp, FrontEvent::Stalled)));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_arrive_whole_ends_in_time_and_an_idle_client_stays() {
    let service = Fake::new();
    for half in ["*2\r\n$3\r\nGET\r\n$10\r\nabc", "PIN", "PING\r\n*1"] {
        let got = converse(&service, async |mut stream| {
            stream.write_all(half.as_bytes()).await.unwrap();
            let mut output = String::new();
            stream.read_to_string(&mut output).await.unwrap();
            output
        });
        assert!(got.await.ends_with("-ERR the request did not arrive whole within 30 s\r\n"), "{half}");
    }
    converse(&service, async |mut stream| {
        tokio::time::sleep(HANG / 2 + Duration::from_secs(1)).await;
        stream.write_all(b"PING\r\n").await.unwrap();
        let mut pong = [0; 7];
        stream.read_exact(&mut pong).await.unwrap();
    })
    .await;
    assert!(service.events.borrow().contains(&(Door::Resp, FrontEvent::Stalled)));
}

#[tokio::test]
async fn requests_in_flight_are_bounded() {
    let limits = FrontLimits { max_pipeline: 10, ..FrontLimits::default() };
    let service = Fake::with_limits(limits);
    service.held.set(true);
    let got = converse(&service, async |mut stream| {
        let gets: String = (0..25).map(|n| format!("GET key-{n}\r\n")).collect();
        stream.write_all(gets.as_bytes()).await.unwrap();
        let mut most = 0;
        for _ in 0..25 {
            until(|| !service.waiting.borrow().is_empty()).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            most = most.max(service.waiting.borrow().len());
            service.answer_waiting(|_| ());
            if service.log.borrow().len() == 25 {
                break;
            }
        }
        assert_eq!(most, 10);
        stream.shutdown().await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        output
    })
    .await;
    assert_eq!(got, "$-1\r\n".repeat(25));
}

#[tokio::test]
async fn many_pipelined_and_a_hangup_unread() {
    let service = Fake::new();
    converse(&service, async |mut stream| {
        stream.write_all(&b"GET a\r\n".repeat(5_000)).await.unwrap();
        drop(stream);
    })
    .await;
    assert!(service.waiting.borrow().is_empty());
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight_and_takes_no_more() {
    let service = Fake::new();
    service.held.set(true);
    let (mut near, far) = duplex(PIPE);
    let (node, shutdown) = running();
    let server =
        connection::serve(far, session(), Rc::clone(&service), service.limits(), (Place::alone(), shutdown));
    let client = async {
        near.write_all(b"SET a 1\r\n").await.unwrap();
        until(|| !service.waiting.borrow().is_empty()).await;
        node.send(true).unwrap();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        near.write_all(b"GET a\r\n").await.unwrap();
        service.answer_waiting(|_| ());
        let mut output = String::new();
        near.read_to_string(&mut output).await.unwrap();
        output
    };
    let (got, ()) = tokio::join!(client, server);
    assert_eq!(got, "+OK\r\n");
    assert_eq!(service.log.borrow().len(), 1);
}

/// A word that commands may have something to say about, or bytes.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "EX",
        "PX",
        "EXAT",
        "PXAT",
        "NX",
        "GET",
        "CONTEXT",
        "R",
        "W",
        "STRICT",
        "yes",
        "default",
        "SETNAME",
        "AUTH",
        "2",
        "3",
        "0",
        "-1",
        "99999999999999999999",
        "info",
        "docs",
        "count",
        "list",
        "id",
        "save",
        "*",
        "k",
        "",
    ]);
    prop_oneof![3 => known.prop_map(|word| word.as_bytes().to_vec()), 1 => prop::collection::vec(any::<u8>(), 0..9)]
}

fn some_request() -> impl Strategy<Value = Vec<u8>> {
    let lasting =
        command::TABLE.iter().map(|entry| entry.name).filter(|name| !["quit", "hello"].contains(name));
    let name = prop::sample::select(lasting.collect::<Vec<_>>());
    (name, prop::collection::vec(word(), 0..6)).prop_map(|(name, words)| {
        let words: Vec<_> = std::iter::once(name.as_bytes()).chain(words.iter().map(Vec::as_slice)).collect();
        request(&words)
    })
}

/// Replies of RESP2 in `output`; panics if it is not made of whole ones.
fn count_replies(mut output: &[u8]) -> usize {
    let mut replies = 0;
    while !output.is_empty() {
        output = skip_reply(output);
        replies += 1;
    }
    replies
}

fn skip_reply(output: &[u8]) -> &[u8] {
    let end = output.windows(2).position(|bytes| bytes == b"\r\n").unwrap();
    let (line, rest) = (&output[1..end], &output[end + 2..]);
    let number = || std::str::from_utf8(line).unwrap().parse::<i64>().unwrap();
    match output[0] {
        b'+' | b'-' | b':' => rest,
        b'$' if number() < 0 => rest,
        b'$' => &rest[number() as usize + 2..],
        b'*' => (0..number()).fold(rest, |rest, _| skip_reply(rest)),
        other => panic!("no reply begins with {}", other.escape_ascii()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_request_has_one_reply(requests in prop::collection::vec(some_request(), 0..20)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let got = runtime.block_on(replies_as_bytes(&Fake::new(), &requests.concat()));
        prop_assert_eq!(count_replies(&got), requests.len());
    }
}
