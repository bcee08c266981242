//! The batches that writers were promised.

use super::workload::Workload;

/// The answers to one writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Promise {
    /// This batch and all before it must be there.
    pub kept: u64,
    /// The newest batch that can be there: one submission beyond the newest that was answered.
    pub last: u64,
}

/// The answers to all writers of a workload.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub workload: Workload,
    pub promises: Vec<Promise>,
}

/// Most batches in one submission of the script.
pub const SUBMISSION: u64 = 2;

impl Ledger {
    /// Of a store that holds nothing.
    pub fn new(workload: Workload) -> Self {
        Self { workload, promises: vec![Promise::default(); workload.writers.into()] }
    }

    /// A process goes to work: each writer may leave a submission behind that is not answered.
    pub fn begin(&mut self) {
        self.promises.iter_mut().for_each(|promise| promise.last += SUBMISSION);
    }

    /// Batch `n` was answered; `kept` if it must survive what is done to the process.
    pub fn acknowledge(&mut self, writer: u16, n: u64, kept: bool) {
        let promise = &mut self.promises[usize::from(writer)];
        promise.last = promise.last.max(n + SUBMISSION);
        if kept {
            promise.kept = promise.kept.max(n);
        }
    }

    /// The store was found to hold this, and closed: now it is to be kept.
    pub fn settle(&mut self, found: &[u64]) {
        for (promise, &found) in self.promises.iter_mut().zip(found) {
            *promise = Promise { kept: found, last: found };
        }
    }

    /// The writers with their promises.
    pub fn writers(&self) -> impl Iterator<Item = (u16, Promise)> {
        (0..).zip(self.promises.iter().copied())
    }
}
