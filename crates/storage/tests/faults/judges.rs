//! The judges must see what they are there for.

use starling_storage::{Batch, Durability, Engine, MemoryEngine};

use crate::common::damage::{Outcome, examine, prepared};
use crate::common::judge::{Verdict, judge};
use crate::common::ledger::Ledger;
use crate::common::workload::{Cell, HOT, MARK, Sizes, Workload, key};
use crate::common::{data_dir, open, scratch};

const WORKLOAD: Workload = Workload { seed: 3, writers: 2, sizes: Sizes::Mixed };
const LAST: u64 = 40;

/// An engine in which both writers did their first `LAST` batches, and a ledger that knows.
fn finished() -> (MemoryEngine, Ledger) {
    let engine = MemoryEngine::new();
    let mut ledger = Ledger::new(WORKLOAD);
    for n in 1..=LAST {
        for writer in 0..WORKLOAD.writers {
            engine.commit(&[WORKLOAD.batch(writer, n)], Durability::Synced).unwrap();
            ledger.acknowledge(writer, n, true);
        }
    }
    (engine, ledger)
}

/// The judge's verdict after `change`.
fn after(change: impl FnOnce(&mut Batch)) -> Verdict {
    let (engine, ledger) = finished();
    let mut batch = Batch::new();
    change(&mut batch);
    engine.commit(&[batch], Durability::Synced).unwrap();
    judge(&engine, &ledger)
}

/// A row of writer 0 that is there in the end, and the batch it is of.
fn a_row() -> (Cell, u64) {
    let mut rows = WORKLOAD.rows_after(0, LAST).into_iter();
    rows.find(|(cell, n)| *cell != MARK && *n > 1).unwrap()
}

/// An earlier batch of writer 0 that wrote this row.
fn earlier(cell: Cell, before: u64) -> u64 {
    let wrote = |n: &u64| WORKLOAD.changes(0, *n).any(|change| change.is_put && change.cell == cell);
    (1..before).rev().find(wrote).unwrap()
}

#[test]
fn a_store_that_kept_everything_passes() {
    let verdict = after(|_| {});
    verdict.assert_none("nothing is wrong");
    assert_eq!(verdict.found, [LAST, LAST]);
}

#[test]
fn each_broken_promise_is_seen() {
    let (cell, n) = a_row();
    let gone = WORKLOAD.changes(0, LAST).count();
    assert!(gone > 0);
    type Change = fn(&mut Batch, Cell, u64);
    let changes: [(&str, Change); 6] = [
        ("gone", |batch, cell, _| batch.delete(cell.namespace, key(0, cell))),
        ("another value", |batch, cell, n| {
            let stale = WORKLOAD.value(0, earlier(cell, n), cell);
            batch.put(cell.namespace, key(0, cell), stale);
        }),
        ("another value", |batch, cell, n| {
            let mut altered = WORKLOAD.value(0, n, cell).to_vec();
            altered[20] ^= 1;
            batch.put(cell.namespace, key(0, cell), altered);
        }),
        ("was acknowledged", |batch, _, _| {
            batch.put(MARK.namespace, key(0, MARK), WORKLOAD.value(0, LAST - 1, MARK));
        }),
        ("is the last", |batch, _, _| {
            batch.put(MARK.namespace, key(0, MARK), WORKLOAD.value(0, LAST + 3, MARK));
        }),
        ("the hot row is of", |batch, _, _| {
            batch.put(HOT.namespace, key(0, HOT), WORKLOAD.value(0, LAST - 1, HOT));
        }),
    ];
    for (said, change) in changes {
        let faults = after(|batch| change(batch, cell, n)).faults;
        assert!(faults.iter().any(|fault| fault.contains(said)), "{said}: {faults:?}");
    }
    let strange = after(|batch| batch.put(cell.namespace, "nobody's", "row")).faults;
    assert!(strange[0].contains("finds another row"), "{strange:?}");
}

/// The judge of damaged stores, with changes that no damage report goes with.
#[test]
fn silence_about_a_changed_row_is_seen() {
    let prepared = prepared();
    let workload = prepared.ledger.workload;
    let last = prepared.ledger.promises[0].kept;
    let (cell, _) = workload.rows_after(0, last).into_iter().find(|(cell, _)| *cell != MARK).unwrap();
    let row = (cell.namespace, key(0, cell));
    // A value of no batch: of one that did not touch the row.
    let left_it = |n: &u64| workload.changes(0, *n).all(|change| change.cell != cell);
    let altered = workload.value(0, (1..=last).rev().find(left_it).unwrap(), cell);
    for (value, said) in [(None, "\"gone\": 1"), (Some(altered), "AN ALTERED VALUE")] {
        let home = scratch();
        let dir = data_dir(home.path());
        prepared.closed.lay_out(&dir);
        assert_eq!(examine(&dir, &prepared.known_closed), Ok(Outcome::Intact));
        let engine = open(&dir).unwrap();
        let mut batch = Batch::new();
        match value {
            Some(value) => batch.put(row.0, row.1.clone(), value),
            None => batch.delete(row.0, row.1.clone()),
        }
        engine.commit(&[batch], Durability::Synced).unwrap();
        engine.close().unwrap();
        let fault = examine(&dir, &prepared.known_closed).unwrap_err();
        assert!(fault.contains(said), "{fault}");
    }
}
