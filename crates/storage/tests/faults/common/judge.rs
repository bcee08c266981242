//! Whether a store holds what it promised: after a crash that damages no file, exactly the state after some batch of
//! each writer, none older than promised.

use std::collections::BTreeMap;

use bytes::Bytes;
use starling_storage::{Engine, ScanLimit};
use starling_types::row::{RowRange, Space};

use super::ledger::Ledger;
use super::workload::{Cell, HOT, MARK, Workload, cells, key};

/// The state in which a store was found.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The batch whose state each writer's rows have.
    pub found: Vec<u64>,
    /// The violations, in words.
    pub faults: Vec<String>,
}

/// Rows by namespace and key.
pub type Rows = BTreeMap<(Space, Bytes), Bytes>;

/// Holds a store against what its writers were promised.
pub fn judge(engine: &dyn Engine, ledger: &Ledger) -> Verdict {
    let mut verdict = Verdict::default();
    let mut expected = Rows::new();
    for (writer, promise) in ledger.writers() {
        let found = verdict.mark(engine, ledger, writer);
        if found < promise.kept {
            verdict
                .fault(format!("writer {writer}: batch {} was acknowledged, {found} is there", promise.kept));
        }
        if found > promise.last {
            verdict.fault(format!("writer {writer}: batch {found} is there, {} is the last", promise.last));
        }
        verdict.found.push(found);
        expected.extend(rows_after(&ledger.workload, writer, found));
        for cell in cells() {
            let key = key(writer, cell);
            let of = expected.get(&(cell.namespace, key.clone()));
            verdict.compare(engine, &format!("writer {writer}, {cell:?}"), (cell.namespace, &key), of);
        }
    }
    if let Some(hot) = verdict.hot(engine, ledger) {
        expected.insert((HOT.namespace, key(0, HOT)), hot);
    }
    verdict.scan(engine, expected);
    verdict
}

/// All rows of a writer after its batch `n`, but for the hot one.
pub fn rows_after(workload: &Workload, writer: u16, n: u64) -> Rows {
    let rows = workload.rows_after(writer, n).into_iter();
    rows.map(|(cell, n)| ((cell.namespace, key(writer, cell)), workload.value(writer, n, cell))).collect()
}

/// A different page size each time a scan is tried.
pub const PAGE: ScanLimit = ScanLimit { rows: 77, bytes: 60_000 };

impl Verdict {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Fails the test if there are faults.
    #[track_caller]
    pub fn assert_none(&self, what: &str) {
        let some: Vec<_> = self.faults.iter().take(12).collect();
        assert!(some.is_empty(), "{what}: {} faults, the first: {some:#?}", self.faults.len());
    }

    fn mark(&mut self, engine: &dyn Engine, ledger: &Ledger, writer: u16) -> u64 {
        match self.origin(engine, ledger, writer, MARK) {
            Some((by, n)) if by == writer => n,
            Some((by, n)) => {
                self.fault(format!("writer {writer}: the mark is that of writer {by}, batch {n}"));
                0
            }
            None => 0,
        }
    }

    fn origin(
        &mut self,
        engine: &dyn Engine,
        ledger: &Ledger,
        writer: u16,
        cell: Cell,
    ) -> Option<(u16, u64)> {
        match engine.get(cell.namespace, &key(writer, cell)) {
            Ok(Some(value)) => {
                let origin = ledger.workload.origin(cell, &value);
                if origin.is_none() {
                    self.fault(format!("writer {writer}: {cell:?} holds what nobody wrote"));
                }
                origin
            }
            Ok(None) => None,
            Err(error) => {
                self.fault(format!("writer {writer}: {cell:?}: {error}"));
                None
            }
        }
    }

    /// The hot row, which must be of the last batch of the writer it is of.
    fn hot(&mut self, engine: &dyn Engine, ledger: &Ledger) -> Option<Bytes> {
        let Some((writer, n)) = self.origin(engine, ledger, 0, HOT) else {
            if self.found.iter().any(|&found| found > 0) {
                self.fault("the hot row is gone".into());
            }
            return None;
        };
        let last = self.found.get(usize::from(writer)).copied();
        if last != Some(n) {
            self.fault(format!(
                "the hot row is of writer {writer}, batch {n}, whose rows are of batch {last:?}"
            ));
        }
        Some(ledger.workload.value(writer, n, HOT))
    }

    fn compare(&mut self, engine: &dyn Engine, what: &str, row: (Space, &[u8]), expected: Option<&Bytes>) {
        match engine.get(row.0, row.1) {
            Ok(found) if found.as_ref() == expected => {}
            Ok(Some(_)) if expected.is_none() => self.fault(format!("{what}: deleted, and there again")),
            Ok(Some(_)) => self.fault(format!("{what}: another value than the last batch wrote")),
            Ok(None) => self.fault(format!("{what}: gone")),
            Err(error) => self.fault(format!("{what}: {error}")),
        }
    }

    /// A scan must find the same rows, and no others.
    fn scan(&mut self, engine: &dyn Engine, mut expected: Rows) {
        for namespace in Space::ALL {
            let mut rest = Some(RowRange::all());
            while let Some(range) = rest {
                let page = match engine.scan(namespace, &range, PAGE) {
                    Ok(page) => page,
                    Err(error) => return self.fault(format!("the scan of {namespace}: {error}")),
                };
                for (key, value) in page.rows {
                    if expected.remove(&(namespace, key.clone())) != Some(value) {
                        self.fault(format!(
                            "the scan of {namespace} finds another row {}",
                            key.escape_ascii()
                        ));
                    }
                }
                if !page.damaged.is_empty() {
                    self.fault(format!("the scan of {namespace} meets damage"));
                }
                rest = page.next.map(|next| range.resume(next));
            }
        }
        for (namespace, key) in expected.keys() {
            self.fault(format!("the scan of {namespace} misses the row {}", key.escape_ascii()));
        }
    }
}
