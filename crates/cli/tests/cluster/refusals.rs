//! A node that must not start says why; one that must not join is kept out; nonsense harms only its sender.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use starling_cluster::ports;
use tempfile::TempDir;

use crate::support::command::{Done, finish, init, run, run_at};
use crate::support::node::{Cluster, Node};
use crate::support::resp::{Reply, Resp, encode};
use crate::support::{SOON, eventually, http, within};

/// Runs a node that must refuse to start.
fn refused(node: &Node) -> Done {
    let done = finish(&mut node.command());
    assert_eq!(done.code, 1, "{done:?}");
    assert_eq!(done.out, "", "no ready line");
    done
}

fn says(done: &Done, words: &[&str]) {
    for word in words {
        assert!(done.err.contains(word), "{word:?} is missing: {done:?}");
    }
}

#[test]
fn a_node_of_another_authority_is_kept_out() {
    let dir = TempDir::new().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    let mut nodes =
        [("a", &ours), ("b", &ours), ("c", &theirs)].map(|(n, tls)| Node::new(dir.path(), n, tls));
    nodes.iter_mut().for_each(|n| _ = n.start());
    let addrs: Vec<_> = nodes.iter().map(|n| n.quic).collect();
    let refused = init(&addrs, &ours);
    assert_eq!(refused.code, 3, "{refused:?}");
    says(&refused, &[&addrs[2].to_string(), "authority"]);
    assert!(!refused.err.contains(&addrs[1].to_string()), "{refused:?}");
    // Either log names the other node, and the reason.
    let dialer = nodes[0].process().stderr();
    assert!(dialer.contains("cannot connect") && dialer.contains(&addrs[2].to_string()), "{dialer}");
    within(SOON, "the other end says so too", || {
        let log = nodes[2].process().stderr();
        if log.contains("refused a connection") { Ok(()) } else { Err(log) }
    });
    let stranger = run_at(addrs[0], &theirs, &["get", "k"]);
    assert!(stranger.code == 4 && stranger.err.contains("authority"), "{stranger:?}");
    init(&addrs[..2], &ours).well();
    nodes[..2].iter().for_each(|n| n.serves_with(1));
    assert_eq!(nodes[2].status()["state"], "waiting");
    assert_eq!(nodes[2].status()["members"].as_array().unwrap().len(), 1);
}

#[test]
fn clusters_with_one_authority_stay_apart() {
    let dir = TempDir::new().unwrap();
    let tls = dir.path().join("tls");
    let mut nodes = ["a", "b", "c"].map(|name| Node::new(dir.path(), name, &tls));
    nodes.iter_mut().for_each(|n| _ = n.start());
    init(&[nodes[0].quic, nodes[1].quic], &tls).well();
    init(&[nodes[2].quic], &tls).well();
    let cluster = |n: &Node| n.status()["cluster_id"].as_str().unwrap().to_owned();
    let (ours, theirs) = (cluster(&nodes[0]), cluster(&nodes[2]));
    assert_ne!(ours, theirs);
    let all: Vec<_> = nodes.iter().map(|n| n.quic).collect();
    for first in [0, 2] {
        let mut named = all.clone();
        named.swap(0, first);
        let refused = init(&named, &tls);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(!refused.err.is_empty());
    }
    // A member that dials a stranger's address by its seeds does not take it in.
    nodes[0].stop();
    let mut command = nodes[0].command();
    command.args(["--seeds", &all[2].to_string()]);
    nodes[0].start_as(&mut command);
    nodes[0].serves_with(1);
    nodes[2].serves_with(0);
    assert_eq!(nodes[0].resp().ask("SET k ours"), Reply::ok());
    assert_eq!(nodes[2].resp().ask("SET k theirs"), Reply::ok());
    assert_eq!(nodes[1].resp().ask("GET k"), Reply::bulk("ours"));
    assert_eq!((cluster(&nodes[1]), cluster(&nodes[2])), (ours, theirs));
    assert_eq!(nodes[0].status()["members"].as_array().unwrap().len(), 2);
}

#[test]
fn a_data_directory_that_is_not_this_nodes_is_refused() {
    let dir = TempDir::new().unwrap();
    let tls = dir.path().join("tls");
    let [mut a, mut b] = ["a", "b"].map(|name| Node::new(dir.path(), name, &tls));
    a.start();
    b.start();
    init(&[a.quic, b.quic], &tls).well();
    a.serves_with(1);
    assert_eq!(a.resp().ask("SET k v"), Reply::ok());

    let mut second = Node::new(dir.path(), "a", &tls);
    second.data.clone_from(&a.data);
    let pid = a.process().pid().to_string();
    says(&refused(&second), &["in use by process", &pid, &a.data.display().to_string()]);
    assert_eq!(a.resp().ask("GET k"), Reply::bulk("v"), "the first is not disturbed");

    assert!(a.stop().success() && b.stop().success());
    let (home, tables) = (a.data.join("node.json"), a.data.join("tables"));
    let good = std::fs::read_to_string(&home).unwrap();
    another_format(&a, &home, ("\"format_version\": 2", "\"format_version\": 3"));
    another_format(&a, &tables.join("FORMAT"), ("starling store 2 ", "starling store 3 "));
    another_format(&a, &tables.join("FORMAT"), ("starling store 2 ", "starling store 1 "));
    std::fs::write(&home, "nonsense").unwrap();
    says(&refused(&a), &["node.json", "cannot be read"]);
    std::fs::remove_file(&home).unwrap();
    says(&refused(&a), &["holds a store but no node.json", &a.data.display().to_string()]);
    assert!(tables.exists() && !home.exists());
    std::fs::write(&home, &good).unwrap();

    swap(&a.data.join("tls"), &b.data.join("tls"));
    says(&refused(&a), &["certificate", "names", "tls"]);
    swap(&a.data.join("tls"), &b.data.join("tls"));

    let mut elsewhere = a.command();
    elsewhere.env("STARLING_CLUSTER_CLUSTER_ID", "00112233445566778899aabbccddeeff");
    let elsewhere = finish(&mut elsewhere);
    assert_eq!(elsewhere.code, 1);
    says(&elsewhere, &["cluster.cluster_id", "00112233445566778899aabbccddeeff"]);

    a.start();
    b.start();
    a.serves_with(1);
    assert_eq!(a.resp().ask("GET k"), Reply::bulk("v"), "nothing of all that did any harm");
}

/// The node refuses its directory while `file` is of another version, and changes nothing.
fn another_format(node: &Node, file: &Path, (from, to): (&str, &str)) {
    let good = std::fs::read_to_string(file).unwrap();
    let other = good.replace(from, to);
    assert_ne!(other, good);
    std::fs::write(file, other).unwrap();
    let before = files_of(&node.data);
    says(&refused(node), &["use the version that wrote it", "nothing was changed"]);
    assert!(files_of(&node.data) == before, "{to}");
    std::fs::write(file, good).unwrap();
}

fn files_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files_of(&path),
            false => [(path.clone(), std::fs::read(path).unwrap())].into(),
        })
        .collect()
}

fn swap(a: &Path, b: &Path) {
    let aside = a.with_extension("aside");
    std::fs::rename(a, &aside).unwrap();
    std::fs::rename(b, a).unwrap();
    std::fs::rename(&aside, b).unwrap();
}

/// A process that died in its very first moments has promised nothing to any client.
#[test]
fn a_first_start_that_was_cut_short_is_no_obstacle() {
    let dir = TempDir::new().unwrap();
    let mut node = Node::new(dir.path(), "young", &dir.path().join("tls"));
    node.start();
    node.kill();
    // As after a kill between the store's creation and the first node.json.
    for leftover in ["node.json", "tls"] {
        let path = node.data.join(leftover);
        let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
        removed.unwrap();
    }
    node.start();
    init(&[node.quic], &node.tls).well();
    node.serves_with(0);
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let dir = TempDir::new().unwrap();
    let node = Node::new(dir.path(), "n", &dir.path().join("tls"));
    for (key, addr) in [("listen.resp", node.resp), ("listen.http", node.http)] {
        let _held = TcpListener::bind(addr).unwrap();
        says(&refused(&node), &[key, &addr.to_string()]);
        assert!(!node.data.exists(), "nothing was changed");
    }
    let _held = UdpSocket::bind(node.quic).unwrap();
    says(&refused(&node), &["listen.quic", &node.quic.to_string()]);
    let words = ["dev", "--port-base", "0", "--nodes", "1", "--data"];
    let data = dir.path().join("file");
    std::fs::write(&data, "not a directory").unwrap();
    let not_a_directory = run(&[&words[..], &[data.to_str().unwrap()]].concat());
    assert!(not_a_directory.code != 0 && not_a_directory.err.contains("file"), "{not_a_directory:?}");
}

/// The memory that all this nonsense may cost a node at any moment, in KiB.
const COST: u64 = 32 << 10;

#[test]
fn nonsense_harms_nobody_but_its_sender() {
    let mut cluster = Cluster::of_three();
    let pid = cluster.nodes[0].process().pid();
    let node = &cluster.nodes[0];
    let (mut bystander, before) = (node.resp(), most_resident(pid));
    assert_eq!(bystander.ask("SET k v"), Reply::ok());
    let mut check = |what: &str| {
        assert_eq!(bystander.ask("GET k"), Reply::bulk("v"), "after {what}");
        assert_eq!(bystander.ask("SET k v"), Reply::ok(), "after {what}");
        assert_eq!(http::get(node.http, "/healthz").unwrap().status, 200, "after {what}");
    };
    for bytes in nonsense_for_resp() {
        throw(node.resp, &bytes);
        check(&String::from_utf8_lossy(&bytes[..bytes.len().min(40)]));
    }
    unread_replies(node.resp);
    check("replies that nobody reads");
    for bytes in nonsense_for_http() {
        throw(node.http, &bytes);
        check(&String::from_utf8_lossy(&bytes[..bytes.len().min(40)]));
    }
    throw_datagrams(node.quic);
    check("datagrams");
    eventually("the node is connected as before", || node.status()["members"][1]["connected"] == true);
    cluster.serves();
    let after = most_resident(pid);
    eprintln!("resident: {before} KiB, then {after} KiB");
    assert!(after < before + COST, "{before} KiB became {after} KiB");
    assert_eq!(cluster.nodes[0].process().pid(), pid);
    assert!(cluster.nodes[0].stop().success(), "it still stops cleanly");
}

/// Writes, half-closes, and reads until the other end has had enough; a connection that is cut is as good.
fn throw(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = http::connect(addr).unwrap();
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let _ = std::io::copy(&mut stream.take(64 << 20), &mut std::io::sink());
}

fn nonsense_for_resp() -> Vec<Vec<u8>> {
    let texts = [
        "*-1\r\n",
        "*2147483647\r\n",
        "*99999999999999999999\r\n",
        "*1000000\r\n$3\r\nGET\r\n",
        "*1\r\n$-2\r\n",
        "*2\r\n$3\r\nGET\r\n$9223372036854775808\r\n",
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\nx",
        "*1\r\n$+4\r\nPING\r\n",
        "*1\r\n$00004\r\nPING\r\n",
        "*2\r\n$3\r\nGET\r\n$1\r\nkk\r\n",
        "\r\n\r\n\n\r",
        "HELLO 4\r\n",
        "GET / HTTP/1.1\r\nHost: evil\r\nContent-Length: 8\r\n\r\nSET k x\r\n",
        "POST / HTTP/1.1\r\nHost: evil\r\n\r\nSET k x\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0",
        "GET \"unbalanced\r\n",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    all.push(b"*1\r\n".repeat(100_000));
    all.push(vec![b'a'; 1 << 20]);
    all.push(random(1, 64 << 10));
    all.push(encode(&[b"GET".as_slice(), b"", b"\0\xff"]));
    all.push([encode(&["GET", "k"]).repeat(2_000), b"*2\r\n$3\r\nGE".to_vec()].concat());
    all
}

fn nonsense_for_http() -> Vec<Vec<u8>> {
    let put = "PUT /v1/kv/default/x HTTP/1.1\r\nHost: localhost\r\n";
    let texts = [
        "\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".to_owned(),
        format!("{put}Content-Length: -1\r\n\r\nx"),
        format!("{put}Content-Length: 99999999999999999999999\r\n\r\nx"),
        format!("{put}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde"),
        format!("{put}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{put}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n"),
        format!("{put}Transfer-Encoding: chunked\r\n\r\n1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(1 << 20)),
        format!("{put}Content-Length: 1000000\r\n\r\nbroken off"),
        format!("{put}X-Starling-Context: {}\r\nContent-Length: 1\r\n\r\nx", "A".repeat(7_000)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nLarge: {}\r\n\r\n", "x".repeat(1 << 20)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "A: b\r\n".repeat(10_000)),
        "GET /v1/kv/default/%00%2f%2e%2e%zz HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(5_000),
    ];
    texts.into_iter().map(String::into_bytes).chain([random(2, 64 << 10)]).collect()
}

/// Asks for far more than it ever takes until the node takes no more of that for a second, and leaves.
fn unread_replies(addr: SocketAddr) {
    let mut resp = Resp::connect(addr).unwrap();
    assert_eq!(resp.call(&[b"SET".as_slice(), b"big", &vec![b'b'; 1 << 20]]).unwrap(), Reply::ok());
    let mut stream = http::connect(addr).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let gets = encode(&["GET", "big"]).repeat(10_000);
    let mut sent = 0;
    while let Ok(n) = stream.write(&gets) {
        sent += n;
        assert!(sent < 64 << 20, "the node reads on although nobody takes its replies");
    }
}

/// Random bytes, bytes that look like QUIC packets of all kinds, and a flood of first packets.
fn throw_datagrams(addr: SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for k in 0..4_000_u64 {
        let mut datagram = random(k, [1, 20, 64, 1_200, 1_472][usize::try_from(k % 5).unwrap()]);
        match k % 4 {
            // A long header, version 1, "initial", with connection ids of 8 bytes.
            0 if datagram.len() > 32 => datagram[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]),
            // An unknown version.
            1 if datagram.len() > 32 => datagram[..6].copy_from_slice(&[0xc0, 0xba, 0xbe, 0, 1, 8]),
            // A short header of an unknown connection.
            2 => datagram[0] = 0x40,
            _ => {}
        }
        // A full socket buffer drops it, as a network would.
        let _ = socket.send_to(&datagram, addr);
    }
}

/// The same bytes in every run.
fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// The most memory that was ever resident, in KiB.
fn most_resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_stopped_address_takes_no_client_down_with_it() {
    let dir = TempDir::new().unwrap();
    let tls = dir.path().join("tls");
    let mut node = Node::new(dir.path(), "n", &tls);
    node.start();
    init(&[node.quic], &tls).well();
    let both = format!("{},{}", ports::free().unwrap(), node.quic);
    let put = run_at(node.quic, &tls, &["put", "k", "v", "--at", &both]);
    assert_eq!(put.well().out, "OK\n", "the next address is asked");
}
