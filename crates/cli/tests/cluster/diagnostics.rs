//! Signals that are no orders, the lines about a run, and the modes of the files that a node writes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use starling_cluster::Signal;

use crate::support::node::Node;
use crate::support::{eventually, http};

#[test]
fn signals_that_are_no_orders_stop_nothing_and_a_run_is_two_lines_in_the_log() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Node::new(home.path(), "n1", &home.path().join("tls"));
    node.start();
    for signal in [Signal::HUP, Signal::USR1, Signal::USR2, Signal::QUIT, Signal::ALARM, Signal::PIPE] {
        node.process().signal(signal);
    }
    let log = node.log.clone();
    let read = || std::fs::read_to_string(&log).unwrap();
    let told = ["SIGHUP: telemetry.log is", "SIGUSR1 is ignored", "SIGUSR2 is", "SIGQUIT is", "SIGALRM is"];
    eventually("the node has told of all", || told.iter().all(|words| read().contains(words)));
    assert_eq!(http::get(node.http, "/healthz").unwrap().status, 200);
    assert!(node.stop().success());
    let log = read();
    for words in [" started: starling ", " stopped: "] {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
    assert!(!log.contains(" WARN ") && !log.contains(" ERROR "), "{log}");
    is_for_the_owner_alone(&node.data);
    is_for_the_owner_alone(&node.tls);
}

/// Whatever the umask of this test is.
fn is_for_the_owner_alone(path: &Path) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    let (mode, may_be) = (metadata.permissions().mode() & 0o777, if path.is_dir() { 0o700 } else { 0o600 });
    assert_eq!(mode, may_be, "{}", path.display());
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| is_for_the_owner_alone(&entry.unwrap().path()));
    }
}
