//! An end that must not talk does not, and learns why.

use starling_wire::hello::HelloRefusal;

use super::*;
use crate::Credentials;
use crate::identity::ANY_NODE;
use crate::quic::{self, Protocols};

fn refused_once(node: &Node) {
    assert_eq!(node.transport.counters().refused.get(), 1);
    assert!(node.transport.connected().is_empty());
    assert!(!node.inbox.told.borrow().iter().any(|told| matches!(told, Told::Up(_))));
}

async fn refusal(node: &Node) {
    while node.transport.counters().refused.get() == 0 {
        tokio::task::yield_now().await;
    }
    refused_once(node);
}

#[test]
fn a_node_of_another_authority_is_refused_by_both_ends() {
    run(async |authority: Authority| {
        let elsewhere = tempfile::tempdir().unwrap();
        let foreign = super::authority(elsewhere.path());
        let (one, two) = (Node::new(&authority, 1), Node::new(&foreign, 2));
        one.dial(&two);
        assert!(matches!(one.inbox.failed().await, GreetingError::Handshake(_)));
        refusal(&two).await;
    });
}

#[test]
fn a_listener_refuses_a_foreign_certificate_though_the_dialer_trusts_it() {
    run(async |authority: Authority| {
        let elsewhere = tempfile::tempdir().unwrap();
        let foreign = super::authority(elsewhere.path());
        let alien = foreign.issue_node(NodeId::from_bits(1)).unwrap();
        alien.save(elsewhere.path()).unwrap();
        let text = |name: &str| std::fs::read_to_string(elsewhere.path().join(name)).unwrap();
        let ca = authority.client_credentials().ca_pem().to_owned();
        let mixed = Credentials::from_pem(ca, text("node.pem"), text("node-key.pem")).unwrap();
        let config = Config { credentials: mixed, ..config(&authority, 1) };
        let one = Node::start(config, recorder(1)).unwrap();
        let two = Node::new(&authority, 2);
        one.dial(&two);
        let error = one.inbox.failed().await;
        assert!(matches!(error, GreetingError::Handshake(_)), "{error}");
        refusal(&two).await;
    });
}

#[test]
fn a_node_that_claims_another_id_than_its_certificate_is_refused() {
    run(async |authority: Authority| {
        let one = Node::start(config(&authority, 1), recorder(3)).unwrap();
        let two = Node::new(&authority, 2);
        one.dial(&two);
        let error = one.inbox.failed().await;
        assert_eq!(error, GreetingError::RefusedByPeer(HelloRefusal::NotYou(NodeId::from_bits(3))));
        refusal(&two).await;
        two.dial(&one);
        let error = two.inbox.failed().await;
        assert_eq!(error, GreetingError::Refused(HelloRefusal::NotYou(NodeId::from_bits(3))));
    });
}

#[test]
fn who_expects_one_node_takes_no_other() {
    run(async |authority: Authority| {
        let (one, two) = (Node::new(&authority, 1), Node::new(&authority, 2));
        one.transport.dial(two.addr(), Some(NodeId::from_bits(3)));
        assert!(matches!(one.inbox.failed().await, GreetingError::OtherNode(_)));
        one.transport.dial(two.addr(), Some(NodeId::from_bits(2)));
        one.inbox.up(2).await;
    });
}

#[test]
fn a_node_of_another_cluster_is_refused_and_told_so() {
    run(async |authority: Authority| {
        let (one, two) = (Node::new(&authority, 1), Node::new(&authority, 2));
        let (ours, theirs) = (ClusterId::from_bits(9), ClusterId::from_bits(8));
        one.inbox.hello.borrow_mut().cluster = theirs;
        one.dial(&two);
        let refused = HelloRefusal::OtherCluster { ours, theirs };
        assert_eq!(one.inbox.failed().await, GreetingError::RefusedByPeer(refused));
        refusal(&two).await;
        one.inbox.hello.borrow_mut().cluster = ClusterId::NONE;
        one.dial(&two);
        one.inbox.up(2).await;
    });
}

#[test]
fn a_client_certificate_makes_no_peer() {
    run(async |authority: Authority| {
        let client = Config { credentials: authority.client_credentials(), ..config(&authority, 1) };
        let Err(error) = Node::start(client, recorder(1)) else {
            panic!("a client's credentials opened a node's endpoint");
        };
        assert!(error.to_string().contains("a client"), "{error}");
    });
}

#[test]
fn who_shows_no_certificate_is_refused() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1);
        let mut tls = rustls::ClientConfig::builder_with_provider(quic::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authority.client_credentials().roots().unwrap())
            .with_no_client_auth();
        tls.alpn_protocols = vec![Protocols::Client.alpn().into()];
        let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
        let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
        let secrets = EndpointSecrets::random().unwrap();
        let endpoint = quic::endpoint("127.0.0.1:0".parse().unwrap(), &secrets, None).unwrap();
        let (to, ours) = ((one.addr(), ANY_NODE), recorder(2).hello());
        let refused = crate::endpoint::connect(&endpoint, &config, Protocols::Client, to, &ours).await;
        assert!(matches!(refused, Err(GreetingError::Handshake(_))), "{refused:?}");
        refusal(&one).await;
    });
}

#[test]
fn a_node_does_not_connect_to_itself() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1);
        one.dial(&one);
        assert_eq!(one.inbox.failed().await, GreetingError::Myself);
    });
}

#[test]
fn connections_above_the_limit_are_refused() {
    run(async |authority: Authority| {
        let limited = Config { max_connections: 1, ..config(&authority, 2) };
        let two = Node::start(limited, recorder(2)).unwrap();
        let (one, three) = (Node::new(&authority, 1), Node::new(&authority, 3));
        one.dial(&two);
        one.inbox.up(2).await;
        three.dial(&two);
        let error = three.inbox.failed().await;
        assert_eq!(error, GreetingError::Closed, "no fault of the certificates");
        assert_eq!(two.transport.counters().refused.get(), 1);
        assert_eq!(two.transport.connected(), [NodeId::from_bits(1)]);
    });
}

#[test]
fn a_port_in_use_is_named() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1);
        let same = Config { listen: one.addr(), ..config(&authority, 2) };
        let Err(error) = Node::start(same, recorder(2)) else {
            panic!("two endpoints on one port");
        };
        assert!(error.to_string().contains(&one.addr().to_string()), "{error}");
    });
}

/// Another process of node 1, which remembers these starts.
fn process(authority: &Authority, starts: &[Generation]) -> Node {
    let node = Node::new(authority, 1);
    let mut hello = node.inbox.hello.borrow_mut();
    let node_hello = hello.node.as_mut().unwrap();
    starts.iter().for_each(|&start| node_hello.lineage.begin(start));
    node_hello.generation = *starts.last().unwrap();
    drop(hello);
    node
}

#[test]
fn of_two_processes_under_one_identity_the_first_stays() {
    run(async |authority: Authority| {
        let start = Generation::of;
        let two = Node::new(&authority, 2);
        let first = process(&authority, &[start(4, 9), start(5, 1)]);
        first.dial(&two);
        two.inbox.up(1).await;
        let copy = process(&authority, &[start(4, 9), start(5, 2)]);
        copy.dial(&two);
        let rival = Told::Rival(NodeId::from_bits(1));
        two.inbox.first(|told| (*told == rival).then_some(())).await;
        // It is told in the greeting or right after it.
        let told = |told: &Told| match told {
            Told::Down(_, reason) => Some(reason.clone()),
            Told::Failed(error) => Some(error.to_string()),
            _ => None,
        };
        let told = copy.inbox.first(told).await;
        assert!(told.contains(crate::RIVAL), "{told}");
        assert_eq!(two.send(1, Class::Foreground, &merge(1, 10)), Sent::Queued);
        first.inbox.frames(1).await;
        assert_eq!(copy.inbox.frames_so_far(), []);
        // It was no copy that started anew: its next start remembers the one that is connected.
        two.inbox.told.borrow_mut().clear();
        let next = process(&authority, &[start(4, 9), start(5, 1), start(6, 3)]);
        next.dial(&two);
        two.inbox.up(1).await;
    });
}
