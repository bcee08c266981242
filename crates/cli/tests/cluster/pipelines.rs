//! Commands of one RESP connection act on a key in their order: through owners and through nodes that own nothing of it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::http;
use crate::support::node::{Cluster, Node};
use crate::support::resp::{Reply, Resp, encode};

/// Keys of one kind of pipeline, through each node.
const KEYS: usize = 12;

/// A frame of another size takes another way between nodes.
fn large() -> String {
    "x".repeat(100_000)
}

fn pipelined(resp: &mut Resp, commands: &[Vec<String>]) -> Vec<Reply> {
    resp.send_raw(&commands.iter().flat_map(|words| encode(words)).collect::<Vec<_>>()).unwrap();
    commands.iter().map(|_| resp.receive().unwrap()).collect()
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

fn owns(node: &Node, key: &str) -> bool {
    let place = http::get(node.http, &format!("/v1/key/default/{key}/explain")).unwrap().body;
    serde_json::from_str::<Value>(&place).unwrap()["owned_here"] == true
}

fn keys_are_written_and_read_in_order(node: &Node) {
    let mut resp = node.resp();
    for n in 0..KEYS {
        let key = |kind: &str| format!("{kind}-{}-{n}", node.name);
        let k = &key("read");
        let seen = pipelined(
            &mut resp,
            &[words(["SET", k, "v"]), words(["GET", k]), words(["DEL", k]), words(["GET", k])],
        );
        assert_eq!(seen, [Reply::ok(), Reply::bulk("v"), Reply::Integer(1), Reply::Null], "{k}");

        let k = &key("many");
        let sets: Vec<_> = (1..=50).map(|i| words(["SET", k, &i.to_string()])).collect();
        assert_eq!(pipelined(&mut resp, &sets), vec![Reply::ok(); 50], "{k}");
        let Reply::Array(got) = resp.ask(&format!("STARLING.GET {k}")) else { panic!("no array") };
        assert_eq!(got[1], Reply::Array(vec![Reply::bulk("50")]), "{k}");

        let k = &key("large");
        pipelined(&mut resp, &[words(["SET", k, &large()]), words(["DEL", k])]);
        assert_eq!(resp.ask(&format!("GET {k}")), Reply::Null, "{k}");
        pipelined(&mut resp, &[words(["SET", k, &large()]), words(["SET", k, "small"])]);
        assert_eq!(resp.ask(&format!("GET {k}")), Reply::bulk("small"), "{k}");

        let (a, b) = (&key("a"), &key("b"));
        let several = pipelined(
            &mut resp,
            &[
                words(["SET", a, &large()]),
                words(["SET", b, "2"]),
                words(["EXISTS", a, b]),
                words(["SET", a, "1"]),
                words(["MGET", b, a]),
                words(["DEL", a, b]),
                words(["MGET", a, b]),
            ],
        );
        let expected = [
            Reply::ok(),
            Reply::ok(),
            Reply::Integer(2),
            Reply::ok(),
            Reply::Array(vec![Reply::bulk("2"), Reply::bulk("1")]),
            Reply::Integer(2),
            Reply::Array(vec![Reply::Null, Reply::Null]),
        ];
        assert_eq!(several, expected, "{a}");
    }
}

#[test]
fn pipelines_act_in_their_order_on_three_nodes() {
    let cluster = Cluster::of_three();
    cluster.nodes.iter().for_each(keys_are_written_and_read_in_order);
}

#[test]
fn pipelines_act_in_their_order_on_five_nodes_through_owners_and_others() {
    let cluster = Cluster::of(5);
    for node in &cluster.nodes {
        let own: BTreeSet<bool> = (0..KEYS).map(|n| owns(node, &format!("many-{}-{n}", node.name))).collect();
        assert_eq!(own.len(), 2, "{} is asked as an owner and as another", node.name);
        keys_are_written_and_read_in_order(node);
    }
}

#[test]
fn a_refused_transaction_changes_nothing_and_its_connection_goes_on() {
    let cluster = Cluster::of_three();
    let mut resp = cluster.nodes[0].resp();
    assert_eq!(resp.ask("SET k old"), Reply::ok());
    let block =
        ["MULTI", "SET k new", "DEL k", "EXEC"].map(|line| line.split(' ').map(str::to_owned).collect());
    let replies = pipelined(&mut resp, &block);
    assert!(replies.iter().all(|reply| reply.error().ends_with("outcome=not_applied")), "{replies:?}");
    assert!(replies[3].error().starts_with("EXECABORT "), "{replies:?}");
    assert_eq!(resp.ask("GET k"), Reply::bulk("old"));
    assert!(resp.ask("MULTI").error().contains("DISCARD"));
    assert!(resp.ask("SET k new").error().contains("not carried out"));
    assert_eq!(resp.ask("DISCARD"), Reply::ok());
    assert_eq!(resp.ask("GET k"), Reply::bulk("old"));
    assert_eq!(resp.ask("SET k new"), Reply::ok());
    // A block ends with its connection.
    assert!(resp.ask("MULTI").error().contains("MULTI"));
    assert_eq!(cluster.nodes[0].resp().ask("GET k"), Reply::bulk("new"));
}
