//! Straight to an owner, and what happens when the way there is not what it was.

use starling_ring::{Role, Weight, Zone, next};
use starling_types::{PartitionBits, QualifiedKey};
use starling_wire::FailureKind;

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn role(node: &Node) -> Role {
    Role {
        node: node.stub.id,
        name: format!("n{}", node.stub.id.bits()),
        addr: node.addr(),
        zone: Zone::default(),
        weight: Weight::ONE,
    }
}

/// A layout of these nodes, which all of them answer by.
fn layout(nodes: &[&Node], copies: u8) -> Layout {
    let roles = nodes.iter().map(|node| role(node)).collect();
    let bits = PartitionBits::try_from(4).unwrap();
    let layout = Layout::first(ClusterId::from_bits(9), copies, bits, roles).unwrap();
    nodes.iter().for_each(|node| node.adopts(&layout));
    layout
}

fn owners(layout: &Layout, key: &Key) -> Vec<NodeId> {
    let key = QualifiedKey::new(layout.cluster().hash_seed(), bucket(), key.clone());
    layout.owners(layout.partition_of(key.token())).collect()
}

/// A key whose owners are these, in this order of preference.
fn key_of(layout: &Layout, wanted: &[&Node]) -> Key {
    let wanted: Vec<NodeId> = wanted.iter().map(|node| node.stub.id).collect();
    let mut keys = (0..100_000).map(|number| key(&format!("key-{number}")));
    keys.find(|key| owners(layout, key).starts_with(&wanted)).unwrap()
}

/// Reads the key until `node` is the one that is asked: connections to owners are made beside the requests.
async fn reads_reach(client: &Client, key: &Key, node: &Node) {
    let before = node.asked().len();
    while node.asked().len() == before {
        client.get(bucket(), key.clone()).send().await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[test]
fn requests_go_straight_to_the_first_owner_over_one_connection_each() {
    run(async |authority: Authority| {
        let nodes: Vec<_> = (1..=3).map(|id| Node::new(&authority, id, [])).collect();
        let layout = layout(&nodes.iter().collect::<Vec<_>>(), 1);
        let client = client(&authority, &[&nodes[0]]).await;
        assert_eq!(client.layout_version(), layout.version());
        client.get(bucket(), key_of(&layout, &[&nodes[1]])).send().await.unwrap();
        assert_eq!(nodes[0].asked().len(), 1, "no request waits for a connection");
        for node in &nodes {
            reads_reach(&client, &key_of(&layout, &[node]), node).await;
        }
        nodes.iter().for_each(|node| node.stub.asked.borrow_mut().clear());
        for number in 0..200 {
            client.put(bucket(), key(&number.to_string()), "v").send().await.unwrap();
        }
        for node in &nodes {
            assert!(!node.asked().is_empty());
            let mine = |request: &KvRequest| owners(&layout, &request.key) == [node.stub.id];
            assert!(node.asked().iter().all(mine));
            assert_eq!(node.transport.counters().connections.get(), 1);
        }
    });
}

#[test]
fn a_node_known_by_another_address_is_not_connected_twice() {
    run(async |authority: Authority| {
        let node = Node::new(&authority, 1, []);
        let elsewhere = Role { addr: "127.0.0.1:1".parse().unwrap(), ..role(&node) };
        let bits = PartitionBits::try_from(4).unwrap();
        node.adopts(&Layout::first(ClusterId::from_bits(9), 1, bits, vec![elsewhere]).unwrap());
        let client = client(&authority, &[&node]).await;
        client.get(bucket(), key("k")).send().await.unwrap();
        assert_eq!(client.nodes.of(node.stub.id), Some(0));
        assert_eq!(client.nodes.count(), 1);
    });
}

#[test]
fn a_newer_layout_is_fetched_when_an_answer_tells_of_it() {
    run(async |authority: Authority| {
        let (one, two) = (Node::new(&authority, 1, []), Node::new(&authority, 2, []));
        let old = layout(&[&one], 1);
        let client = client(&authority, &[&one]).await;
        assert_eq!(client.layout_version(), old.version());
        let new = next(&old, &[role(&one), role(&two)]).unwrap();
        one.adopts(&new);
        two.adopts(&new);
        // Questions rest for a while after the first.
        while client.layout_version() < new.version() {
            client.get(bucket(), key("k")).send().await.unwrap();
        }
        reads_reach(&client, &key_of(&new, &[&two]), &two).await;
    });
}

#[test]
fn a_write_that_was_passed_on_makes_the_client_look_at_its_layout() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1, []);
        layout(&[&one], 1);
        let client = client(&authority, &[&one]).await;
        client.put(bucket(), key("k"), "v").send().await.unwrap();
        assert_eq!(one.stub.shown.get(), 1);
        while one.stub.shown.get() == 1 {
            one.stub.script.borrow_mut().push_back(Act::PassOn(NodeId::from_bits(2)));
            client.put(bucket(), key("k"), "v").send().await.unwrap();
        }
    });
}

#[test]
fn when_an_owner_is_lost_the_next_is_asked_under_the_same_id() {
    run(async |authority: Authority| {
        let nodes: Vec<_> = (1..=3).map(|id| Node::new(&authority, id, [])).collect();
        let [one, two, three] = &nodes[..] else { panic!("three") };
        let layout = layout(&[one, two, three], 2);
        let key = key_of(&layout, &[one, two]);
        let client = client(&authority, &[three]).await;
        reads_reach(&client, &key, one).await;
        reads_reach(&client, &key_of(&layout, &[two]), two).await;
        nodes.iter().for_each(|node| node.stub.asked.borrow_mut().clear());
        one.stub.script.borrow_mut().push_back(Act::Leave);
        client.put(bucket(), key.clone(), "v").timeout(LONG).send().await.unwrap();
        assert_eq!((one.attempts(), two.attempts()), (vec![0], vec![1]));
        assert_eq!(one.asked()[0].id, two.asked()[0].id);
        client.put(bucket(), key, "v").send().await.unwrap();
        assert_eq!(two.attempts(), [1, 0], "nobody waits for the one that is gone");
        assert!(three.asked().is_empty(), "no owner");
    });
}

#[test]
fn a_silent_owner_is_asked_again_before_the_next_is() {
    run(async |authority: Authority| {
        let (one, two) = (Node::new(&authority, 1, []), Node::new(&authority, 2, []));
        let layout = layout(&[&one, &two], 2);
        let key = key_of(&layout, &[&one, &two]);
        let client = client(&authority, &[&one]).await;
        reads_reach(&client, &key_of(&layout, &[&two]), &two).await;
        for node in [&one, &two] {
            node.stub.asked.borrow_mut().clear();
        }
        one.stub.script.borrow_mut().extend([Act::Silence, Act::Silence]);
        client.put(bucket(), key.clone(), "v").timeout(PATIENT).send().await.unwrap();
        assert_eq!((one.attempts(), two.attempts()), (vec![0, 1], vec![2]));
        client.put(bucket(), key, "v").send().await.unwrap();
        assert_eq!(two.attempts(), [2, 0], "nobody waits for the silent one again so soon");
    });
}

#[test]
fn owners_that_cannot_be_reached_do_not_keep_requests_from_any_node() {
    run(async |authority: Authority| {
        let one = Node::new(&authority, 1, []);
        let gone = Role { node: NodeId::from_bits(2), addr: "127.0.0.1:1".parse().unwrap(), ..role(&one) };
        let bits = PartitionBits::try_from(4).unwrap();
        let roles = vec![role(&one), gone];
        let layout = Layout::first(ClusterId::from_bits(9), 1, bits, roles).unwrap();
        one.adopts(&layout);
        let client = client(&authority, &[&one]).await;
        for number in 0..100 {
            client.put(bucket(), key(&number.to_string()), "v").send().await.unwrap();
        }
        assert_eq!(one.attempts(), vec![0; 100]);
    });
}

#[test]
fn an_owner_that_refuses_is_followed_by_another_and_then_by_any_node() {
    run(async |authority: Authority| {
        let busy = || Act::Fail(Failure::refused(FailureKind::Overloaded, "full"));
        let nodes: Vec<_> = (1..=3).map(|id| Node::new(&authority, id, [])).collect();
        let [one, two, three] = &nodes[..] else { panic!("three") };
        let layout = layout(&[one, two, three], 2);
        let key = key_of(&layout, &[one, two]);
        let client = client(&authority, &[three]).await;
        for node in [one, two] {
            reads_reach(&client, &key_of(&layout, &[node]), node).await;
        }
        nodes.iter().for_each(|node| node.stub.asked.borrow_mut().clear());
        for node in [one, two] {
            node.stub.script.borrow_mut().push_back(busy());
        }
        client.put(bucket(), key, "v").send().await.unwrap();
        assert_eq!([one, two, three].map(Node::attempts), [vec![0], vec![0], vec![0]]);
    });
}
