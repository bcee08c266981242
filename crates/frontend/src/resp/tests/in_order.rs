//! Commands of one connection act on a key in their order, however long each takes, and on different keys at once.

use super::*;

/// The keys and words of what waits for an answer.
fn under_way(service: &Fake) -> Vec<String> {
    let waiting = service.waiting.borrow();
    waiting.iter().map(|(r, _)| format!("{} {}", r.op.name(), r.key.as_bytes().escape_ascii())).collect()
}

async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Sends `input` and answers in rounds the requests that have begun, the youngest first. Returns the requests under way
/// in each round, and all replies.
async fn rounds(service: &Rc<Fake>, input: &[u8]) -> (Vec<Vec<String>>, String) {
    service.held.set(true);
    converse(service, async |mut stream| {
        stream.write_all(input).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rounds = Vec::new();
        settle().await;
        while !service.waiting.borrow().is_empty() {
            rounds.push(under_way(service));
            service.answer_waiting(|waiting| waiting.reverse());
            settle().await;
        }
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        (rounds, output)
    })
    .await
}

#[tokio::test]
async fn a_read_sees_the_write_before_it() {
    let (rounds, got) = rounds(&Fake::new(), b"set k v\nget k\ndel k\nget k\n").await;
    assert_eq!(rounds, [["put k"], ["get k"], ["del k"], ["get k"]]);
    assert_eq!(got, "+OK\r\n$1\r\nv\r\n:1\r\n$-1\r\n");
}

#[tokio::test]
async fn fifty_writes_of_a_key_leave_the_last() {
    let sets: String = (1..=50).map(|n| format!("set k {n}\n")).collect();
    let service = Fake::new();
    let (rounds, got) = rounds(&service, format!("{sets}get k\n").as_bytes()).await;
    assert_eq!((rounds.len(), got.as_str()), (51, &*format!("{}$2\r\n50\r\n", "+OK\r\n".repeat(50))));
}

#[tokio::test]
async fn other_keys_and_other_databases_do_not_wait() {
    let input = b"set a 1\nset b 1\nget a\nselect 1\nset a 2\nping\nget b\n";
    let (rounds, _) = rounds(&Fake::new(), input).await;
    assert_eq!(rounds, [vec!["put a", "put b", "put a", "get b"], vec!["get a"]]);
}

#[tokio::test]
async fn commands_of_several_keys_take_part_with_all_of_them() {
    let input = b"set a 1\nset b 2\nmget a b c\nset c 3\nexists c a\ndel b c\nset d 4\nmget b c\n";
    let (rounds, got) = rounds(&Fake::new(), input).await;
    let expected = [
        vec!["put a", "put b", "put d"],
        vec!["get a", "get b", "get c"],
        vec!["put c"],
        vec!["get c", "get a"],
        vec!["del b", "del c"],
        vec!["get b", "get c"],
    ];
    assert_eq!(rounds, expected);
    let mget = "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n";
    assert_eq!(got, format!("+OK\r\n+OK\r\n{mget}+OK\r\n:2\r\n:2\r\n+OK\r\n*2\r\n$-1\r\n$-1\r\n"));
}

#[tokio::test]
async fn a_key_named_twice_is_read_twice_and_deleted_once() {
    let (rounds, got) = rounds(&Fake::new(), b"set k v\nexists k k\ndel k k\n").await;
    assert_eq!(rounds, [vec!["put k"], vec!["get k", "get k"], vec!["del k"]]);
    assert_eq!(got, "+OK\r\n:2\r\n:1\r\n");
}

#[tokio::test]
async fn a_write_that_ended_unknown_has_ended() {
    let service = Fake::new();
    *service.failure.borrow_mut() = Some(starling_wire::Failure::unknown(FailureKind::Deadline, "late"));
    let (rounds, got) = rounds(&service, b"set k v\nget k\n").await;
    assert_eq!(rounds, [["put k"], ["get k"]]);
    assert_eq!(got, "-TIMEOUT late outcome=unknown\r\n".repeat(2));
}

/// A request is issued, and its time begins to run, when its turn has come: that of many behind each other is not used
/// up while they wait.
#[tokio::test]
async fn time_runs_from_the_turn_and_a_life_that_has_passed_by_then_is_refused() {
    let service = Fake::new();
    service.held.set(true);
    let until = NOW_MS + 5_000;
    let input =
        format!("set k 1\nset k 2\nset k 3 ex 9\nset k 4 pxat {until}\nset k 5 pxat {}\n", until + 1_500);
    let got = converse(&service, async |mut stream| {
        stream.write_all(input.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        for step in 0..4 {
            until_waiting(&service).await;
            assert_eq!(service.waiting.borrow().len(), 1);
            let request = service.waiting.borrow()[0].0.clone();
            assert_eq!(request.issued.millis(), NOW_MS + step * 2_000, "{request:?}");
            service.ahead_ms.set((step + 1) * 2_000);
            service.answer_waiting(|_| ());
        }
        let mut output = String::new();
        stream.read_to_string(&mut output).await.unwrap();
        output
    })
    .await;
    assert!(
        got.starts_with(&"+OK\r\n".repeat(3)) && got.ends_with("outcome=not_applied\r\n+OK\r\n"),
        "{got}"
    );
    let lives: Vec<_> = service.log.borrow().iter().map(|r| ttl(&r.op)).collect();
    assert_eq!(lives, [None, None, Some(9_000), Some(500)]);
}

fn ttl(op: &KvOp) -> Option<u64> {
    if let KvOp::Put { ttl_ms, .. } = op { *ttl_ms } else { None }
}

async fn until_waiting(service: &Fake) {
    until(|| !service.waiting.borrow().is_empty()).await;
}

#[tokio::test]
async fn what_waits_for_its_turn_is_bounded_in_bytes() {
    let limits = FrontLimits { max_output: 10_000, ..FrontLimits::default() };
    let service = Fake::with_limits(limits);
    service.held.set(true);
    let (first, rest) = ([b's'; 9_000], [b'r'; 9_000]);
    let input = [request(&[b"SET", b"k", &first]), request(&[b"SET", b"k", &rest]).repeat(20)].concat();
    converse(&service, async |mut stream| {
        stream.write_all(&input[..PIPE]).await.unwrap();
        settle().await;
        assert!(service.commands() <= 4, "{} commands were taken", service.commands());
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async { writer.write_all(&input[PIPE..]).await.unwrap() };
        let answer = async {
            for _ in 0..21 {
                until_waiting(&service).await;
                assert_eq!(service.waiting.borrow().len(), 1);
                service.answer_waiting(|_| ());
            }
        };
        let mut output = [0; 5 * 21];
        tokio::join!(write, answer, async { _ = reader.read_exact(&mut output).await.unwrap() });
        assert_eq!(&output[..], b"+OK\r\n".repeat(21));
    })
    .await;
}

#[tokio::test]
async fn more_than_the_pipeline_takes_comes_to_its_turn_too() {
    let limits = FrontLimits { max_pipeline: 3, ..FrontLimits::default() };
    let service = Fake::with_limits(limits);
    let sets: String = (1..=40).map(|n| format!("set k {n}\nmget k j\n")).collect();
    let (rounds, got) = rounds(&service, sets.as_bytes()).await;
    assert_eq!(rounds.len(), 80);
    assert!(got.ends_with("+OK\r\n*2\r\n$2\r\n40\r\n$-1\r\n"), "{got}");
}

#[tokio::test]
async fn what_was_taken_has_its_turn_when_nobody_is_left_to_hear() {
    let service = Fake::new();
    service.held.set(true);
    let (mut near, far) = duplex(PIPE);
    let (_node, shutdown) = running();
    let server =
        connection::serve(far, session(), Rc::clone(&service), service.limits(), (Place::alone(), shutdown));
    let client = async {
        near.write_all(b"set k 1\nset k 2\nset k 3\n").await.unwrap();
        until_waiting(&service).await;
        drop(near);
        for _ in 0..3 {
            until_waiting(&service).await;
            service.answer_waiting(|_| ());
        }
    };
    tokio::join!(client, server);
    assert_eq!(service.log.borrow().len(), 3);
    service.held.set(false);
    assert_eq!(replies(&service, b"get k\n").await, "$1\r\n3\r\n");
}

#[tokio::test]
async fn nothing_of_a_refused_transaction_is_carried_out() {
    let service = Fake::new();
    let got = replies(&service, b"set k old\nmulti\nset k new\nget k\nnonsense\nexec\nget k\n").await;
    let lines: Vec<_> = got.lines().collect();
    assert_eq!((lines[0], lines.len()), ("+OK", 8), "{got}");
    for (line, words) in lines[1..6].iter().zip([
        "MULTI",
        "'SET' was not carried out",
        "'GET' was not carried out",
        "'NONSENSE' was not carried out",
        "EXECABORT ",
    ]) {
        assert!(line.starts_with('-') && line.contains(words), "{line}");
        assert!(line.ends_with("outcome=not_applied"), "{line}");
    }
    assert_eq!(lines[6..], ["$3", "old"]);
    let writes = service.log.borrow().iter().filter(|request| request.op.is_write()).count();
    assert_eq!(writes, 1);
}

#[tokio::test]
async fn a_refused_block_ends_with_discard_with_reset_and_with_its_connection() {
    for (end, reply) in [("discard", "+OK\r\n"), ("reset", "+RESET\r\n")] {
        let got = replies(&Fake::new(), format!("multi\nset k v\n{end}\nget k\n").as_bytes()).await;
        assert!(got.ends_with(&format!("outcome=not_applied\r\n{reply}$-1\r\n")), "{got}");
    }
    let service = Fake::new();
    let got = replies(&service, b"multi\nset k v\nquit\nset k w\n").await;
    assert!(got.ends_with("+OK\r\n") && service.log.borrow().is_empty(), "{got}");
    assert_eq!(replies(&service, b"set k v\nget k\n").await, "+OK\r\n$1\r\nv\r\n", "another connection");
}
