//! The records that one node holds itself, without a quorum and without repair; and the owners of keys.

use std::collections::BTreeSet;

use serde_json::Value;
use tempfile::TempDir;

use super::support::node::{Cluster, Node};
use super::support::{eventually, http};

fn json(node: &Node, path: &str) -> (u16, Value) {
    let answer = http::get(node.http, path).unwrap();
    (answer.status, serde_json::from_str(&answer.body).unwrap())
}

/// All keys, page by page, in base64.
fn walk(node: &Node, limit: usize) -> BTreeSet<String> {
    let (mut keys, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let (status, page) = json(node, &format!("/v1/local?bucket=default&limit={limit}&cursor={cursor}"));
        assert_eq!(status, 200, "{page}");
        let records = page["records"].as_array().unwrap();
        assert!(records.len() <= limit);
        for record in records {
            assert!(keys.insert(record["key"].as_str().unwrap().to_owned()), "{record} comes twice");
        }
        match page["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return keys,
        }
    }
}

#[test]
fn each_node_shows_its_own_records_and_every_node_where_a_key_lives() {
    let mut cluster = Cluster::of_three();
    let path = |key: &str| format!("/v1/kv/default/{key}?w=3&context=local");
    for number in 0..40 {
        let put = http::request(cluster.nodes[0].http, "PUT", &path(&format!("%00{number}")), b"v").unwrap();
        assert_eq!(put.status, 204, "{put:?}");
    }
    let delete = http::request(cluster.nodes[1].http, "DELETE", "/v1/kv/default/%000?w=3", b"").unwrap();
    assert_eq!(delete.status, 204, "{delete:?}");
    for node in &cluster.nodes {
        assert_eq!(walk(node, 7).len(), 40, "{}: tombstones too", node.name);
        assert_eq!(walk(node, 256), walk(node, 1));
        let (status, record) = json(node, "/v1/local/default/%000");
        assert_eq!((status, &record["tombstone"]), (200, &true.into()), "{record}");
        let (_, other) = json(node, "/v1/local/default/%007");
        assert_eq!((&other["siblings"][0]["value"], &other["tombstone"]), (&"dg==".into(), &false.into()));
        assert_eq!(
            json(&cluster.nodes[0], "/v1/local/default/%007").1,
            other,
            "replicas are alike, digest and all"
        );
        assert_eq!(json(node, "/v1/local/default/absent").0, 404);

        let (status, place) = json(node, "/v1/key/default/%007/explain");
        assert_eq!(status, 200);
        let owners = place["owners"].as_array().unwrap();
        let reach: BTreeSet<_> = owners.iter().map(|owner| owner["reach"].as_str().unwrap()).collect();
        assert_eq!((owners.len(), reach), (3, BTreeSet::from(["self", "up"])), "{place}");
        assert_eq!((&place["owned_here"], &place["copies"]), (&true.into(), &3.into()));
        assert_eq!(place["token"].as_str().unwrap().len(), 16);
    }

    // Two are gone: no quorum, but what this node holds it still shows.
    cluster.nodes[1].kill();
    cluster.nodes[2].kill();
    assert_eq!(json(&cluster.nodes[0], "/v1/local/default/%007").0, 200);
    eventually("both are seen to be down", || {
        let (_, place) = json(&cluster.nodes[0], "/v1/key/default/%007/explain");
        place["owners"].as_array().unwrap().iter().filter(|owner| owner["reach"] == "down").count() == 2
    });
}

#[test]
fn a_node_without_a_cluster_holds_nothing() {
    let dir = TempDir::new().unwrap();
    let mut node = Node::new(dir.path(), "n1", &dir.path().join("tls"));
    node.start();
    assert_eq!(json(&node, "/v1/local/default/k").0, 404);
    assert_eq!(json(&node, "/v1/local").1["records"].as_array().unwrap().len(), 0);
    assert_eq!(json(&node, "/v1/key/default/k/explain").0, 503);
}
