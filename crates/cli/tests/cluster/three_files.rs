//! Three configuration files, three processes, one cluster of them; stopped and started as services are.

use std::path::{Path, PathBuf};

use starling_cluster::ports;
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::command::{init, run, run_at};
use crate::support::http;
use crate::support::node::{Node, is_shut};
use crate::support::process::starling;
use crate::support::resp::Reply;

/// A node that is told everything by its file.
fn configured(dir: &Path, name: &str) -> (Node, PathBuf) {
    let node = Node::new(dir, name, &dir.join("tls"));
    let file = dir.join(format!("{name}.toml"));
    std::fs::write(&file, text(&node)).unwrap();
    (node, file)
}

fn text(node: &Node) -> String {
    format!(
        "[node]\nname = \"{}\"\ndata = \"{}\"\n\n[listen]\nresp = \"{}\"\nhttp = \"{}\"\nquic = \"{}\"\n\n\
         [tls]\ndir = \"{}\"\n",
        node.name,
        node.data.display(),
        node.resp,
        node.http,
        node.quic,
        node.tls.display()
    )
}

fn by_file(file: &Path) -> Command {
    let mut command = starling();
    command.args(["node", "--config"]).arg(file);
    command
}

#[test]
fn three_files_make_a_cluster() {
    let dir = TempDir::new().unwrap();
    let (mut nodes, files): (Vec<Node>, Vec<PathBuf>) =
        ["a", "b", "c"].map(|name| configured(dir.path(), name)).into_iter().unzip();
    for (node, file) in nodes.iter_mut().zip(&files) {
        let ready = node.start_as(&mut by_file(file));
        assert!(ready.cluster_id.is_none(), "{ready}");
        assert_eq!(ready.nodes[0].quic, node.quic);
        assert_eq!(node.status()["state"], "waiting");
        assert!(node.resp().ask("SET k v").error().contains("cluster init"));
        assert_eq!(http::get(node.http, "/readyz").unwrap().status, 503);
        assert_eq!(http::get(node.http, "/healthz").unwrap().status, 200);
    }
    let addrs: Vec<_> = nodes.iter().map(|n| n.quic).collect();
    let tls = nodes[0].tls.clone();
    let formed = init(&addrs, &tls).well();
    assert!(formed.out.contains("3 copies, 64 partitions"), "{formed:?}");
    nodes.iter().for_each(|n| n.serves_with(2));
    let cluster = nodes[0].status()["cluster_id"].clone();
    assert!(nodes.iter().all(|n| n.status()["cluster_id"] == cluster));
    for (k, writer) in nodes.iter().enumerate() {
        assert_eq!(writer.resp().ask(&format!("SET key-{k} {k}")), Reply::ok());
        for reader in &nodes {
            assert_eq!(reader.resp().ask(&format!("GET key-{k}")), Reply::bulk(k.to_string()));
        }
    }
    repeating_init_is_harmless(&nodes, &cluster);
    stops_and_starts_are_clean(&mut nodes, &files);
    assert!(nodes.iter().all(|n| n.status()["cluster_id"] == cluster));
}

fn repeating_init_is_harmless(nodes: &[Node], cluster: &serde_json::Value) {
    let (tls, mut addrs) = (&nodes[0].tls, nodes.iter().map(|n| n.quic).collect::<Vec<_>>());
    for _ in 0..3 {
        let again = init(&addrs, tls).well();
        assert!(again.out.contains(cluster.as_str().unwrap()), "{again:?}");
        addrs.rotate_left(1);
    }
    let other_members = init(&addrs[..2], tls);
    assert_eq!(other_members.code, 3, "{other_members:?}");
    assert!(other_members.err.contains(cluster.as_str().unwrap()), "{other_members:?}");
    let twice = init(&[addrs[0], addrs[0]], tls);
    assert!(twice.code == 3 && twice.err.contains("named twice"), "{twice:?}");
    assert_eq!(nodes[1].resp().ask("GET key-0"), Reply::bulk("0"));
}

fn stops_and_starts_are_clean(nodes: &mut [Node], files: &[PathBuf]) {
    for k in 0..3 {
        let before = mark(&nodes[k]);
        let mut idle = nodes[k].resp();
        assert_eq!(idle.ask(&format!("SET before-{k} {k}")), Reply::ok());
        let status = nodes[k].stop();
        assert!(status.success(), "{status}");
        is_shut(nodes[k].resp);
        let others: Vec<_> = (0..3).filter(|&o| o != k).collect();
        for &other in &others {
            let reply = nodes[other].resp().ask(&format!("SET while-{k}-{other} {k}"));
            assert_eq!(reply, Reply::ok(), "a stopped node is no reason to refuse");
        }
        nodes[k].start_as(&mut by_file(&files[k]));
        assert_eq!(mark(&nodes[k]), before + 1, "one more start");
        nodes.iter().for_each(|n| n.serves_with(2));
        assert_eq!(nodes[k].resp().ask(&format!("GET before-{k}")), Reply::bulk(k.to_string()));
        for other in others {
            let got = nodes[k].resp().ask(&format!("GET while-{k}-{other}"));
            assert_eq!(got, Reply::bulk(k.to_string()));
        }
    }
    nodes.iter().for_each(Node::has_no_hints);
}

/// How often the node has started.
fn mark(node: &Node) -> u64 {
    let text = std::fs::read(node.data.join("node.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    // The upper half counts.
    json["generation"].as_u64().unwrap() >> 32
}

/// A clean stop keeps the actors, an unclean one takes new ones (semantics, section 2): the receipt's dot shows.
#[test]
fn a_clean_stop_keeps_the_actor_and_a_kill_does_not() {
    let dir = TempDir::new().unwrap();
    let (mut node, file) = configured(dir.path(), "alone");
    node.start_as(&mut by_file(&file));
    init(&[node.quic], &node.tls).well();
    node.serves_with(0);
    let first = actor(&node);
    assert!(node.stop().success());
    node.start_as(&mut by_file(&file));
    assert_eq!(actor(&node), first, "after a clean stop");
    node.kill();
    node.start_as(&mut by_file(&file));
    let second = actor(&node);
    assert_ne!(second, first, "after a kill");
    assert!(node.stop().success());
    node.start_as(&mut by_file(&file));
    assert_eq!(actor(&node), second, "after a clean stop again");
}

fn actor(node: &Node) -> String {
    let words = ["-o", "json", "put", "the same key", "v", "--receipt"];
    let receipt = run_at(node.quic, &node.tls, &words).well().json();
    let dot = receipt["receipt"]["dot"].as_str().unwrap();
    dot.split_once('@').unwrap().0.to_owned()
}

#[test]
fn init_names_the_node_that_is_down_and_goes_on_when_it_is_up() {
    let dir = TempDir::new().unwrap();
    let (mut nodes, files): (Vec<Node>, Vec<PathBuf>) =
        ["a", "b", "c"].map(|name| configured(dir.path(), name)).into_iter().unzip();
    for k in 0..2 {
        nodes[k].start_as(&mut by_file(&files[k]));
    }
    let addrs: Vec<_> = nodes.iter().map(|n| n.quic).collect();
    let refused = init(&addrs, &nodes[0].tls);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.err.contains(&addrs[2].to_string()), "{refused:?}");
    assert!(!refused.err.contains(&addrs[1].to_string()), "{refused:?}");
    assert!(nodes[..2].iter().all(|n| n.status()["state"] == "waiting"));
    nodes[2].start_as(&mut by_file(&files[2]));
    init(&addrs, &nodes[0].tls).well();
    nodes.iter().for_each(|n| n.serves_with(2));
    let elsewhere = init(&[ports::free().unwrap()], &nodes[0].tls);
    assert_eq!(elsewhere.code, 4, "{elsewhere:?}");
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let dir = TempDir::new().unwrap();
    let (mut node, file) = configured(dir.path(), "file");
    let by_variable = ports::free().unwrap();
    let mut command = by_file(&file);
    command.env("STARLING_NODE_NAME", "variable").env("STARLING_LISTEN_RESP", by_variable.to_string());
    command.args(["--name", "flag"]);
    let ready = node.start_as(&mut command);
    let me = &ready.nodes[0];
    assert_eq!(me.name, "flag", "{ready}");
    assert_eq!(me.resp, by_variable, "{ready}");
    assert_eq!(me.http, node.http, "{ready}");
    is_shut(node.resp);
    assert!(node.stop().success());
}

#[test]
fn a_bad_file_is_refused_by_file_line_and_key() {
    let dir = TempDir::new().unwrap();
    let (mut node, file) = configured(dir.path(), "bad");
    let name = file.display().to_string();
    let good = text(&node);
    for (bad, words) in [
        (good.replace("resp = \"127", "resp = \"localhost"), ["line 6", "listen.resp", "an IP address"]),
        (good.replace("http =", "htpt ="), ["line 7", "listen.htpt", "did you mean http?"]),
        (good.replace("[tls]", "[tsl]"), ["line 10", "[tsl]", "did you mean tls?"]),
        (good.replace("name = \"bad\"", "name = \"bad"), ["line 2", "TOML", ""]),
        (good.clone() + "[limits]\nmax_value = \"65MiB\"\n", ["line 13", "limits.max_value", "64MiB"]),
        (
            good.clone() + "[limits]\nmax_value = \"32MiB\"\nmax_in_flight_bytes = \"1MiB\"\n",
            ["limits", "max_in_flight_bytes", "max_value"],
        ),
    ] {
        std::fs::write(&file, &bad).unwrap();
        let refused = run(&["node", "--config", &name]);
        assert_eq!(refused.code, 2, "{bad}: {refused:?}");
        assert!(refused.err.contains(&name), "{refused:?}");
        for word in words {
            assert!(refused.err.contains(word), "{word:?} is missing: {refused:?}");
        }
        assert!(!node.data.exists(), "a refused configuration changes nothing");
    }
    let missing = run(&["node", "--config", "/nowhere/at/all.toml"]);
    assert!(missing.code == 2 && missing.err.contains("/nowhere/at/all.toml"), "{missing:?}");
    let mut command = by_file(&file);
    // As Kubernetes makes it for a service that is called `starling`: it is no reason not to start.
    command.env("STARLING_PORT", "tcp://10.0.0.1:7001");
    std::fs::write(&file, &good).unwrap();
    node.start_as(&mut command);
    assert!(node.stop().success());
}
