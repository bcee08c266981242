//! Whole conversations: bytes in, bytes out.

use std::time::Duration;

use starling_causality::{Dot, Hlc};
use starling_types::ActorId;
use starling_types::limits::MAX_KEY;
use starling_wire::client::SiblingView;
use starling_wire::{FailureKind, KvOp, QuorumChoice, Seen};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::*;
use crate::places::Place;
use crate::service::FrontEvent;
use crate::testing::{Fake, NOW_MS, running, token};

const PIPE: usize = 64 << 10;
/// Turns a hang into a failure: longer than any limit under test.
const HANG: Duration = Duration::from_secs(60);

fn session() -> Session {
    Session::new(5, "1.2.3.4:5".into(), FrontLimits::default().max_value)
}

/// Serves a connection while `client` talks to it.
async fn converse<T>(service: &Rc<Fake>, client: impl AsyncFnOnce(DuplexStream) -> T) -> T {
    let (near, far) = duplex(PIPE);
    let (_node, shutdown) = running();
    let limits = service.limits();
    let session = Session::new(5, "1.2.3.4:5".into(), limits.max_value);
    let server = connection::serve(far, session, Rc::clone(service), limits, (Place::alone(), shutdown));
    timeout(HANG, async { tokio::join!(client(near), server).0 }).await.expect("the conversation hangs")
}

/// Sends everything, then no more, and reads to the end.
async fn replies(service: &Rc<Fake>, input: &[u8]) -> String {
    String::from_utf8_lossy(&replies_as_bytes(service, input).await).into_owned()
}

async fn replies_as_bytes(service: &Rc<Fake>, input: &[u8]) -> Vec<u8> {
    converse(service, async |stream| {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut output = Vec::new();
        let write = async {
            // A server that hangs up early is one of the things to test.
            let _ = writer.write_all(input).await;
            let _ = writer.shutdown().await;
        };
        let (read, ()) = tokio::join!(reader.read_to_end(&mut output), write);
        read.unwrap();
        output
    })
    .await
}

/// As a client sends it.
fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

#[tokio::test]
async fn transcripts() {
    let context = crate::context::to_text(&token(2));
    let put = format!("starling.put k c CONTEXT {context}\n");
    let table: &[(&str, &str)] = &[
        // Connection.
        ("PING\nping hi\necho x\n", "+PONG\r\n$2\r\nhi\r\n$1\r\nx\r\n"),
        ("select 0\n", "+OK\r\n"),
        ("client setname me\nclient getname\nclient id\n", "+OK\r\n$2\r\nme\r\n:5\r\n"),
        ("client setinfo lib-name x\nclient setinfo LIB-VER 1\nclient getname\n", "+OK\r\n+OK\r\n$-1\r\n"),
        ("quit\nping\n", "+OK\r\n"),
        (
            "hello 3\nget a\nreset\nget a\n",
            concat!(
                "%7\r\n$6\r\nserver\r\n$8\r\nstarling\r\n$7\r\nversion\r\n$5\r\n0.1.0\r\n$5\r\nproto\r\n:3\r\n$2\r\nid\r\n:5\r\n",
                "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
                "_\r\n+RESET\r\n$-1\r\n",
            ),
        ),
        (
            "hello 2 setname me\nclient getname\n",
            concat!(
                "*14\r\n$6\r\nserver\r\n$8\r\nstarling\r\n$7\r\nversion\r\n$5\r\n0.1.0\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:5\r\n",
                "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
                "$2\r\nme\r\n",
            ),
        ),
        (
            "config get save\nconfig get appendonly\n",
            "*2\r\n$4\r\nsave\r\n$0\r\n\r\n*2\r\n$10\r\nappendonly\r\n$3\r\nyes\r\n",
        ),
        ("config get nothing\n", "*0\r\n"),
        ("command docs\ncommand count\n", "*0\r\n:21\r\n"),
        (
            "command info get nope\n",
            "*2\r\n*6\r\n$3\r\nget\r\n:2\r\n*1\r\n+readonly\r\n:1\r\n:1\r\n:1\r\n$-1\r\n",
        ),
        ("info keyspace\n", "$20\r\n# Keyspace\r\nkeys:0\r\n\r\n"),
        // Keys.
        ("set a 1\nget a\nstrlen a\nget b\nstrlen b\n", "+OK\r\n$1\r\n1\r\n:1\r\n$-1\r\n:0\r\n"),
        ("set a 1\nset a 22\nget a\n", "+OK\r\n+OK\r\n$2\r\n22\r\n"),
        ("set a \"\"\nget a\nexists a\n", "+OK\r\n$0\r\n\r\n:1\r\n"),
        (
            "set a 1\nset b 2\nexists a b c a\nmget a c b\n",
            "+OK\r\n+OK\r\n:3\r\n*3\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n",
        ),
        ("set a 1\nset b 2\ndel a b c\ndel a\nget a\n", "+OK\r\n+OK\r\n:2\r\n:0\r\n$-1\r\n"),
        ("set a 1\nstarling.bucket other\nget a\nstarling.bucket\n", "+OK\r\n+OK\r\n$-1\r\n$5\r\nother\r\n"),
        (
            "set a 1\nselect 15\nget a\nstarling.bucket\nselect 0\nget a\n",
            "+OK\r\n+OK\r\n$-1\r\n$4\r\ndb15\r\n+OK\r\n$1\r\n1\r\n",
        ),
        // Contexts.
        ("starling.get k\n", "*2\r\n$-1\r\n*0\r\n"),
        (
            "starling.put k a\nstarling.put k b\nstarling.get k\nget k\n",
            concat!(
                "*2\r\n$11\r\nAAAAAAAAAAE\r\n:1\r\n*2\r\n$-1\r\n:2\r\n",
                "*2\r\n$11\r\nAAAAAAAAAAI\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nb\r\n",
            ),
        ),
        (
            &format!("set k a\nset k b\n{put}starling.get k\n"),
            "+OK\r\n+OK\r\n*2\r\n$11\r\nAAAAAAAAAAM\r\n:1\r\n*2\r\n$11\r\nAAAAAAAAAAM\r\n*1\r\n$1\r\nc\r\n",
        ),
        ("set k a\nstarling.del k\nget k\n", "+OK\r\n*2\r\n$11\r\nAAAAAAAAAAI\r\n:0\r\n$-1\r\n"),
        (
            "starling.consistency r 1 STRICT yes\nstarling.consistency\n",
            "+OK\r\n*6\r\n$1\r\nr\r\n:1\r\n$1\r\nw\r\n$7\r\ndefault\r\n$6\r\nstrict\r\n$3\r\nyes\r\n",
        ),
    ];
    for (input, expected) in table {
        assert_eq!(replies(&Fake::new(), input.as_bytes()).await, *expected, "{input}");
    }
}

/// Each refused with an error that names the remedy, after which the connection goes on.
#[tokio::test]
async fn refusals() {
    let table = [
        ("nope a b", "unknown command 'nope': there are GET SET"),
        ("auth x", "no passwords"),
        ("hello 3 auth a b", "no passwords"),
        ("hello 4", "-NOPROTO"),
        ("hello 3 nope", "syntax error"),
        ("hello 3 setname", "needs a value"),
        ("exec", "STARLING.PUT with its CONTEXT"),
        ("subscribe x", "no publish and subscribe"),
        ("select 16", "from 0 to 15: use STARLING.BUCKET"),
        ("select -1", "from 0 to 15"),
        ("select x", "from 0 to 15"),
        ("get", "wrong number of arguments for 'get' command: GET key"),
        ("select", "wrong number of arguments for 'select' command: SELECT n"),
        ("get a b", "wrong number"),
        ("set a", "wrong number"),
        ("set a b NX", "STARLING.GET"),
        ("set a b XX EX 1", "STARLING.GET"),
        ("set a b GET", "STARLING.GET"),
        ("set a b keepttl", "STARLING.GET"),
        ("set a b EX", "EX needs a value"),
        ("set a b EX 0", "invalid expire"),
        ("set a b EX -1", "invalid expire"),
        ("set a b EX 99999999999999999999", "invalid expire"),
        ("set a b EX 18446744073709551", "invalid expire"),
        ("set a b EX 1 PX 1", "one of EX"),
        ("set a b EXAT 1600000000", "it has passed"),
        ("set a b bogus", "syntax error at 'BOGUS': SET key value"),
        ("get \"\"", "the key is empty"),
        ("starling.put a b CONTEXT a*b", "damaged"),
        ("starling.put a b W 0", "a quorum is a number from 1 to 7"),
        ("starling.put a b W 1 W 1", "syntax error"),
        ("starling.del a W 1", "syntax error"),
        ("starling.del a CONTEXT none", "deletes nothing"),
        ("starling.put a b CONTEXT local CONTEXT quorum", "syntax error"),
        ("starling.put a b RECEIPT RECEIPT", "syntax error"),
        ("starling.consistency R 1 R 2", "there twice"),
        ("starling.consistency R 8", "a quorum"),
        ("starling.consistency STRICT perhaps", "YES, NO or DEFAULT"),
        ("starling.bucket a/b", "is not allowed"),
        ("client setname \"a b\"", "printable characters"),
        ("client kill x", "CLIENT ID|INFO"),
        ("config set a b", "CONFIG GET"),
        ("command nope", "COMMAND [COUNT"),
    ];
    for (input, words) in table {
        let got = replies(&Fake::new(), format!("{input}\nping\n").as_bytes()).await;
        let error = got.strip_suffix("\r\n+PONG\r\n").unwrap_or_else(|| panic!("{input}: {got}"));
        assert!(error.starts_with('-') && error.contains(words) && !error.contains('\n'), "{input}: {error}");
    }
}

#[tokio::test]
async fn keys_and_values_are_bytes_with_limits() {
    let key = b"a\r\nb\0\xff";
    let value = vec![0xfe; 100_000];
    let input = [request(&[b"SET", key, &value]), request(&[b"STRLEN", key])].concat();
    assert_eq!(replies(&Fake::new(), &input).await, "+OK\r\n:100000\r\n");

    let longest = vec![b'k'; MAX_KEY];
    assert_eq!(replies(&Fake::new(), &request(&[b"SET", &longest, b"v"])).await, "+OK\r\n");
    let longer = vec![b'k'; MAX_KEY + 1];
    let got = replies(&Fake::new(), &request(&[b"SET", &longer, b"v"])).await;
    assert!(got.contains("4097 bytes") && got.contains("at most 4096"), "{got}");

    let service = Fake::with_limits(FrontLimits { max_value: 100, ..FrontLimits::default() });
    let got = replies(&service, &request(&[b"SET", b"k", &[0; 101]])).await;
    assert!(got.starts_with("-ERR the value has 101 bytes") && got.contains("at most 100"), "{got}");
    assert!(service.log.borrow().is_empty());
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_unread() {
    let limit = FrontLimits::default().max_value;
    let input = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\nxxxx", limit + 1);
    let got = replies(&Fake::new(), input.as_bytes()).await;
    assert!(
        got.starts_with("-ERR Protocol error: bulk of 8388609 bytes") && got.contains("8388608"),
        "{got}"
    );
}

#[tokio::test]
async fn lives_are_relative_to_the_issue_of_the_request() {
    let service = Fake::new();
    let at = NOW_MS + 5_000;
    let input =
        format!("set a v ex 2\nset a v px 3\nset a v exat {}\nset a v PXAT {at}\nset a v\n", at / 1_000);
    replies(&service, input.as_bytes()).await;
    let ttl = |op: &KvOp| {
        if let KvOp::Put { ttl_ms, .. } = op { *ttl_ms } else { None }
    };
    let lives: Vec<_> = service.log.borrow().iter().map(|request| ttl(&request.op)).collect();
    assert_eq!(lives, [Some(2_000), Some(3), Some(5_000), Some(5_000), None]);
}

#[tokio::test]
async fn writers_say_what_they_have_seen() {
    let service = Fake::new();
    replies(
        &service,
        b"set a v\ndel a\nstarling.put a v\nstarling.del a\nstarling.del a context AAAAAAAAAAE\n\
          starling.put a v context quorum\nstarling.put a v context LOCAL\nstarling.put a v context None\n",
    )
    .await;
    let seen = |op: &KvOp| match op {
        KvOp::Put { seen, .. } | KvOp::Delete { seen } => seen.clone(),
        KvOp::Get => panic!("no read was asked for"),
    };
    let all: Vec<_> = service.log.borrow().iter().map(|request| seen(&request.op)).collect();
    let blind = Seen::Quorum;
    let expected = [
        blind.clone(),
        blind.clone(),
        Seen::Nothing,
        blind.clone(),
        Seen::Context(token(1)),
        blind,
        Seen::Local,
        Seen::Nothing,
    ];
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_receipt_says_what_was_done_to_those_who_ask() {
    let got = replies(&Fake::new(), b"hello 3\nstarling.put k v RECEIPT CONTEXT quorum\n").await;
    let receipt = got.split_once("modules\r\n*0\r\n").unwrap().1;
    assert!(receipt.starts_with("*3\r\n$11\r\nAAAAAAAAAAE\r\n:1\r\n%11\r\n"), "{receipt}");
    for field in
        ["$5\r\nacked\r\n:2\r\n", "$7\r\ncontext\r\n$6\r\nquorum\r\n", "$9\r\nunvouched\r\n$2\r\nno\r\n"]
    {
        assert!(receipt.contains(field), "{field} is missing: {receipt}");
    }
    let service = Fake::new();
    service.partial.set(true);
    let got = replies(&service, b"starling.del k RECEIPT\nset k v\n").await;
    assert!(got.contains("$7\r\ncontext\r\n$7\r\npartial\r\n") && got.ends_with("+OK\r\n"), "{got}");
}

#[tokio::test]
async fn a_newer_delete_hides_the_value_from_those_who_see_only_the_newest() {
    use starling_wire::client::{KvReply, ReadReply};
    let service = Fake::new();
    replies(&service, b"set k v\n").await;
    service.held.set(true);
    let dot = |n| Dot { actor: ActorId::from_bits(9), hlc: Hlc::from_bits(n) };
    for (deleted, shown) in [(dot(0), "$1\r\nv\r\n:1\r\n"), (dot(2), "$-1\r\n:0\r\n")] {
        let got = converse(&service, async |mut stream| {
            stream.write_all(b"get k\nexists k\n").await.unwrap();
            stream.shutdown().await.unwrap();
            for _ in 0..2 {
                until(|| !service.waiting.borrow().is_empty()).await;
                let (_, reply) = service.waiting.borrow_mut().pop().unwrap();
                let value = SiblingView { value: "v".into(), dot: dot(1), expires_at: None };
                reply.send(KvReply::Read(ReadReply {
                    siblings: vec![value],
                    context: None,
                    deleted: Some(deleted),
                }));
            }
            let mut output = String::new();
            stream.read_to_string(&mut output).await.unwrap();
            output
        })
        .await;
        assert_eq!(got, shown);
    }
}

#[tokio::test]
async fn consistency_holds_for_the_connection_until_changed() {
    let service = Fake::new();
    let input = b"get a\nstarling.consistency R 1 W 3 STRICT no\nget a\nstarling.put a v W 2\n\
        starling.consistency W default\nmget a b\nreset\nget a\n";
    replies(&service, input).await;
    let choice = |r, w, strict| QuorumChoice { r, w, strict };
    let set = |w| choice(Some(1), w, Some(false));
    let default = choice(None, None, None);
    assert_eq!(service.quorums(), [default, set(Some(3)), set(Some(2)), set(None), set(None), default]);
}

#[tokio::test]
async fn failures_have_a_prefix_for_programs_and_an_outcome() {
    let table = [
        (FailureKind::BadRequest, "ERR"),
        (FailureKind::TooLarge, "ERR"),
        (FailureKind::NoSuchBucket, "NOBUCKET"),
        (FailureKind::TooManySiblings, "SIBLINGS"),
        (FailureKind::Overloaded, "BUSY"),
        (FailureKind::NotReady, "LOADING"),
        (FailureKind::QuorumNotReached, "NOQUORUM"),
        (FailureKind::Deadline, "TIMEOUT"),
        (FailureKind::Storage, "STORAGE"),
        (FailureKind::DiskFull, "DISKFULL"),
    ];
    for (kind, prefix) in table {
        let expected = format!("-{prefix} it went wrong outcome=unknown\r\n");
        for input in ["get a\n", "set a b\n", "mget a b\n", "del a b\n", "starling.get a\n"] {
            assert_eq!(replies(&Fake::failing(kind), input.as_bytes()).await, expected, "{input}");
        }
    }
}

#[tokio::test]
async fn a_delete_of_several_keys_that_fails_half_way_says_so() {
    let service = Fake::new();
    service.held.set(true);
    let got = converse(&service, async |mut stream| {
        stream.write_all(b"del a b\n").await.unwrap();
        until(|| service.waiting.borrow().len() == 2).await;
        let second = service.waiting.borrow_mut().pop().unwrap();
        service.answer_waiting(|_| ());
        let failure = starling_wire::Failure::refused(FailureKind::Overloaded, "too much");
        second.1.send(starling_wire::client::KvReply::Failed(failure));
        line(&mut stream).await
    })
    .await;
    assert_eq!(got, "-BUSY 1 keys were written, another was not: too much outcome=unknown\r\n");
}

#[tokio::test]
async fn replies_keep_their_order_when_answers_do_not() {
    let service = Fake::new();
    let store = b"set a 1\nset b 2\nset c 3\nset d 4\nset e 5\n";
    replies(&service, store).await;
    service.held.set(true);
    let got = converse(&service, async |mut stream| {
        stream.write_all(b"get a\nping\nget b\nmget c d\nget e\n").await.unwrap();
        until(|| service.waiting.borrow().len() == 5).await;
        service.answer_waiting(|waiting| waiting.reverse());
        stream.shutdown().await.unwrap();
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        output
    })
    .await;
    assert_eq!(got, "$1\r\n1\r\n+PONG\r\n$1\r\n2\r\n*2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n");
}

/// Lets the other tasks run until `condition` holds.
async fn until(condition: impl Fn() -> bool) {
    for _ in 0..1_000_000 {
        if condition() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("what was waited for never came");
}

async fn line(stream: &mut DuplexStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n") {
        bytes.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(bytes).unwrap()
}

mod hostile;
mod in_order;
