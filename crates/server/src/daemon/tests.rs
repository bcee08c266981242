//! Nodes whose disk does not answer.

use std::cell::Cell;
use std::future::ready;

use starling_node::{Event, ReplyHandle};
use starling_wire::client::AdminRequest;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::{LocalSet, yield_now};

use super::*;
use crate::readers::READERS;
use crate::testing::Gate;

/// A cluster of one node, and the gate before its disk.
struct Bench {
    daemon: Daemon,
    gate: Arc<Gate>,
    _dir: TempDir,
}

/// Runs a story on a thread as a daemon has it.
fn run(story: impl AsyncFnOnce(&Bench)) {
    run_with(Duration::MAX, story);
}

fn run_with(patience: Duration, story: impl AsyncFnOnce(&Bench)) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async {
        let bench = Bench::start(patience).await;
        story(&bench).await;
        bench.gate.open();
        bench.daemon.run(ready(())).await.unwrap();
    });
}

impl Bench {
    async fn start(patience: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        let port = "127.0.0.1:0".parse().unwrap();
        (settings.listen.resp, settings.listen.http, settings.listen.quic) = (port, port, port);
        settings.node.data = dir.path().join("data");
        settings.tls.dir = dir.path().join("tls");
        let mut gate = None;
        let between = |engine: Arc<DurableEngine>| {
            gate.insert(Gate::before(engine, patience)).clone() as Arc<dyn Engine>
        };
        let daemon = Daemon::start_over(settings, between).await.unwrap();
        let nodes = vec![daemon.identity().quic];
        let nobody = ReplyHandle(u64::MAX);
        daemon.reactor.push(Event::Admin(nobody, AdminRequest::Init { nodes, copies: 1, bits: 4 }));
        daemon.reactor.turn();
        while daemon.reactor.ready().is_err() {
            yield_now().await;
        }
        Self { daemon, gate: gate.unwrap(), _dir: dir }
    }

    async fn client(&self) -> Client {
        Client(BufReader::new(TcpStream::connect(self.daemon.identity().resp).await.unwrap()))
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn send(&mut self, line: &str) {
        self.0.write_all(format!("{line}\r\n").as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().into()
    }

    async fn ask(&mut self, line: &str) -> String {
        self.send(line).await;
        self.line().await
    }

    /// Ends the connection as a process does that is killed with bytes unread.
    fn hang_up(self) {
        self.0.get_ref().set_zero_linger().unwrap();
    }
}

fn mget(name: &str, keys: usize) -> String {
    let keys: Vec<_> = (0..keys).map(|n| format!("{name}{n}")).collect();
    format!("MGET {}", keys.join(" "))
}

#[test]
fn a_disk_that_does_not_answer_holds_up_none_but_its_readers() {
    run(async |bench| {
        bench.gate.shut();
        let (mut slow, mut other) = (bench.client().await, bench.client().await);
        slow.send(&mget("cold", 1_024)).await;
        bench.gate.has_come(READERS).await;
        for _ in 0..3 {
            assert_eq!(other.ask("PING").await, "+PONG");
        }
        // No read has ended: the request has, with its time limit.
        let refusal = slow.line().await;
        assert!(refusal.starts_with('-') && refusal.contains("0 of 1"), "{refusal}");
        bench.gate.open();
        assert_eq!(slow.ask(&mget("cold", 1_024)).await, "*1024");
        let mut values = vec![0; 1_024 * "$-1\r\n".len()];
        slow.0.read_exact(&mut values).await.unwrap();
        assert_eq!(values, "$-1\r\n".repeat(1_024).as_bytes());
    });
}

#[test]
fn nothing_is_read_for_a_client_that_hung_up_and_what_it_wrote_stays_written() {
    run(async |bench| {
        bench.gate.shut();
        let before = bench.gate.came();
        let (mut gone, mut other) = (bench.client().await, bench.client().await);
        gone.send(&mget("cold", 1_024)).await;
        gone.send("SET k v").await;
        bench.gate.has_come(before + READERS).await;
        // The node has read all of it when it answers another.
        assert_eq!(other.ask("PING").await, "+PONG");
        gone.hang_up();
        assert_eq!(other.ask("PING").await, "+PONG");
        bench.gate.open();
        // Until its write is committed there is nothing.
        while other.ask("GET k").await == "$-1" {}
        assert_eq!(other.line().await, "v");
        let came = bench.gate.came() - before;
        assert!(came < 100, "{came} reads");
    });
}

/// CPU time of the node's thread: on a machine that is busy with other things it says more than a clock.
fn busy() -> Duration {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.try_into().unwrap()
}

/// With `--nocapture` it tells how long the PINGs took.
#[test]
fn reads_of_10_ms_each_hold_up_no_ping() {
    run_with(Duration::from_millis(10), async |bench| {
        for (name, is_slow) in [("fast", false), ("slow", true)] {
            let (mut reader, mut other) = (bench.client().await, bench.client().await);
            if is_slow {
                bench.gate.shut();
            }
            let (clock, is_over) = (Clock::start(), Cell::new(false));
            let began = clock.instant();
            let read = async {
                let answer = reader.ask(&mget(name, 1_024)).await;
                is_over.set(true);
                (answer, clock.instant().since(began))
            };
            let ping = async {
                let (mut pauses, mut busiest) = (Vec::new(), Duration::ZERO);
                while !is_over.get() {
                    let (sent, busy) = (clock.instant(), busy());
                    assert_eq!(other.ask("PING").await, "+PONG");
                    pauses.push(clock.instant().since(sent));
                    busiest = busiest.max(self::busy() - busy);
                }
                pauses.sort();
                (pauses, busiest)
            };
            let ((answer, took), (pauses, busiest)) = tokio::join!(read, ping);
            assert!(answer == "*1024" || answer.starts_with('-'), "{answer}");
            let [p50, p99] = [50, 99].map(|part| pauses[(pauses.len() - 1) * part / 100]);
            let (pings, longest) = (pauses.len(), pauses.last().unwrap());
            println!(
                "{name}: MGET {answer:?} after {took:?}; {pings} PINGs, p50 {p50:?}, p99 {p99:?}, longest {longest:?}"
            );
            println!("    at most {busiest:?} of the node's own work before one of them");
        }
    });
}
