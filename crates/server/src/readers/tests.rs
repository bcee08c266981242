use starling_types::{BucketName, Key, QualifiedKey};
use starling_vnode::OpId;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::testing::{FATAL, Gate};

const FOR_EVER: Duration = Duration::from_secs(600);

struct Bench {
    gate: Arc<Gate>,
    readers: Readers,
    answers: UnboundedReceiver<Answer>,
}

/// Readers before a gate that is shut.
fn bench() -> Bench {
    let gate = Gate::shut_before_nothing();
    let engine: Arc<dyn Engine> = gate.clone();
    let (answers, answered) = unbounded_channel();
    Bench { gate, readers: Readers::start(Clock::start(), &engine, &answers).unwrap(), answers: answered }
}

fn cell(key: impl Into<Bytes>) -> CellKey {
    CellKey::data(QualifiedKey::new(0, BucketName::default_bucket(), Key::new(key).unwrap()))
}

fn numbered(n: usize) -> CellKey {
    cell(n.to_string())
}

fn hints() -> Scan {
    let id = ScanId::Records(OpId(1));
    Scan { id, space: Space::Hints, prefix: Bytes::new(), from: None }
}

impl Bench {
    fn hand_over(&mut self) -> Vec<CellKey> {
        self.readers.hand_over(|_, _| true)
    }

    async fn loaded(&mut self) -> (CellKey, Result<Option<Bytes>, LoadFailure>) {
        match self.answers.recv().await.unwrap() {
            Answer::Loaded(cell, row) => (cell, row),
            _ => panic!("something else was answered"),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.gate.open();
    }
}

#[tokio::test]
async fn scans_leave_half_of_the_threads_to_loads() {
    let mut bench = bench();
    for _ in 0..2 * READERS {
        bench.readers.scan(hints()).unwrap();
    }
    bench.hand_over();
    assert_eq!(bench.readers.counts().under_way, READERS / 2);
    bench.gate.has_come(READERS / 2).await;
    (0..READERS).for_each(|n| bench.readers.load(numbered(n)).unwrap());
    bench.hand_over();
    bench.gate.has_come(READERS).await;
    let counts = bench.readers.counts();
    assert_eq!((counts.loads_waiting, counts.scans_waiting), (0, 2 * READERS - SCANS_AT_ONCE));
    bench.gate.open();
    let mut scans = 0;
    while scans < 2 * READERS {
        match bench.answers.recv().await.unwrap() {
            Answer::Scanned(_, page) => {
                assert!(page.unwrap().rows.is_empty());
                bench.readers.scanned();
                scans += 1;
            }
            _ => bench.readers.loaded(),
        }
        bench.hand_over();
    }
}

#[tokio::test]
async fn loads_that_are_not_needed_any_more_are_left_out_also_when_no_thread_is_free() {
    let mut bench = bench();
    (0..LOADS_AT_ONCE + 3).for_each(|n| bench.readers.load(numbered(n)).unwrap());
    assert_eq!(bench.hand_over(), []);
    let gone = [numbered(LOADS_AT_ONCE), numbered(LOADS_AT_ONCE + 2)];
    assert_eq!(bench.readers.hand_over(|cell, _| !gone.contains(cell)), gone[..1]);
    let counts = bench.readers.counts();
    assert_eq!((counts.loads_waiting, counts.under_way, counts.left_out), (2, LOADS_AT_ONCE, 1));
    bench.gate.open();
    for _ in 0..LOADS_AT_ONCE {
        assert_eq!(bench.loaded().await.1, Ok(None));
        bench.readers.loaded();
    }
    assert_eq!(bench.readers.hand_over(|cell, _| !gone.contains(cell)), gone[1..]);
    assert_eq!(bench.loaded().await, (numbered(LOADS_AT_ONCE + 1), Ok(None)));
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = bench();
    (0..limits::LOAD_QUEUE).for_each(|n| bench.readers.load(numbered(n)).unwrap());
    assert_eq!(bench.readers.load(cell("more")), Err(cell("more")));
    (0..limits::SCAN_QUEUE).for_each(|_| bench.readers.scan(hints()).unwrap());
    assert!(bench.readers.scan(hints()).is_err());
    assert_eq!(bench.readers.counts().refused, 2);
    bench.hand_over();
    assert_eq!(bench.readers.load(cell("more")), Ok(()));
}

#[tokio::test]
async fn a_read_that_panics_is_answered_and_its_thread_goes_on() {
    let mut bench = bench();
    bench.gate.open();
    for _ in 0..=READERS {
        bench.readers.load(cell(FATAL)).unwrap();
        bench.hand_over();
        assert!(matches!(bench.loaded().await, (_, Err(LoadFailure::Failed(_)))));
        bench.readers.loaded();
    }
    assert!(bench.readers.finish(FOR_EVER));
}

#[tokio::test]
async fn the_end_waits_for_what_is_under_way_and_not_for_ever() {
    let mut bench = bench();
    (0..LOADS_AT_ONCE).for_each(|n| bench.readers.load(numbered(n)).unwrap());
    bench.hand_over();
    bench.gate.has_come(READERS).await;
    assert!(!bench.readers.finish(Duration::ZERO));
    bench.gate.open();
    assert!(bench.readers.finish(FOR_EVER));
    assert_eq!(bench.gate.came(), READERS, "what had not begun was not begun");
}
