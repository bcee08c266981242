//! Over real sockets: what a stream in memory cannot show.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::*;
use crate::service::FrontLimits;
use crate::testing::{Fake, running};
use crate::{serve_http, serve_resp};

struct Node {
    resp: SocketAddr,
    http: SocketAddr,
    stop: watch::Sender<bool>,
    doors: JoinHandle<()>,
}

async fn start(service: &Rc<Fake>) -> Node {
    let (stop, shutdown) = running();
    let resp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (resp_at, http_at) = (resp.local_addr().unwrap(), http.local_addr().unwrap());
    let (resp, http) = (
        serve_resp(resp, Rc::clone(service), shutdown.clone()),
        serve_http(http, Rc::clone(service), shutdown),
    );
    let doors = spawn_local(async move {
        tokio::join!(resp, http);
    });
    Node { resp: resp_at, http: http_at, stop, doors }
}

async fn say(at: SocketAddr, words: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    let mut output = String::new();
    stream.read_to_string(&mut output).await.unwrap();
    output
}

#[tokio::test]
async fn both_doors_lead_to_one_service_until_it_stops() {
    let service = Fake::new();
    LocalSet::new()
        .run_until(async {
            let node = start(&service).await;
            assert_eq!(say(node.resp, "SET k v\r\nQUIT\r\n").await, "+OK\r\n+OK\r\n");
            let get = "GET /v1/kv/default/k HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            assert!(say(node.http, get).await.ends_with("\r\n\r\nv"));
            let mut idle = TcpStream::connect(node.resp).await.unwrap();
            idle.write_all(b"PING\r\n").await.unwrap();
            let mut pong = [0; 7];
            idle.read_exact(&mut pong).await.unwrap();
            node.stop.send(true).unwrap();
            node.doors.await.unwrap();
            assert_eq!(idle.read(&mut pong).await.unwrap(), 0);
            assert!(TcpStream::connect(node.resp).await.is_err());
        })
        .await;
    let events = service.events.borrow();
    let count = |event| events.iter().filter(|(_, e)| *e == event).count();
    assert_eq!((count(FrontEvent::Opened), count(FrontEvent::Closed)), (3, 3));
}

/// Closing on unread bytes would reset the connection, and the client would never see why.
#[tokio::test]
async fn a_client_that_sends_too_much_still_learns_the_reason() {
    let service = Fake::new();
    let too_much = "x".repeat(16 << 20);
    LocalSet::new()
        .run_until(async {
            let node = start(&service).await;
            let set = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{too_much}\r\n", too_much.len());
            let put = format!(
                "PUT /v1/kv/b/k HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                too_much.len()
            );
            assert!(say(node.resp, &set).await.contains("at most 8388608"));
            assert!(say(node.http, &(put + &too_much)).await.starts_with("HTTP/1.1 413 "));
        })
        .await;
}

const GET: &str = "GET /v1/kv/default/k HTTP/1.1\r\nhost: a\r\n\r\n";

/// One place, and a client in it that waits for its answer.
async fn busy(service: &Rc<Fake>, at: SocketAddr, words: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(words.as_bytes()).await.unwrap();
    while service.waiting.borrow().is_empty() {
        tokio::task::yield_now().await;
    }
    stream
}

fn with_one_place() -> Rc<Fake> {
    let service = Fake::with_limits(FrontLimits { max_connections: 1, ..FrontLimits::default() });
    service.held.set(true);
    service
}

#[tokio::test]
async fn a_door_full_of_answers_that_are_due_says_so_and_opens_again() {
    let service = with_one_place();
    LocalSet::new()
        .run_until(async {
            let node = start(&service).await;
            let first = busy(&service, node.resp, "GET k\r\n").await;
            let refused = say(node.resp, "").await;
            assert!(refused.starts_with("-ERR max number of clients"), "{refused}");
            drop(first);
            while !service.events.borrow().iter().any(|(_, event)| *event == FrontEvent::Closed) {
                service.answer_waiting(|_| {});
                tokio::task::yield_now().await;
            }
            assert_eq!(say(node.resp, "QUIT\r\n").await, "+OK\r\n");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn operators_get_in_where_all_places_are_in_use() {
    let service = with_one_place();
    LocalSet::new()
        .run_until(async {
            let node = start(&service).await;
            let _first = busy(&service, node.http, GET).await;
            let seen = say(node.http, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
            assert!(seen.starts_with("HTTP/1.1 200 ") && seen.ends_with("ok\n"), "{seen}");
            let refused = say(node.http, GET).await;
            assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_client_makes_room_for_the_next() {
    let service = Fake::with_limits(FrontLimits { max_connections: 1, ..FrontLimits::default() });
    LocalSet::new()
        .run_until(async {
            let node = start(&service).await;
            for (at, words, reply) in [(node.resp, "QUIT\r\n", "+OK\r\n"), (node.http, GET, "HTTP/1.1 404 ")]
            {
                let mut idle = TcpStream::connect(at).await.unwrap();
                sleep(Duration::from_secs(100)).await;
                let mut next = TcpStream::connect(at).await.unwrap();
                next.write_all(words.as_bytes()).await.unwrap();
                let mut seen = vec![0; reply.len()];
                next.read_exact(&mut seen).await.unwrap();
                assert_eq!(seen, reply.as_bytes());
                assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
            }
        })
        .await;
    assert_eq!(service.events.borrow().iter().filter(|(_, e)| *e == FrontEvent::MadeRoom).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_only_so_long() {
    let service = Fake::new();
    service.held.set(true);
    LocalSet::new()
        .run_until(async {
            let node = start(&service).await;
            let mut stream = TcpStream::connect(node.resp).await.unwrap();
            stream.write_all(b"GET k\r\n").await.unwrap();
            while service.waiting.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            node.stop.send(true).unwrap();
            node.doors.await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        })
        .await;
}
