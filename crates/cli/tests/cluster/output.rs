//! Printed output arrives whole, or the command fails; a value is its own bytes; talk that is not read stops no
//! command.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::support::command::{init, run_at};
use crate::support::node::Node;
use crate::support::process::starling;
use crate::support::resp::{Reply, encode};
use crate::support::within;

/// A device on which nothing finds room.
fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

struct One {
    node: Node,
    _dir: TempDir,
}

impl One {
    fn serving() -> Self {
        let dir = TempDir::new().unwrap();
        let tls = dir.path().join("tls");
        let mut node = Node::new(dir.path(), "n1", &tls);
        node.start();
        init(&[node.quic], &tls).well();
        node.serves_with(0);
        Self { node, _dir: dir }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = starling().into_std();
        command.env("STARLING_AT", self.node.quic.to_string()).env("STARLING_TLS", &self.node.tls);
        command.args(words);
        command
    }

    /// A command whose reader leaves after a few bytes ends well and in silence.
    fn is_left_early(&self, words: &[&str]) {
        let mut child = self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut some = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut some).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{words:?}: {done:?}");
    }

    /// Exit code and standard error of a command whose output finds no room.
    fn where_all_is_full(&self, words: &[&str]) -> (i32, String) {
        let done = self.command(words).stdout(full()).output().unwrap();
        (done.status.code().unwrap(), String::from_utf8(done.stderr).unwrap())
    }
}

#[test]
fn a_product_that_finds_no_room_fails_its_command_and_talk_does_not() {
    let mut one = One::serving();
    let mut resp = one.node.resp();
    assert_eq!(resp.call(&[b"SET".as_slice(), b"k", &vec![b'v'; 1 << 20]]).unwrap(), Reply::ok());
    let data = one.node.data.to_str().unwrap().to_owned();
    for words in [
        ["get", "k"].as_slice(),
        &["-o", "json", "get", "k"],
        &["-o", "json", "put", "j", "v"],
        &["put", "j", "v", "--receipt"],
        &["cluster", "status"],
        &["-o", "json", "cluster", "status"],
        &["bucket", "list"],
        &["-o", "json", "bucket", "create", "b"],
    ] {
        let (code, why) = one.where_all_is_full(words);
        assert_eq!(code, 1, "{words:?}: {why}");
        assert!(why.contains("standard output is not whole") && !why.contains("panic"), "{words:?}: {why}");
        assert_eq!(why.contains("is done all the same"), words.contains(&"put") || words.contains(&"create"));
    }
    for words in [["put", "t", "v"].as_slice(), &["del", "t"], &["bucket", "create", "c"]] {
        let (code, why) = one.where_all_is_full(words);
        assert_eq!(code, 0, "{words:?}: {why}");
    }
    assert_eq!(resp.ask("GET j"), Reply::bulk("v"));
    one.node.stop();
    for words in [["data", "dump", &data].as_slice(), &["data", "check", &data]] {
        let (code, why) = one.where_all_is_full(words);
        assert_eq!(code, 1, "{words:?}: {why}");
        assert!(why.contains("standard output is not whole"), "{words:?}: {why}");
    }
}

#[test]
fn a_value_is_its_own_bytes() {
    let one = One::serving();
    let mut resp = one.node.resp();
    let values: [&[u8]; 6] = [b"", b"\n", b"line\n", b"no line", b"\0\xff\r\n\x1b[2J", &[7; 300_000]];
    for value in values {
        assert_eq!(resp.call(&[b"SET".as_slice(), b"k", value]).unwrap(), Reply::ok());
        let done = one.command(&["get", "k"]).output().unwrap();
        assert!(done.status.success() && done.stdout == value, "{:.40}", value.escape_ascii());
    }
    // Several values are no value: nothing that could be taken for one is printed.
    assert!(matches!(resp.ask("STARLING.PUT k another"), Reply::Array(_)));
    let done = run_at(one.node.quic, &one.node.tls, &["get", "k"]);
    assert_eq!((done.code, done.out.as_str()), (1, ""));
    assert!(done.err.contains("another") && done.err.contains("-o json"), "{done:?}");
}

#[test]
fn a_reader_who_has_seen_enough_is_no_failure() {
    let mut one = One::serving();
    let mut resp = one.node.resp();
    let sets: Vec<u8> = (0..3_000).flat_map(|n| encode(&["SET", &format!("key-{n}"), "v"])).collect();
    resp.send_raw(&sets).unwrap();
    (0..3_000).for_each(|_| assert_eq!(resp.receive().unwrap(), Reply::ok()));
    assert_eq!(resp.call(&[b"SET".as_slice(), b"large", &vec![b'v'; 1 << 20]]).unwrap(), Reply::ok());
    let data = one.node.data.to_str().unwrap().to_owned();
    one.is_left_early(&["get", "large"]);
    one.node.stop();
    one.is_left_early(&["data", "dump", &data]);
}

/// A node's output goes nowhere, its log as well: it serves on all the same.
#[test]
fn a_node_whose_words_find_no_room_serves_on() {
    let dir = TempDir::new().unwrap();
    let tls = dir.path().join("tls");
    let quiet = Node::new(dir.path(), "n1", &tls);
    let mut other = Node::new(dir.path(), "n2", &tls);
    let mut command = quiet.command().into_std();
    let mut child = command.stdout(full()).stderr(full()).spawn().unwrap();
    within(crate::support::SOON, "it answers", || quiet.try_status());
    other.start();
    init(&[quiet.quic, other.quic], &tls).well();
    quiet.serves_with(1);
    // Each of these is a line in its log.
    for _ in 0..2 {
        other.kill();
        other.start();
        quiet.serves_with(1);
    }
    assert_eq!(quiet.resp().ask("SET k v"), Reply::ok());
    assert!(child.try_wait().unwrap().is_none(), "it runs");
    child.kill().unwrap();
    child.wait().unwrap();
}
