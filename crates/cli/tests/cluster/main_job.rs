//! One command gives a cluster; all doors lead to the same data; it stops and comes back as it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use starling_cluster::{Ready, ReadyNode, Signal, ports};
use tempfile::TempDir;

use crate::support::command::{Done, run, run_at};
use crate::support::process::{Process, kill_other, runs, starling};
use crate::support::resp::{Reply, Resp, encode};
use crate::support::{SOON, eventually, http};

/// `dev` gives its nodes ten seconds each.
const STOP: Duration = Duration::from_secs(40);

/// A running `starling dev` and what it said.
struct Dev {
    process: Process,
    ready: Ready,
    data: PathBuf,
}

impl Dev {
    fn start(data: &Path, words: &[&str]) -> Self {
        let mut command = starling();
        command.args(["dev", "--port-base", "0", "--data"]).arg(data).args(words);
        let mut process = Process::start(&mut command, &data.with_extension("log"));
        let ready = process.ready();
        Self { process, ready, data: data.into() }
    }

    fn node(&self, node: usize) -> &ReadyNode {
        &self.ready.nodes[node]
    }

    fn cluster(&self) -> String {
        self.ready.cluster_id.unwrap().to_string()
    }

    fn resp(&self, node: usize) -> Resp {
        Resp::connect(self.node(node).resp).unwrap()
    }

    fn pids(&self) -> Vec<u32> {
        self.ready.nodes.iter().map(|n| n.pid).collect()
    }

    fn cli(&self, node: usize, words: &[&str]) -> Done {
        run_at(self.node(node).quic, &self.data.join("tls"), words)
    }

    fn stop(mut self, signal: Signal) {
        self.process.signal(signal);
        let status = self.process.ended(STOP);
        assert!(status.success(), "{status}: {}", self.process.stderr());
        assert_eq!(self.process.stdout(), "", "one line for programs");
        let left: Vec<_> = self.pids().into_iter().filter(|&pid| runs(pid)).collect();
        assert!(left.is_empty(), "{left:?} outlived their parent's clean exit");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.pids().into_iter().for_each(kill_other);
    }
}

#[test]
fn one_command_gives_a_cluster_that_says_where_it_is() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(&dir.path().join("data"), &[]);
    let names: Vec<_> = dev.ready.nodes.iter().map(|n| &n.name).collect();
    assert_eq!(names, ["n1", "n2", "n3"]);
    for node in &dev.ready.nodes {
        let status = http::get(node.http, "/v1/status").unwrap();
        let status: Value = serde_json::from_str(&status.body).unwrap();
        assert_eq!(status["node_id"], node.node_id.to_string());
        assert_eq!(status["cluster_id"], dev.cluster());
        assert!(node.data.join("node.json").exists());
    }
    let pids = dev.pids();
    assert!(pids.iter().all(|&pid| runs(pid)));
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 3);
    let banner = dev.process.stderr();
    for word in ["3 nodes, 3 copies", "redis-cli -p", "starling put", "Ctrl-C"] {
        assert!(banner.contains(word), "{word} is missing: {banner}");
    }
    dev.stop(Signal::INT);
}

#[test]
fn what_one_node_takes_every_node_gives() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(&dir.path().join("data"), &[]);
    for k in 0..3 {
        let key = format!("from-{k}");
        assert_eq!(dev.resp(k).ask(&format!("SET {key} value-{k}")), Reply::ok());
        for other in 0..3 {
            let value = dev.resp(other).ask(&format!("GET {key}"));
            assert_eq!(value, Reply::bulk(format!("value-{k}")), "node {other}");
        }
    }
    assert_eq!(dev.resp(1).ask("GET nothing"), Reply::Null);
    assert_eq!(dev.resp(2).ask("DEL from-0 nothing"), Reply::Integer(1));
    assert_eq!(dev.resp(0).ask("EXISTS from-0 from-1"), Reply::Integer(1));
    the_doors_lead_to_the_same_data(&dev);
    resp_speaks_as_clients_expect(&dev);
    replies_come_in_order(&dev);
    limits_are_named(&dev);
    pages_are_there(&dev);
    dev.stop(Signal::TERM);
}

fn the_doors_lead_to_the_same_data(dev: &Dev) {
    let put = http::request(dev.node(0).http, "PUT", "/v1/kv/default/door", b"http").unwrap();
    assert_eq!(put.status, 204, "{put:?}");
    assert_eq!(dev.resp(1).ask("GET door"), Reply::bulk("http"));
    assert_eq!(dev.cli(2, &["get", "door"]).well().out, "http");
    dev.cli(2, &["put", "door", "quic"]).well();
    let got = http::get(dev.node(0).http, "/v1/kv/default/door").unwrap();
    assert_eq!((got.status, got.body.as_str()), (200, "quic"));
    let gone = http::request(dev.node(1).http, "DELETE", "/v1/kv/default/door", b"").unwrap();
    assert_eq!(gone.status, 204, "{gone:?}");
    assert_eq!(dev.cli(0, &["get", "door"]).code, 1);
    assert_eq!(http::get(dev.node(2).http, "/v1/kv/default/door").unwrap().status, 404);
}

fn resp_speaks_as_clients_expect(dev: &Dev) {
    let mut resp = dev.resp(0);
    let info = resp.ask("INFO").text();
    for word in ["# Server", "# Cluster", "members_alive:3", "state:serving"] {
        assert!(info.contains(word), "{word} is missing: {info}");
    }
    let Reply::Array(commands) = resp.ask("COMMAND") else { panic!("COMMAND gives no array") };
    assert!(commands.len() > 10);
    let Reply::Map(fields) = resp.ask("HELLO 3") else { panic!("HELLO 3 gives no map") };
    assert!(fields.contains(&(Reply::bulk("proto"), Reply::Integer(3))), "{fields:?}");
    assert_eq!(resp.ask("GET nothing"), Reply::Null);
    assert!(resp.ask("FLUSHALL").error().contains("unknown command"));
    assert_eq!(resp.ask("PING"), Reply::Simple("PONG".into()));
}

fn replies_come_in_order(dev: &Dev) {
    let mut resp = dev.resp(1);
    let commands = (0..500).flat_map(|i| {
        let (key, value) = (format!("pipe-{i}"), format!("{i}"));
        [encode(&["SET", &key, &value]), encode(&["GET", &key]), encode(&["ECHO", &value])].concat()
    });
    resp.send_raw(&commands.collect::<Vec<_>>()).unwrap();
    for i in 0..500 {
        assert_eq!(resp.receive().unwrap(), Reply::ok());
        // The read of a key waits for the write before it.
        assert_eq!(resp.receive().unwrap(), Reply::bulk(format!("{i}")));
        assert_eq!(resp.receive().unwrap(), Reply::bulk(format!("{i}")));
    }
    for i in 0..500 {
        assert_eq!(resp.ask(&format!("GET pipe-{i}")), Reply::bulk(format!("{i}")));
    }
}

fn limits_are_named(dev: &Dev) {
    let (long, large) = (vec![b'k'; 4_097], vec![b'v'; (8 << 20) + 1]);
    let mut resp = dev.resp(0);
    let refused = resp.call(&[b"SET".as_slice(), &long, b"v"]).unwrap();
    assert!(refused.error().contains("4096"), "{refused:?}");
    let refused = resp.call(&[b"SET".as_slice(), b"large", &large]).unwrap();
    assert!(refused.error().contains("8388608"), "{refused:?}");
    assert_eq!(dev.resp(0).ask("GET large"), Reply::Null, "nothing was stored");
    let refused = http::request(dev.node(0).http, "PUT", "/v1/kv/default/large", &large).unwrap();
    assert_eq!(refused.status, 413);
    assert!(refused.body.contains("8388608"), "{refused:?}");
    let path = format!("/v1/kv/default/{}", "k".repeat(4_097));
    let refused = http::request(dev.node(0).http, "PUT", &path, b"v").unwrap();
    assert!(refused.status == 400 && refused.body.contains("4096"), "{refused:?}");
    // The largest that may be is stored whole, and read whole through another node.
    let largest = &large[1..];
    assert_eq!(resp_set(dev, largest), Reply::ok());
    assert_eq!(dev.resp(2).ask("GET largest"), Reply::bulk(largest));
}

fn resp_set(dev: &Dev, value: &[u8]) -> Reply {
    dev.resp(1).call(&[b"SET".as_slice(), b"largest", value]).unwrap()
}

fn pages_are_there(dev: &Dev) {
    for k in 0..3 {
        let page = |path: &str| http::get(dev.node(k).http, path).unwrap();
        assert_eq!((page("/healthz").status, page("/readyz").status), (200, 200));
        let metrics = page("/metrics").body;
        assert!(metrics.contains("# TYPE starling_"), "{metrics}");
        let ring: Value = serde_json::from_str(&page("/v1/ring").body).unwrap();
        assert_eq!(ring["members"].as_array().unwrap().len(), 3);
        assert_eq!(page("/nowhere").status, 404);
    }
}

#[test]
fn commands_end_with_the_code_that_says_how() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(&dir.path().join("data"), &[]);
    let tls = dev.data.join("tls");
    assert_eq!(dev.cli(0, &["put", "k", "v"]).well().out, "OK\n");
    assert_eq!(dev.cli(1, &["get", "k"]).well().out, "v");
    let read = dev.cli(2, &["-o", "json", "get", "k"]).well().json();
    assert_eq!(read["siblings"][0]["value"], "dg==", "base64");
    let context = read["context"].as_str().unwrap();
    let put = ["-o", "json", "put", "k", "w", "--context", context, "--receipt", "--w", "3", "--strict"];
    let written = dev.cli(0, &put).well().json();
    assert_eq!((&written["receipt"]["acked"], &written["siblings"]), (&3.into(), &1.into()));
    dev.cli(0, &["-o", "json", "del", "k"]).well().json();
    let missing = dev.cli(0, &["get", "k"]);
    assert_eq!((missing.code, missing.out.as_str()), (1, ""));
    let missing = dev.cli(0, &["-o", "json", "get", "k"]);
    assert_eq!((missing.code, missing.json()["siblings"].as_array().unwrap().len()), (1, 0));
    let refused = dev.cli(0, &["-o", "json", "put", "k", "v", "--w", "4"]);
    assert_eq!((refused.code, &refused.json()["outcome"]), (3, &"not_applied".into()));
    for usage in [
        &["put", "k"][..],
        &["get", "k", "--at", "nonsense"],
        &["get", "k", "--bucket", "no/such"],
        &["put", "k", "v", "--context", "not base64!"],
        &["frobnicate"],
    ] {
        assert_eq!(dev.cli(0, usage).code, 2, "{usage:?}");
    }
    let nobody = run_at(ports::free().unwrap(), &tls, &["-o", "json", "get", "k"]);
    assert_eq!((nobody.code, &nobody.json()["exit"]), (4, &4.into()), "{nobody:?}");
    let status = dev.cli(1, &["-o", "json", "cluster", "status"]).well().json();
    assert_eq!(status["cluster_id"], dev.cluster());
    assert!(dev.cli(1, &["cluster", "status"]).well().out.starts_with("green"));
    dev.stop(Signal::INT);
}

#[test]
fn no_node_outlives_a_killed_parent() {
    let dir = TempDir::new().unwrap();
    let mut dev = Dev::start(&dir.path().join("data"), &[]);
    let pids = dev.pids();
    assert!(pids.iter().all(|&pid| runs(pid)));
    dev.process.kill();
    eventually("all nodes are gone", || !pids.iter().any(|&pid| runs(pid)));
}

#[test]
fn the_data_are_there_after_a_restart() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let first = Dev::start(&data, &[]);
    let cluster = first.cluster();
    let write = |k: usize| first.resp(k % 3).ask(&format!("SET kept-{k} {k}"));
    assert!((0..60).all(|k| write(k) == Reply::ok()));
    first.stop(Signal::INT);
    let mut killed = Dev::start(&data, &[]);
    assert_eq!(killed.cluster(), cluster);
    assert_eq!(killed.resp(0).ask("SET kept-60 60"), Reply::ok());
    killed.process.kill();
    let pids = killed.pids();
    eventually("all nodes are gone", || !pids.iter().any(|&pid| runs(pid)));
    let again = Dev::start(&data, &[]);
    assert_eq!(again.cluster(), cluster);
    for k in 0..=60 {
        assert_eq!(again.resp(k % 3).ask(&format!("GET kept-{k}")), Reply::bulk(k.to_string()));
    }
    again.stop(Signal::TERM);
    let fresh = Dev::start(&data, &["--fresh"]);
    assert_ne!(fresh.cluster(), cluster);
    assert_eq!(fresh.resp(0).ask("GET kept-1"), Reply::Null);
}

#[test]
fn dev_starts_the_nodes_that_its_directory_holds_and_no_others() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().join("data");
    let first = Dev::start(&data, &[]);
    let cluster = first.cluster();
    first.stop(Signal::INT);
    let path = data.to_str().unwrap();
    for nodes in ["5", "2"] {
        let refused = run(&["dev", "--port-base", "0", "--data", path, "--nodes", nodes]);
        assert_eq!(refused.code, 2, "{refused:?}");
        for word in ["3 nodes", "--nodes 3", "--fresh"] {
            assert!(refused.err.contains(word), "{word} is missing: {refused:?}");
        }
        assert!(!data.join("n4").exists(), "a refused command changes nothing");
    }
    let (home, aside) = (data.join("n2"), dir.path().join("aside"));
    std::fs::rename(&home, &aside).unwrap();
    let refused = run(&["dev", "--port-base", "0", "--data", path]);
    assert!(refused.code == 2 && refused.err.contains("n2 is no member"), "{refused:?}");
    std::fs::remove_dir_all(&home).unwrap();
    std::fs::rename(&aside, &home).unwrap();
    let foreign = dir.path().join("photos");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("cat.jpg"), "meow").unwrap();
    let refused = run(&["dev", "--port-base", "0", "--fresh", "--data", foreign.to_str().unwrap()]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert_eq!(std::fs::read(foreign.join("cat.jpg")).unwrap(), b"meow");
    assert_eq!(Dev::start(&data, &[]).cluster(), cluster);
}

#[test]
fn a_killed_node_is_named_and_the_others_go_on() {
    let dir = TempDir::new().unwrap();
    let dev = Dev::start(&dir.path().join("data"), &[]);
    kill_other(dev.pids()[1]);
    crate::support::within(SOON, "the banner names the dead", || {
        let log = dev.process.stderr();
        match log.contains("n2 (pid ") && log.contains("starling node --name n2") {
            true => Ok(()),
            false => Err(log),
        }
    });
    let mut resp = dev.resp(0);
    eventually("writes succeed", || resp.ask("SET k v") == Reply::ok());
    assert_eq!(dev.resp(2).ask("GET k"), Reply::bulk("v"));
    dev.stop(Signal::INT);
}
