//! Real processes that end badly. The child is this test binary again, told its directory by the environment;
//! it commits rows 0, 1, 2 .. and prints each one when it is acknowledged.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;
use crate::engine::ScanLimit;

const DIRECTORY: &str = "STARLING_STORAGE_TEST_DIRECTORY";
const CHILD: &str = "durable::tests::crash::child";

#[test]
fn kill_9_loses_nothing_acknowledged() {
    let mut home = Directory::new();
    let mut rng = StdRng::seed_from_u64(9);
    let mut expected = 0;
    for round in 0..5 {
        let acks = rng.random_range(1..150);
        let mut child = spawn(Command::new(std::env::current_exe().unwrap()), &home);
        let last = last_ack(&mut child, acks);
        expected = last.map_or(expected, |last| last + 1);
        let found = check_rows(&home.open());
        assert!(found >= expected, "round {round}: {expected} rows acknowledged, {found} found");
        assert!(found <= expected + 1, "round {round}: one commit was under way at most");
        expected = found;
    }
}

/// A write that fails for good, here at a file size limit: the engine stops, and what it acknowledged is kept.
#[cfg(unix)]
#[test]
fn a_failed_write_poisons_and_keeps_what_was_acknowledged() {
    let mut home = Directory::new();
    home.open().close().unwrap();
    let mut shell = Command::new("sh");
    let limited = "trap '' XFSZ; ulimit -f 2000; exec \"$0\" \"$@\"";
    shell.args(["-c", limited]).arg(std::env::current_exe().unwrap());
    let mut child = spawn(shell, &home);
    let last = last_ack(&mut child, u64::MAX).expect("some rows fit");
    assert!(check_rows(&home.open()) > last);
}

#[test]
#[ignore = "run by the tests above, in a process of its own"]
fn child() {
    let dir = PathBuf::from(std::env::var_os(DIRECTORY).expect("set by the parent"));
    let engine = open(&dir).unwrap();
    for n in check_rows(&engine).. {
        match engine.commit(&group(n), Durability::Synced) {
            Ok(()) => println!("ack {n}"),
            Err(error) => return check_poison(&engine, &error),
        }
    }
}

fn check_poison(engine: &DurableEngine, first: &StorageError) {
    assert!(matches!(first, StorageError::Io { .. }), "{first}");
    let later = StorageError::Poisoned { cause: first.to_string() };
    assert_eq!(engine.commit(&group(0), Durability::Synced), Err(later.clone()));
    assert_eq!(engine.get(Namespace::Data, b"k"), Err(later.clone()));
    assert_eq!(engine.close(), Err(later));
}

/// Row `n` in every namespace, in two batches.
fn group(n: u64) -> [Batch; 2] {
    let mut pair = Batch::new();
    pair.put(Namespace::Data, n.to_be_bytes().to_vec(), value(n));
    pair.put(Namespace::Hints, n.to_be_bytes().to_vec(), value(n));
    let mut mark = Batch::new();
    mark.put(Namespace::Meta, n.to_be_bytes().to_vec(), value(n));
    [pair, mark]
}

/// Up to 60 KB, so that five rounds fill some write buffers.
fn value(n: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(n);
    let mut value = vec![0; rng.random_range(0..60_000)];
    rng.fill_bytes(&mut value);
    value
}

/// How many rows there are: the same 0, 1, 2 .. in every namespace, whole.
fn check_rows(engine: &DurableEngine) -> u64 {
    let counts = Namespace::ALL.map(|namespace| {
        let limit = ScanLimit { rows: usize::MAX, bytes: usize::MAX };
        let page = engine.scan(namespace, &KeyRange::all(), limit).unwrap();
        for (n, (key, found)) in (0u64..).zip(&page.rows) {
            assert_eq!(**key, n.to_be_bytes());
            assert!(*found == value(n), "row {n} of {namespace}");
        }
        page.rows.len() as u64
    });
    assert_eq!(counts, [counts[0]; 3], "a group is all there or not at all");
    counts[0]
}

fn spawn(mut command: Command, home: &Directory) -> Child {
    command.args(["--exact", CHILD, "--include-ignored", "--nocapture"]);
    command.env(DIRECTORY, home.path()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// Reads acknowledgements; kills after `acks` of them, or waits for the end. The last one that was given.
fn last_ack(child: &mut Child, acks: u64) -> Option<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    let mut seen = 0;
    for line in lines.map_while(Result::ok) {
        let Some((_, n)) = line.split_once("ack ") else {
            continue;
        };
        last = Some(n.parse().unwrap());
        seen += 1;
        if seen == acks {
            child.kill().unwrap();
        }
    }
    let status = child.wait().unwrap();
    assert!(status.success() || seen >= acks, "the child failed: {status}");
    last
}
