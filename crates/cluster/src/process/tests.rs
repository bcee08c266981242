//! With a shell in place of the node.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::test_kill_process;
use tempfile::TempDir;

use super::*;

/// Longer than anything here takes, on a busy machine too.
const SOON: Duration = Duration::from_secs(60);
/// For what will not be, however long it is waited for.
const BRIEFLY: Duration = Duration::from_millis(10);

const READY: &str = r#"echo '{"event":"ready","cluster_id":null,"nodes":[]}'"#;
/// Serves until its standard input ends.
const SERVE: &str = "read word";

fn shell(dir: &TempDir, script: &str) -> NodeProcess {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped());
    NodeProcess::start(&mut command, &dir.path().join("log")).unwrap()
}

fn exists(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

#[tokio::test]
async fn one_that_ends_before_it_is_ready_says_how_and_its_log_why() {
    let dir = TempDir::new().unwrap();
    for _ in 0..2 {
        let mut node = shell(&dir, "echo no room >&2; exit 3");
        let why = node.ready(SOON).await.unwrap_err();
        assert!(matches!(why, NotReady::Ended(status) if status.code() == Some(3)), "{why}");
    }
    let last = shell(&dir, SERVE);
    assert_eq!(last.log().unwrap(), "no room\nno room\n", "a log is never begun anew");
}

#[tokio::test]
async fn one_that_never_says_that_it_is_ready_is_not_waited_for_longer_than_asked() {
    let dir = TempDir::new().unwrap();
    let mut node = shell(&dir, SERVE);
    assert!(matches!(node.ready(BRIEFLY).await, Err(NotReady::Late(BRIEFLY))));
    assert_eq!(node.ended_within(BRIEFLY).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(exists(node.pid), "whether it is killed is for the caller to say");
}

#[tokio::test]
async fn what_is_no_ready_line_is_shown() {
    let dir = TempDir::new().unwrap();
    let mut node = shell(&dir, "echo Hello; read word");
    let why = node.ready(SOON).await.unwrap_err();
    assert!(matches!(&why, NotReady::Said(line) if line == "Hello\n"), "{why}");
}

#[tokio::test]
async fn a_node_is_ready_serves_and_ends_when_it_is_released() {
    let dir = TempDir::new().unwrap();
    let mut node = shell(&dir, &format!("{READY}; {SERVE}; echo one more; exit 5"));
    assert_eq!(node.ready(SOON).await.unwrap(), Ready::new(None, vec![]));
    assert!(node.ended_within(BRIEFLY).await.is_err(), "a wait does not release it");
    node.release();
    assert_eq!(node.output(SOON).await.unwrap(), "one more\n");
    assert_eq!(node.ended_within(SOON).await.unwrap().code(), Some(5));
    assert_eq!(node.ended().await.unwrap().code(), Some(5), "and once more");
}

#[tokio::test]
async fn signals_arrive_until_the_end_and_not_behind_it() {
    let dir = TempDir::new().unwrap();
    let mut node = shell(&dir, &format!("{READY}; {SERVE}"));
    node.ready(SOON).await.unwrap();
    node.signal(Signal::CONT).unwrap();
    assert!(node.ended_within(BRIEFLY).await.is_err(), "that one ends nobody");
    node.signal(Signal::TERM).unwrap();
    let status = node.ended_within(SOON).await.unwrap();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    assert!(node.signal(Signal::KILL).is_err());
    assert_eq!(node.kill().await.unwrap(), status, "nothing is left to kill");
}

#[tokio::test]
async fn a_killed_one_is_gone() {
    let dir = TempDir::new().unwrap();
    let mut node = shell(&dir, &format!("trap '' TERM; {READY}; {SERVE}"));
    node.ready(SOON).await.unwrap();
    node.signal(Signal::TERM).unwrap();
    assert_eq!(node.kill().await.unwrap().signal(), Some(Signal::KILL.as_raw()));
    assert!(!exists(node.pid));
}

#[tokio::test]
async fn a_dropped_one_is_gone() {
    let dir = TempDir::new().unwrap();
    let mut node = shell(&dir, &format!("trap '' TERM; {READY}; {SERVE}; {SERVE}"));
    node.ready(SOON).await.unwrap();
    let pid = node.pid;
    assert!(exists(pid));
    drop(node);
    assert!(!exists(pid), "not even as one that nobody has waited for");
}

#[test]
fn it_is_gone_also_when_its_runtime_is() {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let node = runtime.block_on(async { shell(&dir, SERVE) });
    drop(runtime);
    let pid = node.pid;
    drop(node);
    assert!(!exists(pid));
}

#[tokio::test]
async fn what_is_not_there_does_not_start() {
    let dir = TempDir::new().unwrap();
    let mut command = Command::new(dir.path().join("nothing"));
    assert!(NodeProcess::start(&mut command, &dir.path().join("log")).is_err());
}
