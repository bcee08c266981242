//! The reading half of the waist, many records at a time: what is on disk is committed, and what is in memory is newer.

use std::sync::Arc;

use bytes::Bytes;
use starling_causality::Record;
use starling_types::QualifiedKey;
use starling_types::row::{Page, RowRange, Space};

use crate::event::{CellKind, Done, Effect, OpId, RecordPage, Refused, ScanRange};
use crate::rows::{self, CellKey, FIRST_GENERATION};
use crate::vnodes::Vnodes;

impl Vnodes {
    pub(crate) fn scan(&mut self, op: OpId, range: ScanRange, from: Option<Bytes>, out: &mut Vec<Effect>) {
        let (space, prefix) = match range {
            ScanRange::Data => (Space::Data, Bytes::new()),
            ScanRange::Hints => (Space::Hints, Bytes::new()),
            ScanRange::HintsFor(target) => (Space::Hints, rows::hints_for(target)),
        };
        self.scans.insert(op, space);
        out.push(Effect::Scan { op, space, prefix, from });
    }

    pub(crate) fn scanned(&mut self, op: OpId, page: Result<Page, String>, out: &mut Vec<Effect>) {
        let Some(space) = self.scans.remove(&op) else { return };
        let result = page.map(|page| Done::Page(self.records(space, page)));
        out.push(Effect::Done(op, result.map_err(Refused::Load)));
    }

    /// Rows of another cluster, or of another time of their partition, are passed over.
    fn records(&mut self, space: Space, page: Page) -> RecordPage {
        let Page { rows, next, damaged, unread, .. } = page;
        let mut shown = RecordPage { records: Vec::with_capacity(rows.len()), damaged, unread, next };
        for (row, value) in rows {
            let Some(cell) = self.cell_of(space, &row) else { continue };
            let Ok(record) = Record::decode(&value) else {
                shown.damaged.push(RowRange::row(&row));
                continue;
            };
            let record = self.in_memory(&cell).cloned().unwrap_or_else(|| Arc::new(record));
            if !record.is_empty() {
                shown.records.push((cell, record));
            }
        }
        shown
    }

    /// The record that a row holds; `None` if the row is none of this cluster's.
    pub fn cell_of(&self, space: Space, row: &[u8]) -> Option<CellKey> {
        let (kind, token, bucket, key) = match space {
            Space::Data => {
                let (token, generation, bucket, key) = rows::parse_data(row)?;
                (generation == FIRST_GENERATION).then_some((CellKind::Data, token, bucket, key))?
            }
            Space::Hints => {
                let (target, token, bucket, key) = rows::hint_parts(row)?;
                (CellKind::Hint(target), token, bucket, key)
            }
            Space::Meta => return None,
        };
        let key = QualifiedKey::new(self.seed, bucket, key);
        (key.token() == token).then_some(CellKey { kind, key })
    }
}
