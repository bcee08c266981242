//! The requests of a client, their order, and the results that its caller gets.

use starling_transport::{Dialer, GreetingError};
use starling_types::Outcome;
use starling_wire::FailureKind;
use tokio::task::JoinSet;

use super::*;
use crate::ClientError;
use crate::nodes::Nodes;

fn refused(kind: FailureKind) -> Act {
    Act::Fail(Failure::refused(kind, "no"))
}

#[test]
fn a_thousand_requests_share_one_connection() {
    run(async |authority: Authority| {
        let node = Node::new(&authority, 1, []);
        let client = client(&authority, &[&node]).await;
        let mut calls = JoinSet::new();
        for number in 0..1_000 {
            let client = client.clone();
            calls.spawn_local(async move {
                let name = format!("key-{number}");
                let read = client.get(bucket(), key(&name)).send().await.unwrap();
                assert_eq!(read.newest().unwrap().value, name);
            });
        }
        while let Some(call) = calls.join_next().await {
            call.unwrap();
        }
        assert_eq!(node.transport.counters().connections.get(), 1);
        let mut ids: Vec<_> = node.asked().iter().map(|request| request.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 1_000);
    });
}

#[test]
fn a_node_that_could_not_tell_the_time_is_asked_again() {
    run(async |authority: Authority| {
        let node = Node::new(&authority, 1, []);
        let client = client(&authority, &[&node]).await;
        client.get(bucket(), key("k")).send().await.unwrap();
        let far = node.asked()[0].issued.after(Duration::from_secs(1_000_000));
        node.stub.wall.set(Some(far));
        while node.asked().last().unwrap().issued < far {
            client.get(bucket(), key("k")).send().await.unwrap();
        }
    });
}

#[test]
fn a_node_of_other_protocol_versions_is_named_and_not_dialed_for_every_request() {
    run(async |authority: Authority| {
        let node = Node::new(&authority, 1, []);
        node.stub.protocols.set((PROTOCOLS.1 + 1, PROTOCOLS.1 + 2));
        let nodes = [node.addr()];
        let Err(error) = Client::connect(&nodes, authority.client_credentials()).await else { panic!() };
        assert!(
            matches!(error, ClientError::Unreachable { last: GreetingError::Versions(_), .. }),
            "{error}"
        );
        assert!(error.to_string().contains("upgrade this end to a release"), "{error}");
        assert!(error.to_string().contains(&node.addr().to_string()), "{error}");
        let dialer = Dialer::bind(&authority.client_credentials(), node.addr()).unwrap();
        let nodes = Rc::new(Nodes::new(dialer, &nodes));
        for _ in 0..100 {
            let refused = nodes.connection(0).await.err();
            assert!(matches!(refused, Some(GreetingError::Versions(_))), "{refused:?}");
        }
        let refused = node.transport.counters().refused.get();
        assert!(refused < 50, "dialed {refused} times");
        node.stub.protocols.set((PROTOCOLS.0 - 1, PROTOCOLS.0));
        while nodes.connection(0).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn calls_carry_what_they_were_told() {
    run(async |authority: Authority| {
        let node = Node::new(&authority, 1, []);
        let client = client(&authority, &[&node]).await;
        let read = client.get(bucket(), key("k")).quorum(3).strict(true).send().await.unwrap();
        let put = client.put(bucket(), key("k"), vec![7; 200_000]).context(read.context.unwrap()).quorum(1);
        put.ttl(Duration::from_secs(5)).timeout(Duration::from_secs(9)).send().await.unwrap();
        client.delete(bucket(), key("k")).blind().send().await.unwrap();
        client.delete(bucket(), key("k")).blind_local().send().await.unwrap();
        let asked = node.asked();
        assert_eq!((asked[0].quorum.r, asked[0].quorum.strict), (Some(3), Some(true)));
        assert_eq!((asked[1].quorum.w, asked[1].timeout_ms), (Some(1), 9_000));
        let KvOp::Put { value, seen, ttl_ms } = &asked[1].op else {
            panic!("no put");
        };
        assert_eq!((value.len(), *ttl_ms), (200_000, Some(5_000)));
        assert_eq!(*seen, starling_wire::Seen::Context(Bytes::from_static(b"seen")));
        assert_eq!(asked[2].op, KvOp::Delete { seen: starling_wire::Seen::Quorum });
        assert_eq!(asked[3].op, KvOp::Delete { seen: starling_wire::Seen::Local });
    });
}

#[test]
fn spans_that_cannot_be_are_refused_unsent() {
    run(async |authority: Authority| {
        let node = Node::new(&authority, 1, []);
        let client = client(&authority, &[&node]).await;
        let put = || client.put(bucket(), key("k"), "v");
        let too_long = Duration::from_millis(30_001);
        for call in [put().ttl(Duration::ZERO), put().timeout(Duration::ZERO), put().timeout(too_long)] {
            let error = call.send().await.unwrap_err();
            assert!(matches!(error, ClientError::BadSpan(_)), "{error}");
            assert_eq!(error.outcome(), Outcome::NotApplied);
        }
        let mut request = client.new_request(bucket(), key("k"), KvOp::Get);
        request.timeout_ms = 30_001;
        assert!(matches!(client.request(request).await, Err(ClientError::BadSpan(_))));
        assert!(node.asked().is_empty());
        put().ttl(Duration::from_nanos(1)).timeout(Duration::from_secs(30)).send().await.unwrap();
        assert!(matches!(node.asked()[0].op, KvOp::Put { ttl_ms: Some(1), .. }));
    });
}

#[test]
fn a_refused_write_goes_to_the_next_node_as_a_first_attempt() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1, [refused(FailureKind::Overloaded)]);
        let two = Node::new(&authority, 2, []);
        let client = client(&authority, &[&one, &two]).await;
        client.put(bucket(), key("k"), "v").send().await.unwrap();
        assert_eq!((one.attempts(), two.attempts()), (vec![0], vec![0]));
        assert_eq!(one.asked()[0].id, two.asked()[0].id);
        client.put(bucket(), key("k"), "v").send().await.unwrap();
        assert_eq!(two.asked().len(), 2, "the node that answered is asked first");
    });
}

#[test]
fn a_write_lost_with_its_connection_is_retried_under_the_same_id() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1, [Act::Leave]);
        let two = Node::new(&authority, 2, []);
        let client = client(&authority, &[&one, &two]).await;
        let put = client.put(bucket(), key("k"), "v").timeout(Duration::from_secs(20));
        put.send().await.unwrap();
        assert_eq!((one.attempts(), two.attempts()), (vec![0], vec![1]));
        assert_eq!(one.asked()[0].id, two.asked()[0].id);
        assert_eq!(one.asked()[0].issued, two.asked()[0].issued);
    });
}

#[test]
fn a_silent_node_is_asked_again_before_another_is() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1, [Act::Silence, Act::Silence]);
        let two = Node::new(&authority, 2, []);
        let client = client(&authority, &[&one, &two]).await;
        client.put(bucket(), key("k"), "v").timeout(PATIENT).send().await.unwrap();
        assert_eq!((one.attempts(), two.attempts()), (vec![0, 1], vec![2]));
        assert_eq!(one.asked()[0].id, two.asked()[0].id);
    });
}

#[test]
fn an_unknown_outcome_stays_unknown_when_a_later_try_is_refused() {
    run(async |authority: Authority| {
        let unknown = Failure::unknown(FailureKind::QuorumNotReached, "1 of 2");
        let script = [Act::Fail(unknown), refused(FailureKind::BadRequest)];
        let one = Node::new(&authority, 1, script);
        let client = client(&authority, &[&one]).await;
        let error = client.put(bucket(), key("k"), "v").send().await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert_eq!(one.attempts(), [0, 1]);
        assert!(error.to_string().contains("send the very same request again"), "{error}");
    });
}

#[test]
fn a_bad_request_is_not_retried() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1, [refused(FailureKind::BadRequest)]);
        let two = Node::new(&authority, 2, []);
        let client = client(&authority, &[&one, &two]).await;
        let error = client.put(bucket(), key("k"), "v").send().await.unwrap_err();
        assert!(matches!(error, ClientError::Failed { tries: 1, .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(two.asked().is_empty());
    });
}

#[test]
fn silence_ends_with_the_time_limit() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1, vec![Act::Silence; 100]);
        let client = client(&authority, &[&one]).await;
        // Long enough for the request to leave on a busy machine.
        let short = Duration::from_millis(1_500);
        let error = client.put(bucket(), key("k"), "v").timeout(short).send().await.unwrap_err();
        assert!(matches!(error, ClientError::Unanswered { .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::Unknown);
        let error = client.get(bucket(), key("k")).timeout(short).send().await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied);
    });
}

#[test]
fn the_first_address_that_answers_is_taken_and_none_is_an_error() {
    run(async |authority: Authority| {
        let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let one = Node::new(&authority, 1, []);
        let credentials = authority.client_credentials();
        let client = Client::connect(&[nobody, one.addr()], credentials.clone()).await.unwrap();
        assert!(matches!(client.admin(AdminRequest::Status).await, Ok(AdminReply::Status(_))));
        let Err(error) = Client::connect(&[nobody], credentials.clone()).await else {
            panic!("connected to nobody");
        };
        assert_eq!(error.outcome(), Outcome::NotApplied);
        assert!(error.to_string().contains("is a node running there"), "{error}");
        assert!(matches!(Client::connect(&[], credentials).await, Err(ClientError::NoAddress)));
    });
}

#[test]
fn a_node_of_another_cluster_is_no_way_out() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1, [refused(FailureKind::NotReady)]);
        let two = Node::of_cluster(&authority, 2, 8, []);
        let client = client(&authority, &[&one, &two]).await;
        client.get(bucket(), key("k")).timeout(PATIENT).send().await.unwrap();
        assert_eq!((one.asked().len(), two.asked().len()), (2, 0));
    });
}
