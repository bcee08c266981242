//! Buckets from the command line to all doors, and over a restart of all nodes.

use serde_json::json;

use crate::support::command::{Done, run_at};
use crate::support::http;
use crate::support::node::Cluster;
use crate::support::resp::Reply;

fn bucket(cluster: &Cluster, node: usize, words: &str) -> Done {
    let words: Vec<&str> = words.split(' ').collect();
    run_at(cluster.nodes[node].quic, &cluster.tls, &[&["bucket"], &words[..]].concat())
}

#[test]
fn a_bucket_made_on_one_node_serves_at_every_door_and_outlives_a_restart() {
    let mut cluster = Cluster::of_three();
    let made = bucket(&cluster, 0, "create last --conflict lww --w 3 -o json").well().json();
    assert_eq!((&made["held_by"], &made["members"], &made["version"]), (&json!(3), &json!(3), &json!(1)));
    let mut resp = cluster.nodes[1].resp();
    assert_eq!(resp.ask("starling.bucket last"), Reply::ok());
    for value in ["one", "two"] {
        resp.ask(&format!("starling.put k {value}"));
    }
    let read = http::get(cluster.nodes[2].http, "/v1/kv/last/k").unwrap();
    assert_eq!((read.status, read.body.as_str()), (200, "two"), "one value where siblings would be two");
    cluster.kill_all();
    cluster.start_all();
    let shown = bucket(&cluster, 2, "show last -o json").well().json();
    assert_eq!((&shown["conflict"], &shown["w"], &shown["r"]), (&json!("lww"), &json!(3), &json!(null)));
    let mut resp = cluster.nodes[0].resp();
    assert_eq!(resp.ask("select 3"), Reply::ok());
    assert_eq!(resp.ask("get k"), Reply::Null);
    assert_eq!(resp.ask("starling.bucket last"), Reply::ok());
    assert_eq!(resp.ask("get k"), Reply::bulk("two"));
}

#[test]
fn what_cannot_be_is_refused_and_says_what_can() {
    let cluster = Cluster::of_three();
    let cases = [
        ("create default", 3, "bucket set default"),
        ("create a --w 4", 3, "w is 1 to 3"),
        ("create a --strict --durable false", 3, "durable=false"),
        ("set a --w 2", 3, "bucket create a"),
        ("set default", 2, "--conflict"),
        ("create a/b", 2, "is not allowed"),
        ("show a", 1, "bucket create a"),
    ];
    for (words, code, says) in cases {
        let done = bucket(&cluster, 1, words);
        assert!(done.code == code && done.err.contains(says), "{words}: {done:?}");
    }
    let set = bucket(&cluster, 1, "set db1 --strict").well();
    assert!(set.out.contains("strict=true") && set.out.contains("all 3 members"), "{set:?}");
    let list = bucket(&cluster, 2, "list -o json").well().json();
    let names = list["buckets"].as_array().unwrap().iter().map(|b| b["name"].as_str().unwrap().to_owned());
    assert_eq!(names.filter(|n| n == "db1" || n == "a").collect::<Vec<_>>(), ["db1"]);
    let mut resp = cluster.nodes[0].resp();
    assert_eq!(resp.ask("select 1"), Reply::ok());
    assert_eq!(resp.ask("starling.consistency w 1"), Reply::ok());
    let lowered = resp.ask("set k v");
    assert!(lowered.error().contains("may only raise it"), "{lowered:?}");
}
