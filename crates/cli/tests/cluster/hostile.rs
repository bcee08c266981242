//! Input that no well-behaved client sends, over real sockets: a clear error or the end of that connection, never a
//! panic, never much memory, and no other client notices. The frontend's own tests try single bytes at a door.

use std::io::{Read, Write};

use starling_causality::{ContextToken, Dot, Hlc, VersionVector};
use starling_types::{ActorId, BucketName, ClusterId, Key, QualifiedKey};
use tempfile::TempDir;

use super::support::node::Node;
use super::support::resp::{Reply, Resp, encode};
use super::support::{command, eventually, http};

/// A cluster of one, and a client that means well.
struct Victim {
    node: Node,
    /// Opened before anything else, and used all along.
    friend: Resp,
    cluster: ClusterId,
    _dir: TempDir,
}

impl Victim {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let tls = dir.path().join("tls");
        let mut node = Node::new(dir.path(), "n1", &tls);
        node.start();
        command::init(&[node.quic], &tls).well();
        node.serves_with(0);
        let mut friend = node.resp();
        assert_eq!(friend.ask("SET friend 1"), Reply::ok());
        let cluster = node.status()["cluster_id"].as_str().unwrap().parse().unwrap();
        Self { node, friend, cluster, _dir: dir }
    }

    /// Nothing has happened to it: it serves, it has not restarted, it has no more memory than it should.
    fn is_well(&mut self, after: &str) {
        assert_eq!(self.friend.ask("GET friend"), Reply::bulk("1"), "{after}");
        let resident = self.node.metric("process_resident_memory_bytes");
        assert!(resident < RESIDENT, "{resident} bytes after {after}");
    }

    fn writes_nothing(&self, before: f64, after: &str) {
        assert_eq!(self.node.metric("starling_dots_minted_total"), before, "{after}");
    }
}

/// Above what an idle node has, in a debug build too; far below what the inputs here announce.
const RESIDENT: f64 = (512 << 20) as f64;

fn token(cluster: ClusterId, key: &str, seen: &[Dot]) -> String {
    let key = QualifiedKey::new(
        cluster.hash_seed(),
        BucketName::default_bucket(),
        Key::new(key.to_owned()).unwrap(),
    );
    let mut vector = VersionVector::new();
    seen.iter().for_each(|dot| vector.raise(*dot));
    ContextToken::seal(cluster, 1, &key, &vector).to_text()
}

fn dot(actor: u64, hlc: u64) -> Dot {
    Dot { actor: ActorId::from_bits(actor), hlc: Hlc::from_bits(hlc) }
}

fn flipped(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

/// Sends all of it and reads until the other side hangs up.
fn raw(node: &Node, input: &[u8]) -> String {
    let mut stream = http::connect(node.http).unwrap();
    // It may hang up before it has read everything.
    let _ = stream.write_all(input);
    let mut output = Vec::new();
    let _ = stream.read_to_end(&mut output);
    String::from_utf8_lossy(&output).into_owned()
}

/// Responses in what came back.
fn answers(output: &str) -> usize {
    output.lines().filter(|line| line.starts_with("HTTP/1.1 ")).count()
}

fn put_with(node: &Node, key: &str, context: &str) -> String {
    let head = format!("PUT /v1/kv/default/{key} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    raw(node, format!("{head}X-Starling-Context: {context}\r\nContent-Length: 1\r\n\r\nx").as_bytes())
}

#[test]
fn contexts_that_are_not_this_key_s_change_nothing() {
    let mut victim = Victim::new();
    let mut resp = victim.node.resp();
    let Reply::Array(written) = resp.ask("STARLING.PUT k v") else { panic!("no pair") };
    let good = written[0].text();
    let other = ClusterId::from_bits(victim.cluster.bits() ^ 1);
    let many: Vec<Dot> = (0..1_024).map(|actor| dot(actor, 1)).collect();
    let longest = token(victim.cluster, "k", &many);
    let table = [
        ("another key's", token(victim.cluster, "other", &[]), "belongs to another"),
        ("another cluster's", token(other, "k", &[]), "belongs to another"),
        ("one cut short", good[..good.len() - 4].to_owned(), "damaged"),
        ("the first byte flipped", flipped(&good, 0), "damaged"),
        ("one in the middle flipped", flipped(&good, good.len() / 2), "damaged"),
        ("no base64", "!!!!".to_owned(), "damaged"),
        ("hardly anything", "AA".to_owned(), "damaged"),
        ("a letter more than the longest", format!("{longest}AAAA"), "no token has more"),
        (
            "a time at the end of all clocks",
            token(victim.cluster, "k", &[dot(7, u64::MAX)]),
            "ahead of this node",
        ),
    ];
    let before = victim.node.metric("starling_dots_minted_total");
    for (name, context, words) in &table {
        let answer = put_with(&victim.node, "k", context);
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains(words), "{name}: {answer}");
        assert!(answer.contains("\"outcome\":\"not_applied\""), "{name}: {answer}");
        for words_of in [
            ["STARLING.PUT", "k", "x", "CONTEXT", context].as_slice(),
            &["STARLING.DEL", "k", "CONTEXT", context],
        ] {
            let reply = resp.call(words_of).unwrap();
            assert!(reply.error().contains(words), "{name}: {reply:?}");
        }
        victim.is_well(name);
    }
    // Longer than a request's head may be: refused before it is parsed.
    let huge = "A".repeat(1 << 20);
    assert!(put_with(&victim.node, "k", &huge).starts_with("HTTP/1.1 431 "));
    assert!(
        resp.call(&["STARLING.PUT", "k", "x", "CONTEXT", &huge])
            .unwrap()
            .error()
            .contains("no token has more")
    );
    victim.writes_nothing(before, "all of them");
    assert_eq!(resp.ask("GET k"), Reply::bulk("v"));
    assert!(put_with(&victim.node, "k", &good).starts_with("HTTP/1.1 204 "), "the good one is good still");
    victim.is_well("all of them");
}

#[test]
fn odd_commands_are_answered_and_the_connection_goes_on() {
    let mut victim = Victim::new();
    let mut resp = victim.node.resp();
    let huge = vec![b'k'; 4_097];
    let table: &[(&[&[u8]], &str)] = &[
        (&[b"SET", b"", b"v"], "the key is empty"),
        (&[b"SET", &huge, b"v"], "4097 bytes"),
        (&[b"GET", &huge], "4097 bytes"),
        (&[b"HELLO", b"4"], "NOPROTO"),
        (&[b"EXEC"], "transactions"),
        (&[b"SUBSCRIBE", b"c"], "unknown command"),
        (&[b"STARLING.BUCKET", b"no such"], "bucket"),
        (&[b"STARLING.PUT", b"k", b"v", b"W", b"255"], "from 1 to 7"),
        (&[b"\0\xff"], "unknown command"),
    ];
    for (command, words) in table {
        let reply = resp.call(command).unwrap();
        assert!(reply.error().contains(words), "{command:?}: {reply:?}");
        assert_eq!(resp.ask("PING"), Reply::Simple("PONG".into()), "{command:?}");
    }
    for key in [b"a\r\n$3\r\nb".as_slice(), b"\0", b"\xff\xfe", &huge[..4_096]] {
        assert_eq!(resp.call(&[b"SET", key, b"v"]).unwrap(), Reply::ok());
        assert_eq!(resp.call(&[b"GET", key]).unwrap(), Reply::bulk("v"));
    }
    victim.is_well("odd commands");
}

#[test]
fn connections_that_announce_much_and_send_little_cost_little() {
    let mut victim = Victim::new();
    let head = "PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n";
    let half: [(bool, Vec<u8>); 6] = [
        (true, b"*1000000\r\n".to_vec()),
        (true, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8000000\r\nabc".to_vec()),
        (true, vec![b'x'; 60_000]),
        (false, format!("{head}Content-Length: 8000000\r\n\r\nabc").into_bytes()),
        (false, format!("{head}Transfer-Encoding: chunked\r\n\r\n7fffff\r\nabc").into_bytes()),
        (false, format!("{head}X: {}", "x".repeat(60_000)).into_bytes()),
    ];
    let before = victim.node.metric("starling_dots_minted_total");
    let mut open = Vec::new();
    for (is_resp, input) in half.iter().cycle().take(180) {
        let addr = if *is_resp { victim.node.resp } else { victim.node.http };
        let mut stream = http::connect(addr).unwrap();
        stream.write_all(input).unwrap();
        open.push(stream);
    }
    eventually("all are taken in", || victim.node.metric("starling_connections") > 180.0);
    victim.is_well("180 of them, open");
    drop(open);
    eventually("all are gone", || victim.node.metric("starling_connections") < 10.0);
    victim.writes_nothing(before, "half a request each");
    victim.is_well("180 of them, gone");
}

#[test]
fn a_hundred_thousand_requests_and_nobody_who_reads_the_replies() {
    let mut victim = Victim::new();
    let get = encode(&["GET", "friend"]);
    let page = b"GET /v1/kv/default/friend HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (addr, one, count) in [(victim.node.resp, get.as_slice(), 100_000), (victim.node.http, page, 10_000)]
    {
        let mut stream = http::connect(addr).unwrap();
        // A door that is not read from stops reading: what does not fit stays here.
        stream.set_write_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        let _ = stream.write_all(&one.repeat(count));
        victim.is_well("many requests");
        drop(stream);
        victim.is_well("a hangup");
    }
}

#[test]
fn heads_and_bodies_that_two_parsers_would_read_differently_are_refused_on_the_wire() {
    let mut victim = Victim::new();
    let put = "PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\n";
    let extension = format!("1;{}\r\nx\r\n", "e".repeat(100_000));
    let hidden = "DELETE /v1/kv/default/friend HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let table = [
        ("two lengths", format!("{put}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx")),
        ("a length past 2^64", format!("{put}Content-Length: 99999999999999999999\r\n\r\n")),
        ("a chunk past 2^64", format!("{put}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")),
        ("a flood of chunk extensions", format!("{put}Transfer-Encoding: chunked\r\n\r\n{extension}")),
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n".to_owned()),
        ("RESP", "*1\r\n$4\r\nPING\r\n\r\n".to_owned()),
    ];
    let before = victim.node.metric("starling_dots_minted_total");
    for (name, input) in &table {
        let answer = raw(&victim.node, input.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4"), "{name}: {answer}");
        assert!(answers(&answer) == 1, "{name}: {answer}");
        victim.is_well(name);
    }
    victim.writes_nothing(before, "refused requests");
    let both = format!("{put}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}");
    assert_eq!(answers(&raw(&victim.node, both.as_bytes())), 1);
    victim.is_well("a request hidden behind a second framing");
}
