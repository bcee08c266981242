//! Backups of a live cluster, cut off, damaged, and put back: nothing newer is lost, a lost node comes back.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use super::support::command::{Done, run, run_at};
use super::support::load::{is_all_there, under_load, writers};
use super::support::node::{Cluster, Node};
use super::support::process::{Process, starling};
use super::support::resp::Reply;
use super::support::{eventually, http, now};

fn create(cluster: &Cluster, node: usize, dir: &Path, more: &[&str]) -> Done {
    let words = [&["-o", "json", "backup", "create"], more, &[text(dir)]].concat();
    run_at(cluster.nodes[node].quic, &cluster.tls, &words)
}

fn verify(dir: &Path) -> Done {
    run(&["-o", "json", "backup", "verify", text(dir)])
}

fn restore(backup: &Path, node: &Node) -> Done {
    run(&["-o", "json", "backup", "restore", text(backup), "--data", text(&node.data)])
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Writes on all three.
fn put(addr: SocketAddr, key: &str, value: &[u8]) {
    let path = format!("/v1/kv/default/{key}?w=3&context=local");
    let put = http::request(addr, "PUT", &path, value).unwrap();
    assert_eq!(put.status, 204, "{put:?}");
}

fn delete(addr: SocketAddr, key: &str) {
    let gone = http::request(addr, "DELETE", &format!("/v1/kv/default/{key}?w=3"), b"").unwrap();
    assert_eq!(gone.status, 204, "{gone:?}");
}

/// The values of a key that a node holds itself, in base64.
fn held(node: &Node, key: &str) -> Vec<String> {
    let answer = http::get(node.http, &format!("/v1/local/default/{key}")).unwrap();
    let record: Value = serde_json::from_str(&answer.body).unwrap();
    let siblings = record["siblings"].as_array().cloned().unwrap_or_default();
    siblings.iter().filter_map(|s| s["value"].as_str().map(str::to_owned)).collect()
}

#[test]
fn an_old_backup_put_back_loses_nothing_newer_and_revives_no_delete() {
    let mut cluster = Cluster::of_three();
    let dir = TempDir::new().unwrap();
    let addr = cluster.nodes[1].http;
    for number in 0..30 {
        put(addr, &format!("key-{number}"), b"old");
    }
    // Made while others write.
    let (addrs, mut load) = (cluster.nodes.iter().map(|n| n.resp).collect::<Vec<_>>(), writers(8));
    let backup = dir.path().join("backup");
    under_load(&mut load, &addrs, |gauge| {
        gauge.every_writer_acks(5);
        let made = create(&cluster, 0, &backup, &[]).well().json();
        assert_eq!((&made["state"], &made["unreadable"]), (&"complete".into(), &Value::Array(vec![])));
        assert!(made["totals"]["data"]["rows"].as_u64().unwrap() >= 30 + 8 * 4, "{made}");
        assert_eq!(made["origin"]["node_id"], cluster.nodes[0].status()["node_id"]);
        gauge.every_writer_acks(5);
    });
    assert_eq!(verify(&backup).well().json()["whole"], true);
    let again = create(&cluster, 0, &backup, &[]);
    assert!(again.code == 1 && again.err.contains("complete backup"), "{again:?}");

    for number in 0..10 {
        put(addr, &format!("key-{number}"), b"new");
        delete(addr, &format!("key-{}", number + 10));
    }
    put(addr, "added", b"new");
    let running = restore(&backup, &cluster.nodes[0]);
    assert!(running.code == 1 && running.err.contains("in use by"), "{running:?}");
    assert!(cluster.nodes[0].stop().success());
    let other = restore(&backup, &cluster.nodes[1]);
    assert!(other.code == 1 && other.err.contains("goes back to its own node"), "{other:?}");
    let restored = restore(&backup, &cluster.nodes[0]).well().json();
    assert_eq!(
        (&restored["new_directory"], &restored["data"]["new"]),
        (&false.into(), &0.into()),
        "{restored}"
    );
    cluster.nodes[0].start();
    cluster.serves();
    for number in 0..10 {
        assert_eq!(held(&cluster.nodes[0], &format!("key-{number}")), ["bmV3"], "newer");
        assert_eq!(held(&cluster.nodes[0], &format!("key-{}", number + 10)), [""; 0], "deleted");
        assert_eq!(held(&cluster.nodes[0], &format!("key-{}", number + 20)), ["b2xk"], "as it was");
    }
    assert_eq!(held(&cluster.nodes[0], "added"), ["bmV3"]);
    is_all_there(&cluster.nodes[0], &load, &[]);
    let mut resp = cluster.nodes[0].resp();
    assert_eq!(resp.ask("SET key-1 newest"), Reply::ok());
    assert_eq!(cluster.nodes[2].resp().ask("GET key-1"), Reply::bulk("newest"));
}

#[test]
fn a_lost_node_comes_back_as_itself() {
    let mut cluster = Cluster::of_three();
    let dir = TempDir::new().unwrap();
    let backup = dir.path().join("backups").join("monday");
    for number in 0..20 {
        put(cluster.nodes[0].http, &format!("key-{number}"), b"old");
    }
    create(&cluster, 2, &backup, &[]).well();
    let listed = run(&["-o", "json", "backup", "list", text(backup.parent().unwrap())]).well().json();
    assert_eq!(listed["backups"][0]["dir"], text(&backup), "{listed}");
    let before = cluster.nodes[2].status()["node_id"].clone();
    for number in 0..5 {
        put(cluster.nodes[0].http, &format!("key-{number}"), b"new");
    }
    cluster.nodes[2].kill();
    fs::remove_dir_all(&cluster.nodes[2].data).unwrap();
    let restored = restore(&backup, &cluster.nodes[2]).well().json();
    assert_eq!((&restored["node_id"], &restored["new_directory"]), (&before, &true.into()));
    assert!(
        restored["generation"].as_u64().unwrap() > 1_000,
        "more starts than the others heard of: {restored}"
    );
    cluster.nodes[2].start();
    cluster.serves();
    assert_eq!(cluster.nodes[2].status()["node_id"], before);
    // It answers for nothing of which it may have lost something newer, not even to a client that asks it alone.
    let mut resp = cluster.nodes[2].resp();
    assert_eq!(resp.ask("STARLING.CONSISTENCY R 1"), Reply::ok());
    for number in 0..20 {
        let value = if number < 5 { "new" } else { "old" };
        assert_eq!(resp.ask(&format!("GET key-{number}")), Reply::bulk(value), "key-{number}");
    }
    eventually("it has pulled what is newer", || {
        (0..5).all(|n| held(&cluster.nodes[2], &format!("key-{n}")) == ["bmV3"])
    });
    assert_eq!(resp.ask("SET after restored"), Reply::ok());
    assert_eq!(cluster.nodes[0].resp().ask("GET after"), Reply::bulk("restored"));
    eventually("everything was pulled", || cluster.nodes[2].status()["alarms"] == Value::Array(vec![]));
}

#[test]
fn damage_is_named_and_a_backup_that_was_cut_off_goes_on() {
    let cluster = Cluster::of_three();
    let dir = TempDir::new().unwrap();
    let value = (0..1 << 20).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect::<Vec<_>>();
    for number in 0..24 {
        put(cluster.nodes[0].http, &format!("large-{number}"), &value);
    }
    let small = dir.path().join("small");
    let made = create(&cluster, 1, &small, &["--bucket", "carts", "--file-mib", "1"]).well().json();
    assert_eq!((&made["totals"]["data"]["rows"], &made["buckets"][0]), (&0.into(), &"carts".into()));

    let backup = cut_off(&cluster, dir.path());
    let cut = verify(&backup);
    assert_eq!((cut.code, &cut.json()["state"]), (1, &"partial".into()), "{cut:?}");
    let refused = restore(&backup, &cluster.nodes[1]);
    assert!(refused.code == 1 && refused.err.contains("cut off"), "{refused:?}");
    let other = create(&cluster, 0, &backup, &["--file-mib", "1"]);
    assert!(other.code == 1 && other.err.contains("another directory"), "{other:?}");
    let resumed = create(&cluster, 1, &backup, &["--file-mib", "1"]).well();
    assert!(resumed.err.contains("going on with the backup"), "{resumed:?}");
    let resumed = resumed.json();
    assert_eq!((&resumed["runs"], &resumed["totals"]["data"]["rows"]), (&2.into(), &24.into()));
    assert_eq!(verify(&backup).well().json()["read"], resumed["totals"]);

    let chunk = backup.join("chunk-000007.rows");
    let mut bytes = fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&chunk, bytes).unwrap();
    let damaged = verify(&backup);
    assert_eq!(damaged.code, 1, "{damaged:?}");
    assert!(
        damaged.json()["damage"][0].as_str().unwrap().contains("chunk-000007.rows: row 0"),
        "{damaged:?}"
    );
    let refused = restore(&backup, &cluster.nodes[1]);
    assert!(refused.code == 1 && refused.err.contains("chunk-000007.rows"), "{refused:?}");
}

/// A backup of node 1 whose command was killed with some of its files written and some not.
fn cut_off(cluster: &Cluster, dir: &Path) -> PathBuf {
    for attempt in 0..20 {
        let backup = dir.join(format!("cut-{attempt}"));
        let mut command = starling();
        command.env("STARLING_AT", cluster.nodes[1].quic.to_string()).env("STARLING_TLS", &cluster.tls);
        command.args(["backup", "create", "--file-mib", "1"]).arg(&backup);
        let mut process = Process::start(&mut command, &dir.join(format!("log-{attempt}")));
        let manifest = || fs::read_to_string(backup.join("manifest.json")).unwrap_or_default();
        let deadline = now() + super::support::SOON;
        while !manifest().contains("chunk-000002") && now() < deadline {
            std::hint::spin_loop();
        }
        process.kill();
        if manifest().contains("\"partial\"") {
            return backup;
        }
    }
    panic!("every backup was complete before it could be cut off");
}

fn data(node: &Node, words: &[&str]) -> Done {
    run(&[&["-o", "json", "data"], words, &[text(&node.data)]].concat())
}

#[test]
fn the_directory_of_a_stopped_node_is_checked_shown_and_repaired() {
    let mut cluster = Cluster::of_three();
    for number in 0..40 {
        put(cluster.nodes[0].http, &format!("key-{number}"), &[b'v'; 2_000]);
    }
    delete(cluster.nodes[0].http, "key-0");
    let running = data(&cluster.nodes[0], &["check"]);
    assert!(running.code == 1 && running.err.contains("in use by"), "{running:?}");
    assert!(cluster.nodes[0].stop().success());
    let node = &cluster.nodes[0];
    let sound = data(node, &["check"]).well().json();
    assert_eq!((&sound["sound"], &sound["namespaces"][0]["rows"]), (&true.into(), &40.into()), "{sound}");
    assert_eq!(sound["namespaces"][0]["tombstones"], 1);
    let dumped = data(node, &["dump", "--prefix", "key-3", "--namespace", "data"]).well();
    assert_eq!(dumped.out.lines().count(), 11, "key-3 and key-30 to key-39");
    assert_eq!(data(node, &["repair"]).well().json()["repaired"], Value::Null);

    let before = damage(&node.data);
    let found = data(node, &["check"]);
    assert_eq!((found.code, &found.json()["sound"]), (1, &false.into()), "{found:?}");
    assert_eq!(before, contents(&node.data), "a check changes nothing");
    let repaired = data(node, &["repair"]).well().json();
    let originals = PathBuf::from(repaired["repaired"]["originals"].as_str().unwrap());
    assert!(originals.starts_with(&node.data) && originals.join("tables").is_dir(), "{repaired}");
    cluster.nodes[0].start();
    cluster.serves();
    let mut resp = cluster.nodes[0].resp();
    for number in 1..40 {
        assert_eq!(resp.ask(&format!("GET key-{number}")), Reply::bulk([b'v'; 2_000]), "key-{number}");
    }
    eventually("it is complete again", || {
        (1..40).all(|n| held(&cluster.nodes[0], &format!("key-{n}")).len() == 1)
    });
}

/// Changes one byte amid what was written: the file that holds the values.
fn damage(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let all = contents(dir);
    let run_of_values = |bytes: &[u8]| bytes.windows(1_000).position(|w| w.iter().all(|&b| b == b'v'));
    let (path, bytes, at) = all
        .iter()
        .find_map(|(path, bytes)| Some((path, bytes, run_of_values(bytes)?)))
        .expect("some file holds the values as they are");
    let mut bytes = bytes.clone();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    contents(dir)
}

/// All files, the locks left out.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.clone(), fs::read(path).unwrap())),
        }
    }
    found.sort();
    found
}
