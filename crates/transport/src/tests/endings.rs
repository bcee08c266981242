//! How connections end: by garbage, by silence, by a restart, and well.

use starling_types::limits;
use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::greeting::Greeted;
use crate::identity::ANY_NODE;
use crate::quic::{self, Protocols};

/// The bare end of a peer's connection, to misbehave with.
struct Bare {
    connection: quinn::Connection,
    greeted: Greeted,
    _endpoint: quinn::Endpoint,
}

async fn bare_peer(authority: &Authority, id: u64, to: &Node) -> Bare {
    let credentials = authority.issue_node(NodeId::from_bits(id)).unwrap();
    let secrets = EndpointSecrets::random().unwrap();
    let endpoint = quic::endpoint("127.0.0.1:0".parse().unwrap(), &secrets, None).unwrap();
    let config = quic::client_config(&credentials, Protocols::Peer).unwrap();
    let ours = recorder(id).hello();
    let to = (to.addr(), ANY_NODE);
    let greeted = crate::endpoint::connect(&endpoint, &config, Protocols::Peer, to, &ours).await;
    let (connection, greeted) = greeted.unwrap();
    Bare { connection, greeted, _endpoint: endpoint }
}

#[test]
fn garbage_closes_its_own_connection_and_no_other() {
    run(async |authority: Authority| {
        let (one, two) = pair(&authority).await;
        for round in 0..3_u64 {
            let mut bare = bare_peer(&authority, 5, &two).await;
            two.inbox.up(5).await;
            match round {
                0 => bare.greeted.streams[1].0.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap(),
                1 => bare.connection.send_datagram(Bytes::from_static(b"hello")).unwrap(),
                _ => {
                    let mut stream = bare.connection.open_uni().await.unwrap();
                    stream.write_all(&[0, 1, 0, 0, 7]).await.unwrap();
                    stream.finish().unwrap();
                }
            }
            let quinn::ConnectionError::ApplicationClosed(close) = bare.connection.closed().await else {
                panic!("not closed by the application");
            };
            assert_eq!(u64::from(close.error_code), 3);
            while two.transport.counters().malformed.get() <= round {
                tokio::task::yield_now().await;
            }
            two.inbox.down().await;
            two.inbox.told.borrow_mut().clear();
        }
        assert_eq!(one.send(2, Class::Foreground, &merge(1, 10)), Sent::Queued);
        assert_eq!(two.inbox.frames(1).await, [merge(1, 10)]);
    });
}

#[test]
fn a_peer_that_does_not_read_fills_its_own_queue_only() {
    run(async |authority: Authority| {
        let (one, two) = pair(&authority).await;
        let _silent = bare_peer(&authority, 5, &two).await;
        two.inbox.up(5).await;
        let (frame, mut taken, mut full) = (merge(0, 50_000), 0, 0);
        while full < 100 {
            match two.send(5, Class::Background, &frame) {
                Sent::Queued => taken += 50_000,
                Sent::Full => full += 1,
                other => panic!("{other:?}"),
            }
            tokio::task::yield_now().await;
        }
        assert!(taken < limits::LANE_QUEUE_BYTES + (20 << 20), "{taken}");
        assert!(two.transport.counters().full.get() >= 100);
        assert_eq!(two.send(1, Class::Background, &merge(1, 10)), Sent::Queued);
        assert_eq!(one.inbox.frames(1).await, [merge(1, 10)]);
    });
}

#[test]
fn draining_delivers_what_is_queued() {
    run(async |authority: Authority| {
        let (one, two) = pair(&authority).await;
        for request in 0..500 {
            assert_eq!(one.send(2, Class::Foreground, &merge(request, 900)), Sent::Queued);
            assert_eq!(two.send(1, Class::Background, &merge(request, 900)), Sent::Queued);
        }
        assert_eq!(one.send(2, Class::Background, &merge(500, 3 << 20)), Sent::Queued);
        one.transport.drain().await;
        let is_merge = |frame: &&Envelope| matches!(frame.message, Message::Merge(_));
        assert_eq!(one.send(2, Class::Foreground, &merge(1, 1)), Sent::NotConnected);
        assert_eq!(two.inbox.down().await, "both ends have finished");
        assert_eq!(two.inbox.frames_so_far().iter().filter(is_merge).count(), 501);
        assert_eq!(one.inbox.frames_so_far().iter().filter(is_merge).count(), 500);
        assert!(one.transport.links().is_empty());
    });
}

#[test]
fn disconnecting_is_noticed_by_both_ends() {
    run(async |authority: Authority| {
        let (one, two) = pair(&authority).await;
        one.transport.disconnect(NodeId::from_bits(2));
        assert_eq!(one.inbox.down().await, "disconnected");
        assert_eq!(two.inbox.down().await, "disconnected");
        assert_eq!(one.send(2, Class::Control, &merge(1, 1)), Sent::NotConnected);
    });
}

/// Runs node 2 on a thread of its own until told to die, without a message to any peer.
fn mortal(
    config: Config,
    born: mpsc::UnboundedSender<SocketAddr>,
    die: oneshot::Receiver<()>,
) -> std::thread::JoinHandle<()> {
    let life = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let node = Node::start(config, recorder(2)).unwrap();
            born.send(node.addr()).unwrap();
            let _ = die.await;
        });
    };
    std::thread::Builder::new().spawn(life).unwrap()
}

#[test]
fn a_restart_with_the_same_secrets_is_noticed_at_the_next_frame() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1);
        let (born, mut births) = mpsc::unbounded_channel();
        let first_life = config(&authority, 2);
        let (kill, die) = oneshot::channel();
        let thread = mortal(first_life.clone(), born.clone(), die);
        let addr = births.recv().await.unwrap();
        one.transport.dial(addr, None);
        one.inbox.up(2).await;
        kill.send(()).unwrap();
        thread.join().unwrap();

        let (_kill, die) = oneshot::channel();
        mortal(Config { listen: addr, ..first_life }, born, die);
        assert_eq!(births.recv().await, Some(addr));
        assert_eq!(one.send(2, Class::Foreground, &merge(1, 10)), Sent::Queued);
        assert_eq!(one.inbox.down().await, "the other end has restarted");
        one.inbox.told.borrow_mut().clear();
        one.transport.dial(addr, Some(NodeId::from_bits(2)));
        one.inbox.up(2).await;
        assert_eq!(one.transport.connected(), [NodeId::from_bits(2)]);
    });
}

#[test]
fn a_peer_that_dials_again_has_lost_its_earlier_connection() {
    run(async |authority: Authority| {
        let two = Node::new(&authority, 2);
        let old = Node::new(&authority, 1);
        old.dial(&two);
        two.inbox.up(1).await;
        // Another process with the same count of starts, and secrets of its own: no reset tells of it.
        let new = Node::new(&authority, 1);
        new.dial(&two);
        assert_eq!(two.inbox.down().await, "the peer has restarted");
        assert_eq!(two.send(1, Class::Foreground, &merge(1, 10)), Sent::Queued);
        assert_eq!(new.inbox.frames(1).await, [merge(1, 10)]);
    });
}

#[test]
fn a_new_generation_replaces_the_connections_of_the_old_one() {
    run(async |authority: Authority| {
        let two = Node::new(&authority, 2);
        let old = Node::new(&authority, 1);
        old.dial(&two);
        two.inbox.up(1).await;
        let newer = recorder(1);
        if let Some(node) = newer.hello.borrow_mut().node.as_mut() {
            node.generation = Generation(2);
        }
        let new = Node::start(config(&authority, 1), newer).unwrap();
        new.dial(&two);
        assert_eq!(two.inbox.down().await, "the peer has restarted");
        assert_eq!(old.inbox.down().await, "the peer has restarted");
        assert_eq!(two.send(1, Class::Foreground, &merge(1, 10)), Sent::Queued);
        assert_eq!(new.inbox.frames(1).await, [merge(1, 10)]);
    });
}
